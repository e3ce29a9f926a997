//! 6 SETTLE, as a lane does it: append the outcome with its effects, and let the fold and the queue follow.

use std::borrow::Cow;

use nerve_eventlog::{AppendError, Batch, Condition, Micros};

use super::{Lane, LaneError};
use crate::delivery::breaker::Attempt;
use crate::delivery::cursor::OrderKey;
use crate::delivery::handler::{Delivery, Failure, Handled};
use crate::delivery::settle::{self, Decision};
use crate::host::Stopped;
use crate::log::record::{FailureClass, Outcome, Verdict};
use crate::log::sequencer::{Sequencer, stopped};

impl Lane {
    /// Settle `delivery`, on whose event `spent` attempts were spent, this one included.
    pub(super) fn settle(
        &mut self,
        delivery: &Delivery<'_>,
        spent: u32,
        handled: &mut Handled,
    ) -> Result<(), LaneError> {
        let running = self.running.as_ref().expect("what is settled was run");
        let queue = self.queue.as_mut().expect("what is settled was queued");
        let event = delivery.event;
        let took = u64::try_from(handled.took.as_micros()).unwrap_or(u64::MAX);
        let ended = Micros(delivery.started.0.saturating_add(took));
        let order_key = || OrderKey::of(event.key, delivery.offset);
        let attempt = Attempt {
            key: event.key,
            event: delivery.offset,
            spent,
            ended,
            dice: self.dice.f64(),
        };

        let subscriber = &self.subscriber;
        let mut state = subscriber.state.lock();
        if handled.failure.is_none()
            && let Some(reason) = state.timers.refuse(&handled.effects.timers, running.timers)
        {
            handled.failure = Some(Failure {
                class: FailureClass::Limit,
                reason,
                retry_after: None,
            });
        }
        let handled = &*handled;
        let Decision { verdict, free, opens } =
            settle::decide(handled, &attempt, &state.breaker, &running.retry);
        let retried = matches!(verdict, Verdict::Retry { .. });
        let failed = verdict != Verdict::Done;
        let parked = !state.cursor.parked.is_empty() && state.cursor.parked.contains_key(&order_key());
        let previous: Vec<_> = handled
            .effects
            .writes
            .iter()
            .map(|(key, _)| state.key_values.get(key))
            .collect();
        let timers = if failed {
            Vec::new()
        } else {
            settle::timers(self.log.id(), &subscriber.name, delivery, handled)
        };
        let next_timer = state.timers.next();
        let mut outcome = Outcome {
            plugin: &subscriber.name,
            version: running.handler.version(),
            event: delivery.offset.0,
            attempt: delivery.attempt,
            replay: delivery.replay,
            verdict,
            key: event.key.filter(|_| parked || failed),
            cleared: !retried && queue.behind(event.key) == 0,
            low_water: queue.passed().0,
            started: delivery.started.0,
            took,
            seed: handled.used_seed.then_some(delivery.seed),
            emitted: 0,
            writes: if failed {
                Vec::new()
            } else {
                settle::writes(handled, &previous)
            },
            lines: settle::lines(handled),
            lines_lost: handled.lines_lost,
            free,
            opens,
            timers: settle::timer_changes(&timers),
            calls: Cow::Borrowed(&handled.calls),
        };
        let batch = settle::batch(self.log.id(), &mut outcome, delivery, handled).writer(&subscriber.writer);
        let condition = Condition {
            writer: &subscriber.writer,
            last: state.settled_at,
        };
        let emits = handled.effects.emits.iter().take(outcome.emitted as usize);
        let types = (1..).zip(emits.map(|emit| &*emit.r#type));
        let appended = append(&self.sequencer, batch, condition, &types)?;
        state.apply_outcome(appended.first, appended.time, &outcome);
        if !timers.is_empty() && state.timers.next() != next_timer {
            subscriber.timer_bell.notify_one();
        }
        drop(state);

        match outcome.verdict {
            Verdict::Retry { due, .. } => queue.park(order_key(), Micros(due)),
            Verdict::Done | Verdict::Dead { .. } => queue.settled(event.key),
        }
        subscriber.notify_settled(queue.passed());
        Ok(())
    }
}

/// Append a settled delivery. Waits while too much waits for the disk: what was handled must not be refused.
fn append<'a>(
    sequencer: &Sequencer,
    mut batch: Batch,
    condition: Condition<'_>,
    events: &(impl Iterator<Item = (u64, &'a str)> + Clone),
) -> Result<nerve_eventlog::Appended, LaneError> {
    loop {
        match sequencer.append(batch, Some(condition), events.clone()) {
            Ok(appended) => return Ok(appended),
            Err(AppendError::Full { batch: back, .. }) => {
                batch = back;
                let next = sequencer.log().bounds().durable.next();
                sequencer
                    .log()
                    .wait_durable(next)
                    .map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))?;
            }
            Err(refused) => return Err(stopped(&refused).into()),
        }
    }
}
