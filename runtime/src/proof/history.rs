//! What was done to a host and what its log said, kept outside of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nerve_eventlog::{Log, Micros, Offset, Reach, proof};

use crate::log::record::{AskedBy, DeploymentAction, OpenReason, Record, RewindEnd, Verdict};
use crate::state::{Fold, PluginState};

/// An event that was published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    pub(super) id: String,
    /// The bytes of its record.
    pub(super) record: Vec<u8>,
    /// Whether its publisher was told that it is durable.
    pub(super) acknowledged: bool,
}

/// What has to happen in some life, or the simulation shows little.
pub(super) const HAPPENS: [&str; 25] = [
    "records lost in a crash",
    "segments dropped",
    "an event that is done at once",
    "a retry",
    "a retry that is done",
    "a dead letter",
    "a redrive that is done",
    "an emit",
    "an outage",
    "a pause at the last attempt",
    "a timer that fired",
    "an operator",
    "a version that was taken back",
    "a watched version that fell",
    "a canary that was promoted",
    "a version that was given up",
    "a replay",
    "a muted effect",
    "a rewind that ended",
    "a state that was rebuilt",
    "a state that went back",
    "an event that was delivered again since",
    "an event that was done on a canary's own state",
    "a canary's own state that was taken over",
    "a state that a canary and the version before both wrote",
];

/// What was done to a host, and every record it appended.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) log: u32,
    /// The records, those that retention dropped included; the first has offset 1.
    pub(super) records: Vec<(Micros, Bytes)>,
    /// Events from outside, by the offset that was answered.
    pub(super) sent: BTreeMap<Offset, Sent>,
    /// Records that crashes took.
    pub(super) lost: u64,
    /// Whether the log lost its beginning.
    pub(super) dropped: bool,
    /// Where the log began when the deployment at an offset was appended.
    pub(super) began: BTreeMap<Offset, Offset>,
    /// What any reader could have seen.
    pub(super) shown: Offset,
}

impl History {
    /// The last record.
    pub(super) fn last(&self) -> Offset {
        Offset(self.records.len() as u64)
    }

    /// The record at place `at`, as one appended now.
    pub(super) fn last_as(&self, at: usize) -> (Micros, Bytes) {
        let now = self.records.last().map_or(Micros(0), |(time, _)| *time);
        (now, self.records[at].1.clone())
    }

    /// Follow what `log` has appended since.
    pub(super) fn follow(&mut self, log: &dyn Log) {
        loop {
            let entries = log.read(self.last().next(), 1 << 20, Reach::Appended).unwrap();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                assert_eq!(
                    entry.offset,
                    self.last().next(),
                    "seed {}: offsets have no gaps",
                    self.seed
                );
                proof::step(|| format!("  {} {}", entry.offset, in_words(&entry.payload)));
                self.records.push((entry.time, entry.payload));
            }
        }
        let bounds = log.bounds();
        self.dropped |= bounds.first > Offset(1);
        self.shown = bounds.durable;
        for (_, sent) in self.sent.range_mut(..=self.shown) {
            sent.acknowledged = true;
        }
    }

    /// A crash came: hold what `log` has now against what was there, and forget what is lost. Answers the events that
    /// nobody was told about and that are gone.
    pub(super) fn crashed(&mut self, log: &dyn Log) -> Vec<Sent> {
        let (seed, bounds) = (self.seed, log.bounds());
        assert!(
            bounds.last >= self.shown,
            "seed {seed}: the log ends at {}, and {} was acknowledged",
            bounds.last,
            self.shown
        );
        assert!(
            bounds.last <= self.last(),
            "seed {seed}: the log has records that were never appended"
        );
        let mut from = bounds.first;
        while from <= bounds.last {
            for entry in log.read(from, 1 << 20, Reach::Appended).unwrap() {
                let (time, payload) = &self.records[usize::try_from(entry.offset.0 - 1).unwrap()];
                assert!(
                    entry.payload == *payload && entry.time == *time,
                    "seed {seed}: offset {} is another record than before the crash",
                    entry.offset
                );
                from = entry.offset.next();
            }
        }
        self.lost += self.last().0 - bounds.last.0;
        self.records.truncate(usize::try_from(bounds.last.0).unwrap());
        self.sent.split_off(&bounds.last.next()).into_values().collect()
    }

    /// Which of [`HAPPENS`] did.
    pub(super) fn happened(&self) -> BTreeSet<&'static str> {
        let mut seen = BTreeSet::new();
        if self.lost > 0 {
            seen.insert("records lost in a crash");
        }
        if self.dropped {
            seen.insert("segments dropped");
        }
        for (_, bytes) in &self.records {
            match Record::decode(bytes).unwrap() {
                Record::Outcome(outcome) => {
                    if let Some(of) = &outcome.rewind {
                        seen.insert("a replay");
                        if !of.historic && !outcome.replay {
                            seen.insert("an event that was delivered again since");
                        }
                        if !of.muted.is_empty() {
                            seen.insert("a muted effect");
                        }
                    }
                    seen.insert(match outcome.verdict {
                        Verdict::Done if outcome.replay && outcome.rewind.is_none() => {
                            "a redrive that is done"
                        }
                        Verdict::Done if outcome.attempt > 1 => "a retry that is done",
                        Verdict::Done => "an event that is done at once",
                        Verdict::Retry { .. } => "a retry",
                        Verdict::Dead { .. } => "a dead letter",
                    });
                    if outcome.own && outcome.verdict == Verdict::Done {
                        seen.insert("an event that was done on a canary's own state");
                    }
                    if outcome.emitted > 0 {
                        seen.insert("an emit");
                    }
                    if let Some(opens) = outcome.opens {
                        seen.insert(match opens.why {
                            OpenReason::Outage => "an outage",
                            _ => "a pause at the last attempt",
                        });
                    }
                }
                Record::Fired(_) => drop(seen.insert("a timer that fired")),
                Record::Operator(_) => drop(seen.insert("an operator")),
                Record::Deployment(deployment) => match deployment.action {
                    DeploymentAction::RolledBack(_) if deployment.by == AskedBy::Probation => {
                        seen.insert("a watched version that fell");
                    }
                    DeploymentAction::RolledBack(back) if back.state.is_some() => {
                        seen.insert("a state that went back");
                    }
                    DeploymentAction::RolledBack(_) => drop(seen.insert("a version that was taken back")),
                    DeploymentAction::Promoted(_) => drop(seen.insert("a canary that was promoted")),
                    DeploymentAction::Merged(merged) => {
                        seen.insert("a canary's own state that was taken over");
                        if merged.both > 0 {
                            seen.insert("a state that a canary and the version before both wrote");
                        }
                    }
                    DeploymentAction::Collected(_) => drop(seen.insert("a version that was given up")),
                    _ => {}
                },
                Record::Rewound(rewound) => drop(seen.insert(match rewound.end {
                    RewindEnd::Swapped => "a state that was rebuilt",
                    _ => "a rewind that ended",
                })),
                _ => {}
            }
        }
        seen
    }

    /// The state that the records make, from the first on, `decoded` as they are.
    pub(super) fn fold(&self, decoded: &[Record<'_>]) -> BTreeMap<String, PluginState> {
        let mut fold = Fold::default();
        for (offset, ((time, _), record)) in (1..).zip(self.records.iter().zip(decoded)) {
            fold.apply(Offset(offset), *time, record);
        }
        fold.into_plugins()
    }
}

/// A record in a few words.
fn in_words(bytes: &[u8]) -> String {
    match Record::decode(bytes).unwrap() {
        Record::Event(event) => format!("event {} {} key {:?}", event.id, event.r#type, event.key),
        Record::Outcome(outcome) => format!(
            "outcome of {} at {}, attempt {}: {:?}, {} emitted",
            outcome.plugin, outcome.event, outcome.attempt, outcome.verdict, outcome.emitted
        ),
        other => format!("{other:?}"),
    }
}

/// A plugin's state as a checkpoint has it.
pub(super) fn kept(state: &PluginState) -> Vec<u8> {
    rmp_serde::to_vec(&state.snapshot(Offset(0))).unwrap()
}

/// A plugin's state in words, what no checkpoint has included.
pub(super) fn told(state: &PluginState) -> String {
    format!("{:?}", state.snapshot(Offset(0)))
}
