//! `nerve log info`: where a running host's log begins and ends.

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
                "recovered",
            ]
            .map(|name| format!("{name:10} {}", text_at(&info, &format!("/{name}"))))
            .join("\n")
        });
        Ok(())
    }
}
