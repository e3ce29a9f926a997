//! What rewinds did: history in its order, all of it and nothing else, and what is muted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Plugin, order_key};
use crate::log::record::{Event, Outcome, Record, Replay, Rewind, RewindEnd, Rewound, Verdict};

/// A rewind that runs.
pub(super) struct Again<'a> {
    generation: u64,
    order: &'a Rewind,
    /// As of the plugin, in the rewind.
    tried: BTreeMap<u64, (u32, bool)>,
    done: BTreeSet<u64>,
    last: BTreeMap<String, u64>,
    counts: Counts<'a>,
}

impl<'a> Again<'a> {
    pub(super) fn new(generation: u64, order: &'a Rewind) -> Self {
        Self {
            generation,
            order,
            tried: BTreeMap::new(),
            done: BTreeSet::new(),
            last: BTreeMap::new(),
            counts: Counts::default(),
        }
    }
}

impl<'a> Plugin<'a> {
    /// An outcome of the rewind that runs.
    pub(super) fn historic(
        &mut self,
        seed: u64,
        offset: u64,
        outcome: &Outcome<'a>,
        of: &Replay<'_>,
        event: &Event<'a>,
    ) {
        let (at, key) = (outcome.event, order_key(event, outcome.event));
        let wanted = self.wanted.get(&key).is_some_and(|wanted| wanted.contains(&at));
        let settled = self.tried.get(&at).is_some_and(|(_, ended)| *ended);
        assert!(
            settled || !wanted,
            "seed {seed}: {offset} ({at}) is no history yet"
        );
        let Some(again) = &mut self.rewind else {
            panic!("seed {seed}: {offset} is of no rewind that runs");
        };
        assert_eq!(
            (of.generation, of.fresh, outcome.replay),
            (again.generation, again.order.fresh, true),
            "seed {seed}: {offset} is of another rewind"
        );
        let matches = self.patterns.iter().any(|pattern| pattern.matches(event.r#type));
        let through = again.order.through.unwrap_or(u64::MAX);
        assert!(
            matches && (again.order.from..=through).contains(&at),
            "seed {seed}: {offset} ({at}) is no part of the history"
        );
        let (tried, ended) = again.tried.get(&at).copied().unwrap_or_default();
        assert!(
            !ended,
            "seed {seed}: {offset} settles history that has come to its end"
        );
        assert_eq!(
            outcome.attempt,
            tried + 1,
            "seed {seed}: {offset} has another attempt number"
        );
        let last = again.last.insert(key, at).unwrap_or_default();
        let is_open = last < at && again.tried.get(&last).is_some_and(|(_, ended)| !ended);
        assert!(
            last <= at && !is_open,
            "seed {seed}: {offset} ({at}) overtakes history of its key at {last}"
        );
        let ends = !matches!(outcome.verdict, Verdict::Retry { .. });
        again.tried.insert(at, (outcome.attempt, ends));
        let has_effects = outcome.emitted > 0 || !outcome.timers.is_empty();
        assert!(
            !(again.order.mute.emit || at > again.generation) || !has_effects,
            "seed {seed}: {offset} is muted and has effects"
        );
        if outcome.verdict != Verdict::Done {
            assert!(
                outcome.writes.is_empty() && !has_effects && of.muted.is_empty(),
                "seed {seed}: {offset} failed and has effects"
            );
            if ends && !again.order.fresh {
                self.given_up(at);
            }
            return;
        }
        again.done.insert(at);
        self.past.done_in_history(at);
        if again.order.fresh {
            again.counts.add(event);
            self.redriven.remove(&at);
        } else {
            self.counts.add(event);
            self.cured(at);
        }
        self.set_timers(offset, outcome);
    }

    /// Where the event at `at` was a dead letter, it is none any more.
    fn cured(&mut self, at: u64) {
        if self.tried.contains_key(&at) {
            self.done.insert(at);
        }
        self.redriven.remove(&at);
    }

    /// History gave up on the event at `at`: it is a dead letter, whatever it was.
    fn given_up(&mut self, at: u64) {
        self.past.given_up_in_history(at);
        self.done.remove(&at);
        // One that an operator delivers again meanwhile goes on being tried.
        let tried = self.tried.entry(at).or_default();
        if *tried == (0, false) || tried.1 {
            *tried = (0, true);
        }
    }

    /// A rewind ended, and had the records `before`.
    pub(super) fn rewound(
        &mut self,
        seed: u64,
        offset: u64,
        rewound: &Rewound,
        before: impl Iterator<Item = (u64, &'a Record<'a>)>,
    ) {
        let Some(again) = self.rewind.take() else {
            panic!("seed {seed}: {offset} ends no rewind");
        };
        assert_eq!(
            rewound.generation, again.generation,
            "seed {seed}: {offset} ends another rewind"
        );
        let swapped = match rewound.end {
            RewindEnd::Done => false,
            RewindEnd::Swapped => true,
            RewindEnd::Gap { .. } => return,
        };
        assert_eq!(
            swapped, again.order.fresh,
            "seed {seed}: {offset} ends it otherwise"
        );
        let through = again.order.through.unwrap_or(u64::MAX);
        for (at, record) in before {
            let Record::Event(event) = record else { continue };
            let is_history = (again.order.from..=through).contains(&at)
                && self.patterns.iter().any(|pattern| pattern.matches(event.r#type))
                && (at < self.since || self.tried.get(&at).is_some_and(|(_, ended)| *ended));
            let is_settled = again.tried.get(&at).is_some_and(|(_, ended)| *ended);
            assert!(
                is_settled || !is_history,
                "seed {seed}: {offset} ends before its history: {at} is left out"
            );
        }
        if swapped {
            for at in again.tried.keys() {
                if again.done.contains(at) {
                    self.cured(*at);
                } else {
                    self.given_up(*at);
                }
            }
            self.counts = again.counts;
        }
    }
}
