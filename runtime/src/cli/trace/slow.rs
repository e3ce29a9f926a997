//! The slowest way through a causal tree: to what ended last, back to what it came from.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::output::text_at;

/// The slowest way.
#[derive(Debug, Default)]
pub(super) struct Slowest {
    /// Offsets of the events and outcomes on it.
    offsets: BTreeSet<u64>,
    /// Microseconds from the first event to the last end.
    pub(super) took: i64,
}

impl Slowest {
    /// The slowest way below `root`.
    pub(super) fn of(root: &Value) -> Self {
        let mut slowest = Self {
            took: ends(root).saturating_sub(micros(root, "/recorded")),
            ..Self::default()
        };
        let mut node = Some(root);
        while let Some(event) = node {
            slowest.add(event);
            let delivery = deliveries(event).max_by_key(|one| delivery_ends(one));
            let Some(delivery) = delivery else { break };
            slowest.add(delivery);
            node = emitted(delivery)
                .max_by_key(|event| ends(event))
                .filter(|event| ends(event) > handled(delivery));
        }
        slowest
    }

    fn add(&mut self, one: &Value) {
        self.offsets.extend(one["offset"].as_u64());
    }

    /// What stands behind the line of this event or delivery.
    pub(super) fn mark(&self, one: &Value) -> &'static str {
        // Where there is but one way, there is nothing to tell apart.
        let is_on_it = one["offset"]
            .as_u64()
            .is_some_and(|offset| self.offsets.contains(&offset));
        if is_on_it && self.offsets.len() > 2 {
            "  ◀"
        } else {
            ""
        }
    }

    /// Whether anything is marked.
    pub(super) fn marks(&self) -> bool {
        self.offsets.len() > 2
    }
}

fn deliveries(event: &Value) -> impl Iterator<Item = &Value> {
    event["deliveries"].as_array().into_iter().flatten()
}

fn emitted(delivery: &Value) -> impl Iterator<Item = &Value> {
    delivery["emitted"].as_array().into_iter().flatten()
}

/// When all that came of an event had ended.
fn ends(event: &Value) -> i64 {
    deliveries(event)
        .map(delivery_ends)
        .fold(micros(event, "/recorded"), i64::max)
}

fn delivery_ends(delivery: &Value) -> i64 {
    emitted(delivery).map(ends).fold(handled(delivery), i64::max)
}

/// When its handler had ended.
fn handled(delivery: &Value) -> i64 {
    micros(delivery, "/started").saturating_add(delivery["took_us"].as_i64().unwrap_or_default())
}

fn micros(value: &Value, pointer: &str) -> i64 {
    text_at(value, pointer)
        .parse()
        .map_or(0, |time: Timestamp| time.as_microsecond())
}
