//! How a lane chooses its next delivery, and takes events from the log.

use std::sync::atomic::Ordering;

use nerve_eventlog::{Batch, Entry, Micros, Offset, Reach, ReadError};

use super::interrupted::Interrupted;
use super::{Choice, Lane, LaneError, Shared, Side, Turned, UnderWay, event_of};
use crate::delivery::breaker::Leave;
use crate::delivery::cursor::{Cursor, OrderKey, Parked};
use crate::delivery::history::History;
use crate::delivery::kept::Kept;
use crate::delivery::probation::{Probation, own_name};
use crate::delivery::queue::{Hold, Queue, Turn, Wish};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::subscription::Subscription;
use crate::host::Stopped;
use crate::log::index::Next;
use crate::log::record::{self, Freed, Record};
use crate::state::OfRewind;

/// Events taken from the hot window at a time. A plugin that is slow, or stands still, holds them, and each may hold a slab of
/// the window.
const AHEAD: usize = 32;

/// Redrives that are looked at, at a time.
const REDRIVES: usize = 256;

/// Keys that one record says are free.
const FREED: usize = 1000;

/// Bytes read from the log at a time by a lane that is behind the hot window.
pub(super) const READ_BYTES: usize = 1 << 20;

impl Lane {
    /// The next delivery. Where there is one, another lane that rests is woken for what is left.
    pub(in crate::delivery) fn choose(&mut self, subscriber: &Subscriber) -> Result<Choice, LaneError> {
        let running = self
            .running
            .as_ref()
            .expect("a lane delivers only while a version runs");
        let (generation, lanes, now) = (running.generation, running.lanes, self.clock.now());
        let mut guard = subscriber.shared.lock();
        let shared = &mut *guard;
        if shared.halted {
            return Err(Stopped::Stopping.into());
        }
        if shared.queue.is_none() {
            self.recover(shared, lanes > 1)?;
        } else if shared.generation != generation {
            self.queue_follows_swap(shared, lanes > 1, now)?;
        }
        (shared.generation, shared.lanes) = (generation, lanes);
        shared.working |= self.bit();
        self.follow_exchange(shared.exchanges);

        let mut choice = self.next_of_both(subscriber, shared, now)?;
        if let Choice::Deliver(entry, under_way) = &mut choice
            && !under_way.turned.historic
        {
            let state = subscriber.state.lock();
            if let Some(probation) = &state.probation {
                let is_befores = is_of_before(probation, entry, under_way)?;
                if self.before.is_some() && (is_befores || probation.has_passed_on(entry.offset, now)) {
                    under_way.side = Side::Before;
                }
                let is_away = is_befores && probation.share.is_some() && self.before.is_none();
                under_way.awaits = is_away.then_some(probation.before);
                // The state goes with the key.
                let own = state.own.as_ref().filter(|_| !is_befores);
                under_way.shadow = own.map(|own| own.key_values.clone());
            }
        }
        if let Choice::Deliver(entry, under_way) = &mut choice
            && under_way.turned.rewind.is_none()
            && let Some(again) = &subscriber.state.lock().again
        {
            under_way.turned.rewind = again.of(entry.offset, &event_of(entry)?);
        }
        if let Choice::Deliver(entry, under_way) = &mut choice {
            let interrupted = if under_way.turned.historic {
                &mut shared.interrupted_history
            } else {
                &mut shared.interrupted
            };
            if let Some(open) = interrupted.remove(&entry.offset) {
                under_way.interrupted = Interrupted::by_crash(open, under_way.turned);
            }
        }
        match choice {
            Choice::Nothing(_) => {
                shared.working &= !self.bit();
                if let Some(through) = shared.queue.as_ref().and_then(Queue::nothing_left) {
                    subscriber.looked.fetch_max(through.0, Ordering::Relaxed);
                }
            }
            Choice::Deliver(..) if lanes > 1 => {
                let queues = [
                    shared.queue.as_ref(),
                    shared.history.as_ref().map(|history| &history.queue),
                ];
                if queues.into_iter().flatten().any(|queue| queue.has_more(now)) {
                    shared.wake(subscriber);
                }
            }
            _ => {}
        }
        Ok(choice)
    }

    /// Make the queues, where the fold stands.
    fn recover(&self, shared: &mut Shared, several: bool) -> Result<(), LaneError> {
        let (cursor, subscription, rewinding) = {
            let state = self.subscriber.state.lock();
            shared.interrupted.clone_from(&state.attempts);
            let rewinding = state.rewinding.as_deref();
            let rewinding = rewinding.map(|one| (one.cursor.clone(), one.order.rate, one.attempts.clone()));
            (state.cursor.clone(), state.subscription.clone(), rewinding)
        };
        let queue = self.recover_queue(&cursor, several, |entry| wanted(entry, &subscription))?;
        self.free_keys(&cursor, &queue)?;
        shared.subscription = subscription.clone();
        shared.history = match rewinding {
            Some((cursor, rate, attempts)) => {
                shared.interrupted_history = attempts;
                let queue = self.recover_queue(&cursor, true, |entry| matches(entry, &subscription))?;
                Some(History::new(queue, rate))
            }
            None => None,
        };
        shared.queue = Some(queue);
        Ok(())
    }

    /// Another version runs. What waits stays where it is, unless the version subscribes to others: then it is read again, for
    /// of some nobody may want to know any more.
    fn queue_follows_swap(&self, shared: &mut Shared, several: bool, now: Micros) -> Result<(), LaneError> {
        if shared.subscription != self.subscriber.state.lock().subscription {
            self.recover(shared, several)?;
        }
        if let Some(queue) = &mut shared.queue {
            queue.swapped(now, several);
        }
        if let Some(history) = &mut shared.history {
            history.queue.swapped(now, true);
        }
        Ok(())
    }

    /// The next delivery, live or historic.
    fn next_of_both(
        &mut self,
        subscriber: &Subscriber,
        shared: &mut Shared,
        now: Micros,
    ) -> Result<Choice, LaneError> {
        let first = shared.history.as_ref().is_some_and(History::goes_first);
        let before = if first {
            self.next_historic(subscriber, shared, now)?
        } else {
            None
        };
        if let Some(choice @ (Choice::Deliver(..) | Choice::Again)) = before {
            return Ok(choice);
        }
        if shared.history.as_ref().is_some_and(History::is_draining) {
            return Ok(before.unwrap_or(Choice::Nothing(None)));
        }
        let Shared { queue, history, .. } = &mut *shared;
        let queue = queue.as_mut().expect("it was made");
        let live = self.next(subscriber, queue, history.as_ref(), now)?;
        match (&live, history) {
            (Choice::Deliver(entry, _), Some(history)) => {
                history.begins(false, entry.offset, event_of(entry)?.key, now);
                return Ok(live);
            }
            (Choice::Nothing(_), Some(_)) => {}
            _ => return Ok(live),
        }
        let historic = match before {
            Some(choice) => Some(choice),
            None => self.next_historic(subscriber, shared, now)?,
        };
        Ok(match (live, historic) {
            (Choice::Nothing(live), Some(Choice::Nothing(historic))) => {
                Choice::Nothing([live, historic].into_iter().flatten().min())
            }
            (live, historic) => historic.unwrap_or(live),
        })
    }

    fn next(
        &mut self,
        subscriber: &Subscriber,
        queue: &mut Queue,
        history: Option<&History>,
        now: Micros,
    ) -> Result<Choice, LaneError> {
        let (leave, settled_at, above) = {
            let state = subscriber.state.lock();
            let is_asking = state.probation.as_ref().is_some_and(Probation::is_asking);
            let leave = match state.breaker.leave(now) {
                Leave::Probe { .. } if is_asking => Leave::Probe { fresh: false },
                leave => leave,
            };
            (leave, state.settled_at, state.cursor.above.len())
        };
        let probing = leave != Leave::Deliver;
        let under_way = |entry, turned, hold| {
            let under_way = UnderWay {
                probe: probing,
                ..UnderWay::new(turned, hold, settled_at)
            };
            Choice::Deliver(entry, under_way)
        };
        let again = |(entry, turned, hold)| under_way(entry, turned, hold);
        let may = |wish: Wish<'_>| history.is_none_or(|history| history.running.lets_live(wish));
        let fresh_may_run = queue.may_run_ahead(above);
        let turn = match leave {
            Leave::Wait(until) => return Ok(Choice::Nothing(until)),
            // One at a time: the lane that delivers looks again when it has settled.
            Leave::Probe { .. } if queue.under_way() > 0 || runs_history(history) => {
                return Ok(Choice::Nothing(None));
            }
            Leave::Probe { fresh } => {
                if fresh && let Some(from) = queue.wants_from() {
                    self.take(queue, from)?;
                }
                queue.probe(fresh, may)
            }
            Leave::Deliver => {
                if let Some(redriven) = self.redrive(subscriber, queue, history)? {
                    return Ok(again(redriven));
                }
                queue.next(now, fresh_may_run, may)
            }
        };
        Ok(match turn {
            Some(Turn::Retry(key)) => match self.retry(subscriber, &key)? {
                Some((entry, turned)) => under_way(entry, turned, queue.begin_parked(key.name())),
                None => Choice::Again,
            },
            Some(Turn::Behind(key, offset)) => under_way(
                self.kept_or_read(offset, None)?,
                Turned::FIRST,
                queue.begin_parked(Some(&key)),
            ),
            Some(Turn::Aside(offset, hold)) => {
                queue.begin_aside();
                under_way(self.kept_or_read(offset, None)?, Turned::FIRST, hold)
            }
            Some(Turn::Fresh(entry)) => {
                let minds_keys = queue.minds_keys() || history.is_some();
                let event = minds_keys.then(|| event_of(&entry)).transpose()?;
                let key = event.and_then(|event| event.key);
                if !queue.pass(key, entry.offset) {
                    Choice::Again
                } else if history.is_some_and(|history| history.running.has_key(true, key)) {
                    queue.set_aside(key, entry.offset);
                    Choice::Again
                } else {
                    let hold = queue.begin_fresh(key, entry.offset);
                    under_way(entry, Turned::FIRST, hold)
                }
            }
            None => match queue.wants_from().filter(|_| fresh_may_run) {
                Some(from) if self.take(queue, from)? => Choice::Again,
                _ if probing => match self.redrive(subscriber, queue, history)? {
                    Some(redriven) => again(redriven),
                    None => Choice::Nothing(queue.next_due(now)),
                },
                _ => Choice::Nothing(queue.next_due(now)),
            },
        })
    }

    /// Take events behind `after` from the log; whether the position moved.
    fn take(&mut self, queue: &mut Queue, after: Offset) -> Result<bool, LaneError> {
        let from = match self.sequencer.next(self.subscriber.id, after, AHEAD) {
            Next::Hot(mut offsets) => {
                let Some(last) = offsets.last().copied() else {
                    return Ok(false);
                };
                // The window may reach back behind what retention left. Whoever begins there has it from the log on, for
                // what waits is read again later.
                let bounds = self.log.bounds();
                offsets.retain(|offset| *offset >= bounds.first);
                match offsets.first() {
                    None => {
                        queue.take(std::iter::empty(), last);
                        return Ok(true);
                    }
                    // The index forgets what has left the window only now and then. A few at a time, each part of the log would
                    // be read anew for each few of its events.
                    Some(first) if *first < bounds.hot_first => *first,
                    Some(_) => {
                        self.take_hot(queue, &offsets)?;
                        return Ok(true);
                    }
                }
            }
            Next::Cold(_) => after.next(),
        };
        let entries = self.read(from)?;
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            return Ok(false);
        };
        let subscription = self.subscriber.state.lock().subscription.clone();
        let wanted = entries.into_iter().filter(|entry| wanted(entry, &subscription));
        queue.take(wanted, last);
        Ok(true)
    }

    /// Take the events at `offsets`, of which there are some, from the window.
    fn take_hot(&mut self, queue: &mut Queue, offsets: &[Offset]) -> Result<(), LaneError> {
        self.entries.clear();
        self.log.read_at(offsets, &mut self.entries)?;
        let whole_from = self.subscriber.state.lock().subscription.whole_from();
        if offsets[0] < whole_from {
            let subscription = self.subscriber.state.lock().subscription.clone();
            self.entries.retain(|entry| wanted(entry, &subscription));
        }
        queue.take(self.entries.drain(..), offsets[offsets.len() - 1]);
        Ok(())
    }

    /// The queue at `cursor`, with those of the `wanted` events read again from the log that wait behind parked keys.
    fn recover_queue(
        &self,
        cursor: &Cursor,
        several: bool,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Queue, LaneError> {
        let mut queue = Queue::new(cursor, several);
        let mut from = cursor.oldest_waiting();
        while let Some(start) = from.filter(|start| *start <= cursor.low) {
            let entries = self.read(start)?;
            for entry in &entries {
                if !wanted(entry) {
                    continue;
                }
                let event = event_of(entry)?;
                let key = OrderKey::of(event.key, entry.offset);
                let waits = |parked: &Parked| parked.waits(entry.offset, cursor.low);
                if let Some(name) = key.name().filter(|_| cursor.parked.get(&key).is_some_and(waits)) {
                    queue.recover(name, entry.offset);
                }
            }
            from = entries.last().map(|entry| entry.offset.next());
        }
        queue.recovered(cursor);
        Ok(queue)
    }

    /// Say of parked keys of `cursor` that nothing waits behind them in `queue`, which was made of it: what did was of types that
    /// the plugin has not subscribed to since.
    fn free_keys(&self, cursor: &Cursor, queue: &Queue) -> Result<(), LaneError> {
        let parked = cursor.parked.iter().filter(|(_, parked)| parked.head.is_none());
        let keys = parked.filter_map(|(key, _)| key.name());
        let free: Vec<&str> = keys.filter(|key| queue.behind(Some(key)) == 0).collect();
        for keys in free.chunks(FREED) {
            let freed = Freed {
                plugin: self.subscriber.name.to_string(),
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            };
            let mut batch = Batch::new();
            batch.push_with(|out| Record::Freed(freed.clone()).encode(out));
            let mut state = self.subscriber.state.lock();
            self.sequencer.append_in_turn(batch)?;
            state.apply_freed(&freed);
        }
        Ok(())
    }

    /// The event of a parked key, and which attempt at it is next.
    fn retry(&self, subscriber: &Subscriber, key: &OrderKey) -> Result<Option<(Entry, Turned)>, LaneError> {
        let (head, rewind) = {
            let state = subscriber.state.lock();
            let parked = state.cursor.parked.get(key);
            let Some(head) = parked.and_then(|parked| parked.head.clone()) else {
                return Ok(None);
            };
            let letter = state.dead.get(&head.event).filter(|_| head.replay);
            (head, letter.and_then(|letter| letter.rewind))
        };
        let turned = Turned {
            attempt: head.attempt + 1,
            free: head.free,
            replay: head.replay,
            historic: false,
            rewind,
        };
        let entry = self.kept_or_read(head.event, head.kept.as_ref())?;
        Ok(Some((entry, turned)))
    }

    /// The first dead letter to be delivered again whose key is free; its delivery begins.
    fn redrive(
        &mut self,
        subscriber: &Subscriber,
        queue: &mut Queue,
        history: Option<&History>,
    ) -> Result<Option<(Entry, Turned, Hold)>, LaneError> {
        if !subscriber.redrive.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let asked: Vec<(Offset, Option<Kept>, Option<OfRewind>)> = {
            let state = subscriber.state.lock();
            if state.redrive.is_empty() {
                subscriber.redrive.store(false, Ordering::Relaxed);
            }
            let asked = state.redrive.iter().take(REDRIVES);
            let asked = asked.map(|event| (*event, state.dead.get(event)));
            asked
                .map(|(event, dead)| {
                    let kept = dead.and_then(|dead| dead.kept.clone());
                    (event, kept, dead.and_then(|dead| dead.rewind))
                })
                .collect()
        };
        for (offset, kept, rewind) in asked {
            let entry = self.kept_or_read(offset, kept.as_ref())?;
            let key = event_of(&entry)?.key;
            if queue.may_redrive(key, offset)
                && history.is_none_or(|history| history.running.lets_redrive(key, offset))
            {
                let hold = queue.begin_redrive(key, offset);
                let turned = Turned {
                    replay: true,
                    rewind,
                    ..Turned::FIRST
                };
                return Ok(Some((entry, turned, hold)));
            }
        }
        Ok(None)
    }

    /// Records from `from` on. What retention has taken is passed over: it took nothing that the plugin needs and no
    /// gap record speaks of.
    fn read(&self, from: Offset) -> Result<Vec<Entry>, ReadError> {
        match self.log.read(from, READ_BYTES, Reach::Appended) {
            Err(ReadError::Gone { first, .. })
                if first.0 <= self.subscriber.needs_nothing_below.load(Ordering::Relaxed) =>
            {
                self.log.read(first, READ_BYTES, Reach::Appended)
            }
            other => other,
        }
    }

    /// The event at `offset`, from the log where the fold does not keep it.
    pub(super) fn kept_or_read(&self, offset: Offset, kept: Option<&Kept>) -> Result<Entry, LaneError> {
        if let Some(kept) = kept {
            return Ok(kept.entry(offset));
        }
        let mut found = Vec::with_capacity(1);
        self.log.read_at(&[offset], &mut found)?;
        found.pop().ok_or(LaneError::NoEvent(offset))
    }
}

/// Whether a delivery is the version before's, since its key is.
fn is_of_before(probation: &Probation, entry: &Entry, under_way: &UnderWay) -> Result<bool, LaneError> {
    let replay = under_way.turned.replay && !probation.has_own_state();
    if !probation.minds_keys() || replay {
        return Ok(false);
    }
    let event = event_of(entry)?;
    Ok(probation.is_of_before(&OrderKey::of(event.key, entry.offset), own_name(&event)))
}

/// Whether the record is an event of a type that `subscription` has, from whatever offset on.
pub(super) fn matches(entry: &Entry, subscription: &Subscription) -> bool {
    matches!(record::event(&entry.payload), Ok(Some(event)) if subscription.matches(event.r#type))
}

/// Whether the record is an event that `subscription` wants.
fn wanted(entry: &Entry, subscription: &Subscription) -> bool {
    matches!(record::event(&entry.payload), Ok(Some(event)) if subscription.wants(event.r#type, entry.offset))
}

/// Whether a delivery of history is under way.
fn runs_history(history: Option<&History>) -> bool {
    history.is_some_and(|history| !history.running.is_empty())
}
