//! `nerve dead`: see to dead letters.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Done;
use super::api::{Api, escaped};
use super::given::offset;
use super::output::{Printer, line, table, text_at};

/// See to dead letters
#[derive(Subcommand)]
pub(super) enum Dead {
    /// List them
    List {
        /// Only of this plugin
        plugin: Option<String>,
    },
    /// Show one with its event
    Show {
        /// The plugin
        plugin: String,
        /// Offset of the event
        #[arg(value_parser = offset)]
        event: u64,
    },
    /// Deliver one again, or all of a plugin
    Retry {
        /// The plugin
        plugin: String,
        /// Offset of the event [default: all]
        #[arg(value_parser = offset)]
        event: Option<u64>,
    },
    /// Write all it takes to run its last attempt again, for `nerve plugin test --bundle`
    Bundle {
        /// The plugin
        plugin: String,
        /// Offset of the event
        #[arg(value_parser = offset)]
        event: u64,
        /// Write it into this file [default: print it]
        #[arg(short = 'o', long)]
        file: Option<PathBuf>,
    },
    /// Give one up for good
    Drop {
        /// The plugin
        plugin: String,
        /// Offset of the event
        #[arg(value_parser = offset)]
        event: u64,
    },
}

impl Dead {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::List { plugin } => {
                let of = plugin
                    .as_deref()
                    .map(|name| format!("?plugin={}", escaped(name)))
                    .unwrap_or_default();
                let page = api.get(&format!("/v1/dead-letters{of}"))?;
                printer.print(&page, || {
                    let letters = page["dead_letters"]
                        .as_array()
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    if letters.is_empty() {
                        return "no dead letters".into();
                    }
                    let mut rows = vec![
                        ["PLUGIN", "EVENT", "TYPE", "KEY", "ATTEMPTS", "RETRIED", "WHY"]
                            .map(String::from)
                            .to_vec(),
                    ];
                    let columns = ["/plugin", "/event", "/type", "/key", "/attempts"];
                    rows.extend(letters.iter().map(|letter| {
                        let told = [retried(letter), text_at(letter, "/reason")];
                        columns
                            .into_iter()
                            .map(|at| text_at(letter, at))
                            .chain(told)
                            .collect()
                    }));
                    table(&rows) + "next: nerve dead retry PLUGIN [EVENT]"
                });
            }
            Self::Show { plugin, event } => {
                let letter = api.get(&format!("/v1/dead-letters/{}/{event}", escaped(plugin)))?;
                printer.print(&letter, || {
                    serde_json::to_string_pretty(&letter).unwrap_or_default()
                });
            }
            Self::Retry { plugin, event } => {
                let one = event.map(|event| format!("/{event}")).unwrap_or_default();
                let answer = api.post(
                    &format!("/v1/dead-letters/{}{one}/retry", escaped(plugin)),
                    "application/json",
                    b"",
                )?;
                printer.print(&answer, || {
                    let count = answer["redriven"].as_array().map_or(0, Vec::len);
                    format!("{count} on their way to {plugin} again\nnext: nerve dead list {plugin}")
                });
            }
            Self::Bundle { plugin, event, file } => {
                // As the host wrote it: it is compared with its records when it is read.
                let mut text = Vec::new();
                let path = format!("/v1/dead-letters/{}/{event}/bundle", escaped(plugin));
                api.fetch(&path, &mut text)?;
                let Some(file) = file else {
                    line(&String::from_utf8_lossy(&text));
                    return Ok(());
                };
                std::fs::write(file, &text).with_context(|| file.display().to_string())?;
                let shown = file.display();
                printer.print(&json!({ "file": file, "bytes": text.len() }), || {
                    format!(
                        "{shown} ({} bytes)\nnext: nerve plugin test --bundle {shown}",
                        text.len()
                    )
                });
            }
            Self::Drop { plugin, event } => {
                let answer = api.delete(&format!("/v1/dead-letters/{}/{event}", escaped(plugin)))?;
                printer.print(&answer, || {
                    format!("the event at offset {event} is given up by {plugin}; it stays in the log")
                });
            }
        }
        Ok(())
    }
}

/// Who let it be delivered again last, and whether that is under way.
fn retried(letter: &Value) -> String {
    let Some(retried) = letter["retried"].as_object() else {
        return "-".into();
    };
    let who = retried
        .get("who")
        .and_then(Value::as_str)
        .unwrap_or("an operator");
    let under_way = if letter["redriving"] == true {
        ", under way"
    } else {
        ""
    };
    format!("by {who} at {}{under_way}", text_at(letter, "/retried/at"))
}
