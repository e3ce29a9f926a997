//! `nerve doctor`: symptoms of a distributed monolith, in a log or in traces.

mod html;
mod scaffold;
mod text;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::Done;
use super::api::Api;
use super::exit::{Exit, fail};
use super::output::Printer;
use crate::doctor::traces::{self, TraceReport};
use crate::doctor::{MOST_RECORDS, RECORDS, Report};
use crate::host::{self, AtRest};

/// Look for the symptoms of a distributed monolith: in a log, or in the traces of services that are not on nerve
#[derive(clap::Args)]
pub(super) struct Doctor {
    /// How many records of the log to look at, counted from its end
    #[arg(long, default_value_t = RECORDS, value_parser = clap::value_parser!(u64).range(1..=MOST_RECORDS))]
    records: u64,
    /// A data folder that no host uses, in place of a running host
    #[arg(long, value_name = "FOLDER", conflicts_with = "backup")]
    data: Option<PathBuf>,
    /// What `nerve log backup` wrote, in place of a running host
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Look at traces instead: OTLP JSON, or JSON of Jaeger
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "backup"])]
    traces: Option<PathBuf>,
    /// Make the crates of the plugins that the traces propose, in this folder
    #[arg(long, value_name = "DIR", requires = "traces")]
    scaffold: Option<PathBuf>,
    /// The folder of nerve-sdk for these [default: that of the repository this program was built in]
    #[arg(long, env = "NERVE_SDK", requires = "scaffold")]
    sdk: Option<PathBuf>,
    /// Write the report also as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Doctor {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let (mut value, mut told, page) = if let Some(file) = &self.traces {
            let report = of_traces(file)?;
            let made = self
                .scaffold
                .as_deref()
                .map(|dir| scaffold::make(&report, dir, self.sdk.as_deref()));
            let made = made.transpose()?;
            let mut told = text::of_traces(&report);
            let mut value = serde_json::to_value(&report)?;
            if let Some(made) = made {
                told.push_str(&scaffold::told(&made));
                value["scaffolded"] = json!(made);
            }
            (value, told, html::of_traces(&report))
        } else {
            let report = self.of_log(api)?;
            (
                serde_json::to_value(&report)?,
                text::of_log(&report),
                html::of_log(&report),
            )
        };
        if let Some(file) = &self.html {
            std::fs::write(file, page).with_context(|| format!("{} can't be written", file.display()))?;
            writeln!(told, "\nThe report is in {} as well.", file.display())?;
            value["html"] = Value::from(file.display().to_string());
        }
        printer.print(&value, || told);
        Ok(())
    }

    fn of_log(&self, api: &Api) -> anyhow::Result<Report> {
        match (&self.data, &self.backup) {
            (Some(data), _) => Ok(AtRest::open(data)?.examine(self.records)?),
            (None, Some(file)) => {
                let made = tempfile::tempdir()?;
                let data = made.path().join("data");
                host::restore(file, &data, &made.path().join("plugins"))?;
                Ok(AtRest::open(&data)?.examine(self.records)?)
            }
            (None, None) => {
                let answer = api.get(&format!("/v1/doctor?records={}", self.records))?;
                let read = serde_json::from_value(answer);
                read.context("the report of the host can't be read: it is of another version of nerve")
            }
        }
    }
}

fn of_traces(file: &Path) -> anyhow::Result<TraceReport> {
    let shown = file.display();
    let bytes = std::fs::read(file)
        .with_context(|| format!("{shown} can't be read; name a file of OTLP JSON, or of Jaeger's"))?;
    let text = String::from_utf8(bytes).map_err(|bad| {
        let at = bad.utf8_error().valid_up_to();
        fail(Exit::Usage, format!("{shown} is no JSON: byte {at} is not UTF-8"))
    })?;
    let spans = traces::read(&text).map_err(|bad| fail(Exit::Usage, format!("{shown}: {bad}")))?;
    Ok(traces::examine(spans))
}
