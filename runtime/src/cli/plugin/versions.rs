//! `nerve plugin versions` and `rollback`.

use serde_json::Value;

use super::Done;
use super::rewind::muted;
use crate::cli::api::{Api, escaped};
use crate::cli::output::{Printer, table, text_at};

/// What can be muted of what is delivered again.
const MUTED: [&str; 2] = ["emit", "http"];

/// List the versions of a plugin that are kept, and how each fared
#[derive(clap::Args)]
pub(in crate::cli) struct Versions {
    /// Its name
    name: String,
}

/// Let a version that ran before go live again, at once
#[derive(clap::Args)]
pub(in crate::cli) struct Rollback {
    /// Its name
    name: String,
    /// The version, or its first digits [default: the one before]
    version: Option<String>,
    /// Even where it breaks a contract of a plugin that runs
    #[arg(long)]
    force: bool,
    /// Let state and cursor go back with it to where it left them, and deliver the events since again
    #[arg(long)]
    state: bool,
    /// What happens again where an event is delivered again that was done before, which is so with --state and of a canary
    /// with a state of its own: else it is recorded and does not happen
    #[arg(long, value_delimiter = ',', value_parser = MUTED)]
    unmute: Vec<String>,
}

/// Let the canary of a plugin run for all keys
#[derive(clap::Args)]
pub(in crate::cli) struct Promote {
    /// Its name
    name: String,
    /// Even where it breaks a contract of a plugin that runs
    #[arg(long)]
    force: bool,
    /// Whose values stay where a canary with a state of its own and the version before both wrote a key of the state
    #[arg(long, value_parser = ["canary", "before"])]
    prefer: Option<String>,
}

impl Promote {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        let mut path = format!("/v1/plugins/{}/promote?force={}", escaped(&self.name), self.force);
        if let Some(prefer) = &self.prefer {
            path = format!("{path}&prefer={prefer}");
        }
        let plugin = api.post(&path, "application/json", b"")?;
        printer.print(&plugin, || {
            let version = text_at(&plugin, "/version");
            format!("{} runs version {version} for all keys", self.name)
        });
        Ok(())
    }
}

impl Versions {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        let versions = api.get(&format!("/v1/plugins/{}/versions", escaped(&self.name)))?;
        printer.print(&versions, || list(&versions["versions"]));
        Ok(())
    }
}

impl Rollback {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        let mut path = format!(
            "/v1/plugins/{}/rollback?force={}&state={}",
            escaped(&self.name),
            self.force,
            self.state
        );
        if let Some(version) = &self.version {
            path = format!("{path}&version={}", escaped(version));
        }
        if self.state || !self.unmute.is_empty() {
            let mute = MUTED
                .into_iter()
                .filter(|word| !self.unmute.iter().any(|loud| loud == word));
            path = format!("{path}&mute={}", mute.collect::<Vec<_>>().join(","));
        }
        let plugin = api.post(&path, "application/json", b"")?;
        printer.print(&plugin, || {
            let (name, version) = (&self.name, text_at(&plugin, "/version"));
            let cursor = match (self.state, again(&plugin)) {
                (true, Some(said)) => format!("its state is what it left, and the events since are delivered again: {said}"),
                (true, None) => "its state is what it left, and no event was settled since".to_owned(),
                (false, Some(said)) => format!("what the canary did is delivered again: {said}"),
                (false, None) => format!("its cursor goes on at {}", text_at(&plugin, "/cursor")),
            };
            format!("{name} runs version {version} again; {cursor}; what is in the folder is not tried again until it changes")
        });
        Ok(())
    }
}

/// How far `plugin` is with what is delivered again since its state went back, where anything is.
pub(super) fn again(plugin: &Value) -> Option<String> {
    let again = plugin.get("again").filter(|again| !again.is_null())?;
    Some(format!(
        "at {} of {} to {}, {} offsets left, {} done, {} dead{}",
        text_at(again, "/at"),
        text_at(again, "/from"),
        text_at(again, "/through"),
        text_at(again, "/left"),
        text_at(again, "/counters/done"),
        text_at(again, "/counters/dead"),
        muted(again).unwrap_or_default(),
    ))
}

/// How something was asked for, and with whose token.
fn asked(what: &Value) -> String {
    let by = text_at(what, "/by");
    what["who"]
        .as_str()
        .map_or(by.clone(), |who| format!("{by} ({who})"))
}

fn list(versions: &Value) -> String {
    let versions = versions.as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.is_empty() {
        return "no version of it was ever live".into();
    }
    let head = [
        "VERSION", "LABEL", "STATUS", "SINCE", "LIVE FOR", "BY", "DONE", "RETRY", "DEAD", "STATE", "NOTE",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(versions.iter().map(|version| {
        let back = version.get("rolled_back").filter(|back| !back.is_null());
        let status = match (version["live"].as_bool(), back) {
            (Some(true), _) if version["canary"].is_f64() => "canary",
            (Some(true), _) => "live",
            (_, Some(_)) => "rolled back",
            _ => "former",
        };
        let note = back.map(|back| format!("by {}: {}", asked(back), text_at(back, "/why")));
        let own = version["own_state"] == true;
        let note = note.or_else(|| own.then(|| "on a state of its own".to_owned()));
        vec![
            text_at(version, "/version"),
            text_at(version, "/label"),
            status.to_owned(),
            text_at(version, "/since"),
            in_words(version["live_ms"].as_u64().unwrap_or_default()),
            asked(version),
            text_at(version, "/deliveries/done"),
            text_at(version, "/deliveries/retry"),
            text_at(version, "/deliveries/dead"),
            version["state"]
                .as_u64()
                .map_or_else(|| "-".to_owned(), |at| format!("@{at}")),
            note.unwrap_or_default(),
        ]
    }));
    table(&rows)
}

/// A time of so many milliseconds, in its two largest units.
fn in_words(ms: u64) -> String {
    let seconds = ms / 1000;
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, 0) => format!("{ms} ms"),
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        for (ms, told) in [
            (7, "7 ms"),
            (61_500, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(super::in_words(ms), told);
        }
    }
}
