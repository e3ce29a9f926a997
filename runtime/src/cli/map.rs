//! `nerve map`: who emits and who consumes what, for people and for programs that draw.

mod dot;
mod mermaid;
mod text;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Done;
use super::api::{Api, escaped};
use super::output::Printer;
use crate::host::{self, AtRest};
use crate::trace::map::{self, Wanted};

/// How to draw the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// A graph for Graphviz.
    Dot,
    /// All of it, for programs.
    Json,
}

/// Show who emits and who consumes what, as declared and as seen, and what is odd about it
#[derive(clap::Args)]
pub(super) struct Map {
    /// Only event types that match, such as order.>
    pattern: Option<String>,
    /// Only what this plugin emits or consumes
    #[arg(long)]
    plugin: Option<String>,
    /// How to draw it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show every type and plugin, however many there are
    #[arg(long)]
    all: bool,
    /// A data folder that no host uses, in place of a running host
    #[arg(long, value_name = "FOLDER", conflicts_with = "backup")]
    data: Option<PathBuf>,
    /// What `nerve log backup` wrote, in place of a running host
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
}

impl Map {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let map = match (&self.data, &self.backup) {
            (Some(data), _) => AtRest::open(data)?.map(&self.wanted()?),
            (None, Some(file)) => of_backup(file, &self.wanted()?)?,
            (None, None) => self.ask(api)?,
        };
        let value = serde_json::to_value(&map)?;
        printer.print(&value, || match self.format {
            Format::Text => text::told(&map, self.all),
            Format::Mermaid => mermaid::drawn(&map),
            Format::Dot => dot::drawn(&map),
            Format::Json => value.to_string(),
        });
        Ok(())
    }

    fn ask(&self, api: &Api) -> anyhow::Result<map::Map> {
        let asked = [("type", &self.pattern), ("plugin", &self.plugin)];
        let asked = asked.into_iter().filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some(format!("{name}={}", escaped(value)))
        });
        let query: Vec<String> = asked.collect();
        let answer = api.get(&format!("/v1/map?{}", query.join("&")))?;
        serde_json::from_value(answer)
            .context("the map of the host can't be read: it is of another version of nerve")
    }

    fn wanted(&self) -> anyhow::Result<Wanted> {
        Ok(Wanted {
            types: self.pattern.as_deref().map(str::parse).transpose()?,
            plugin: self.plugin.clone(),
        })
    }
}

fn of_backup(file: &Path, wanted: &Wanted) -> anyhow::Result<map::Map> {
    let made = tempfile::tempdir()?;
    let data = made.path().join("data");
    host::restore(file, &data, &made.path().join("plugins"))?;
    Ok(AtRest::open(&data)?.map(wanted))
}
