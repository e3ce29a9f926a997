//! How a lane chooses its next delivery, and takes events from the log.

use std::sync::atomic::Ordering;

use nerve_eventlog::{Entry, Micros, Offset, Reach, ReadError};

use super::interrupted::Interrupted;
use super::{Choice, Lane, LaneError, Side, Turned, UnderWay, event_of};
use crate::delivery::breaker::Leave;
use crate::delivery::cursor::{OrderKey, Parked};
use crate::delivery::kept::Kept;
use crate::delivery::probation::{Probation, own_name};
use crate::delivery::queue::{Hold, Queue, Turn};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::subscription::Subscription;
use crate::host::Stopped;
use crate::log::index::Next;
use crate::log::record;

/// Events taken from the hot window at a time.
const TAKE: usize = 256;

/// Bytes read from the log at a time by a lane that is behind the hot window.
const READ_BYTES: usize = 1 << 20;

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
        let queue = if let Some(queue) = &mut shared.queue {
            if shared.generation != generation {
                queue.swapped(now, lanes > 1);
            }
            queue
        } else {
            shared.interrupted.clone_from(&subscriber.state.lock().attempts);
            shared.queue.insert(self.recover_queue(lanes > 1)?)
        };
        (shared.generation, shared.lanes) = (generation, lanes);
        shared.working |= self.bit();

        let mut choice = self.next(subscriber, queue, now)?;
        if let Choice::Deliver(entry, under_way) = &mut choice
            && self.before.is_some()
            && let Some(probation) = &subscriber.state.lock().probation
            && (probation.has_passed_on(entry.offset) || is_of_before(probation, entry, under_way)?)
        {
            under_way.side = Side::Before;
        }
        if let Choice::Deliver(entry, under_way) = &mut choice
            && let Some(open) = shared.interrupted.remove(&entry.offset)
        {
            under_way.interrupted = Interrupted::by_crash(open, under_way.turned);
        }
        match choice {
            Choice::Nothing(_) => {
                shared.working &= !self.bit();
                if let Some(through) = queue.nothing_left() {
                    subscriber.looked.fetch_max(through.0, Ordering::Relaxed);
                }
            }
            Choice::Deliver(..) if lanes > 1 && queue.has_more(now) => shared.wake(subscriber),
            _ => {}
        }
        Ok(choice)
    }

    fn next(&mut self, subscriber: &Subscriber, queue: &mut Queue, now: Micros) -> Result<Choice, LaneError> {
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
                turned,
                side: Side::Live,
                hold,
                probe: probing,
                settled_at,
                conflicts: 0,
                interrupted: None,
            };
            Choice::Deliver(entry, under_way)
        };
        let again = |entry, hold| {
            let turned = Turned {
                replay: true,
                ..Turned::FIRST
            };
            under_way(entry, turned, hold)
        };
        let fresh_may_run = queue.may_run_ahead(above);
        let turn = match leave {
            Leave::Wait(until) => return Ok(Choice::Nothing(until)),
            // One at a time: the lane that delivers looks again when it has settled.
            Leave::Probe { .. } if queue.under_way() > 0 => return Ok(Choice::Nothing(None)),
            Leave::Probe { fresh } => {
                if fresh && let Some(from) = queue.wants_from() {
                    self.take(queue, from)?;
                }
                queue.probe(fresh)
            }
            Leave::Deliver => {
                if let Some((entry, hold)) = self.redrive(subscriber, queue)? {
                    return Ok(again(entry, hold));
                }
                queue.next(now, fresh_may_run)
            }
        };
        Ok(match turn {
            Some(Turn::Retry(key)) => match self.retry(subscriber, &key)? {
                Some((entry, turned)) => under_way(entry, turned, queue.begin_parked()),
                None => Choice::Again,
            },
            Some(Turn::Behind(_, offset)) => under_way(
                self.kept_or_read(offset, None)?,
                Turned::FIRST,
                queue.begin_parked(),
            ),
            Some(Turn::Fresh(entry)) => {
                let event = queue.minds_keys().then(|| event_of(&entry)).transpose()?;
                let key = event.and_then(|event| event.key);
                if queue.pass(key, entry.offset) {
                    let hold = queue.begin_fresh(key, entry.offset);
                    under_way(entry, Turned::FIRST, hold)
                } else {
                    Choice::Again
                }
            }
            None => match queue.wants_from().filter(|_| fresh_may_run) {
                Some(from) if self.take(queue, from)? => Choice::Again,
                _ if probing => match self.redrive(subscriber, queue)? {
                    Some((entry, hold)) => again(entry, hold),
                    None => Choice::Nothing(queue.next_due()),
                },
                _ => Choice::Nothing(queue.next_due()),
            },
        })
    }

    /// Take events behind `after` from the log; whether the position moved.
    fn take(&mut self, queue: &mut Queue, after: Offset) -> Result<bool, LaneError> {
        match self.sequencer.next(self.subscriber.id, after, TAKE) {
            Next::Hot(mut offsets) => {
                let Some(last) = offsets.last().copied() else {
                    return Ok(false);
                };
                // The window may reach back behind what retention left. Whoever begins there has it from the log on, for
                // what waits is read again later.
                let first = self.log.bounds().first;
                offsets.retain(|offset| *offset >= first);
                if offsets.is_empty() {
                    queue.take(std::iter::empty(), last);
                    return Ok(true);
                }
                self.entries.clear();
                self.log.read_at(&offsets, &mut self.entries)?;
                let whole_from = self.subscriber.state.lock().subscription.whole_from();
                if offsets[0] < whole_from {
                    let subscription = self.subscriber.state.lock().subscription.clone();
                    self.entries.retain(|entry| wanted(entry, &subscription));
                }
                queue.take(self.entries.drain(..), last);
            }
            Next::Cold(_) => {
                let entries = self.read(after.next())?;
                let Some(last) = entries.last().map(|entry| entry.offset) else {
                    return Ok(false);
                };
                let subscription = self.subscriber.state.lock().subscription.clone();
                queue.take(
                    entries.into_iter().filter(|entry| wanted(entry, &subscription)),
                    last,
                );
            }
        }
        Ok(true)
    }

    /// The queue at the cursor, with what waits behind parked keys read again from the log.
    fn recover_queue(&self, several: bool) -> Result<Queue, LaneError> {
        let (cursor, subscription) = {
            let state = self.subscriber.state.lock();
            (state.cursor.clone(), state.subscription.clone())
        };
        let mut queue = Queue::new(&cursor, several);
        let mut from = cursor.oldest_waiting();
        while let Some(start) = from.filter(|start| *start <= cursor.low) {
            let entries = self.read(start)?;
            for entry in &entries {
                if !wanted(entry, &subscription) {
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
        queue.recovered(&cursor);
        Ok(queue)
    }

    /// The event of a parked key, and which attempt at it is next.
    fn retry(&self, subscriber: &Subscriber, key: &OrderKey) -> Result<Option<(Entry, Turned)>, LaneError> {
        let head = {
            let state = subscriber.state.lock();
            state
                .cursor
                .parked
                .get(key)
                .and_then(|parked| parked.head.clone())
        };
        let Some(head) = head else { return Ok(None) };
        let turned = Turned {
            attempt: head.attempt + 1,
            free: head.free,
            replay: head.replay,
        };
        let entry = self.kept_or_read(head.event, head.kept.as_ref())?;
        Ok(Some((entry, turned)))
    }

    /// The first dead letter to be delivered again whose key is free; its delivery begins.
    fn redrive(
        &mut self,
        subscriber: &Subscriber,
        queue: &mut Queue,
    ) -> Result<Option<(Entry, Hold)>, LaneError> {
        if !subscriber.redrive.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let asked: Vec<(Offset, Option<Kept>)> = {
            let state = subscriber.state.lock();
            if state.redrive.is_empty() {
                subscriber.redrive.store(false, Ordering::Relaxed);
            }
            let kept = |event: &Offset| state.dead.get(event).and_then(|dead| dead.kept.clone());
            let asked = state.redrive.iter().take(TAKE);
            asked.map(|event| (*event, kept(event))).collect()
        };
        for (offset, kept) in asked {
            let entry = self.kept_or_read(offset, kept.as_ref())?;
            let key = event_of(&entry)?.key;
            if queue.may_redrive(key, offset) {
                let hold = queue.begin_redrive(key, offset);
                return Ok(Some((entry, hold)));
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
    fn kept_or_read(&self, offset: Offset, kept: Option<&Kept>) -> Result<Entry, LaneError> {
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
    if !probation.minds_keys() || under_way.turned.replay {
        return Ok(false);
    }
    let event = event_of(entry)?;
    Ok(probation.is_of_before(&OrderKey::of(event.key, entry.offset), own_name(&event)))
}

/// Whether the record is an event that `subscription` wants.
fn wanted(entry: &Entry, subscription: &Subscription) -> bool {
    matches!(record::event(&entry.payload), Ok(Some(event)) if subscription.wants(event.r#type, entry.offset))
}
