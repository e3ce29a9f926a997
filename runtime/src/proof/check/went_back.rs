//! What a rollback that took the state back did: the plugin is where that version left it, and what happened once does not
//! happen again where it is muted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Plugin};
use crate::log::record::{DeploymentAction, Mute, Outcome, Verdict};

/// What a plugin was, and what it did whatever became of its state.
#[derive(Default)]
pub(super) struct Past<'a> {
    /// What it was when a version stopped to be live, by that record.
    left: BTreeMap<u64, Was<'a>>,
    /// What is muted of the rollbacks that took the state back.
    backs: BTreeMap<u64, Mute>,
    /// Events that were done for the first time, and had their effects.
    happened: BTreeSet<u64>,
    /// Events that rewinds did, or gave up on.
    in_history: BTreeSet<u64>,
}

struct Was<'a> {
    tried: BTreeMap<u64, (u32, bool)>,
    done: BTreeSet<u64>,
    redriven: BTreeSet<u64>,
    counts: Counts<'a>,
}

impl Past<'_> {
    /// A rewind did the event at `at`.
    pub(super) fn done_in_history(&mut self, at: u64) {
        self.in_history.insert(at);
    }

    /// A rewind gave up on it: when it is tried again it is of the rewind, whatever it was before.
    pub(super) fn given_up_in_history(&mut self, at: u64) {
        self.in_history.insert(at);
    }
}

impl Plugin<'_> {
    /// A deployment of the plugin, before anything else is made of it.
    pub(super) fn deployed(&mut self, seed: u64, offset: u64, action: &DeploymentAction) {
        if let DeploymentAction::Merged(merged) = action {
            self.takes_over(seed, offset, merged);
        }
        if action.live().is_none() && *action != DeploymentAction::Removed {
            return;
        }
        let was = Was {
            tried: self.tried.clone(),
            done: self.done.clone(),
            redriven: self.redriven.clone(),
            counts: self.counts.clone(),
        };
        self.past.left.insert(offset, was);
        let mute = match action {
            DeploymentAction::RolledBack(back) => back.mute,
            _ => None,
        };
        let mute = mute.unwrap_or(Mute::HAPPENED);
        if self.gives_up_own(mute) {
            self.past.backs.insert(offset, mute);
        }
        let DeploymentAction::RolledBack(back) = action else {
            return;
        };
        let Some(state) = &back.state else { return };
        assert!(
            self.rewind.is_none(),
            "seed {seed}: {offset} takes a state back beside a rewind"
        );
        let was = self.past.left.get(&state.to).unwrap_or_else(|| {
            panic!(
                "seed {seed}: {offset} goes back to where nobody left: {}",
                state.to
            );
        });
        self.tried.clone_from(&was.tried);
        self.done.clone_from(&was.done);
        self.redriven.extend(&was.redriven);
        self.counts = was.counts.clone();
        if !state.mute.emit {
            self.timers.retain(|_, (set_at, ..)| *set_at < state.to);
        }
        self.past.backs.insert(offset, state.mute);
    }

    /// An outcome that is of no history: what it does happens once, unless that was asked for, and once at least.
    pub(super) fn happens_once(&mut self, seed: u64, offset: u64, outcome: &Outcome<'_>) {
        let (at, is_done) = (outcome.event, outcome.verdict == Verdict::Done);
        let Some(of) = &outcome.rewind else {
            assert!(
                !is_done || self.past.happened.insert(at),
                "seed {seed}: {offset} ({at}) does again what happened"
            );
            return;
        };
        let known = self.past.happened.contains(&at) || self.past.in_history.contains(&at);
        assert!(
            known,
            "seed {seed}: {offset} ({at}) is of {} and had not happened",
            of.generation
        );
        let muted = self.past.backs.get(&of.generation).is_some_and(|mute| mute.emit);
        assert!(
            !muted || (outcome.emitted == 0 && outcome.timers.is_empty()),
            "seed {seed}: {offset} ({at}) is muted and has effects"
        );
    }
}
