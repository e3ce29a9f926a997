//! `nerve dead`: see to dead letters.

use clap::Subcommand;

use super::Done;
use super::api::{Api, escaped};
use super::output::{Printer, table, text_at};

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
        event: u64,
    },
    /// Deliver one again, or all of a plugin
    Retry {
        /// The plugin
        plugin: String,
        /// Offset of the event [default: all]
        event: Option<u64>,
    },
    /// Give one up for good
    Drop {
        /// The plugin
        plugin: String,
        /// Offset of the event
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
                        ["PLUGIN", "EVENT", "TYPE", "KEY", "ATTEMPTS", "WHY"]
                            .map(String::from)
                            .to_vec(),
                    ];
                    let columns = ["/plugin", "/event", "/type", "/key", "/attempts", "/reason"];
                    rows.extend(
                        letters
                            .iter()
                            .map(|letter| columns.map(|at| text_at(letter, at)).to_vec()),
                    );
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
