//! What the log says of a rewind that runs: a second cursor, beside the plugin's own, and what goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::plugin_state::kept;
use super::{Dead, KeyValues, OpenAttempt, PluginState};
use crate::delivery::breaker::Breaker;
use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::kept::Kept;
use crate::log::record::{Mute, Outcome, Rewind, RewindEnd, Rewound, Verdict};

/// A rewind that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rewinding {
    /// The operator's record.
    pub generation: Offset,
    /// When it began.
    pub since: Micros,
    /// What was ordered.
    pub order: Rewind,
    /// How far it has settled: historic deliveries move it, and it alone.
    pub cursor: Cursor,
    /// Whether its deliveries are stopped, since they fail across keys.
    pub breaker: Breaker,
    /// Attempts that have called somebody outside and have no outcome yet, by their event.
    pub attempts: BTreeMap<Offset, OpenAttempt>,
    /// The state that it builds, where it begins from nothing.
    #[serde(with = "super::key_values::shared")]
    pub shadow: Arc<KeyValues>,
    /// Events that it gave up on, where it begins from nothing; they are dead letters when its state takes its place.
    pub dead: BTreeMap<Offset, Dead>,
    /// Dead letters of the plugin that are done in the state that it builds.
    pub cured: BTreeSet<Offset>,
    /// Its outcomes so far: done, retry, dead.
    pub counters: [u64; 3],
    /// Effects that did not happen.
    pub muted: u64,
}

/// Of which rewind a dead letter is: what it is when it is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRewind {
    /// The rewind.
    pub generation: Offset,
    /// What does not happen.
    pub mute: Mute,
}

impl Rewinding {
    /// The rewind that `order`, appended at `offset` and `time`, begins.
    pub fn new(offset: Offset, time: Micros, order: &Rewind) -> Self {
        Self {
            generation: offset,
            since: time,
            order: order.clone(),
            cursor: Cursor {
                low: Offset(order.from.saturating_sub(1)),
                ..Cursor::default()
            },
            breaker: Breaker::default(),
            attempts: BTreeMap::new(),
            shadow: Arc::default(),
            dead: BTreeMap::new(),
            cured: BTreeSet::new(),
            counters: [0; 3],
            muted: 0,
        }
    }

    /// A copy of its own.
    pub(super) fn snapshot(&self) -> Self {
        Self {
            shadow: Arc::new(self.shadow.snapshot()),
            ..self.clone()
        }
    }

    /// Of which rewind its delivery of `event` is. What came after the rewind began has its effects from its live delivery:
    /// it is muted, whatever was ordered. A plugin that takes what it emits would else never catch up with itself.
    pub fn of(&self, event: Offset) -> OfRewind {
        let is_later = event > self.generation;
        OfRewind {
            generation: self.generation,
            mute: Mute {
                emit: self.order.mute.emit || is_later,
                http: self.order.mute.http || is_later,
            },
        }
    }

    /// What its outcome at `offset` does to the rewind; the dead letter that it leaves.
    pub(super) fn apply(&mut self, offset: Offset, time: Micros, outcome: &Outcome<'_>) -> Option<Dead> {
        let event = outcome.event();
        let key = OrderKey::of(outcome.key, event);
        let kept = match outcome.kept {
            Some(kept) => Some(Kept::from(kept)),
            None if outcome.verdict == Verdict::Done => None,
            None => self.kept(&key, event).cloned(),
        };
        self.cursor.apply(outcome);
        self.breaker.apply(time, outcome);
        self.attempts.remove(&event);
        match outcome.verdict {
            Verdict::Done => {
                self.counters[0] += 1;
                let muted = outcome.rewind.as_ref().map_or(0, |of| of.muted.len());
                self.muted += muted as u64;
                if self.order.fresh {
                    for write in &outcome.writes {
                        self.shadow
                            .write(write.key, write.value.map(Bytes::copy_from_slice));
                    }
                }
                None
            }
            Verdict::Retry { .. } => {
                self.counters[1] += 1;
                if let Some(head) = self.cursor.head_mut(&key, event) {
                    head.kept = kept;
                }
                None
            }
            Verdict::Dead { failure } => {
                self.counters[2] += 1;
                Some(Dead {
                    attempts: outcome.attempt,
                    class: failure.class,
                    reason: failure.reason.to_owned(),
                    version: outcome.version,
                    at: time,
                    outcome: offset,
                    kept,
                    rewind: Some(self.of(event)),
                    retried: None,
                    undone: false,
                })
            }
        }
    }

    /// The event at `event` with `key`, where it waits for a retry.
    pub fn kept(&self, key: &OrderKey, event: Offset) -> Option<&Kept> {
        kept(&self.cursor, key, event)
    }
}

impl PluginState {
    /// What the outcome of a historic delivery does.
    pub(super) fn apply_historic(&mut self, offset: Offset, time: Micros, outcome: &Outcome<'_>) {
        self.settled_at = Some(Offset(offset.0 + u64::from(outcome.emitted)));
        self.conflicts += u64::from(outcome.conflicts);
        self.count_limits(outcome);
        let Some(rewinding) = &mut self.rewinding else {
            return;
        };
        let (event, fresh, is_done) = (
            outcome.event(),
            rewinding.order.fresh,
            outcome.verdict == Verdict::Done,
        );
        if let Some(mut dead) = rewinding.apply(offset, time, outcome) {
            if fresh {
                rewinding.dead.insert(event, dead);
            } else {
                dead.undone = self.dead.get(&event).is_some_and(Dead::was_never_done);
                self.dead.insert(event, dead);
            }
        }
        if !is_done {
            return;
        }
        if fresh && self.dead.contains_key(&event) {
            // It is done when the states are exchanged: nobody delivers it again before.
            rewinding.cured.insert(event);
            self.redrive.remove(&event);
        }
        if fresh {
            self.timers.apply(offset, &outcome.timers);
        } else {
            self.dead.remove(&event);
            self.cures(event);
            self.redrive.remove(&event);
            self.take_effects(offset, outcome);
        }
    }

    /// What the end of a rewind at `offset` does.
    pub fn apply_rewound(&mut self, offset: Offset, rewound: &Rewound) {
        self.settled_at = Some(offset);
        let Some(rewinding) = self.rewinding.take() else {
            return;
        };
        if rewound.end == RewindEnd::Swapped {
            self.key_values.take(&rewinding.shadow);
            for cured in &rewinding.cured {
                self.dead.remove(cured);
                self.cures(*cured);
            }
            for (event, mut dead) in rewinding.dead {
                dead.undone = self.dead.get(&event).is_some_and(Dead::was_never_done);
                self.dead.insert(event, dead);
            }
        }
    }

    /// Whether the dead letter of `event` is done in the state that a rewind builds.
    pub(super) fn is_cured(&self, event: Offset) -> bool {
        let rewinding = self.rewinding.as_deref();
        rewinding.is_some_and(|rewinding| rewinding.cured.contains(&event))
    }
}
