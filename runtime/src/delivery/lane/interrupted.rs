//! Attempts that had called somebody outside and are run again: they go on with their clock, seed and answers.

use std::collections::BTreeMap;

use nerve_eventlog::{Micros, Offset};

use super::Turned;
use crate::delivery::handler::{Delivery, Handled, Outside};
use crate::log::record::{Call, Hash};
use crate::state::OpenAttempt;

/// An earlier run of an attempt.
pub(super) struct Interrupted {
    pub(super) started: Micros,
    pub(super) seed: u64,
    calls: Vec<Call>,
    logged: usize,
    asked: Option<Hash>,
}

impl Interrupted {
    /// The attempt `open`, where it is the one whose turn it is.
    pub(super) fn by_crash(open: OpenAttempt, turned: Turned) -> Option<Box<Self>> {
        let same = (open.attempt, open.replay) == (turned.attempt, turned.replay);
        same.then(|| {
            Box::new(Self {
                started: open.started,
                seed: open.seed,
                logged: open.calls.len(),
                calls: open.calls,
                asked: Some(open.asked),
            })
        })
    }

    /// A run that was discarded, for another lane had changed what it read; `None` where it called nobody.
    pub(super) fn by_conflict(
        attempts: &BTreeMap<Offset, OpenAttempt>,
        delivery: &Delivery<'_>,
        handled: &mut Handled,
    ) -> Option<Box<Self>> {
        let calls = std::mem::take(&mut handled.calls);
        if calls.is_empty() {
            return None;
        }
        let open = attempts.get(&delivery.offset);
        Some(Box::new(Self {
            started: delivery.started,
            seed: delivery.seed,
            logged: open.map_or(0, |open| open.calls.len()).min(calls.len()),
            calls,
            asked: None,
        }))
    }

    /// What it gives the next run.
    pub(super) fn outside(&self) -> Outside<'_> {
        Outside {
            calls: &self.calls,
            logged: self.logged,
            asked: self.asked,
            journal: None,
        }
    }
}
