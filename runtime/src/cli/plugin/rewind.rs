//! `nerve plugin rewind`: run history again through a plugin.

use clap::Args;
use serde_json::Value;

use crate::cli::Done;
use crate::cli::api::{Api, escaped};
use crate::cli::output::{Printer, text_at};

/// Run history again through a plugin, beside its live events
#[derive(Args)]
pub(in crate::cli) struct Rewind {
    /// The plugin
    name: String,
    /// Where history begins: `start`, an offset, a time such as 2026-01-31T12:00:00Z, or the id of an event
    #[arg(long, required_unless_present = "stop")]
    to: Option<String>,
    /// What is recorded and does not happen
    #[arg(long, value_delimiter = ',', value_parser = ["emit", "http"])]
    mute: Vec<String>,
    /// Deliveries a second at most; without it as many as the plugin's live events leave
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Build the state anew from nothing, and put it in the place of the state when it has caught up
    #[arg(long)]
    fresh: bool,
    /// Stop the rewind that runs
    #[arg(long, conflicts_with_all = ["to", "mute", "rate", "fresh"])]
    stop: bool,
}

impl Rewind {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        let path = format!("/v1/plugins/{}/rewind", escaped(&self.name));
        let name = &self.name;
        let Some(to) = self.to else {
            let plugin = api.delete(&path)?;
            printer.print(&plugin, || {
                format!("the rewind of {name} is stopped; what it settled stays settled")
            });
            return Ok(());
        };
        let mut path = format!("{path}?to={}&fresh={}", escaped(&to), self.fresh);
        if !self.mute.is_empty() {
            path.push_str("&mute=");
            path.push_str(&self.mute.join(","));
        }
        if let Some(rate) = self.rate {
            path.push_str("&rate=");
            path.push_str(&rate.to_string());
        }
        let plugin = api.post(&path, "application/json", b"")?;
        printer.print(&plugin, || {
            let said = progress(&plugin).unwrap_or_else(|| "and is through".to_owned());
            format!("history runs again through {name}: {said}\nnext: nerve plugin show {name}")
        });
        Ok(())
    }
}

/// How far the rewind of `plugin` is, where one runs.
pub(super) fn progress(plugin: &Value) -> Option<String> {
    let rewind = plugin.get("rewind").filter(|rewind| !rewind.is_null())?;
    let said = format!(
        "at {} of {} to {}, {} offsets left, {} a second, {} done, {} dead",
        text_at(rewind, "/at"),
        text_at(rewind, "/from"),
        text_at(rewind, "/through"),
        text_at(rewind, "/left"),
        text_at(rewind, "/per_second"),
        text_at(rewind, "/counters/done"),
        text_at(rewind, "/counters/dead"),
    );
    let fresh = (rewind["fresh"] == true).then(|| ", into a fresh state".to_owned());
    let paused = rewind.pointer("/paused/reason").and_then(Value::as_str);
    let paused = paused.map(|reason| format!("; paused, for it fails across keys: {reason}"));
    let more = [fresh, muted(rewind), paused].into_iter().flatten();
    Some(std::iter::once(said).chain(more).collect())
}

/// What is muted of it, where anything is.
pub(super) fn muted(again: &Value) -> Option<String> {
    let mute = again["mute"].as_array().into_iter().flatten();
    let mute: Vec<&str> = mute.filter_map(Value::as_str).collect();
    (!mute.is_empty()).then(|| {
        let effects = text_at(again, "/muted");
        format!(", {} muted ({effects} effects so far)", mute.join(" and "))
    })
}
