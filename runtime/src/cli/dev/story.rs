//! What happens, line by line: what the log says, and what becomes of builds and swaps.

use std::io::IsTerminal;

use nerve_eventlog::{Entry, Micros};
use serde_json::{Value, json};

use crate::cli::output::{line, text_at};
use crate::cloud_event::shown;
use crate::log::record::{DeploymentAction, Outcome, Record, Verdict};

/// Characters of an event's data that are shown.
const LONGEST_DATA: usize = 160;

/// Shows what happens: for people, or a JSON object in each line.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    is_json: bool,
    is_coloured: bool,
}

/// How a line is coloured.
#[derive(Clone, Copy)]
enum Colour {
    Plain = 0,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 36,
}

impl Screen {
    pub(super) fn new(is_json: bool) -> Self {
        let is_coloured = !is_json
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { is_json, is_coloured }
    }

    /// Whether colours are shown, so that somebody looks at a terminal.
    pub(super) fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Show one thing that happened.
    pub(super) fn show(&self, value: &Value) {
        if self.is_json {
            return line(&value.to_string());
        }
        for (colour, text) in in_words(value) {
            line(&match colour {
                Colour::Plain => text,
                _ if !self.is_coloured => text,
                colour => format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8),
            });
        }
    }
}

/// What the record says, where that is worth showing.
pub(super) fn told(entry: &Entry, record: &Record<'_>) -> Option<Value> {
    let (offset, at) = (entry.offset.0, time(entry.time));
    Some(match record {
        Record::Event(event) => json!({
            "kind": "event", "offset": offset, "at": at, "event": shown(entry.time, event),
        }),
        Record::Outcome(outcome) => outcome_told(outcome, offset, &at),
        Record::Deployment(deployment) => {
            let warnings = deployment
                .action
                .live()
                .map_or(&[][..], |version| &version.warnings);
            let (kind, version, reason) = match &deployment.action {
                DeploymentAction::Live(live) => ("live", Some(live.version), None),
                DeploymentAction::Refused { reason } => ("refused", None, Some(reason.clone())),
                DeploymentAction::Waiting(waiting) => {
                    let missing = crate::plugin::grants::in_words(&waiting.missing);
                    ("waiting", Some(waiting.version), Some(missing))
                }
                DeploymentAction::Removed => ("removed", None, None),
                DeploymentAction::RolledBack(back) => {
                    ("rolled-back", Some(back.version.version), Some(back.why.clone()))
                }
                DeploymentAction::Forgotten
                | DeploymentAction::Promoted(_)
                | DeploymentAction::Merged(_)
                | DeploymentAction::Collected(_) => {
                    return None;
                }
            };
            json!({
                "kind": kind, "plugin": deployment.plugin, "offset": offset, "at": at,
                "version": version.map(|version| version.to_string()), "reason": reason, "warnings": warnings,
            })
        }
        _ => return None,
    })
}

fn outcome_told(outcome: &Outcome<'_>, offset: u64, at: &str) -> Value {
    let (verdict, failure, due) = match outcome.verdict {
        Verdict::Done => ("done", None, None),
        Verdict::Retry { due, failure } => ("retry", Some(failure), Some(time(Micros(due)))),
        Verdict::Dead { failure } => ("dead", Some(failure), None),
    };
    let lines = outcome.lines.iter();
    let timers = outcome.timers.iter();
    json!({
        "kind": "outcome", "plugin": outcome.plugin, "event": outcome.event, "offset": offset, "at": at,
        "verdict": verdict, "attempt": outcome.attempt, "took_us": outcome.took,
        "class": failure.map(|failure| failure.class), "reason": failure.map(|failure| failure.reason), "due": due,
        "emitted": outcome.emitted,
        "writes": outcome.writes.iter().map(|write| write.key).collect::<Vec<_>>(),
        "timers": timers.map(|timer| json!({ "name": timer.name, "set": timer.set.is_some() })).collect::<Vec<_>>(),
        "paused": outcome.opens.map(|opens| opens.why),
        "lines": lines.map(|line| json!({ "level": line.level, "text": line.text })).collect::<Vec<_>>(),
    })
}

fn time(at: Micros) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| "-".to_owned(), |at| format!("{at:.3}"))
}

/// Lines for people.
fn in_words(value: &Value) -> Vec<(Colour, String)> {
    let text = |at: &str| text_at(value, at);
    let each = |at: &str| value[at].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |colour, text: String| vec![(colour, text)];
    match value["kind"].as_str().unwrap_or_default() {
        "host" => {
            let plugins: Vec<&str> = each("plugins").iter().filter_map(Value::as_str).collect();
            let place = value["data"]
                .as_str()
                .map_or("in memory".to_owned(), |data| format!("on {data}"));
            let address = text("/address");
            let elsewhere = if address.ends_with(":7117") {
                String::new()
            } else {
                format!("in other terminals: export NERVE_SERVER={address}\n")
            };
            one(
                Colour::Plain,
                format!(
                    "nerve dev listens on {address}, {place}; plugins: {}\n{elsewhere}save a file to swap it in; ctrl-c \
                     ends it",
                    plugins.join(", ")
                ),
            )
        }
        "building" => one(
            Colour::Dim,
            match value["plugins"].as_u64() {
                Some(count) if count > 1 => format!("building {count} plugins"),
                _ => "building".to_owned(),
            },
        ),
        "built" => built(value),
        "unchanged" => one(Colour::Dim, "nothing changed since the last build".into()),
        "live" => {
            let mut out = one(Colour::Green, live(value));
            let warnings = each("warnings").iter().filter_map(Value::as_str);
            out.extend(warnings.map(|warning| (Colour::Yellow, format!("  {warning}"))));
            out
        }
        "refused" => one(
            Colour::Red,
            format!(
                "{} is refused, and what ran goes on: {}",
                text("/plugin"),
                text("/reason")
            ),
        ),
        "stuck" => {
            let plugins: Vec<&str> = each("plugins").iter().filter_map(Value::as_str).collect();
            one(
                Colour::Yellow,
                format!(
                    "{} are refused by contracts, and none of them can go first: change them in steps of which each passes alone; or write \
                     `deploy = \"warn\"` under `[contracts]` into the NAME.toml of one of them, and the others are tried again when it is live",
                    listed(&plugins)
                ),
            )
        }
        "waiting" => {
            let name = text("/plugin");
            one(
                Colour::Yellow,
                format!(
                    "{name} waits, for it is not granted {}: put [grants] into {name}.toml beside its Cargo.toml, or \
                     type `nerve plugin approve {name}`",
                    text("/reason")
                ),
            )
        }
        "rolled-back" => one(
            Colour::Red,
            format!(
                "{} runs version {} again: {}",
                text("/plugin"),
                text("/version"),
                text("/reason")
            ),
        ),
        "removed" => one(Colour::Yellow, format!("{} is removed", text("/plugin"))),
        "published" => one(
            Colour::Dim,
            format!("published {} events of {}", text("/events"), text("/file")),
        ),
        "not-published" => one(
            Colour::Red,
            format!(
                "the events of {} are not published: {}",
                text("/file"),
                text("/reason")
            ),
        ),
        "event" => one(Colour::Blue, event(value)),
        "outcome" => outcome(value),
        "stopped" => one(Colour::Dim, "stopped".into()),
        _ => Vec::new(),
    }
}

fn built(value: &Value) -> Vec<(Colour, String)> {
    let messages = value["messages"].as_array().into_iter().flatten();
    let mut out: Vec<_> = messages
        .filter_map(Value::as_str)
        .map(|message| (Colour::Plain, message.to_owned()))
        .collect();
    if let Some(cargo) = value["cargo"].as_str() {
        out.push((Colour::Plain, cargo.to_owned()));
    }
    let took = seconds(value["took_ms"].as_u64().unwrap_or_default() * 1000);
    out.push(if value["ok"] == true {
        (Colour::Dim, format!("built in {took}"))
    } else {
        (
            Colour::Red,
            format!("it does not build ({took}); what ran goes on"),
        )
    });
    out
}

fn live(value: &Value) -> String {
    let after = value["after_cargo_ms"].as_u64();
    let after = after
        .map(|ms| format!(", {ms} ms after cargo"))
        .unwrap_or_default();
    let version: String = text_at(value, "/version").chars().take(8).collect();
    let others = value["now_that"].as_array().into_iter().flatten();
    let others: Vec<&str> = others.filter_map(Value::as_str).collect();
    let others = match &others[..] {
        [] => String::new(),
        [one] => format!(", now that {one} is"),
        several => format!(", now that {} are", listed(several)),
    };
    format!(
        "{} is live{after}{others} (version {version})",
        text_at(value, "/plugin")
    )
}

/// Names in a sentence.
fn listed(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    }
}

fn event(value: &Value) -> String {
    let event = &value["event"];
    let key = event["partitionkey"].as_str();
    let key = key.map(|key| format!(" key {key}")).unwrap_or_default();
    let from = match &event["causationoffset"] {
        Value::Number(cause) => format!(" of {} for @{cause}", source(event)),
        // Beyond 32 bits it is a text.
        Value::String(cause) => format!(" of {} for @{cause}", source(event)),
        _ => format!(" from {}", source(event)),
    };
    let data = match &event["data"] {
        Value::Null => event["data_base64"].as_str().map(|_| "bytes".to_owned()),
        data => Some(data.to_string()),
    };
    let data = data.map(|data| format!("  {}", cut(&data))).unwrap_or_default();
    format!(
        "{} @{} {}{key}{from}{data}",
        clock(value),
        value["offset"],
        text_at(event, "/type")
    )
}

fn source(event: &Value) -> String {
    let source = text_at(event, "/source");
    source.strip_prefix("nerve:").unwrap_or(&source).to_owned()
}

fn outcome(value: &Value) -> Vec<(Colour, String)> {
    let count = |at: &str| value[at].as_array().map_or(0, Vec::len);
    let (plugin, event, attempt) = (text_at(value, "/plugin"), &value["event"], &value["attempt"]);
    let why = || format!("{}: {}", text_at(value, "/class"), text_at(value, "/reason"));
    let mut out = Vec::new();
    let head = format!("{}   {plugin} @{event}", clock(value));
    match value["verdict"].as_str() {
        Some("done") => {
            let emitted = value["emitted"].as_u64().unwrap_or_default();
            let did = [
                (emitted, "emitted"),
                (count("writes") as u64, "wrote"),
                (count("timers") as u64, "timers"),
            ];
            let did = did.iter().filter(|(count, _)| *count > 0);
            let did: Vec<String> = did.map(|(count, what)| format!(", {what} {count}")).collect();
            let took = seconds(value["took_us"].as_u64().unwrap_or_default());
            out.push((Colour::Dim, format!("{head} done in {took}{}", did.concat())));
        }
        Some("retry") => {
            let due = clock_of(&text_at(value, "/due"));
            out.push((
                Colour::Yellow,
                format!("{head} failed, attempt {attempt}, next at {due}: {}", why()),
            ));
        }
        _ => {
            let next = format!("next: nerve dead show {plugin} {event}");
            out.push((
                Colour::Red,
                format!("{head} given up after attempt {attempt}: {}; {next}", why()),
            ));
        }
    }
    if let Some(paused) = value["paused"].as_str() {
        out.push((Colour::Red, format!("{head} paused: {paused}")));
    }
    for line in value["lines"].as_array().into_iter().flatten() {
        let level = text_at(line, "/level");
        let colour = match &*level {
            "error" => Colour::Red,
            "warn" => Colour::Yellow,
            "debug" | "trace" => Colour::Dim,
            _ => Colour::Plain,
        };
        out.push((
            colour,
            format!("{}     {level} {}", clock(value), text_at(line, "/text")),
        ));
    }
    out
}

/// The time of the day.
fn clock(value: &Value) -> String {
    clock_of(&text_at(value, "/at"))
}

fn clock_of(at: &str) -> String {
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    time.trim_end_matches('Z').to_owned()
}

fn seconds(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_DATA) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(value: &Value) -> String {
        let lines: Vec<String> = in_words(value).into_iter().map(|(_, text)| text).collect();
        lines.join("\n")
    }

    #[test]
    fn what_happens_is_a_line_for_people() {
        let at = "2026-01-02T03:04:05.006Z";
        for (value, words) in [
            (
                json!({ "kind": "live", "plugin": "greeter", "version": "0123456789abcdef", "after_cargo_ms": 84 }),
                "greeter is live, 84 ms after cargo (version 01234567)",
            ),
            (
                json!({ "kind": "live", "plugin": "carts", "version": "0123456789abcdef", "now_that": ["orders", "payments"],
                    "warnings": ["plugin login does not accept it"] }),
                "carts is live, now that orders and payments are (version 01234567)\n  plugin login does not accept it",
            ),
            (
                json!({ "kind": "building", "plugins": 10 }),
                "building 10 plugins",
            ),
            (
                json!({ "kind": "event", "offset": 7, "at": at, "event": {
                    "type": "user.greeted", "partitionkey": "ann", "source": "nerve:greeter", "causationoffset": 5,
                    "data": { "n": 1 } } }),
                "03:04:05.006 @7 user.greeted key ann of greeter for @5  {\"n\":1}",
            ),
            (
                json!({ "kind": "outcome", "at": at, "plugin": "p", "event": 5, "verdict": "done", "took_us": 1234,
                    "emitted": 1, "writes": ["a", "b"], "lines": [{ "level": "warn", "text": "hm" }] }),
                "03:04:05.006   p @5 done in 1.2 ms, emitted 1, wrote 2\n03:04:05.006     warn hm",
            ),
            (
                json!({ "kind": "outcome", "at": at, "plugin": "p", "event": 5, "verdict": "dead", "attempt": 5,
                    "class": "reject", "reason": "no" }),
                "03:04:05.006   p @5 given up after attempt 5: reject: no; next: nerve dead show p 5",
            ),
            (
                json!({ "kind": "built", "ok": false, "took_ms": 2100, "messages": ["error: no"], "cargo": null }),
                "error: no\nit does not build (2.1 s); what ran goes on",
            ),
        ] {
            assert_eq!(lines(&value), words);
        }
        let long = json!({ "kind": "event", "event": { "data": "x".repeat(1000) } });
        assert!(lines(&long).ends_with("xx.."));
    }
}
