//! The causal tree of an event: its deliveries, the events they emitted, and so on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nerve_eventlog::{Entry, Log, Micros, Offset, Reach, ReadError};

use super::slow;
use crate::log::record::{Operator, OperatorAction, Record, Verdict};

/// Events and deliveries of one tree at most.
const MOST_NODES: usize = 10_000;

/// A causal tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// The event that was asked for.
    pub root: Option<Node>,
    /// Whether the tree has more than is shown.
    pub truncated: bool,
    /// Whose token the rewinds of its deliveries were asked with, where that is known, by their record.
    pub rewound_by: BTreeMap<Offset, String>,
    /// Microseconds from the event to what ended last of all that came of it.
    pub slowest_us: u64,
}

/// An event, and what became of it.
#[derive(Debug)]
pub struct Node {
    /// The event's record.
    pub entry: Entry,
    /// Its deliveries, attempts apart, in the order they were settled.
    pub deliveries: Vec<Delivery>,
    /// What operators did about its dead letters.
    pub operated: Vec<Operated>,
    /// Whether it is on the slowest way.
    pub slow: bool,
}

/// An operator retried or dropped the dead letter that a plugin has of an event.
#[derive(Debug, Clone)]
pub struct Operated {
    /// The record that says so.
    pub offset: Offset,
    /// When.
    pub time: Micros,
    /// The plugin.
    pub plugin: String,
    /// Whose token it was asked with, where that is known.
    pub who: Option<String>,
    /// `retried` or `dropped`.
    pub what: &'static str,
}

/// One attempt.
#[derive(Debug)]
pub struct Delivery {
    /// The outcome's record.
    pub entry: Entry,
    /// How long the event waited before it, in microseconds: since it was appended or, for a retry, was due.
    pub waited: u64,
    /// When its handler had ended.
    pub ended: Micros,
    /// Whether it is on the slowest way.
    pub slow: bool,
    /// The events it emitted, in order.
    pub emitted: Vec<Node>,
}

/// The tree of the event at `at`, from durable records alone, by one pass from the event to the end of the log.
pub fn tree(log: &dyn Log, at: Offset) -> Result<Tree, ReadError> {
    let mut pass = Pass::default();
    let mut next = at;
    loop {
        let entries = log.read(next, 1 << 20, Reach::Durable)?;
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            break;
        };
        for entry in entries {
            pass.see(entry, at);
        }
        if pass.truncated {
            break;
        }
        next = last.next();
    }
    let (truncated, rewinds) = (pass.truncated, std::mem::take(&mut pass.rewinds));
    let mut root = pass.node(at);
    Ok(Tree {
        slowest_us: root.as_mut().map_or(0, slow::mark),
        root,
        truncated,
        rewound_by: rewinds
            .into_iter()
            .filter_map(|at| Some((at, asked_by(log, at)?)))
            .collect(),
    })
}

/// Whose token was asked with for the rewind, or the rollback of a state, at `at`. What is gone from the log is not known.
fn asked_by(log: &dyn Log, at: Offset) -> Option<String> {
    let mut found = Vec::new();
    log.read_at(&[at], &mut found).ok()?;
    match Record::decode(&found.first()?.payload).ok()? {
        Record::Operator(operator) => operator.who,
        Record::Deployment(deployment) => deployment.who,
        _ => None,
    }
}

/// What one pass collects.
#[derive(Default)]
struct Pass {
    events: HashMap<Offset, Entry>,
    /// Outcomes by their event, with the time the event waited and that when the handler had ended.
    outcomes: HashMap<Offset, Vec<(Entry, u64, Micros)>>,
    /// What operators did, by event.
    operated: HashMap<Offset, Vec<Operated>>,
    /// The records of rewinds that deliveries are of.
    rewinds: BTreeSet<Offset>,
    /// Emitted events by the outcome's offset.
    emitted: HashMap<Offset, Vec<Offset>>,
    /// When the next attempt of an event in a plugin is due.
    due: HashMap<(Offset, String), u64>,
    /// Outcomes of the tree.
    delivered: HashSet<Offset>,
    /// The outcome whose emitted events are being read: its offset, and how many are left.
    open: Option<(Offset, u32)>,
    nodes: usize,
    truncated: bool,
}

impl Pass {
    fn see(&mut self, entry: Entry, root: Offset) {
        if self.nodes >= MOST_NODES {
            self.truncated = true;
            return;
        }
        let offset = entry.offset;
        let payload = entry.payload.clone();
        match Record::decode(&payload) {
            Ok(Record::Event(_)) => {
                // An emitted event follows its outcome, or the firing of its timer, in the same batch.
                let emitter = self.open.take().filter(|(_, left)| *left > 0);
                if let Some((outcome, left)) = emitter {
                    self.emitted.entry(outcome).or_default().push(offset);
                    self.open = Some((outcome, left - 1));
                }
                if offset == root || emitter.is_some() {
                    self.events.insert(offset, entry);
                    self.nodes += 1;
                }
            }
            Ok(Record::Outcome(outcome)) => {
                let event = outcome.event();
                self.open = None;
                let Some(caused) = self.events.get(&event) else {
                    return;
                };
                let who = (event, outcome.plugin.to_owned());
                let since = self.due.remove(&who).unwrap_or(caused.time.0);
                if let Verdict::Retry { due, .. } = outcome.verdict {
                    self.due.insert(who, due);
                }
                self.open = Some((offset, outcome.emitted));
                self.delivered.insert(offset);
                let waited = outcome.started.saturating_sub(since);
                let ended = Micros(outcome.started.saturating_add(outcome.took));
                let of_event = self.outcomes.entry(event).or_default();
                of_event.push((entry, waited, ended));
                self.rewinds
                    .extend(outcome.rewind.as_ref().map(|of| Offset(of.generation)));
                self.nodes += 1;
            }
            Ok(Record::Fired(fired)) => {
                let set_at = Offset(fired.set_at);
                self.open = self.delivered.contains(&set_at).then_some((set_at, 1));
            }
            Ok(Record::Operator(operator)) => {
                self.open = None;
                self.see_operator(offset, entry.time, &operator);
            }
            _ => self.open = None,
        }
    }

    fn see_operator(&mut self, offset: Offset, time: Micros, operator: &Operator) {
        let (what, events) = match &operator.action {
            OperatorAction::Redrive(events) => ("retried", events),
            OperatorAction::Drop(events) => ("dropped", events),
            _ => return,
        };
        for event in events.iter().map(|event| Offset(*event)) {
            if self.events.contains_key(&event) {
                self.operated.entry(event).or_default().push(Operated {
                    offset,
                    time,
                    plugin: operator.plugin.clone(),
                    who: operator.who.clone(),
                    what,
                });
            }
        }
    }

    /// Builds the tree without recursion deeper than the longest chain of events.
    fn node(&mut self, at: Offset) -> Option<Node> {
        let entry = self.events.remove(&at)?;
        let mut deliveries = Vec::new();
        for (outcome, waited, ended) in self.outcomes.remove(&at).unwrap_or_default() {
            let emitted = self.emitted.remove(&outcome.offset).unwrap_or_default();
            let emitted = emitted
                .into_iter()
                .filter_map(|offset| self.node(offset))
                .collect();
            deliveries.push(Delivery {
                entry: outcome,
                waited,
                ended,
                slow: false,
                emitted,
            });
        }
        Some(Node {
            entry,
            deliveries,
            operated: self.operated.remove(&at).unwrap_or_default(),
            slow: false,
        })
    }
}
