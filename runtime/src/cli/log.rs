//! `nerve log`: look at a log, of a running host or on disk.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use nerve_eventlog::storage::FsStorage;
use nerve_eventlog::verify::{Damage, verify};
use serde_json::{Value, json};

use super::Done;
use super::api::Api;
use super::exit::{Exit, fail};
use super::output::{Printer, text_at};

/// Look at a log
#[derive(Subcommand)]
pub(super) enum Log {
    /// Where a running host's log begins and ends
    Info,
    /// Check every checksum of a log on disk; reads only
    Verify {
        /// The data folder
        #[arg(default_value = "data")]
        data: PathBuf,
    },
}

impl Log {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::Info => {
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
            Self::Verify { data } => check(data, printer),
        }
    }
}

fn check(data: &Path, printer: &Printer) -> Done {
    let folder = data.join("log");
    let report = verify(&FsStorage::new(folder.clone())).with_context(|| {
        format!(
            "{} can't be read: name a data folder, as `nerve run --data` has it",
            folder.display()
        )
    })?;
    let shown = |bad: &Damage| json!({ "file": bad.file, "byte": bad.byte, "offset": bad.offset.0, "what": bad.what });
    let (frames, records): (u64, u64) = report.segments.iter().fold((0, 0), |sum, segment| {
        (sum.0 + segment.frames, sum.1 + segment.records)
    });
    let value = json!({
        "id": report.id.map(|id| id.to_string()),
        "segments": report.segments.len(),
        "frames": frames,
        "records": records,
        "damage": report.damage.iter().map(shown).collect::<Vec<Value>>(),
        "torn": report.torn.as_ref().map(shown),
    });
    if report.damage.is_empty() {
        printer.print(&value, || {
            let torn = report.torn.as_ref().map(|torn| {
                format!(
                    "\n{}, byte {}: {}; the next start copies the rest of the file aside and cuts it",
                    torn.file, torn.byte, torn.what
                )
            });
            format!(
                "{} segments, {frames} frames, {records} records: all checksums are right{}",
                report.segments.len(),
                torn.unwrap_or_default()
            )
        });
        return Ok(());
    }
    if printer.is_json() {
        printer.print(&value, String::new);
    }
    let each = report.damage.iter().map(|bad| {
        format!(
            "{}, byte {}, offset {}: {}",
            bad.file, bad.byte, bad.offset, bad.what
        )
    });
    let list = each.collect::<Vec<_>>().join("\n  ");
    Err(fail(
        Exit::Damaged,
        format!(
            "{} is damaged; restore the files from a copy:\n  {list}",
            folder.display()
        ),
    ))
}
