//! `nerve log export`: write events as JSON lines, one `CloudEvent` in structured mode each, as the API shows them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nerve_eventlog::storage::{FsStorage, Storage};
use nerve_eventlog::{Entry, verify};
use serde_json::{Value, json};

use crate::cli::Done;
use crate::cli::api::{Api, escaped};
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::delivery::subscription::Pattern;
use crate::log::record;

/// Write events as JSON lines, of a running host or of a log on disk
#[derive(clap::Args)]
pub(in crate::cli) struct Export {
    /// Begin behind this offset [default: with the first one that is left]
    #[arg(long)]
    after: Option<u64>,
    /// Only types that match: exact, * for one token, > for the rest
    #[arg(long, value_name = "PATTERN")]
    types: Option<String>,
    /// The file to make [default: standard output]
    #[arg(short = 'o', value_name = "FILE")]
    to: Option<PathBuf>,
    /// A data folder that no host uses, in place of a running host
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Where the lines go, and how many there were.
struct Lines {
    out: Box<dyn Write>,
    written: u64,
}

impl Export {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let out: Box<dyn Write> = match &self.to {
            None => Box::new(io::stdout().lock()),
            Some(file) => {
                let made = File::create_new(file);
                Box::new(made.with_context(|| format!("{} can't be made", file.display()))?)
            }
        };
        let mut lines = Lines {
            out: Box::new(BufWriter::new(out)),
            written: 0,
        };
        match &self.data {
            None => self.of_host(api, printer, &mut lines)?,
            Some(data) => self.of_folder(data, &mut lines)?,
        }
        if let Some(file) = &self.to {
            File::open(file)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("{} can't be synced", file.display()))?;
            let written = lines.written;
            printer.print(&json!({ "exported": written, "file": file }), || {
                format!(
                    "{written} events are in {}\nnext: nerve log import {}",
                    file.display(),
                    file.display()
                )
            });
        }
        Ok(())
    }

    /// Page through what is durable when it begins.
    fn of_host(&self, api: &Api, printer: &Printer, lines: &mut Lines) -> Done {
        let pattern = self
            .types
            .as_deref()
            .map(|text| format!("&type={}", escaped(text)))
            .unwrap_or_default();
        let mut after = self
            .after
            .map(|after| format!("&after={after}"))
            .unwrap_or_default();
        let mut end = None;
        loop {
            let page = api.get(&format!("/v1/events?limit=1000{pattern}{after}"))?;
            let end = *end.get_or_insert(page["last"].as_u64().unwrap_or_default());
            let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            for event in events
                .iter()
                .filter(|event| event["offset"].as_u64() <= Some(end))
            {
                lines.write(&event["event"])?;
            }
            let next = page["next"].as_u64().unwrap_or(end);
            if next >= end {
                return Ok(lines.out.flush()?);
            }
            printer.progress(&format!("{} events, up to offset {next} of {end}", lines.written));
            after = format!("&after={next}");
        }
    }

    /// Read everything that is sound in the log of a folder, and fail behind it where something is not.
    fn of_folder(&self, data: &Path, lines: &mut Lines) -> Done {
        let pattern = self.types.as_deref().map(str::parse::<Pattern>).transpose();
        let pattern = pattern.map_err(|bad| fail(Exit::Usage, bad.to_string()))?;
        let folder = data.join("log");
        let storage = FsStorage::new(folder.clone());
        let unreadable = || {
            format!(
                "{} can't be read: name a data folder, as `nerve run --data` has it",
                folder.display()
            )
        };
        storage.list().with_context(unreadable)?;
        let Some(_lock) = storage.lock().with_context(unreadable)? else {
            let message = format!(
                "{} is in use: leave --data out to ask the host that uses it",
                folder.display()
            );
            return Err(fail(Exit::Conflict, message));
        };
        let mut failed: anyhow::Result<()> = Ok(());
        let report = verify::read(&storage, &[], &mut |entry| {
            if failed.is_ok() && entry.offset.0 > self.after.unwrap_or_default() {
                failed = lines.write_entry(entry, pattern.as_ref());
            }
        })
        .with_context(unreadable)?;
        failed?;
        lines.out.flush()?;
        match report.damage.first() {
            None => Ok(()),
            Some(bad) => Err(fail(
                Exit::Damaged,
                format!(
                    "{}, byte {}: {}; what can be read was exported, and offsets {} are missing",
                    bad.file,
                    bad.byte,
                    bad.what,
                    super::verify::ranges(&report.unreadable)
                ),
            )),
        }
    }
}

impl Lines {
    fn write(&mut self, event: &Value) -> Done {
        self.written += 1;
        Ok(writeln!(self.out, "{event}")?)
    }

    fn write_entry(&mut self, entry: &Entry, pattern: Option<&Pattern>) -> Done {
        let event = record::event(&entry.payload)
            .with_context(|| format!("the record at offset {} can't be read", entry.offset))?;
        match event.filter(|event| pattern.is_none_or(|pattern| pattern.matches(event.r#type))) {
            Some(event) => self.write(&crate::cloud_event::shown(entry.time, &event)),
            None => Ok(()),
        }
    }
}
