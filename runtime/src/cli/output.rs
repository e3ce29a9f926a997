//! Printing, for people or as JSON.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Exit;
use super::api::ApiError;
use super::exit::{Told, told};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// One JSON value, failures included.
    Json,
}

/// Prints.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    output: Output,
}

impl Printer {
    /// A printer.
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    /// One that prints as the arguments ask, where they can't be read as a whole.
    pub(super) fn wanted() -> Self {
        Self::new(if wants_json() { Output::Json } else { Output::Text })
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Print `value` as JSON, or `text` for people.
    pub(super) fn print(&self, value: &Value, text: impl FnOnce() -> String) {
        match self.output {
            Output::Json => line(&value.to_string()),
            Output::Text => line(text().trim_end()),
        }
    }

    /// Fail with `message` and, where JSON is wanted, all of `value`, an object, beside it.
    pub(super) fn fail_with(&self, mut value: Value, exit: Exit, message: &str) -> anyhow::Error {
        if self.is_json() {
            value["error"] = error(&exit.word(), exit, message, None);
            line(&value.to_string());
        } else {
            error_line(&format!("error: {message}"));
        }
        told(exit)
    }

    /// Tell people what goes on; programs are told nothing.
    pub(super) fn say(&self, text: &str) {
        if self.output == Output::Text {
            line(text);
        }
    }

    /// Show people progress on a terminal.
    pub(super) fn progress(&self, text: &str) {
        if self.output == Output::Text && std::io::stderr().is_terminal() {
            error_line(text);
        }
    }

    /// Say how a command failed.
    pub(super) fn failure(&self, cause: &anyhow::Error, exit: Exit) {
        if cause.is::<Told>() {
            return;
        }
        let api = cause.chain().find_map(|cause| cause.downcast_ref::<ApiError>());
        let problem = match api {
            Some(ApiError::Refused(problem)) => Some(problem),
            _ => None,
        };
        match self.output {
            Output::Json => {
                let error = match problem {
                    Some(problem) => error(&problem.code, exit, &problem.detail, problem.hint.as_deref()),
                    None => error(&exit.word(), exit, &chain(cause), None),
                };
                line(&json!({ "error": error }).to_string());
            }
            Output::Text => {
                error_line(&format!("error: {}", chain(cause)));
                if let Some(hint) = problem.and_then(|problem| problem.hint.as_deref()) {
                    error_line(&format!("  try: {hint}"));
                }
            }
        }
    }
}

/// A failure as JSON.
fn error(code: &str, exit: Exit, detail: &str, hint: Option<&str>) -> Value {
    json!({ "code": code, "exit": exit as u8, "detail": detail, "hint": hint })
}

/// The chain of causes in one line. Messages that already end in their cause's words are not told it again.
fn chain(cause: &anyhow::Error) -> String {
    cause.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        if told.is_empty() {
            cause
        } else if told.ends_with(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

/// Whether the arguments ask for JSON, whatever else is in them.
fn wants_json() -> bool {
    let args = || std::env::args().skip(1);
    args().any(|arg| arg == "--output=json")
        || args()
            .zip(args().skip(1))
            .any(|(a, b)| a == "--output" && b == "json")
}

/// Print clap's own message: help to standard output, mistakes to standard error, or as JSON where that was asked for.
pub(super) fn usage(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() && wants_json() {
        let error = error(&Exit::Usage.word(), Exit::Usage, usage.to_string().trim(), None);
        line(&json!({ "error": error }).to_string());
        return Exit::Usage.into();
    }
    // Where even this can't be printed, the exit code says it.
    usage.print().ok();
    if usage.use_stderr() {
        Exit::Usage.into()
    } else {
        ExitCode::SUCCESS
    }
}

/// Print a line; whoever reads may have gone, as `head` does, and that is no failure.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn error_line(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// Columns under each other, two spaces apart.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}", width = *width))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// The text at `pointer` of `value`; `-` where there is none.
pub(super) fn text_at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("data/log: {cause}")]
        struct File {
            #[source]
            cause: std::io::Error,
        }
        let cause = std::io::ErrorKind::PermissionDenied.into();
        let failed = Err::<(), _>(File { cause }).context("the host can't start");
        assert_eq!(
            super::chain(&failed.unwrap_err()),
            "the host can't start: data/log: permission denied"
        );
    }
}
