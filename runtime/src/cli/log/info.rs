//! `nerve log info`: where a running host's log begins and ends.

use serde_json::Value;

use crate::cli::Done;
use crate::cli::api::Api;
use crate::cli::output::{Printer, text_at};

/// Where a running host's log begins and ends
#[derive(clap::Args)]
pub(in crate::cli) struct Info {}

impl Info {
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let info = api.get("/v1/log")?;
        printer.print(&info, || {
            [
                "id",
                "durability",
                "first",
                "durable",
                "hot_first",
                "segments",
                "bytes",
                "short_of_room",
                "recovered",
            ]
            .map(|name| format!("{name:13} {}\n", text_at(&info, &format!("/{name}"))))
            .concat()
                + &scrub(&info)
        });
        Ok(())
    }
}

/// How far the scrub is, and what it found.
fn scrub(info: &Value) -> String {
    let at = |name: &str| text_at(info, &format!("/scrub/{name}"));
    let found = info["scrub"]["damage"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = found.iter().map(|rot| {
        let at = |name: &str| text_at(rot, &format!("/{name}"));
        format!(
            "\n              {}, byte {}, offset {}: {}",
            at("file"),
            at("byte"),
            at("offset"),
            at("what")
        )
    });
    let found = found.collect::<String>();
    let found = if found.is_empty() {
        ", no damage".to_owned()
    } else {
        format!(", damaged:{found}")
    };
    format!(
        "scrub         at offset {} of pass {}, the last ended {}{found}",
        at("through"),
        at("passes"),
        at("last")
    )
}
