//! `nerve log repair`: make a damaged log one that a host starts on, once its price is accepted.

use std::path::PathBuf;

use anyhow::Context;
use nerve_eventlog::repair::{self, RepairError};
use serde_json::{Value, json};

use super::verify::ranges;
use crate::cli::Done;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::host;

/// Make a damaged log one that a host starts on
#[derive(clap::Args)]
pub(in crate::cli) struct Repair {
    /// The data folder
    #[arg(default_value = "data")]
    data: PathBuf,
    /// Do it; otherwise only what would be lost is said
    #[arg(long)]
    accept_loss: bool,
    /// What to keep where not everything can be
    #[arg(long, value_enum, default_value = "newest")]
    keep: Keep,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Keep {
    /// The newest records, with the state of a checkpoint for those before; else the oldest
    Newest,
    /// The oldest records, and nothing behind the damage
    Oldest,
}

impl Repair {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let keep = match self.keep {
            Keep::Newest => repair::Keep::Newest,
            Keep::Oldest => repair::Keep::Oldest,
        };
        let plan = host::Repair::plan(&self.data, keep).map_err(refused)?;
        if plan.is_sound() {
            let text = format!(
                "{}: nothing is damaged, and nothing was changed",
                self.data.display()
            );
            printer.print(&json!({ "repaired": false, "lost": [] }), || text);
            return Ok(());
        }
        if !self.accept_loss {
            let message = format!(
                "{} is damaged, and nothing was changed. A repair would do this:\n{}\n\
                 Everything that is changed is copied first. Do it with --accept-loss, see `--keep`, or restore a backup",
                self.data.display(),
                told(&plan)
            );
            return Err(printer.fail_with(shown(&plan, &Value::Null), Exit::Damaged, &message));
        }
        let when = jiff::Timestamp::from_microsecond(
            i64::try_from(nerve_eventlog::Clock::now(&nerve_eventlog::SystemClock).0).unwrap_or(i64::MAX),
        )
        .map_or_else(|_| "at an unknown time".to_owned(), |now| now.to_string());
        let aside = plan.carry_out(&when).with_context(|| {
            format!(
                "{} was not repaired to the end; run it again",
                self.data.display()
            )
        })?;
        printer.print(&shown(&plan, &json!(aside)), || {
            format!(
                "repaired:\n{}\nthe files as they were are in {}\nnext: nerve run --data {}",
                told(&plan),
                aside.display(),
                self.data.display()
            )
        });
        Ok(())
    }
}

/// What the plan comes to, in lines.
fn told(plan: &host::Repair) -> String {
    let mut lines = Vec::new();
    let outcome = &plan.log.outcome;
    if !plan.log.is_sound() {
        lines.push(if outcome.first > outcome.last {
            "kept: no record".to_owned()
        } else {
            format!("kept: offsets {}", ranges(&[(outcome.first, outcome.last)]))
        });
        if let Some(base) = outcome.base {
            lines.push(format!(
                "the state of what came before is that of the checkpoint at offset {base}"
            ));
        }
        lines.push(if outcome.lost.is_empty() {
            "lost: no record".to_owned()
        } else {
            format!(
                "lost: offsets {} and {} bytes; what may have come behind offset {} is gone as well",
                ranges(&outcome.lost),
                outcome.lost_bytes,
                plan.log.report.last
            )
        });
        lines.push(format!("changed or removed: {}", plan.log.changes().join(", ")));
    }
    let checkpoints = plan.set_aside.iter();
    lines.extend(checkpoints.map(|(file, why)| format!("set aside: {file}, since {why}")));
    lines
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shown(plan: &host::Repair, aside: &Value) -> Value {
    let outcome = &plan.log.outcome;
    json!({
        "repaired": !aside.is_null(),
        "first": outcome.first.0,
        "last": outcome.last.0,
        "checkpoint": outcome.base.map(|base| base.0),
        "lost": outcome.lost.iter().map(|(from, to)| json!([from.0, to.0])).collect::<Vec<_>>(),
        "lost_bytes": outcome.lost_bytes,
        "changed": plan.log.changes(),
        "set_aside": plan.set_aside.iter().map(|(file, why)| json!({ "file": file, "why": why })).collect::<Vec<_>>(),
        "copies": aside,
    })
}

fn refused(cause: RepairError) -> anyhow::Error {
    let exit = match &cause {
        RepairError::InUse { .. } => Exit::Conflict,
        RepairError::Format { .. } | RepairError::NoBeginning { .. } => Exit::Damaged,
        RepairError::Io { .. } => return cause.into(),
    };
    fail(exit, cause.to_string())
}
