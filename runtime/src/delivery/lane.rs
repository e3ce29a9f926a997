//! 4 DELIVER: one lane of one plugin.
//!
//! A lane delivers one event at a time, on a thread that the system can preempt, for as long as there is
//! something to deliver; then it rests. Between two events it lets go of the gate, where a swap may come in.

mod settling;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nerve_eventlog::{Clock, Entry, Log, Micros, Offset, Reach, ReadError};

use super::breaker::Leave;
use super::cursor::OrderKey;
use super::handler::{Delivery, Failure, Handled, Handler};
use super::queue::{Queue, Turn};
use super::retry::RetryPolicy;
use super::settle::LONGEST_CHAIN;
use super::subscriber::{Slot, Subscriber};
use super::timer::TimerLimits;
use crate::host::Stopped;
use crate::log::index::Next;
use crate::log::record::{self, Event, FailureClass};
use crate::log::sequencer::Sequencer;

/// Events taken from the hot window at a time.
const TAKE: usize = 256;

/// Bytes read from the log at a time by a lane that is behind the hot window.
const READ_BYTES: usize = 1 << 20;

/// Until when a lane rests.
#[derive(Debug)]
pub enum Rest {
    /// Until its bell rings, or the time comes.
    Until(Option<Micros>),
    /// For good: the host is stopping, or the log is.
    ForGood,
}

/// Why a lane could not go on.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the record at offset {0} can't be read: {1}")]
    Record(Offset, record::DecodeError),
    #[error("offset {0} has no event")]
    NoEvent(Offset),
}

/// One lane of one plugin.
pub struct Lane {
    subscriber: Arc<Subscriber>,
    sequencer: Arc<Sequencer>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    stopping: Arc<AtomicBool>,
    dice: fastrand::Rng,
    queue: Option<Queue>,
    running: Option<Running>,
    entries: Vec<Entry>,
}

struct Running {
    generation: u64,
    handler: Box<dyn Handler>,
    retry: RetryPolicy,
    timers: TimerLimits,
}

/// What a lane did.
enum Step {
    /// It moved on, mostly by a delivery.
    Delivered,
    /// There is nothing until this time, or until the bell rings.
    Nothing(Option<Micros>),
}

/// An event's turn: which of its deliveries it gets.
#[derive(Debug, Clone, Copy)]
struct Turned {
    attempt: u32,
    /// Attempts before this one that cost nothing.
    free: u32,
    replay: bool,
}

impl Turned {
    const FIRST: Self = Self {
        attempt: 1,
        free: 0,
        replay: false,
    };
}

impl Lane {
    /// A lane for `subscriber`. `dice` makes jitter and the seeds of the plugin's randomness.
    pub fn new(
        subscriber: Arc<Subscriber>,
        sequencer: Arc<Sequencer>,
        clock: Arc<dyn Clock>,
        stopping: Arc<AtomicBool>,
        dice: fastrand::Rng,
    ) -> Self {
        let log = sequencer.log().clone();
        let entries = Vec::with_capacity(TAKE);
        Self {
            subscriber,
            sequencer,
            log,
            clock,
            stopping,
            dice,
            queue: None,
            running: None,
            entries,
        }
    }

    /// Deliver until there is nothing to deliver. Blocks; runs guests.
    pub fn run(&mut self) -> Rest {
        let subscriber = self.subscriber.clone();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return Rest::ForGood;
            }
            let slot = subscriber.gate.lock();
            if !self.follow_swap(&slot) {
                return Rest::Until(None);
            }
            match self.step() {
                Ok(Step::Delivered) => {}
                Ok(Step::Nothing(due)) => {
                    // Nothing is left: whatever anybody waits for, it is time to look.
                    subscriber.notify_settled(Offset(u64::MAX - 1));
                    return Rest::Until(due);
                }
                Err(LaneError::Stopped(_)) => return Rest::ForGood,
                Err(trouble) => {
                    tracing::error!(plugin = %subscriber.name, "deliveries stop: {trouble}");
                    *subscriber.trouble.lock() = Some(trouble.to_string());
                    return Rest::ForGood;
                }
            }
        }
    }

    /// Whether a version runs, after taking over what the slot holds.
    fn follow_swap(&mut self, slot: &Slot) -> bool {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.generation == slot.generation)
        {
            return true;
        }
        self.running = slot.version.as_ref().map(|version| Running {
            generation: slot.generation,
            handler: version.handler(self.subscriber.state.lock().key_values.clone()),
            retry: version.retry_policy(),
            timers: version.timer_limits(),
        });
        if let Some(queue) = &mut self.queue {
            queue.swapped(self.clock.now());
        }
        self.running.is_some()
    }

    /// One delivery, or the next time when there is none.
    fn step(&mut self) -> Result<Step, LaneError> {
        if self.queue.is_none() {
            self.queue = Some(self.recover_queue()?);
        }
        let now = self.clock.now();
        let leave = self.subscriber.state.lock().breaker.leave(now);
        let turn = match leave {
            Leave::Wait(until) => return Ok(Step::Nothing(until)),
            Leave::Probe { fresh } => self.probe(fresh)?,
            Leave::Deliver if self.redrive()? => return Ok(Step::Delivered),
            Leave::Deliver => self.queue().next(now),
        };
        match turn {
            Some(Turn::Retry(key)) => self.retry(&key)?,
            Some(Turn::Behind(_, offset)) => self.deliver_at(offset, Turned::FIRST)?,
            Some(Turn::Fresh(entry)) => {
                let event = event_of(&entry)?;
                if self.queue().pass(event.key, entry.offset) {
                    self.deliver(&entry, &event, Turned::FIRST)?;
                }
            }
            None => {
                let from = self.queue().wants_from().unwrap_or_default();
                let probing = leave != Leave::Deliver;
                let moved = self.take(from)? || (probing && self.redrive()?);
                if !moved {
                    return Ok(Step::Nothing(self.queue().next_due()));
                }
            }
        }
        Ok(Step::Delivered)
    }

    /// What to try while the breaker is open.
    fn probe(&mut self, fresh: bool) -> Result<Option<Turn>, LaneError> {
        if fresh && let Some(from) = self.queue().wants_from() {
            self.take(from)?;
        }
        Ok(self.queue().probe(fresh))
    }

    fn queue(&mut self) -> &mut Queue {
        self.queue
            .as_mut()
            .expect("a lane delivers only when it has a queue")
    }

    /// Take events behind `after` from the log; whether the position moved.
    fn take(&mut self, after: Offset) -> Result<bool, LaneError> {
        let queue = self
            .queue
            .as_mut()
            .expect("a lane takes events only when it has a queue");
        match self.sequencer.next(self.subscriber.id, after, TAKE) {
            Next::Hot(offsets) => {
                let Some(last) = offsets.last().copied() else {
                    return Ok(false);
                };
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
                let entries = self.log.read(after.next(), READ_BYTES, Reach::Appended)?;
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
    fn recover_queue(&self) -> Result<Queue, LaneError> {
        let (cursor, subscription) = {
            let state = self.subscriber.state.lock();
            (state.cursor.clone(), state.subscription.clone())
        };
        let mut queue = Queue::new(&cursor);
        let mut from = cursor.oldest_waiting();
        while let Some(start) = from.filter(|start| *start <= cursor.low) {
            let entries = self.log.read(start, READ_BYTES, Reach::Appended)?;
            for entry in &entries {
                if !wanted(entry, &subscription) {
                    continue;
                }
                let event = event_of(entry)?;
                let key = OrderKey::of(event.key, entry.offset);
                let waits = |parked: &super::cursor::Parked| parked.waits(entry.offset, cursor.low);
                if let Some(name) = key.name().filter(|_| cursor.parked.get(&key).is_some_and(waits)) {
                    queue.recover(name, entry.offset);
                }
            }
            from = entries.last().map(|entry| entry.offset.next());
        }
        queue.recovered(&cursor);
        Ok(queue)
    }

    /// Run the retry of a parked key.
    fn retry(&mut self, key: &OrderKey) -> Result<(), LaneError> {
        let head = {
            let state = self.subscriber.state.lock();
            state
                .cursor
                .parked
                .get(key)
                .and_then(|parked| parked.head.clone())
        };
        let Some(head) = head else { return Ok(()) };
        self.deliver_at(
            head.event,
            Turned {
                attempt: head.attempt + 1,
                free: head.free,
                replay: head.replay,
            },
        )
    }

    /// Run the first redrive whose key is not parked; whether there was one.
    fn redrive(&mut self) -> Result<bool, LaneError> {
        if !self.subscriber.redrive.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let asked: Vec<Offset> = {
            let state = self.subscriber.state.lock();
            if state.redrive.is_empty() {
                self.subscriber.redrive.store(false, Ordering::Relaxed);
            }
            state.redrive.iter().copied().take(TAKE).collect()
        };
        for offset in asked {
            let entry = self.read_one(offset)?;
            let event = event_of(&entry)?;
            if !self
                .queue
                .as_ref()
                .is_some_and(|queue| queue.is_parked(event.key))
            {
                let again = Turned {
                    replay: true,
                    ..Turned::FIRST
                };
                self.deliver(&entry, &event, again)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn deliver_at(&mut self, offset: Offset, turned: Turned) -> Result<(), LaneError> {
        let entry = self.read_one(offset)?;
        let event = event_of(&entry)?;
        self.deliver(&entry, &event, turned)
    }

    /// Hand one event to the handler and settle what comes of it.
    fn deliver(&mut self, entry: &Entry, event: &Event<'_>, turned: Turned) -> Result<(), LaneError> {
        let running = self
            .running
            .as_mut()
            .expect("a lane delivers only while a version runs");
        let delivery = Delivery {
            offset: entry.offset,
            recorded: entry.time,
            event,
            attempt: turned.attempt,
            replay: turned.replay,
            started: self.clock.now(),
            seed: self.dice.u64(..),
        };
        let mut handled = if event.hops() > LONGEST_CHAIN {
            looped(event)
        } else {
            running.handler.handle(&delivery)
        };
        self.settle(&delivery, turned.attempt - turned.free, &mut handled)
    }

    fn read_one(&mut self, offset: Offset) -> Result<Entry, LaneError> {
        let mut found = Vec::with_capacity(1);
        self.log.read_at(&[offset], &mut found)?;
        found.pop().ok_or(LaneError::NoEvent(offset))
    }
}

fn event_of(entry: &Entry) -> Result<Event<'_>, LaneError> {
    record::event(&entry.payload)
        .map_err(|cause| LaneError::Record(entry.offset, cause))?
        .ok_or(LaneError::NoEvent(entry.offset))
}

/// Whether the record is an event that `subscription` wants.
fn wanted(entry: &Entry, subscription: &super::subscription::Subscription) -> bool {
    matches!(record::event(&entry.payload), Ok(Some(event)) if subscription.wants(event.r#type, entry.offset))
}

fn looped(event: &Event<'_>) -> Handled {
    let reason = format!(
        "the chain that began with event {:?} is {} events long, and the longest allowed is {LONGEST_CHAIN}: \
         two plugins may be answering each other",
        event.chain(),
        event.hops()
    );
    Handled {
        failure: Some(Failure {
            class: FailureClass::Loop,
            reason,
            retry_after: None,
        }),
        ..Handled::default()
    }
}
