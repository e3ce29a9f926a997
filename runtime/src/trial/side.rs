//! One side of a trial: a version, with a state of its own, and what its deliveries came to and cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::Offset;

use super::Came;
use super::came::content_type;
use crate::delivery::handler::{Delivery, Failure, Handled, Handler};
use crate::delivery::settle;
use crate::delivery::subscription::Pattern;
use crate::log::record::{FailureClass, Outcome};
use crate::plugin::guest::{Cost, WasmHandler};
use crate::plugin::loader::Loaded;
use crate::plugin::settings::Isolation;
use crate::state::KeyValues;

/// Bytes of effects that one delivery may have, as a host's log takes them.
const EFFECT_BYTES: usize = 16 << 20;

/// Runs deliveries, and says what each cost.
pub trait Tried: Send {
    /// Run one, in the instance of the one before where there is one.
    fn run(&mut self, delivery: &Delivery<'_>) -> (Handled, Cost);

    /// The next delivery gets a fresh instance.
    fn forget(&mut self);
}

impl Tried for WasmHandler {
    fn run(&mut self, delivery: &Delivery<'_>) -> (Handled, Cost) {
        let handled = self.handle(delivery);
        (handled, self.cost())
    }

    fn forget(&mut self) {
        self.discard();
    }
}

/// One side.
pub struct Side {
    /// Whose results count.
    fresh: Box<dyn Tried>,
    /// Who is measured; `None` where every event gets a fresh instance anyway.
    reused: Option<Box<dyn Tried>>,
    state: Arc<KeyValues>,
    rules: Rules,
    /// What it came to.
    pub(super) tally: Tally,
}

/// What of a version's description and settings matters beside its code.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What it subscribes to.
    pub patterns: Vec<Pattern>,
    /// The longest causal chain.
    pub hops: u32,
    /// Bytes that its state may have.
    pub state_bytes: usize,
}

/// What deliveries came to, and what they cost.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Those that are done.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that asked for what there is no answer to.
    pub unanswered: u64,
    /// Those that it does not subscribe to.
    pub not_subscribed: u64,
    /// Events that were emitted, by type.
    pub emits: BTreeMap<Box<str>, u64>,
    /// Keys that were written.
    pub writes: u64,
    /// Timers that were set or cancelled.
    pub timers: u64,
    /// How long each took, in nanoseconds.
    pub took: Vec<u64>,
    /// The fuel of each.
    pub fuel: Vec<u64>,
    /// Bytes of memory of its largest instance.
    pub memory_bytes: usize,
    /// Deliveries whose result was another in an instance that had been used, and the first event.
    pub remembers: Option<(u64, Offset)>,
}

impl Side {
    /// A side that runs `loaded` on a copy of `state`.
    pub fn of(loaded: &Loaded, state: &KeyValues) -> Self {
        let state = Arc::new(state.snapshot());
        let handler = || Box::new(loaded.handler(state.clone())) as Box<dyn Tried>;
        let rules = Rules {
            patterns: loaded.manifest.subscriptions.clone(),
            hops: loaded.settings.limits.hops,
            state_bytes: loaded.settings.limits.state_bytes,
        };
        let reuses = loaded.settings.isolation == Isolation::Reuse;
        Self::new(handler(), reuses.then(handler), state.clone(), rules)
    }

    /// A side whose deliveries `fresh` and `reused` run, both reading `state`.
    pub fn new(
        fresh: Box<dyn Tried>,
        reused: Option<Box<dyn Tried>>,
        state: Arc<KeyValues>,
        rules: Rules,
    ) -> Self {
        Self {
            fresh,
            reused,
            state,
            rules,
            tally: Tally::default(),
        }
    }

    /// Run a delivery, and settle it into the state of this side.
    pub(super) fn run(&mut self, delivery: &Delivery<'_>) -> Came {
        if !self
            .rules
            .patterns
            .iter()
            .any(|one| one.matches(delivery.event.r#type))
        {
            return Came::NotSubscribed;
        }
        if let Some(looped) = settle::looped(delivery.event, self.rules.hops) {
            return Came::of(looped);
        }
        let (handled, cost) = self.fresh.run(delivery);
        self.fresh.forget();
        let took = handled.took;
        let came = self.within_limits(handled);
        let (took, cost) = match &mut self.reused {
            None => (took, cost),
            Some(reused) => {
                let (handled, cost) = reused.run(delivery);
                let took = handled.took;
                let again = self.within_limits(handled);
                if again != came {
                    self.tally.remembers.get_or_insert((0, delivery.offset)).0 += 1;
                }
                (took, cost)
            }
        };
        let tally = &mut self.tally;
        tally
            .took
            .push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        tally.fuel.push(cost.fuel);
        tally.memory_bytes = tally.memory_bytes.max(cost.memory_bytes);
        if let Came::Done(effects) = &came {
            for emit in &effects.emits {
                match tally.emits.get_mut(&*emit.r#type) {
                    Some(count) => *count += 1,
                    None => {
                        tally.emits.insert(emit.r#type.as_str().into(), 1);
                    }
                }
            }
            tally.writes += effects.writes.len() as u64;
            tally.timers += effects.timers.len() as u64;
            for (key, value) in &effects.writes {
                self.state.write(key, value.clone());
            }
        }
        came
    }

    /// Let the state follow a delivery that can't be run, by what the log says of it.
    pub(super) fn follow(&self, outcome: &Outcome<'_>) {
        for write in &outcome.writes {
            self.state
                .write(write.key, write.value.map(Bytes::copy_from_slice));
        }
    }

    /// What `handled` comes to, with the limits that hold where it is settled.
    fn within_limits(&self, mut handled: Handled) -> Came {
        for emit in &mut handled.effects.emits {
            emit.content_type = emit.content_type.take().and_then(|text| content_type(&text));
        }
        for (_, set) in &mut handled.effects.timers {
            if let Some(set) = set {
                set.emit.content_type = set.emit.content_type.take().and_then(|text| content_type(&text));
            }
        }
        if handled.failure.is_none() {
            let writes = handled.effects.writes.iter();
            let previous: Vec<_> = writes.map(|(key, _)| self.state.get(key)).collect();
            let reason =
                settle::refuse_writes(&handled, &previous, self.state.bytes(), self.rules.state_bytes)
                    .or_else(|| settle::refuse_effects(&handled, &previous, EFFECT_BYTES));
            handled.failure = reason.map(|reason| Failure::new(FailureClass::Limit, reason));
        }
        Came::of(handled)
    }
}

impl Tally {
    /// Count what one event came to.
    pub(super) fn count(&mut self, came: &Came) {
        *match came {
            Came::Done(_) => &mut self.done,
            Came::Failed { .. } => &mut self.failed,
            Came::Unanswered(_) => &mut self.unanswered,
            Came::NotSubscribed => &mut self.not_subscribed,
        } += 1;
    }
}
