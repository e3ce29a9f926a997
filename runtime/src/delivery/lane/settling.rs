//! 6 SETTLE, as a lane does it: append the outcome with its effects, and let the fold and the queue follow.

use std::borrow::Cow;

use bytes::Bytes;
use nerve_eventlog::{AppendError, Batch, Condition, Micros, Offset};

use super::interrupted::Interrupted;
use super::{Lane, LaneError, Running, Shared, Side, UnderWay};
use crate::delivery::breaker::Attempt;
use crate::delivery::cursor::OrderKey;
use crate::delivery::handler::{Delivery, Failure, Handled};
use crate::delivery::pace::Pace;
use crate::delivery::settle::{self, Decision};
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{FailureClass, KeptEvent, Outcome, Verdict};
use crate::log::sequencer::{Sequencer, stopped};
use crate::log::turns::LARGE;
use crate::state::PluginState;

impl Lane {
    /// Settle `delivery`; whether it is settled. It is not where another lane has changed what it read: then
    /// nothing came of it, and it is to be handled again.
    pub(in crate::delivery) fn settle(
        &mut self,
        subscriber: &Subscriber,
        shared: &mut Shared,
        under_way: &mut UnderWay,
        delivery: &Delivery<'_>,
        handled: &mut Handled,
    ) -> Result<bool, LaneError> {
        let tried = self.watched(under_way).then_some(delivery.attempt);
        let running = under_way.side.of(&mut self.running, &mut self.before);
        let queue = shared.queue.as_mut().expect("what is settled was queued");
        let event = delivery.event;
        let took = u64::try_from(handled.took.as_micros()).unwrap_or(u64::MAX);
        let ended = Micros(delivery.started.0.saturating_add(took));
        let order_key = || OrderKey::of(event.key, delivery.offset);
        let attempt = Attempt {
            key: event.key,
            event: delivery.offset,
            spent: under_way.turned.attempt - under_way.turned.free,
            probe: under_way.probe,
            ended,
            dice: self.dice.f64(),
        };

        let mut state = subscriber.state.lock();
        if queue.has_several() && under_way.conflicts_with(&state, handled) {
            running.handler.discard();
            under_way.interrupted = Interrupted::by_conflict(&state, delivery, handled);
            return Ok(false);
        }
        let previous = previous(&state, handled);
        // The other half is for what else the outcome holds.
        let effects = running.batch_bytes.min(self.log.largest_batch() / 2);
        if let Some(failure) = running.limit_hit(&state, handled, &previous, effects) {
            handled.failure = Some(failure);
            running.handler.discard();
        }
        let handled = &*handled;
        let decision = running.decide(&state, handled, &attempt, tried);
        let verdict = decision.verdict;
        let retried = matches!(verdict, Verdict::Retry { .. });
        let (failed, dead) = (verdict != Verdict::Done, matches!(verdict, Verdict::Dead { .. }));
        let parked = parked_from(&state, order_key);
        let timers = if failed {
            Vec::new()
        } else {
            settle::timers(self.log.id(), &subscriber.name, delivery, handled)
        };
        let next_timer = state.timers.next();
        queue.end(under_way.hold);
        let waits = retried || queue.behind(event.key) > 0;
        let waits_from = queue.waits_from(event.key).max(parked.unwrap_or_default());
        let mut outcome = Outcome {
            plugin: &subscriber.name,
            version: running.handler.version(),
            event: delivery.offset.0,
            attempt: delivery.attempt,
            replay: delivery.replay,
            verdict,
            key: event.key.filter(|_| parked.is_some() || failed || waits),
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
            reads: dead.then(|| handled.reads.record(state.key_values.bytes())),
            kept: failed.then(|| unkept(&state, &order_key(), delivery)).flatten(),
            watched: decision.watched,
        };
        let batch = settle::batch(self.log.id(), &mut outcome, delivery, handled).writer(&subscriber.writer);
        let condition = Condition {
            writer: &subscriber.writer,
            last: state.settled_at,
        };
        let emits = handled.effects.emits.iter().take(outcome.emitted as usize);
        let types = (1..).zip(emits.map(|emit| &*emit.r#type));
        let appended = append(&self.sequencer, &subscriber.pace, batch, condition, &types)?;
        state.apply_outcome(appended.first, appended.time, &outcome);
        subscriber.look_at_probation(&state, self.before.is_some());
        if !timers.is_empty() && state.timers.next() != next_timer {
            subscriber.timer_bell.notify_one();
        }
        drop(state);

        subscriber.notify_settled(queue.passed());
        match outcome.verdict {
            Verdict::Retry { due, .. } => {
                queue.park(order_key(), Micros(due));
                // This lane may be long at its next event: somebody has to wait for the retry.
                if queue.has_several() {
                    shared.wake(subscriber);
                }
            }
            Verdict::Done | Verdict::Dead { .. } => queue.settled(event.key),
        }
        Ok(true)
    }
}

impl Lane {
    /// Whether a version makes the delivery that is held against the one before.
    fn watched(&self, under_way: &UnderWay) -> bool {
        self.before.is_some() && under_way.side == Side::Live && !under_way.turned.replay
    }
}

impl UnderWay {
    /// Whether what was read is another now, which is then one conflict more.
    fn conflicts_with(&mut self, state: &PluginState, handled: &Handled) -> bool {
        if self.runs_alone()
            || self.settled_at == state.settled_at
            || !handled.reads.changed(&state.key_values)
        {
            return false;
        }
        self.conflicts += 1;
        self.settled_at = state.settled_at;
        true
    }
}

impl Running {
    /// What an attempt came to; where it is a watched version's, with how often its event was `tried`.
    fn decide<'a>(
        &self,
        state: &PluginState,
        handled: &'a Handled,
        attempt: &Attempt<'_>,
        tried: Option<u32>,
    ) -> Decision<'a> {
        let probation = state.probation.as_ref();
        let probation = probation.filter(|probation| !probation.is_over(attempt.ended));
        match (probation, tried, &handled.failure) {
            (Some(probation), Some(tried), Some(failure)) => {
                probation.decide(failure, tried, attempt, &self.retry)
            }
            _ => settle::decide(handled, attempt, &state.breaker, &self.retry),
        }
    }

    /// The limit that a success would pass, beside what is in the state by now, with at most `effects` bytes of
    /// effects.
    fn limit_hit(
        &self,
        state: &PluginState,
        handled: &Handled,
        previous: &[Option<Bytes>],
        effects: usize,
    ) -> Option<Failure> {
        if handled.failure.is_some() {
            return None;
        }
        let (timers, bytes) = (&handled.effects.timers, state.key_values.bytes());
        let reason = state
            .timers
            .refuse(timers, self.timers)
            .or_else(|| settle::refuse_writes(handled, previous, bytes, self.state_bytes))
            .or_else(|| settle::refuse_effects(handled, previous, effects))?;
        Some(Failure {
            class: FailureClass::Limit,
            reason,
            retry_after: None,
        })
    }
}

/// From where on the events of a parked key wait; `None` where the key is not parked.
fn parked_from(state: &PluginState, key: impl FnOnce() -> OrderKey) -> Option<Offset> {
    if state.cursor.parked.is_empty() {
        return None;
    }
    let parked = state.cursor.parked.get(&key());
    parked.map(|parked| parked.waits_from)
}

/// The event of a failed delivery, where the fold does not keep it yet.
fn unkept<'a>(state: &PluginState, key: &OrderKey, delivery: &Delivery<'a>) -> Option<KeptEvent<'a>> {
    let keeps = state.kept(key, delivery.offset).is_some();
    (!keeps).then_some(KeptEvent {
        recorded: delivery.recorded.0,
        record: delivery.record,
    })
}

/// What the keys hold that `handled` writes.
fn previous(state: &PluginState, handled: &Handled) -> Vec<Option<Bytes>> {
    let writes = handled.effects.writes.iter();
    writes.map(|(key, _)| state.key_values.get(key)).collect()
}

/// Append a settled delivery, a large one in its turn. Waits while too much waits for the disk: what was handled must not be
/// refused.
fn append<'a>(
    sequencer: &Sequencer,
    pace: &Pace,
    mut batch: Batch,
    condition: Condition<'_>,
    events: &(impl Iterator<Item = (u64, &'a str)> + Clone),
) -> Result<nerve_eventlog::Appended, LaneError> {
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
                pace.appended(appended.last, bytes);
                if let Some(turn) = turn {
                    turn.appended(appended.last);
                }
                return Ok(appended);
            }
            Err(AppendError::Full { batch: back, .. }) => {
                batch = back;
                let next = sequencer.log().bounds().durable.next();
                sequencer.log().wait_durable(next).map_err(poisoned)?;
            }
            Err(refused) => return Err(stopped(&refused).into()),
        }
    }
}
