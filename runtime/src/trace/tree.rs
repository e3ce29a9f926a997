//! The causal tree of an event: its deliveries, the events they emitted, and so on.

use std::collections::{HashMap, HashSet};

use nerve_eventlog::{Entry, Log, Offset, Reach, ReadError};

use crate::log::record::{Record, Verdict};

/// Events and deliveries of one tree at most.
const MOST_NODES: usize = 10_000;

/// A causal tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// The event that was asked for.
    pub root: Option<Node>,
    /// Whether the tree has more than is shown.
    pub truncated: bool,
}

/// An event, and what became of it.
#[derive(Debug)]
pub struct Node {
    /// The event's record.
    pub entry: Entry,
    /// Its deliveries, attempts apart, in the order they were settled.
    pub deliveries: Vec<Delivery>,
}

/// One attempt.
#[derive(Debug)]
pub struct Delivery {
    /// The outcome's record.
    pub entry: Entry,
    /// How long the event waited before it, in microseconds: since it was appended or, for a retry, was due.
    pub waited: u64,
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
    let truncated = pass.truncated;
    Ok(Tree {
        root: pass.node(at),
        truncated,
    })
}

/// What one pass collects.
#[derive(Default)]
struct Pass {
    events: HashMap<Offset, Entry>,
    /// Outcomes by their event, with the time the event waited.
    outcomes: HashMap<Offset, Vec<(Entry, u64)>>,
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
                self.outcomes.entry(event).or_default().push((entry, waited));
                self.nodes += 1;
            }
            Ok(Record::Fired(fired)) => {
                let set_at = Offset(fired.set_at);
                self.open = self.delivered.contains(&set_at).then_some((set_at, 1));
            }
            _ => self.open = None,
        }
    }

    /// Builds the tree without recursion deeper than the longest chain of events.
    fn node(&mut self, at: Offset) -> Option<Node> {
        let entry = self.events.remove(&at)?;
        let mut deliveries = Vec::new();
        for (outcome, waited) in self.outcomes.remove(&at).unwrap_or_default() {
            let emitted = self.emitted.remove(&outcome.offset).unwrap_or_default();
            let emitted = emitted
                .into_iter()
                .filter_map(|offset| self.node(offset))
                .collect();
            deliveries.push(Delivery {
                entry: outcome,
                waited,
                emitted,
            });
        }
        Some(Node { entry, deliveries })
    }
}
