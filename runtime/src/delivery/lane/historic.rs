//! How a lane chooses the next delivery of history, and ends a rewind.

use nerve_eventlog::{Entry, Micros, Offset, Reach, ReadError};

use super::choosing::{READ_BYTES, matches};
use super::{Choice, Lane, LaneError, Shared, Turned, UnderWay, event_of};
use crate::delivery::breaker::Leave;
use crate::delivery::cursor::{Head, OrderKey};
use crate::delivery::history::{History, end_rewind};
use crate::delivery::queue::{Hold, Turn, Wish};
use crate::delivery::subscriber::Subscriber;
use crate::log::record::RewindEnd;
use crate::state::PluginState;

/// What a rewind that stands somewhere has left.
enum Left {
    /// Nothing that may run now: look again at this time, or when something was settled.
    Wait(Option<Micros>),
    /// Nothing at all.
    Nothing,
}

impl Lane {
    /// The next delivery of history; `None` where there is no rewind.
    pub(super) fn next_historic(
        &mut self,
        subscriber: &Subscriber,
        shared: &mut Shared,
        now: Micros,
    ) -> Result<Option<Choice>, LaneError> {
        let Some(history) = &mut shared.history else {
            return Ok(None);
        };
        if let Some(until) = history.waits_until(now) {
            return Ok(Some(Choice::Nothing(Some(until))));
        }
        let (turn, probe) = {
            let state = subscriber.state.lock();
            let Some(rewinding) = state.rewinding.as_deref() else {
                shared.history = None;
                return Ok(Some(Choice::Again));
            };
            let ahead = history.may_run_ahead(rewinding.cursor.above.len());
            let running = &history.running;
            let may = |wish: Wish<'_>| running.lets_historic(wish, &rewinding.cursor, &state.cursor);
            // What stops the plugin stops its history as well; what stops history, history alone. Where the plugin is to be
            // probed and has nothing live to probe it with, history goes on one by one.
            let wait = match (state.breaker.leave(now), rewinding.breaker.leave(now)) {
                (Leave::Deliver, Leave::Deliver) => None,
                (Leave::Deliver, Leave::Probe { .. }) if history.queue.under_way() == 0 => None,
                (Leave::Probe { .. }, Leave::Deliver | Leave::Probe { .. }) if history.running.is_empty() => {
                    None
                }
                (Leave::Deliver | Leave::Probe { .. }, Leave::Wait(until)) => Some(until),
                _ => Some(None),
            };
            if let Some(until) = wait {
                history.let_go();
                return Ok(Some(Choice::Nothing(until)));
            }
            match rewinding.breaker.leave(now) {
                Leave::Probe { fresh } => (history.queue.probe(fresh && ahead, may), true),
                _ => (history.queue.next(now, ahead, may), false),
            }
        };
        match turn {
            Some(turn) => self
                .begin_historic(subscriber, history, turn, probe, now)
                .map(Some),
            None if self.take_history(subscriber, history)? => Ok(Some(Choice::Again)),
            None => match what_is_left(subscriber, history, now) {
                Left::Wait(until) => Ok(Some(Choice::Nothing(until))),
                Left::Nothing => {
                    self.end_rewind(subscriber, shared)?;
                    Ok(Some(Choice::Again))
                }
            },
        }
    }

    /// The delivery that has its `turn` begins, where it may.
    fn begin_historic(
        &mut self,
        subscriber: &Subscriber,
        history: &mut History,
        turn: Turn,
        probe: bool,
        now: Micros,
    ) -> Result<Choice, LaneError> {
        let (entry, head, hold): (Entry, Option<Head>, Hold) = match turn {
            Turn::Retry(key) => {
                let head = {
                    let state = subscriber.state.lock();
                    let parked = state
                        .rewinding
                        .as_ref()
                        .and_then(|rewinding| rewinding.cursor.parked.get(&key));
                    parked.and_then(|parked| parked.head.clone())
                };
                let Some(head) = head else {
                    return Ok(Choice::Again);
                };
                let entry = self.kept_or_read(head.event, head.kept.as_ref())?;
                (entry, Some(head), history.queue.begin_parked(key.name()))
            }
            Turn::Behind(key, offset) => {
                let entry = self.kept_or_read(offset, None)?;
                (entry, None, history.queue.begin_parked(Some(&key)))
            }
            Turn::Aside(offset, hold) => {
                history.queue.begin_aside();
                (self.kept_or_read(offset, None)?, None, hold)
            }
            Turn::Fresh(entry) => {
                let key = event_of(&entry)?.key;
                if !history.queue.pass(key, entry.offset) {
                    return Ok(Choice::Again);
                }
                if !history
                    .running
                    .lets(key, entry.offset, &subscriber.state.lock().cursor)
                {
                    history.queue.set_aside(key, entry.offset);
                    return Ok(Choice::Again);
                }
                let hold = history.queue.begin_fresh(key, entry.offset);
                (entry, None, hold)
            }
        };
        history.begins(true, entry.offset, event_of(&entry)?.key, now);
        let state = subscriber.state.lock();
        let rewinding = state.rewinding.as_deref();
        let turned = Turned {
            attempt: head.as_ref().map_or(1, |head| head.attempt + 1),
            free: head.map_or(0, |head| head.free),
            replay: true,
            historic: true,
            rewind: rewinding.map(|rewinding| rewinding.of(entry.offset)),
        };
        let under_way = UnderWay {
            probe,
            shadow: rewinding
                .filter(|rewinding| rewinding.order.fresh)
                .map(|rewinding| rewinding.shadow.clone()),
            ..UnderWay::new(turned, hold, state.settled_at)
        };
        Ok(Choice::Deliver(entry, under_way))
    }

    /// Take more of history from the log; whether the position moved.
    fn take_history(&mut self, subscriber: &Subscriber, history: &mut History) -> Result<bool, LaneError> {
        let Some(after) = history.queue.wants_from() else {
            return Ok(false);
        };
        let (end, subscription) = {
            let state = subscriber.state.lock();
            let Some(end) = end_of_history(&state) else {
                return Ok(false);
            };
            (end, state.subscription.clone())
        };
        if after >= end {
            return Ok(false);
        }
        // Close behind the live events it takes no more than it needs.
        let most = usize::try_from(end.0 - after.0).unwrap_or(usize::MAX);
        let bytes = most.saturating_mul(512).clamp(4096, READ_BYTES);
        let entries = match self.log.read(after.next(), bytes, Reach::Appended) {
            // What is under way belongs to the rewind.
            Err(ReadError::Gone { .. }) if history.queue.under_way() > 0 => return Ok(false),
            Err(ReadError::Gone { first, .. }) => {
                let why = "retention took events before their turn came".to_owned();
                let gap = RewindEnd::Gap { first: first.0, why };
                end_rewind(subscriber, &self.sequencer, gap)?;
                // The next look finds no rewind.
                return Ok(true);
            }
            read => read?,
        };
        let last = entries.last().map_or(end, |entry| entry.offset.min(end));
        let wanted = |entry: &Entry| entry.offset <= end && matches(entry, &subscription);
        history.queue.take(entries.into_iter().filter(wanted), last);
        Ok(true)
    }

    /// The rewind is at its end.
    fn end_rewind(&mut self, subscriber: &Subscriber, shared: &mut Shared) -> Result<(), LaneError> {
        let fresh = {
            let state = subscriber.state.lock();
            let rewinding = state.rewinding.as_ref();
            rewinding.is_some_and(|rewinding| rewinding.order.fresh)
        };
        let end = if fresh {
            RewindEnd::Swapped
        } else {
            RewindEnd::Done
        };
        end_rewind(subscriber, &self.sequencer, end)?;
        shared.history = None;
        if fresh {
            shared.exchanges += 1;
            self.follow_exchange(shared.exchanges);
        }
        shared.wake(subscriber);
        Ok(())
    }
}

/// Up to where there is history: what was ordered, and no further than the plugin has settled.
fn end_of_history(state: &PluginState) -> Option<Offset> {
    let order = &state.rewinding.as_deref()?.order;
    let through = order.through.map_or(state.cursor.low, Offset);
    Some(through.min(state.cursor.low))
}

/// What is left of history, of which nothing may run at `now`.
fn what_is_left(subscriber: &Subscriber, history: &mut History, now: Micros) -> Left {
    let state = subscriber.state.lock();
    let end = end_of_history(&state).unwrap_or_default();
    let fresh = state
        .rewinding
        .as_ref()
        .is_some_and(|rewinding| rewinding.order.fresh);
    let mut due = history.queue.next_due(now);
    let has_passed = history.queue.all_passed().is_some_and(|taken| taken >= end);
    let no_retries = history.queue.last_due().is_none();
    let is_over = if fresh {
        // A retry that is due waits for the plugin itself.
        let waits = history.running.is_empty() && history.queue.is_due(now);
        // One that the plugin has settled may wait behind a dead letter that it is trying again.
        let settled = |key: Option<&str>, event| state.cursor.has_settled(&OrderKey::of(key, event), event);
        let is_whole = history.queue.all_waiting(|key, event| !settled(key, event));
        if has_passed && !waits && is_whole {
            due = [due, history.drain(now)].into_iter().flatten().min();
        } else {
            history.let_go();
        }
        // What is set aside is the plugin's to settle, and goes on in the other state.
        let is_quiet = history.is_draining() && no_retries && history.running.is_empty();
        if is_quiet && !state.cursor.above.is_empty() {
            // Live events were set aside, and have to be settled first.
            history.let_go();
        }
        is_quiet && history.is_draining()
    } else {
        has_passed && no_retries && history.queue.nothing_left().is_some()
    };
    if is_over { Left::Nothing } else { Left::Wait(due) }
}
