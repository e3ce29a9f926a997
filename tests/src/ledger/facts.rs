//! The records of a log, read by `docs/log-format.md` alone.

use rmpv::Value;

/// One record, as far as the rules care.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An event.
    Event(Event),
    /// What a delivery came to.
    Outcome(Outcome),
    /// A plugin subscribes from here on.
    Live {
        /// The plugin.
        plugin: String,
        /// Its patterns.
        patterns: Vec<String>,
    },
    /// A timer fired.
    Fired {
        /// The plugin that set it.
        plugin: String,
        /// Its name.
        name: String,
        /// The outcome that set it.
        set_at: u64,
    },
    /// Another record.
    Other,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its type.
    pub kind: String,
    /// Its key.
    pub key: Option<String>,
    /// Offset of the event that caused it, and which of its effects this is.
    pub cause: Option<(u64, u64)>,
}

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The plugin.
    pub plugin: String,
    /// The event.
    pub event: u64,
    /// `done`, `retry` or `dead`.
    pub verdict: String,
    /// Events that follow.
    pub emitted: u64,
    /// Timers: their names, and whether each is set or cancelled.
    pub timers: Vec<(String, bool)>,
}

/// The record in these bytes.
pub(super) fn read(payload: &[u8]) -> Fact {
    let (kind, mut fields) = payload.split_first().unwrap();
    let record = rmpv::decode::read_value(&mut fields).unwrap();
    let text = |at: usize| record[at].as_str().unwrap_or_default().to_owned();
    let number = |at: usize| record[at].as_u64().unwrap_or_default();
    match kind {
        1 => Fact::Event(Event {
            id: text(0),
            source: text(1),
            kind: text(2),
            key: record[3].as_str().map(str::to_owned),
            cause: record[9]
                .is_array()
                .then(|| (record[9][1].as_u64().unwrap(), record[9][3].as_u64().unwrap())),
        }),
        2 => Fact::Outcome(Outcome {
            plugin: text(0),
            event: number(2),
            verdict: variant(&record[5]).0.to_owned(),
            emitted: number(12),
            timers: list(&record[18])
                .map(|timer| (timer[0].as_str().unwrap().to_owned(), !timer[1].is_nil()))
                .collect(),
        }),
        3 => match variant(&record[2]) {
            ("live", Some(live)) => Fact::Live {
                plugin: text(0),
                patterns: list(&live[4])
                    .map(|pattern| pattern.as_str().unwrap().to_owned())
                    .collect(),
            },
            _ => Fact::Other,
        },
        5 => Fact::Fired {
            plugin: text(0),
            name: text(1),
            set_at: number(2),
        },
        _ => Fact::Other,
    }
}

/// A variant's name and content.
fn variant(value: &Value) -> (&str, Option<&Value>) {
    match value.as_map().and_then(|map| map.first()) {
        Some((name, content)) => (name.as_str().unwrap_or_default(), Some(content)),
        None => (value.as_str().unwrap_or_default(), None),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
