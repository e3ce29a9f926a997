//! Running one delivery again on what its outcome recorded: on a fresh instance, without a host.

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Entry, Micros};

use super::loader::Loaded;
use crate::delivery::handler::{Delivery, Handled, Handler, Outside};
use crate::delivery::settle;
use crate::log::record::{Event, Outcome, StateRead};
use crate::state::KeyValues;

/// The delivery of `event`, whose record is `entry`, that `outcome` came of. It calls nobody: what was answered then
/// is answered again.
pub fn recorded<'a>(entry: &'a Entry, event: &'a Event<'a>, outcome: &'a Outcome<'a>) -> Delivery<'a> {
    Delivery {
        offset: entry.offset,
        recorded: entry.time,
        event,
        record: &entry.payload,
        attempt: outcome.attempt,
        replay: outcome.replay || outcome.rewind.is_some(),
        rewind: None,
        historic: false,
        started: Micros(outcome.started),
        seed: outcome.seed.unwrap_or_default(),
        outside: Outside {
            calls: &outcome.calls,
            ..Outside::default()
        },
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Rerun {
    /// As if it were to be settled.
    pub handled: Handled,
    /// Reads of the state that were not recorded, in words: they were answered as if nothing was there.
    pub missing: Vec<String>,
}

impl Loaded {
    /// Run the delivery of `event`, whose record is `entry`, as it was when `outcome` came of it.
    pub fn rerun(&self, entry: &Entry, event: &Event<'_>, outcome: &Outcome<'_>) -> Rerun {
        let nothing = StateRead::default();
        let read = outcome.reads.as_ref().unwrap_or(&nothing);
        let values = read.values.iter();
        let values = values.filter_map(|read| Some((read.key.into(), Bytes::copy_from_slice(read.value?))));
        let bytes = usize::try_from(read.state_bytes).unwrap_or(usize::MAX);
        let state = Arc::new(KeyValues::recorded(values, bytes));
        let delivery = recorded(entry, event, outcome);
        let handled = settle::looped(event, self.settings.limits.hops)
            .unwrap_or_else(|| self.handler(state).handle(&delivery));
        let missing = handled.reads.missing_in(read);
        Rerun { handled, missing }
    }
}
