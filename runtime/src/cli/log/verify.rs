//! `nerve log verify`: check every checksum of a log on disk, and its checkpoints; reads only.

use std::path::PathBuf;

use anyhow::Context;
use nerve_eventlog::Offset;
use nerve_eventlog::verify::Damage;
use serde_json::{Value, json};

use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::Printer;
use crate::host::{CheckpointReport, Inspection, inspect};

/// Check every checksum of a log on disk, and its checkpoints; reads only
#[derive(clap::Args)]
pub(in crate::cli) struct Verify {
    /// The data folder
    #[arg(default_value = "data")]
    data: PathBuf,
}

impl Verify {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let seen = inspect(&self.data).with_context(|| {
            format!(
                "{} can't be read: name a data folder, as `nerve run --data` has it",
                self.data.display()
            )
        })?;
        if is_sound(&seen) {
            printer.print(&value(&seen), || summary(&seen));
            return Ok(());
        }
        Err(printer.fail_with(value(&seen), Exit::Damaged, &self.trouble(&seen)))
    }

    fn trouble(&self, seen: &Inspection) -> String {
        let damage = seen.log.damage.iter();
        let damage = damage.map(|bad| {
            format!(
                "{}, byte {}, offset {}: {}",
                bad.file, bad.byte, bad.offset, bad.what
            )
        });
        let checkpoints =
            unusable(seen).map(|one| format!("{}: {}", one.file, one.problem.as_deref().unwrap_or_default()));
        let list = damage.chain(checkpoints).collect::<Vec<_>>().join("\n  ");
        let unreadable = ranges(&seen.log.unreadable);
        let unreadable = if unreadable.is_empty() {
            String::new()
        } else {
            format!("\noffsets that can't be read: {unreadable}")
        };
        let way_out = match (seen.starts_from, &seen.log.format) {
            (_, Some(_)) => "use the version of nerve that wrote it".to_owned(),
            (Some(from), _) if seen.log.damage.is_empty() => {
                format!("a host starts {}, and passes over the rest", start(from))
            }
            (Some(from), _) => format!(
                "a host starts {}, and only who reads those offsets is stopped; `nerve log repair {}` says what can be kept \
                 without them",
                start(from),
                self.data.display()
            ),
            (None, _) => format!(
                "a host does not start; `nerve log repair {}` says what can be kept, or restore a backup",
                self.data.display()
            ),
        };
        format!(
            "{} is damaged:\n  {list}{unreadable}\n{way_out}",
            self.data.display()
        )
    }
}

/// Whether nothing is wrong that a host would stumble over. Of the checkpoints the newest one counts: an older one that
/// retention has overtaken is on its way out.
fn is_sound(seen: &Inspection) -> bool {
    seen.log.damage.is_empty() && unusable(seen).next().is_none() && seen.starts_from.is_some()
}

fn unusable(seen: &Inspection) -> impl Iterator<Item = &CheckpointReport> {
    seen.checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.problem.is_some())
}

/// Offsets as people write them.
pub(super) fn ranges(ranges: &[(Offset, Offset)]) -> String {
    let one = |(from, to): &(Offset, Offset)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from} to {to}")
        }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn start(from: Offset) -> String {
    if from == Offset(0) {
        "from the beginning".to_owned()
    } else {
        format!("from the checkpoint at offset {from}")
    }
}

fn summary(seen: &Inspection) -> String {
    let (frames, records) = totals(seen);
    let torn = seen.log.torn.as_ref().map(|torn| {
        format!(
            "\n{}, byte {}: {}; the next start copies the rest of the file aside and cuts it",
            torn.file, torn.byte, torn.what
        )
    });
    let from = seen.starts_from.map(start).unwrap_or_default();
    format!(
        "{} segments, {frames} frames, {records} records, {} checkpoints: all checksums are right\na host starts {from}{}",
        seen.log.segments.len(),
        seen.checkpoints.len(),
        torn.unwrap_or_default()
    )
}

fn totals(seen: &Inspection) -> (u64, u64) {
    let segments = seen.log.segments.iter();
    segments.fold((0, 0), |sum, segment| {
        (sum.0 + segment.frames, sum.1 + segment.records)
    })
}

fn value(seen: &Inspection) -> Value {
    let bad = |bad: &Damage| json!({ "file": bad.file, "byte": bad.byte, "offset": bad.offset.0, "what": bad.what });
    let (frames, records) = totals(seen);
    let checkpoints = seen.checkpoints.iter();
    let checkpoints =
        checkpoints.map(|one| json!({ "file": one.file, "offset": one.through.0, "problem": one.problem }));
    json!({
        "id": seen.log.id.map(|id| id.to_string()),
        "segments": seen.log.segments.len(),
        "frames": frames,
        "records": records,
        "damage": seen.log.damage.iter().map(bad).collect::<Vec<Value>>(),
        "unreadable": seen.log.unreadable.iter().map(|(from, to)| json!([from.0, to.0])).collect::<Vec<_>>(),
        "torn": seen.log.torn.as_ref().map(bad),
        "checkpoints": checkpoints.collect::<Vec<_>>(),
        "starts_from": seen.starts_from.map(|from| from.0),
    })
}
