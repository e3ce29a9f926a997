//! `nerve plugin deploy`: hand a component, or a webhook's file, to a running host.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Done, asks};
use crate::cli::api::{Api, escaped};
use crate::cli::exit::{Exit, fail};
use crate::cli::output::{Printer, text_at};
use crate::plugin::webhook::ENDING;

/// Deploy a component or NAME.webhook.toml, as dropping it into the folder does, and say what came of it
#[derive(clap::Args)]
pub(in crate::cli) struct Deploy {
    /// The component, or NAME.webhook.toml
    file: PathBuf,
    /// The plugin's name [default: that of the file, without its end]
    #[arg(long)]
    name: Option<String>,
    /// The settings, as NAME.toml beside NAME.wasm has them; an empty file for none [default: those that the plugin has]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl Deploy {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        let file = self.file.display();
        let file_name = self.file.file_name().and_then(|name| name.to_str());
        let webhook = file_name.and_then(|name| name.strip_suffix(ENDING));
        let stem = webhook.or_else(|| self.file.file_stem()?.to_str());
        let name = self.name.as_deref().or(stem);
        let name = name.with_context(|| format!("{file} has no name; say it with --name"))?;
        let component = match webhook {
            Some(_) => Vec::new(),
            None => std::fs::read(&self.file).with_context(|| {
                format!("{file} can't be read; `nerve plugin build` makes a component, and says where it is")
            })?,
        };
        let mut path = format!("/v1/plugins/{}", escaped(name));
        let settings = webhook.map(|_| &self.file).or(self.settings.as_ref());
        if let Some(settings) = settings {
            let text = std::fs::read_to_string(settings);
            let text = text.with_context(|| format!("{} can't be read", settings.display()))?;
            path = format!("{path}?settings={}", escaped(&text));
        }
        let plugin = api.put(&path, "application/wasm", &component)?;
        if plugin["deployed"] == "waiting" {
            let waiting = &plugin["waiting"];
            return Err(fail(
                Exit::Denied,
                format!(
                    "version {} waits, for it is not granted {}; what is live goes on\nnext: nerve plugin approve {name} --pair {}",
                    text_at(waiting, "/version"),
                    asks(&waiting["missing"]),
                    text_at(waiting, "/pair")
                ),
            ));
        }
        printer.print(&plugin, || {
            let version = text_at(&plugin, "/version");
            match plugin["deployed"].as_str() {
                Some("live") => {
                    let warnings = plugin["warnings"].as_array().into_iter().flatten();
                    let warnings = warnings.filter_map(|warning| warning.as_str());
                    let warnings: Vec<String> = warnings.map(|warning| format!("warning: {warning}\n")).collect();
                    let warnings = warnings.concat();
                    format!(
                        "{name} is live, version {version}\n{warnings}next: nerve plugin versions {name}, nerve plugin rollback {name}"
                    )
                }
                _ => format!("{name} runs this version already: {version}"),
            }
        });
        Ok(())
    }
}
