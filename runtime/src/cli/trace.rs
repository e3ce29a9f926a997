//! `nerve trace`: the way of an event through all plugins, as a tree.

use std::fmt::Write;

use serde_json::Value;

use super::Done;
use super::api::{Api, escaped};
use super::exit::{Exit, fail};
use super::output::{Printer, text_at};

/// What every event has, or may have, beside its data.
const ATTRIBUTES: [&str; 5] = ["id", "type", "source", "key", "subject"];

/// Show the way of an event through all plugins
#[derive(clap::Args)]
pub(super) struct Trace {
    /// The event's id, or @OFFSET
    #[arg(required_unless_present = "where")]
    id: Option<String>,
    /// Its source, where several have the id
    #[arg(long, requires = "id")]
    source: Option<String>,
    /// What is said of an event instead: an attribute, `key`, or a place in its data, such as data.order=o-7. Where several
    /// are given, all must hold. The newest chain of events is shown from its beginning
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "id")]
    r#where: Vec<String>,
}

impl Trace {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let (id, others) = match &self.id {
            Some(id) => (id.clone(), Vec::new()),
            None => self.find(api)?,
        };
        let source = self
            .source
            .as_deref()
            .map(|source| format!("?source={}", escaped(source)))
            .unwrap_or_default();
        let mut tree = api.get(&format!("/v1/events/{}/trace{source}", escaped(&id)))?;
        if self.id.is_none() {
            tree["others"] = others.clone().into();
        }
        printer.print(&tree, || {
            let others = match &others[..] {
                [] => String::new(),
                others => format!(
                    "there are older ones: nerve trace {}\n",
                    others.join(", nerve trace ")
                ),
            };
            format!("{}{others}", render(&tree))
        });
        Ok(())
    }

    /// The newest chain of events that holds what is asked for, and the others that were met on the way to it.
    fn find(&self, api: &Api) -> anyhow::Result<(String, Vec<String>)> {
        let conditions: Vec<String> = self
            .r#where
            .iter()
            .map(|one| format!("where={}", escaped(one)))
            .collect();
        let asked = format!("/v1/traces?limit=6&{}", conditions.join("&"));
        let mut before = String::new();
        loop {
            let found: Value = api.get(&format!("{asked}{before}"))?;
            let roots = found["traces"].as_array().into_iter().flatten();
            let mut roots = roots.map(|one| format!("@{}", text_at(one, "/root/offset")));
            if let Some(newest) = roots.next() {
                return Ok((newest, roots.collect()));
            }
            let Some(next) = found["next"].as_u64() else {
                return Err(fail(Exit::NotFound, self.nothing()));
            };
            before = format!("&before={next}");
        }
    }

    /// That nothing was found, and what may have been meant.
    fn nothing(&self) -> String {
        let wanted = self.r#where.join(" and ");
        // A name without a dot is an attribute, where most often a field of the data is meant.
        let bare = self.r#where.iter().find(|one| {
            let name = one.split('=').next().unwrap_or_default();
            !name.contains('.') && !ATTRIBUTES.contains(&name)
        });
        let meant = bare.map(|one| format!(" (a field of its data is --where data.{one})"));
        let meant = meant.unwrap_or_default();
        format!("no event that is left in the log has {wanted}{meant}; `nerve events` shows what there is")
    }
}

/// The tree as text.
pub(super) fn render(tree: &Value) -> String {
    let mut out = String::new();
    event(&tree["root"], ("", ""), &mut out);
    if tree["root"]["slow"] == true {
        let took = micros(&tree["slowest_us"]);
        writeln!(
            out,
            "◀ is the slowest way: {took} from the first event to the last"
        )
        .ok();
    }
    if tree["truncated"] == true {
        out.push_str("… the tree has more than is shown\n");
    }
    out
}

/// A place in the tree: what stands before its own line, and before those below it.
fn event(node: &Value, (own, below): (&str, &str), out: &mut String) {
    let key = node
        .pointer("/event/partitionkey")
        .and_then(Value::as_str)
        .map(|key| format!(" key {key}"))
        .unwrap_or_default();
    let line = format!(
        "{own}● {} @{}{key}",
        text_at(node, "/event/type"),
        text_at(node, "/offset")
    );
    writeln!(
        out,
        "{line}  {} from {}{}",
        text_at(node, "/event/id"),
        text_at(node, "/event/source"),
        slow(node)
    )
    .ok();
    let all = ["deliveries", "operated"].into_iter();
    let mut all: Vec<&Value> = all.filter_map(|list| node[list].as_array()).flatten().collect();
    all.sort_by_key(|one| one["offset"].as_u64());
    for (at, one) in all.iter().enumerate() {
        let (own, next) = branch(below, at + 1 == all.len());
        if one["what"].is_string() {
            let (who, what, plugin) = (who(one), text_at(one, "/what"), text_at(one, "/plugin"));
            writeln!(
                out,
                "{own}! {who} {what} it in {plugin} at {}",
                text_at(one, "/at")
            )
            .ok();
        } else {
            delivery(one, (&own, &next), out);
        }
    }
}

/// Who asked for it, as far as is known.
fn who(of: &Value) -> String {
    of["who"].as_str().unwrap_or("an operator").to_owned()
}

/// What stands behind the line of an event or delivery on the slowest way.
fn slow(one: &Value) -> &'static str {
    if one["slow"] == true { "  ◀" } else { "" }
}

fn delivery(one: &Value, (own, below): (&str, &str), out: &mut String) {
    let mark = match one["verdict"].as_str() {
        Some("done") => "✓",
        Some("retry") => "↻",
        _ => "✗",
    };
    let attempt = match one["attempt"].as_u64() {
        Some(1) | None => String::new(),
        Some(n) => format!(" attempt {n}"),
    };
    let replay = match (one["rewind"].is_object(), one["replay"] == true) {
        (true, _) => format!(" rewound by {}", who(&one["rewind"])),
        (false, true) => " redriven".to_owned(),
        (false, false) => String::new(),
    };
    let version: String = text_at(one, "/version").chars().take(8).collect();
    writeln!(
        out,
        "{own}{mark} {} {version}{attempt}{replay}  waited {}, ran {}{}",
        text_at(one, "/plugin"),
        micros(&one["waited_us"]),
        micros(&one["took_us"]),
        slow(one)
    )
    .ok();
    let emitted = one["emitted"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bar = if emitted.is_empty() { "    " } else { "│   " };
    if let Some(reason) = one["reason"].as_str() {
        let due = one["due"]
            .as_str()
            .map(|due| format!("; again at {due}"))
            .unwrap_or_default();
        writeln!(out, "{below}{bar}{} {reason}{due}", text_at(one, "/verdict")).ok();
    }
    if let Some(paused) = one["paused"].as_object() {
        let why = paused.get("why").and_then(Value::as_str).unwrap_or_default();
        let next = paused.get("next_try").and_then(Value::as_str);
        let next = next.map_or_else(
            || "until it is resumed".to_owned(),
            |at| format!("next try at {at}"),
        );
        writeln!(out, "{below}{bar}the plugin is paused ({why}), {next}").ok();
    }
    for line in one["lines"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{below}{bar}{} {}",
            text_at(line, "/level"),
            text_at(line, "/text")
        )
        .ok();
    }
    for muted in one
        .pointer("/rewind/muted")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let effects = muted
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null());
        let effects: Vec<String> = effects
            .map(|(what, _)| format!("{what} {}", text_at(muted, &format!("/{what}"))))
            .collect();
        writeln!(out, "{below}{bar}muted: {}", effects.join(", ")).ok();
    }
    for call in one["calls"].as_array().into_iter().flatten() {
        let came = match call["status"].as_u64() {
            Some(status) => format!("{status}, {} bytes", call["received"]),
            None => text_at(call, "/failed"),
        };
        writeln!(
            out,
            "{below}{bar}called {} {}: {came} in {}",
            text_at(call, "/method"),
            text_at(call, "/target"),
            micros(&call["took_us"])
        )
        .ok();
    }
    state_and_timers(one, below, bar, out);
    for (at, node) in emitted.iter().enumerate() {
        let (own, next) = branch(below, at + 1 == emitted.len());
        event(node, (&own, &next), out);
    }
}

/// What it wrote, and the timers that it set or cancelled.
fn state_and_timers(one: &Value, below: &str, bar: &str, out: &mut String) {
    let writes: Vec<String> = one["writes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|write| text_at(write, "/key"))
        .collect();
    if !writes.is_empty() {
        writeln!(out, "{below}{bar}wrote {}", writes.join(", ")).ok();
    }
    for timer in one["timers"].as_array().into_iter().flatten() {
        let what = match timer["due"].as_str() {
            Some(due) => format!("set timer {} to {due}", text_at(timer, "/name")),
            None => format!("cancelled timer {}", text_at(timer, "/name")),
        };
        writeln!(out, "{below}{bar}{what}").ok();
    }
}

fn branch(below: &str, last: bool) -> (String, String) {
    let (own, next) = if last {
        ("└─ ", "   ")
    } else {
        ("├─ ", "│  ")
    };
    (format!("{below}{own}"), format!("{below}{next}"))
}

fn micros(value: &Value) -> String {
    match value.as_u64().unwrap_or_default() {
        us if us < 1000 => format!("{us} µs"),
        us if us < 1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}
