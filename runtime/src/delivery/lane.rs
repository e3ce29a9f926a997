//! 4 DELIVER: one lane of one plugin.
//!
//! A lane delivers one event at a time, on a thread that the system can preempt, for as long as there is
//! something to deliver; then it rests. A swap may come in between two events, or two stretches of quick ones.
//!
//! The lanes of a plugin share its queue. One step of a lane is to choose a delivery, to handle its event and to
//! settle it; the queue is locked for the first and the last, so that what an outcome says of the cursor is true
//! when it is appended, and free while handlers run. Quick deliveries are taken up, and settled, several at a time (`stretch.rs`), and a guest may make
//! them within one call (`series.rs`).

mod choosing;
mod handling;
mod historic;
mod interrupted;
mod journal;
mod series;
mod settling;
mod stretch;
mod taking_back;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nerve_eventlog::{Batch, Clock, Entry, Log, Micros, Offset, ReadError};

use self::interrupted::Interrupted;
use self::journal::LaneJournal;
use self::stretch::Stretch;
use super::handler::{Handler, Journal, Version};
use super::history::History;
use super::pace::SHARE;
use super::queue::{Hold, Queue};
use super::retry::RetryPolicy;
use super::settle::Emitter;
use super::subscriber::{Slot, Subscriber};
use super::subscription::Subscription;
use super::timer::{self, TimerLimits};
use crate::host::Stopped;
use crate::log::record::{self, Event, VersionId};
use crate::log::sequencer::Sequencer;
use crate::state::{KeyValues, OfRewind, OpenAttempt};

/// Conflicts in a row after which a delivery runs alone.
const MOST_CONFLICTS: u32 = 3;

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
pub(super) enum LaneError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the record at offset {0} can't be read: {1}")]
    Record(Offset, record::DecodeError),
    #[error("offset {0} has no event")]
    NoEvent(Offset),
}

/// What the lanes of one plugin share.
#[derive(Default)]
pub(super) struct Shared {
    /// Made by the first lane that delivers.
    queue: Option<Queue>,
    /// What is delivered again beside it; made with it.
    history: Option<History>,
    /// Attempts that the end of the process before interrupted, after they had called somebody: each goes on when its
    /// event's turn comes.
    interrupted: BTreeMap<Offset, OpenAttempt>,
    /// The same of history.
    interrupted_history: BTreeMap<Offset, OpenAttempt>,
    /// How often the state was exchanged for one that a rewind built: what guests remember of the one before is wrong.
    exchanges: u64,
    /// The swap that the queue has followed.
    generation: u64,
    /// What the queue was made for.
    subscription: Subscription,
    /// How many lanes may work.
    lanes: usize,
    /// The lanes that are not at rest, a bit for each.
    working: u64,
    /// One of them can't go on: the others stop as well.
    pub(super) halted: bool,
}

/// One lane of one plugin.
pub struct Lane {
    subscriber: Arc<Subscriber>,
    /// From 0.
    number: usize,
    sequencer: Arc<Sequencer>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    stopping: Arc<AtomicBool>,
    dice: fastrand::Rng,
    running: Option<Running>,
    /// The version before, while the one that runs is watched.
    before: Option<Running>,
    /// Why that is not there, where it should be.
    missing: Option<Arc<str>>,
    entries: Vec<Entry>,
    emitter: Emitter,
    /// What the delivery under way emits; kept for its memory.
    emitted: Batch,
    journal: Arc<dyn Journal>,
    pub(super) stretch: Arc<Stretch>,
}

/// Which of the versions makes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The one that runs.
    Live,
    /// The one before it.
    Before,
}

impl Side {
    /// Which of the two that is.
    fn of<'a>(self, live: &'a mut Option<Running>, before: &'a mut Option<Running>) -> &'a mut Running {
        let running = match self {
            Self::Live => live,
            Self::Before => before,
        };
        running
            .as_mut()
            .expect("a lane delivers only while a version runs")
    }
}

struct Running {
    generation: u64,
    lanes: usize,
    version: Arc<dyn Version>,
    handler: Box<dyn Handler>,
    /// Runs history on a state of its own.
    apart: Option<(Arc<KeyValues>, Box<dyn Handler>)>,
    exchanges: u64,
    retry: RetryPolicy,
    timers: TimerLimits,
    state_bytes: usize,
    batch_bytes: usize,
    hops: u32,
}

impl Running {
    fn new(version: &Arc<dyn Version>, generation: u64, state: Arc<KeyValues>, exchanges: u64) -> Self {
        Self {
            generation,
            lanes: version.lanes(),
            handler: version.handler(state),
            version: version.clone(),
            apart: None,
            exchanges,
            retry: version.retry_policy(),
            timers: version.timer_limits(),
            state_bytes: version.state_bytes(),
            batch_bytes: version.batch_bytes(),
            hops: version.hops(),
        }
    }
}

/// Versions that ran go on a thread of their own: to give back what an instance and its code took keeps the system busy for longer
/// than many deliveries, and the next version has some to make.
fn let_go(gone: [Option<Running>; 2]) {
    if gone.iter().any(Option::is_some) {
        let going = std::thread::Builder::new().name("versions-gone".into());
        // Where there may be no other thread they have gone by now.
        going.spawn(move || drop(gone)).ok();
    }
}

/// What a lane does next.
pub(super) enum Choice {
    /// Deliver this event.
    Deliver(Entry, UnderWay),
    /// Look again: something moved.
    Again,
    /// Rest: there is nothing until this time, or until the bell rings.
    Nothing(Option<Micros>),
}

/// A delivery under way.
pub(super) struct UnderWay {
    turned: Turned,
    side: Side,
    hold: Hold,
    /// Whether it probes the breaker.
    probe: bool,
    /// The plugin's last settled batch when its handler began, or before.
    settled_at: Option<Offset>,
    /// Runs that were discarded.
    conflicts: u32,
    /// An earlier run of the same attempt that had called somebody.
    interrupted: Option<Box<Interrupted>>,
    /// The state that it reads and writes, where that is not the plugin's.
    shadow: Option<Arc<KeyValues>>,
    /// Whether others were taken up with it.
    in_stretch: bool,
    /// The version for which it waits, since that has the key and does not load: nobody is asked.
    awaits: Option<VersionId>,
}

impl UnderWay {
    /// An event's turn by the version that runs, on the plugin's own state.
    fn new(turned: Turned, hold: Hold, settled_at: Option<Offset>) -> Self {
        Self {
            turned,
            side: Side::Live,
            hold,
            probe: false,
            settled_at,
            conflicts: 0,
            interrupted: None,
            shadow: None,
            in_stretch: false,
            awaits: None,
        }
    }

    /// Whether no other lane may settle while its handler runs.
    pub(super) fn runs_alone(&self) -> bool {
        self.conflicts >= MOST_CONFLICTS
    }
}

/// An event's turn: which of its deliveries it gets.
#[derive(Debug, Clone, Copy)]
struct Turned {
    attempt: u32,
    /// Attempts before this one that cost nothing.
    free: u32,
    replay: bool,
    /// Whether it is history's.
    historic: bool,
    rewind: Option<OfRewind>,
}

impl Turned {
    const FIRST: Self = Self {
        attempt: 1,
        free: 0,
        replay: false,
        historic: false,
        rewind: None,
    };
}

impl Shared {
    /// Make the queue anew, from the cursor. Only between two events.
    pub(super) fn requeue(&mut self) {
        (self.queue, self.history) = (None, None);
    }

    /// Wake a lane that rests, where there is one: there is more to do, or something to wait for.
    fn wake(&self, subscriber: &Subscriber) {
        if (self.working.count_ones() as usize) < self.lanes {
            subscriber.bell.notify_one();
        }
    }
}

impl Lane {
    /// The same, whose stretches have all their events however long these take: what it does then depends on no clock.
    #[must_use]
    pub fn unhurried(self) -> Self {
        self.stretch.be_unhurried();
        self
    }

    /// Lane number `number` of `subscriber`. `dice` makes jitter and the seeds of the plugin's randomness.
    pub fn new(
        subscriber: Arc<Subscriber>,
        number: usize,
        sequencer: Arc<Sequencer>,
        clock: Arc<dyn Clock>,
        stopping: Arc<AtomicBool>,
        mut dice: fastrand::Rng,
    ) -> Self {
        let log = sequencer.log().clone();
        let emitter = Emitter::new(log.id(), &subscriber.name);
        let stretch = Arc::new(Stretch::new(
            &subscriber,
            &sequencer,
            &clock,
            &stopping,
            dice.fork(),
        ));
        let journal = Arc::new(LaneJournal {
            stretch: stretch.clone(),
            subscriber: subscriber.clone(),
            sequencer: sequencer.clone(),
        });
        Self {
            subscriber,
            number,
            sequencer,
            log,
            clock,
            stopping,
            dice,
            running: None,
            before: None,
            missing: None,
            entries: Vec::new(),
            emitter,
            emitted: Batch::new(),
            journal,
            stretch,
        }
    }

    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Deliver until there is nothing to deliver. Blocks; runs guests.
    pub fn run(&mut self) -> Rest {
        let subscriber = self.subscriber.clone();
        loop {
            if self.stopping.load(Ordering::Relaxed) || subscriber.is_forgotten() {
                return Rest::ForGood;
            }
            // A poisoned log has no more to give, and what would be settled on it is refused.
            if subscriber.pace.wait(&*self.log, SHARE).is_err() {
                subscriber.shared.lock().halted = true;
                return Rest::ForGood;
            }
            match timer::fire_late(&subscriber, &self.sequencer, &*self.clock) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(stopped) => return self.trouble(&subscriber, &stopped.into()),
            }
            if let Err(trouble) = self.end_probation(&subscriber) {
                return self.trouble(&subscriber, &trouble);
            }
            let slot = subscriber.gate.read();
            if !self.follow_swap(&slot) {
                subscriber.shared.lock().working &= !self.bit();
                return Rest::Until(None);
            }
            let done = self.choose(&subscriber).and_then(|choice| match choice {
                Choice::Deliver(entry, under_way) => {
                    self.deliver_all(&subscriber, entry, under_way).map(|()| None)
                }
                Choice::Again => Ok(None),
                Choice::Nothing(due) => Ok(Some(due)),
            });
            match done {
                Ok(None) => {}
                Ok(Some(due)) => {
                    // Nothing is left: whatever anybody waits for, it is time to look.
                    subscriber.notify_settled(Offset(u64::MAX - 1));
                    return Rest::Until(due);
                }
                Err(trouble) => return self.trouble(&subscriber, &trouble),
            }
        }
    }

    /// It can't go on.
    fn trouble(&self, subscriber: &Subscriber, trouble: &LaneError) -> Rest {
        subscriber.shared.lock().halted = true;
        if !matches!(trouble, LaneError::Stopped(_)) {
            tracing::error!(plugin = %self.subscriber.name, "deliveries stop: {trouble}");
            *subscriber.trouble.lock() = Some(trouble.to_string());
        }
        Rest::ForGood
    }

    /// Keep no version that is not in the slot any more. Where something changes there just now, the bell rings for it.
    pub(super) fn let_go_of_old(&mut self) {
        let subscriber = self.subscriber.clone();
        if (self.running.is_some() || self.before.is_some())
            && let Some(slot) = subscriber.gate.try_read()
        {
            self.follow_swap(&slot);
        }
    }

    /// Whether a version runs, in this lane too, after taking over what the slot holds.
    pub(super) fn follow_swap(&mut self, slot: &Slot) -> bool {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.generation == slot.generation)
        {
            if slot.before.is_none() {
                let_go([self.before.take(), None]);
            }
            return true;
        }
        let (state, is_canary) = {
            let state = self.subscriber.state.lock();
            let share = state.probation.as_ref().and_then(|watch| watch.share);
            (state.key_values.clone(), share.is_some())
        };
        let exchanges = self.subscriber.shared.lock().exchanges;
        let running =
            |version: &Arc<dyn Version>| Running::new(version, slot.generation, state.clone(), exchanges);
        let version = slot.version.as_ref();
        let version = version.filter(|version| self.number < version.lanes());
        self.stretch.begin_anew();
        let_go([
            std::mem::replace(&mut self.running, version.map(running)),
            std::mem::replace(&mut self.before, slot.before.as_ref().map(running)),
        ]);
        self.missing.clone_from(&slot.missing);
        // What is passed on is tried under the settings that are in force.
        if let (Some(running), Some(before), false) = (&self.running, &mut self.before, is_canary) {
            before.retry = running.retry;
        }
        self.running.is_some()
    }

    /// What guests remember may stem from a state that was exchanged since.
    fn follow_exchange(&mut self, exchanges: u64) {
        let running = [self.running.as_mut(), self.before.as_mut()];
        for running in running.into_iter().flatten() {
            if running.exchanges != exchanges {
                running.exchanges = exchanges;
                running.apart = None;
                running.handler.discard();
                self.stretch.begin_anew();
            }
        }
    }

    fn bit(&self) -> u64 {
        1 << self.number
    }
}

pub(super) fn event_of(entry: &Entry) -> Result<Event<'_>, LaneError> {
    record::event(&entry.payload)
        .map_err(|cause| LaneError::Record(entry.offset, cause))?
        .ok_or(LaneError::NoEvent(entry.offset))
}
