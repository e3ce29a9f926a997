//! `nerve schema check`: two schemas in files, without a host.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Done;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::contract::{Schema, Verdict, accepts};

#[derive(clap::Args)]
pub(crate) struct Check {
    /// File of the schema that consumers expect, or that was there before
    old: PathBuf,
    /// File of the schema that producers would follow
    new: PathBuf,
    /// Fail also where it can't be told
    #[arg(long)]
    strict: bool,
}

/// The text of a file, or of standard input.
pub(super) fn text(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input can't be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))
}

fn schema(file: &Path) -> anyhow::Result<Schema> {
    let schema = text(file)?.parse::<Schema>();
    schema.map_err(|bad| fail(Exit::Usage, format!("{} is no schema: {bad}", file.display())))
}

impl Check {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let (old, new) = (schema(&self.old)?, schema(&self.new)?);
        let verdict = accepts(&old, &new);
        // Whoever expects NEW, and gets what was stored as OLD.
        let back = accepts(&new, &old);
        let what = "data as NEW, for whoever expects OLD";
        let failed = match &verdict {
            Verdict::Breaking(difference) => Some(format!("breaking, {what}: {difference}")),
            Verdict::CantTell(difference) if self.strict => Some(format!("can't tell, {what}: {difference}")),
            _ => None,
        };
        let value = json!({ "new_for_old": shown(&verdict), "old_for_new": shown(&back) });
        if let Some(failed) = failed {
            return Err(printer.fail_with(value, Exit::Conflict, &failed));
        }
        printer.print(&value, || {
            format!(
                "{}, {what}\n{}, data as OLD, for whoever expects NEW",
                words(&verdict),
                words(&back)
            )
        });
        Ok(())
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Safe => "safe".into(),
        Verdict::Breaking(difference) => format!("breaking ({difference})"),
        Verdict::CantTell(difference) => format!("can't tell ({difference})"),
    }
}

fn shown(verdict: &Verdict) -> Value {
    let (name, difference) = match verdict {
        Verdict::Safe => ("safe", None),
        Verdict::Breaking(difference) => ("breaking", Some(difference)),
        Verdict::CantTell(difference) => ("cant-tell", Some(difference)),
    };
    json!({
        "verdict": name,
        "at": difference.map(|difference| &difference.at),
        "rule": difference.map(|difference| difference.rule.to_string()),
        "problem": difference.map(|difference| &difference.problem),
        "example": difference.and_then(|difference| difference.example.as_ref()),
    })
}
