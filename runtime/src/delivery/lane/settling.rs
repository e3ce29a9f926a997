//! 6 SETTLE, as a lane does it: append the outcome with its effects, and let the fold and the queue follow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use nerve_eventlog::{AppendError, Appended, Batch, Condition, Micros, Offset};
use parking_lot::MutexGuard;

use super::interrupted::Interrupted;
use super::{Lane, LaneError, Running, Shared, Side, UnderWay};
use crate::delivery::breaker::{Attempt, Breaker};
use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::handler::{Delivery, Failure, Handled};
use crate::delivery::probation::Probation;
use crate::delivery::queue::Queue;
use crate::delivery::settle::{self, Decision};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::timer::Timers;
use crate::host::Stopped;
use crate::log::record::{FailureClass, KeptEvent, Outcome, Replay, Verdict};
use crate::log::sequencer::{Sequencer, stopped};
use crate::log::turns::LARGE;
use crate::state::{KeyValues, OpenAttempt, PluginState};

/// Bytes of an ordinary outcome.
pub(super) const OUTCOME_BYTES: usize = 256;

impl Lane {
    /// Settle `delivery`; whether it is settled. It is not where another lane has changed what it read: then
    /// nothing came of it, and it is to be handled again. What runs `alone` holds what the lanes share already; others take it when
    /// they have written down what was emitted.
    pub(super) fn settle(
        &mut self,
        subscriber: &Subscriber,
        alone: Option<MutexGuard<'_, Shared>>,
        under_way: &mut UnderWay,
        delivery: &Delivery<'_>,
        handled: &mut Handled,
    ) -> Result<bool, LaneError> {
        self.emitted.clear();
        let emitted = settle::emitted(&mut self.emitter, delivery, handled, &mut self.emitted);
        let mut shared = alone.unwrap_or_else(|| subscriber.shared.lock());
        let tried = self.tried(under_way, delivery.attempt);
        let running = under_way.side.of(&mut self.running, &mut self.before);
        let historic = under_way.turned.historic;
        let apart = under_way.shadow.clone().filter(|_| !historic);
        let queue = shared.queue_of(historic);
        let event = delivery.event;
        let took = u64::try_from(handled.took.as_micros()).unwrap_or(u64::MAX);
        let ended = Micros(delivery.started.0.saturating_add(took));
        let order_key = || OrderKey::of(event.key, delivery.offset);
        let attempt = under_way.attempt(delivery, ended, self.dice.f64());

        let mut state = subscriber.state.lock();
        let ground = Ground::of(&state, historic, apart.as_deref());
        if queue.has_several() && under_way.conflicts_with(state.settled_at, ground.key_values, handled) {
            running.handler_on(under_way.shadow.as_ref()).discard();
            under_way.interrupted = Interrupted::by_conflict(ground.attempts, delivery, handled);
            return Ok(false);
        }
        let previous = previous(ground.key_values, handled);
        // The other half is for what else the outcome holds.
        let effects = running.batch_bytes.min(self.log.largest_batch() / 2);
        let is_muted = settle::mutes(delivery);
        let timers = Some(&state.timers).filter(|_| !is_muted);
        if let Some(failure) = running.limit_hit(ground.key_values, timers, handled, &previous, effects) {
            handled.failure = Some(failure);
            running.handler_on(under_way.shadow.as_ref()).discard();
        }
        if handled.failure.is_some() {
            // It may make others wait that were taken up with it.
            self.stretch.give_back(queue);
        }
        let handled = &*handled;
        let decision = running.decide(&ground, state.probation.as_ref(), handled, &attempt, tried);
        let verdict = decision.verdict;
        let retried = matches!(verdict, Verdict::Retry { .. });
        let (failed, dead) = (verdict != Verdict::Done, matches!(verdict, Verdict::Dead { .. }));
        let parked = parked_from(ground.cursor, order_key);
        let set = || settle::timers(&mut self.emitter, delivery, handled);
        let timers = (!failed && !is_muted).then(set).unwrap_or_default();
        let next_timer = state.timers.next();
        queue.end(under_way.hold);
        let waits = retried || queue.behind(event.key) > 0;
        let waits_from = queue
            .waits_from(event.key, delivery.offset)
            .max(parked.unwrap_or_default());
        let mut outcome = Outcome {
            plugin: &subscriber.name,
            version: under_way.awaits.unwrap_or_else(|| running.handler.version()),
            event: delivery.offset.0,
            attempt: delivery.attempt,
            replay: delivery.replay,
            verdict,
            key: event
                .key
                .filter(|_| parked.is_some() || failed || waits || apart.is_some()),
            cleared: !waits,
            low_water: queue.low().0,
            started: delivery.started.0,
            took,
            seed: (handled.used_seed || dead).then_some(delivery.seed),
            emitted: 0,
            writes: if failed {
                Vec::new()
            } else {
                settle::writes(handled, &previous)
            },
            lines: settle::lines(handled),
            lines_lost: handled.lines_lost,
            free: decision.free,
            opens: decision.opens,
            timers: settle::timer_changes(&timers),
            calls: Cow::Borrowed(&handled.calls),
            waits_from: waits.then_some(waits_from.0),
            conflicts: under_way.conflicts,
            reads: dead.then(|| handled.reads.record(ground.key_values.bytes())),
            kept: failed
                .then(|| unkept(&state, historic, order_key, delivery))
                .flatten(),
            watched: decision.watched,
            rewind: under_way.replay(handled, is_muted && !failed),
            own: apart.is_some(),
        };
        let mut batch = Batch::with_capacity(self.emitted.size() + OUTCOME_BYTES);
        settle::settled(&mut outcome, (&self.emitted, emitted), &mut batch);
        self.emitted.clear();
        let emits = handled.effects.emits.iter().take(outcome.emitted as usize);
        let types = (1..).zip(emits.map(|emit| &*emit.r#type));
        let appended = append(&self.sequencer, subscriber, &state, batch, &types)?;
        state.apply_outcome(appended.first, appended.time, &outcome);
        subscriber.note_outcome(&state, handled.took, self.before.is_some());
        if !timers.is_empty() && state.timers.next() != next_timer {
            subscriber.timer_bell.notify_one();
        }
        drop(state);

        if !historic {
            subscriber.notify_settled(queue.passed());
        }
        shared.settled(subscriber, historic, delivery, &outcome.verdict);
        Ok(true)
    }
}

impl Lane {
    /// Whose the attempt number `attempt` is.
    fn tried(&self, under_way: &UnderWay, attempt: u32) -> Tried {
        let is_live = under_way.side == Side::Live && !under_way.turned.replay;
        match under_way.awaits {
            Some(_) => Tried::Nobodys(attempt),
            None if self.before.is_some() && is_live => Tried::Watcheds(attempt),
            None => Tried::Others,
        }
    }
}

/// Whose attempt it is, and which one of its event.
#[derive(Clone, Copy)]
enum Tried {
    /// That of a version that is held against the one before.
    Watcheds(u32),
    /// That of any other.
    Others,
    /// Nobody made it: the version that has the key does not load.
    Nobodys(u32),
}

impl Shared {
    /// The queue of live deliveries, or of historic ones.
    pub(super) fn queue_of(&mut self, historic: bool) -> &mut Queue {
        let history = self.history.as_mut().filter(|_| historic);
        let queue = history.map_or(self.queue.as_mut(), |history| Some(&mut history.queue));
        queue.expect("what is settled was queued")
    }

    /// Something was settled, and this lane may be long at its next event: what may run now is for whoever rests.
    pub(super) fn wake_for_freed(&self, subscriber: &Subscriber) {
        let queue = self.queue.as_ref().filter(|queue| queue.has_several());
        if queue.is_some_and(|queue| queue.stalled() > 0) {
            self.wake(subscriber);
        }
    }

    /// `delivery` is settled: it waits for its retry, or what both queues have of its key may run.
    fn settled(
        &mut self,
        subscriber: &Subscriber,
        historic: bool,
        delivery: &Delivery<'_>,
        verdict: &Verdict<'_>,
    ) {
        let key = delivery.event.key;
        let queue = self.queue_of(historic);
        match verdict {
            Verdict::Retry { due, .. } => {
                queue.park(OrderKey::of(key, delivery.offset), Micros(*due));
                // This lane may be long at its next event: somebody has to wait for the retry.
                if queue.has_several() {
                    self.wake(subscriber);
                }
            }
            Verdict::Done | Verdict::Dead { .. } => {
                queue.settled(key);
                self.wake_for_freed(subscriber);
            }
        }
        if let Some(history) = &mut self.history {
            history.ends(historic, delivery.offset);
        }
    }
}

impl UnderWay {
    /// As the rules see it.
    fn attempt<'a>(&self, delivery: &Delivery<'a>, ended: Micros, dice: f64) -> Attempt<'a> {
        Attempt {
            key: delivery.event.key,
            event: delivery.offset,
            spent: self.turned.attempt - self.turned.free,
            probe: self.probe,
            ended,
            dice,
        }
    }

    /// Of which rewind it is, and what did not happen of it, where effects are `muted`.
    fn replay<'a>(&self, handled: &'a Handled, muted: bool) -> Option<Replay<'a>> {
        self.turned.rewind.map(|of| Replay {
            generation: of.generation.0,
            historic: self.turned.historic,
            fresh: self.turned.historic && self.shadow.is_some(),
            muted: if muted { settle::muted(handled) } else { Vec::new() },
        })
    }

    /// Whether what was read is another now, which is then one conflict more.
    fn conflicts_with(&mut self, at: Option<Offset>, key_values: &KeyValues, handled: &Handled) -> bool {
        if self.runs_alone() || self.settled_at == at || !handled.reads.changed(key_values) {
            return false;
        }
        self.conflicts += 1;
        self.settled_at = at;
        true
    }
}

/// What a delivery reads, writes and moves: the plugin's own, or what its rewind has of its own.
struct Ground<'a> {
    cursor: &'a Cursor,
    breaker: &'a Breaker,
    attempts: &'a BTreeMap<Offset, OpenAttempt>,
    key_values: &'a KeyValues,
}

impl<'a> Ground<'a> {
    /// What is `historic` has its rewind's, and else its state `apart` where it has one.
    fn of(state: &'a PluginState, historic: bool, apart: Option<&'a KeyValues>) -> Self {
        match state.rewinding.as_deref().filter(|_| historic) {
            Some(rewinding) => Self {
                cursor: &rewinding.cursor,
                breaker: &rewinding.breaker,
                attempts: &rewinding.attempts,
                key_values: if rewinding.order.fresh {
                    &rewinding.shadow
                } else {
                    &state.key_values
                },
            },
            None => Self {
                cursor: &state.cursor,
                breaker: &state.breaker,
                attempts: &state.attempts,
                key_values: apart.unwrap_or(&state.key_values),
            },
        }
    }
}

impl Running {
    /// What an attempt came to on this `ground`, by whose it is.
    fn decide<'a>(
        &self,
        ground: &Ground<'_>,
        probation: Option<&Probation>,
        handled: &'a Handled,
        attempt: &Attempt<'_>,
        tried: Tried,
    ) -> Decision<'a> {
        let probation = probation.filter(|probation| !probation.is_over(attempt.ended));
        match (probation, tried, &handled.failure) {
            (_, Tried::Nobodys(number), Some(failure)) => settle::waits(
                failure,
                attempt,
                number,
                (ground.cursor, ground.breaker),
                &self.retry,
            ),
            (Some(probation), Tried::Watcheds(number), Some(failure)) => {
                probation.decide(failure, number, attempt, &self.retry)
            }
            _ => settle::decide(handled, attempt, ground.breaker, &self.retry),
        }
    }

    /// The limit that a success would pass, beside what is in the state and `set` as timers by now, with at most `effects`
    /// bytes of effects.
    fn limit_hit(
        &self,
        key_values: &KeyValues,
        set: Option<&Timers>,
        handled: &Handled,
        previous: &[Option<Bytes>],
        effects: usize,
    ) -> Option<Failure> {
        if handled.failure.is_some() {
            return None;
        }
        let (timers, bytes) = (&handled.effects.timers, key_values.bytes());
        let reason = set
            .and_then(|set| set.refuse(timers, self.timers))
            .or_else(|| settle::refuse_writes(handled, previous, bytes, self.state_bytes))
            .or_else(|| settle::refuse_effects(handled, previous, effects))?;
        Some(Failure::new(FailureClass::Limit, reason))
    }
}

/// From where on the events of a parked key wait; `None` where the key is not parked.
pub(super) fn parked_from(cursor: &Cursor, key: impl FnOnce() -> OrderKey) -> Option<Offset> {
    if cursor.parked.is_empty() {
        return None;
    }
    let parked = cursor.parked.get(&key());
    parked.map(|parked| parked.waits_from)
}

/// The event of a failed delivery, where the fold does not keep it yet.
fn unkept<'a>(
    state: &PluginState,
    historic: bool,
    key: impl FnOnce() -> OrderKey,
    delivery: &Delivery<'a>,
) -> Option<KeptEvent<'a>> {
    let (key, event) = (key(), delivery.offset);
    let keeps = match state.rewinding.as_deref().filter(|_| historic) {
        Some(rewinding) => rewinding.kept(&key, event).is_some(),
        None => state.kept(&key, event).is_some(),
    };
    (!keeps).then_some(KeptEvent {
        recorded: delivery.recorded.0,
        record: delivery.record,
    })
}

/// What the keys hold that `handled` writes.
fn previous(key_values: &KeyValues, handled: &Handled) -> Vec<Option<Bytes>> {
    let writes = handled.effects.writes.iter();
    writes.map(|(key, _)| key_values.get(key)).collect()
}

/// Append what `subscriber` settled, whose `state` is locked, a large batch in its turn. Waits while too much waits for the disk: what was handled must not be
/// refused.
pub(super) fn append<'a>(
    sequencer: &Sequencer,
    subscriber: &Subscriber,
    state: &PluginState,
    batch: Batch,
    events: &(impl Iterator<Item = (u64, &'a str)> + Clone),
) -> Result<Appended, Stopped> {
    let condition = Condition {
        writer: &subscriber.writer,
        last: state.settled_at,
    };
    let mut batch = batch.writer(&subscriber.writer);
    let poisoned = |poisoned: nerve_eventlog::Poisoned| Stopped::Poisoned(poisoned.to_string());
    let bytes = batch.size();
    let turn = if bytes > LARGE {
        let turn = sequencer.turns().wait(&**sequencer.log());
        Some(turn.map_err(poisoned)?)
    } else {
        None
    };
    loop {
        match sequencer.append(batch, Some(condition), events.clone()) {
            Ok(appended) => {
                subscriber.pace.appended(appended.last, bytes);
                if let Some(turn) = turn {
                    turn.appended(appended.last);
                }
                return Ok(appended);
            }
            Err(AppendError::Full { batch: back, .. }) => {
                batch = back;
                let next = sequencer.log().bounds().next_durable();
                sequencer.log().wait_durable(next).map_err(poisoned)?;
            }
            Err(refused) => return Err(stopped(&refused)),
        }
    }
}
