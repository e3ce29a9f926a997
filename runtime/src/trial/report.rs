//! What a trial found.

use nerve_eventlog::Entry;
use serde::Serialize;
use serde_json::Value;

use super::Came;
use super::differ::Difference;
use super::side::Tally;

/// What a trial found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Events that were compared.
    pub events: u64,
    /// Those of them that came to something else.
    pub differ: u64,
    /// The differences: failures, calls and subscriptions first, and then what is more frequent.
    pub groups: Vec<Group>,
    /// Differences of further kinds, which were only counted.
    pub further: u64,
    /// Offset of the oldest event.
    pub first: u64,
    /// Offset of the newest event.
    pub last: u64,
    /// What the running version came to; `None` where there was none.
    pub running: Option<Sums>,
    /// What the new version came to.
    pub new: Sums,
    /// Whether the running version came to what the log says of it.
    pub reproduced: Reproduced,
    /// Deliveries whose event is gone: the state of both followed what the log says.
    pub lost: u64,
    /// Events whose next attempt lies behind the range.
    pub unsettled: u64,
}

/// A difference, and how many events show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Events.
    pub events: u64,
    /// The first of them.
    pub first: Example,
}

/// An event, and in what its results differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// Its offset.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// Its key.
    pub key: Option<String>,
    /// The attempt that was the last.
    pub attempt: u32,
    /// Its data.
    pub data: Value,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// How far the running version came to what the log says of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reproduced {
    /// Deliveries that the log has of this very version.
    pub of: u64,
    /// Those that came to the same again.
    pub same: u64,
    /// The first that did not: the log's side is the old one.
    pub first: Option<Example>,
}

/// What one side came to and cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sums {
    /// Events that are done.
    pub done: u64,
    /// Events that failed.
    pub failed: u64,
    /// Events for whose calls there is no answer.
    pub unanswered: u64,
    /// Events that it does not subscribe to.
    pub not_subscribed: u64,
    /// Events that were emitted, by type.
    pub emits: std::collections::BTreeMap<Box<str>, u64>,
    /// Keys that were written.
    pub writes: u64,
    /// Timers that were set or cancelled.
    pub timers: u64,
    /// Median time of a delivery, in nanoseconds.
    pub median_ns: u64,
    /// The time that all but one of a hundred stay below.
    pub p99_ns: u64,
    /// Median fuel of a delivery.
    pub median_fuel: u64,
    /// Fuel of all.
    pub fuel: u64,
    /// Bytes of memory of the largest instance.
    pub memory_bytes: usize,
    /// Deliveries whose result was another in an instance that had been used.
    pub remembers: u64,
    /// The first of these events.
    pub remembers_first: Option<u64>,
}

impl Report {
    pub(super) fn saw(&mut self, entry: &Entry) {
        let offset = entry.offset.0;
        self.first = if self.first == 0 {
            offset
        } else {
            self.first.min(offset)
        };
        self.last = self.last.max(offset);
    }

    /// Count whether the running version came to what is logged.
    pub(super) fn reproduce(&mut self, came: &Came, logged: &Came, example: impl FnOnce() -> Example) {
        self.reproduced.of += 1;
        if came == logged {
            self.reproduced.same += 1;
        } else if self.reproduced.first.is_none() {
            self.reproduced.first = Some(example());
        }
    }
}

impl From<Tally> for Sums {
    fn from(mut tally: Tally) -> Self {
        tally.took.sort_unstable();
        tally.fuel.sort_unstable();
        let at = |sorted: &[u64], percent: usize| sorted.get(sorted.len() * percent / 100).copied();
        Self {
            done: tally.done,
            failed: tally.failed,
            unanswered: tally.unanswered,
            not_subscribed: tally.not_subscribed,
            writes: tally.writes,
            timers: tally.timers,
            median_ns: at(&tally.took, 50).unwrap_or_default(),
            p99_ns: at(&tally.took, 99).unwrap_or_default(),
            median_fuel: at(&tally.fuel, 50).unwrap_or_default(),
            fuel: tally.fuel.iter().sum(),
            memory_bytes: tally.memory_bytes,
            remembers: tally.remembers.map_or(0, |(count, _)| count),
            remembers_first: tally.remembers.map(|(_, first)| first.0),
            emits: tally.emits,
        }
    }
}
