//! What a canary did on a state of its own: what it wrote is nobody else's until it is promoted, and where another version takes its
//! place all of it is unsettled.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Plugin, order_key};
use crate::log::record::{Event, Merged, Mute, Outcome, Prefer};

/// A canary's own state.
pub(super) struct Own<'a> {
    pub(super) counts: Counts<'a>,
    /// The first event of each key that was done on it.
    first: BTreeMap<String, u64>,
    /// Dead letters that were done on it when they were delivered again.
    letters: BTreeSet<u64>,
    /// Keys whose order was written here, and in the plugin's state since.
    wrote: BTreeSet<&'a str>,
    beside: BTreeSet<&'a str>,
    /// Timers that are set and were set here.
    pub(super) timers: BTreeSet<&'a str>,
}

impl<'a> Own<'a> {
    pub(super) fn new(counts: &Counts<'a>) -> Self {
        Self {
            counts: counts.clone(),
            first: BTreeMap::new(),
            letters: BTreeSet::new(),
            wrote: BTreeSet::new(),
            beside: BTreeSet::new(),
            timers: BTreeSet::new(),
        }
    }
}

impl<'a> Plugin<'a> {
    /// `event` is done, on the state that its outcome says.
    pub(super) fn counts_done(&mut self, seed: u64, offset: u64, outcome: &Outcome<'a>, event: &Event<'a>) {
        let key = event.key.unwrap_or("-");
        let Some(own) = &mut self.own else {
            assert!(
                !outcome.own,
                "seed {seed}: {offset} is done on a state that nobody has"
            );
            self.counts.add(event);
            return;
        };
        if !outcome.own {
            own.beside.insert(key);
            self.counts.add(event);
            return;
        }
        own.wrote.insert(key);
        own.counts.add(event);
        if outcome.replay {
            own.letters.insert(outcome.event);
        } else {
            let first = own.first.entry(order_key(event, outcome.event));
            first.or_insert(outcome.event);
        }
    }

    /// Another version takes the place of the canary; whether what it did is delivered again, with this `mute`.
    pub(super) fn gives_up_own(&mut self, mute: Mute) -> bool {
        let Some(own) = self.own.take() else { return false };
        if !mute.emit {
            self.timers.retain(|name, _| !own.timers.contains(name));
        }
        for letter in &own.letters {
            self.done.remove(letter);
        }
        for (key, first) in &own.first {
            for event in self.wanted.get(key).into_iter().flatten() {
                if event >= first {
                    self.tried.remove(event);
                    self.done.remove(event);
                    self.redriven.remove(event);
                }
            }
        }
        !own.first.is_empty() || !own.letters.is_empty()
    }

    /// The canary is promoted, and the plugin's state takes over what it wrote.
    pub(super) fn takes_over(&mut self, seed: u64, offset: u64, merged: &Merged) {
        let own = self.own.take();
        let own = own.unwrap_or_else(|| panic!("seed {seed}: {offset} takes over what nobody wrote"));
        let is_own = |both: bool| !both || merged.prefer == Some(Prefer::Canary);
        for key in own.wrote.iter().filter(|key| is_own(own.beside.contains(**key))) {
            let order = own.counts.order.get(key).cloned().unwrap_or_default();
            self.counts.order.insert(key, order);
        }
        // Whoever did anything counted it.
        if !own.wrote.is_empty()
            && is_own(!own.beside.is_empty() && own.counts.counted != self.counts.counted)
        {
            self.counts.counted = own.counts.counted;
        }
    }
}
