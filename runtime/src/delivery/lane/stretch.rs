//! A stretch: fresh events that a lane takes up together, and whose outcomes it appends together.
//!
//! To choose a delivery and to settle it takes locks that all lanes of a plugin, and in the end all plugins, share, and a quick handler
//! takes no longer than they do. A lane whose handlers are quick therefore takes up several events at a time, each with a hold of its own
//! on the low-water mark, and appends what came of them in one batch. Nothing that is decided of a delivery changes: only those wait for others
//! of which nothing is to be decided ([`Quick`]), and in the batch each has its outcome with its effects behind it, as in one of its own.
//!
//! Nobody waits for a stretch longer than for one delivery. It is broken up, which settles what was handled and gives back what has not
//! begun, when a tick finds a handler that runs for long, before anything is called outside, after a failure, and where the plugin is its
//! share ahead of the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nerve_eventlog::{Batch, Clock, Entry, Mark, Offset};
use parking_lot::{Mutex, MutexGuard};

use super::series::Series;
use super::settling::{OUTCOME_BYTES, append, parked_from};
use super::{Lane, LaneError, Shared, Side, Turned, UnderWay, event_of};
use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::handler::{Delivery, Handled};
use crate::delivery::pace::SHARE;
use crate::delivery::queue::{Hold, Queue};
use crate::delivery::settle::{self, Emitter};
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{Outcome, VersionId};
use crate::log::sequencer::Sequencer;
use crate::log::turns::LARGE;

/// Events of a stretch at most.
const MOST: usize = 32;

/// For how long the handlers of a stretch may run until what they did is settled: a tenth of a tick.
const LONGEST: Duration = Duration::from_micros(200);

/// Bytes of outcomes and effects from which on a stretch is settled: with those of one more delivery they wait for no turn yet.
const BYTES: usize = LARGE / 2;

/// Bytes that a processor fetches at a time, and how often it is worth while for one event.
const LINE: usize = 64;
const LINES: usize = 16;

/// What one lane has taken up and not settled. Only the lane's thread comes here; within a guest's call too, which is why it has a lock.
pub(in crate::delivery) struct Stretch {
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    /// For how long handlers may run until what they did is settled.
    pub(super) longest: Duration,
    /// Deliveries that have not begun, in order.
    pub(super) ahead: VecDeque<(Entry, UnderWay)>,
    /// Deliveries that wait to be settled, in order.
    handled: Vec<Quick>,
    /// What those emit, one behind the other.
    emitted: Batch,
    /// Bytes that they append, about.
    bytes: usize,
    /// For how long their handlers ran.
    took: Duration,
    /// How many deliveries the next stretch may have: what fits where each takes as long as the last one.
    most: usize,
    /// Why nothing can be settled any more.
    failed: Option<Stopped>,
    emitter: Emitter,
    /// What a guest handles within one call.
    pub(super) series: Option<Series>,
    /// For the seeds of what it goes on with.
    pub(super) dice: fastrand::Rng,
}

/// A delivery that was handled, and of which nothing is to be decided: the first one of its event, by the version that runs, on
/// the plugin's own state; it is done, wrote nothing, set no timer and called nobody. Where there are several lanes, it read nothing either.
struct Quick {
    event: Offset,
    key: Option<Bytes>,
    hold: Hold,
    version: VersionId,
    started: u64,
    seed: Option<u64>,
    /// Where what it emits stands.
    emitted: Range<Mark>,
    handled: Handled,
}

impl Stretch {
    pub(super) fn new(
        subscriber: &Arc<Subscriber>,
        sequencer: &Arc<Sequencer>,
        clock: &Arc<dyn Clock>,
        stopping: &Arc<AtomicBool>,
        dice: fastrand::Rng,
    ) -> Self {
        Self {
            subscriber: subscriber.clone(),
            sequencer: sequencer.clone(),
            clock: clock.clone(),
            stopping: stopping.clone(),
            inner: Mutex::new(Inner {
                longest: LONGEST,
                ahead: VecDeque::new(),
                handled: Vec::new(),
                emitted: Batch::new(),
                bytes: 0,
                took: Duration::ZERO,
                most: 1,
                failed: None,
                emitter: Emitter::new(sequencer.log().id(), &subscriber.name),
                series: None,
                dice,
            }),
        }
    }

    /// Have all events in a stretch that there may be, however long they take.
    pub(super) fn be_unhurried(&self) {
        self.inner.lock().longest = Duration::MAX;
    }

    /// Another version runs, or on another state: how long it takes is not known.
    pub(super) fn begin_anew(&self) {
        self.inner.lock().most = 1;
    }

    /// The next delivery that was taken up.
    pub(in crate::delivery) fn next(&self) -> Option<(Entry, UnderWay)> {
        self.inner.lock().ahead.pop_front()
    }

    /// Have the processor fetch what was taken up: here it waits for memory once, and where each event is handled anew for each.
    fn fetch(&self) {
        let inner = self.inner.lock();
        let events = inner.ahead.iter().map(|(entry, _)| &*entry.payload);
        let lines = events.flat_map(|event| event.chunks(LINE).take(LINES));
        std::hint::black_box(lines.fold(0, |all, line| all ^ line[0]));
    }

    /// Settle what was handled, and give back what has not begun.
    pub(in crate::delivery) fn break_up(&self) -> Result<(), Stopped> {
        self.settle()?;
        if self.has_more() {
            let mut shared = self.subscriber.shared.lock();
            self.give_back(shared.queue_of(false));
            shared.wake(&self.subscriber);
        }
        Ok(())
    }

    /// Whether there are deliveries that have not begun.
    fn has_more(&self) -> bool {
        !self.inner.lock().ahead.is_empty()
    }

    /// Give back to `queue` what has not begun.
    pub(super) fn give_back(&self, queue: &mut Queue) {
        let ahead = std::mem::take(&mut self.inner.lock().ahead);
        queue.give_back(ahead.into_iter().map(|(entry, _)| entry), |entry| {
            event_of(entry).expect("it was read when it was taken up").key
        });
    }

    /// Settle what was handled.
    pub(in crate::delivery) fn settle(&self) -> Result<(), Stopped> {
        self.inner.lock().settle(&self.subscriber, &self.sequencer)
    }

    /// A delivery ran for so long: what waited for it need not wait for the next one, too.
    fn ran(&self, took: Duration) -> Result<(), Stopped> {
        let (is_long, is_full) = {
            let mut inner = self.inner.lock();
            (took > inner.longest, inner.ran(took))
        };
        if is_long {
            self.break_up()
        } else if is_full {
            self.settle()
        } else {
            Ok(())
        }
    }
}

impl Inner {
    /// Settle what was handled.
    pub(super) fn settle(&mut self, subscriber: &Subscriber, sequencer: &Sequencer) -> Result<(), Stopped> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.handled.is_empty() {
            return Ok(());
        }
        // Nobody goes on behind what could not be settled, whatever became of it.
        self.failed = Some(Stopped::Poisoned("what was handled was not settled".into()));
        self.failed = self.append(subscriber, sequencer).err();
        self.handled.clear();
        self.emitted.clear();
        (self.bytes, self.took) = (0, Duration::ZERO);
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Append what came of all that was handled, and let the fold and the queue follow.
    fn append(&self, subscriber: &Subscriber, sequencer: &Sequencer) -> Result<(), Stopped> {
        let (all, emitted) = (&self.handled, &self.emitted);
        let mut shared = subscriber.shared.lock();
        let queue = shared.queue_of(false);
        let mut state = subscriber.state.lock();
        let mut batch = Batch::with_capacity(emitted.size() + all.len() * OUTCOME_BYTES);
        let mut outcomes = Vec::with_capacity(all.len());
        for quick in all {
            queue.end(quick.hold);
            // Most queues have no use for it.
            let key = queue.minds_keys().then(|| quick.key()).flatten();
            let at = batch.len() as u64;
            let mut outcome = quick.outcome(&subscriber.name, key, queue, &state.cursor);
            settle::settled(&mut outcome, (emitted, quick.emitted.clone()), &mut batch);
            outcomes.push((at, key, outcome));
        }
        let events = outcomes.iter().zip(all).flat_map(|((at, ..), quick)| {
            let emits = quick.handled.effects.emits.iter();
            (at + 1..).zip(emits.map(|emit| &*emit.r#type))
        });
        let appended = append(sequencer, subscriber, &state, batch, &events)?;
        for ((at, key, outcome), quick) in outcomes.iter().zip(all) {
            queue.settled(*key);
            state.apply_outcome(Offset(appended.first.0 + at), appended.time, outcome);
            subscriber.note_outcome(&state, quick.handled.took, false);
        }
        drop(state);
        subscriber.notify_settled(queue.passed());
        shared.wake_for_freed(subscriber);
        Ok(())
    }

    /// A delivery ran for so long: whether what was handled is to be settled now.
    pub(super) fn ran(&mut self, took: Duration) -> bool {
        let fits = self.longest.as_nanos() / took.as_nanos().max(1);
        self.most = usize::try_from(fits).map_or(MOST, |fits| fits.min(MOST));
        self.took > self.longest || self.bytes > BYTES
    }

    /// `delivery`, of the event in `entry`, is settled with others of its stretch.
    pub(super) fn settle_later(
        &mut self,
        entry: &Entry,
        delivery: &Delivery<'_>,
        hold: Hold,
        version: VersionId,
        handled: Handled,
    ) {
        let emitted = settle::emitted(&mut self.emitter, delivery, &handled, &mut self.emitted);
        let key = delivery.event.key;
        let lines = handled.lines.iter().map(|line| line.text.len());
        self.bytes += OUTCOME_BYTES + emitted.start.bytes_to(emitted.end) + lines.sum::<usize>();
        self.took += handled.took;
        self.handled.push(Quick {
            event: delivery.offset,
            key: key.map(|key| entry.payload.slice_ref(key.as_bytes())),
            hold,
            version,
            started: delivery.started.0,
            seed: handled.used_seed.then_some(delivery.seed),
            emitted,
            handled,
        });
    }
}

impl Quick {
    fn key(&self) -> Option<&str> {
        let key = self.key.as_deref();
        key.map(|key| str::from_utf8(key).expect("it was text when it was read"))
    }

    /// The outcome of the event, which has this `key`, where `queue` knows that the delivery is over, and `cursor` does not yet.
    fn outcome<'a>(
        &'a self,
        plugin: &'a str,
        key: Option<&'a str>,
        queue: &Queue,
        cursor: &Cursor,
    ) -> Outcome<'a> {
        let waits = queue.behind(key) > 0;
        let parked = parked_from(cursor, || OrderKey::of(key, self.event));
        let waits_from = queue.waits_from(key, self.event).max(parked.unwrap_or_default());
        Outcome {
            plugin,
            version: self.version,
            event: self.event.0,
            attempt: 1,
            key: key.filter(|_| parked.is_some() || waits),
            cleared: !waits,
            low_water: queue.low().0,
            started: self.started,
            took: u64::try_from(self.handled.took.as_micros()).unwrap_or(u64::MAX),
            seed: self.seed,
            lines: settle::lines(&self.handled),
            lines_lost: self.handled.lines_lost,
            waits_from: waits.then_some(waits_from.0),
            ..Outcome::default()
        }
    }
}

impl Lane {
    /// Deliver `entry`, and what is taken up behind it.
    pub(super) fn deliver_all(
        &mut self,
        subscriber: &Subscriber,
        entry: Entry,
        mut under_way: UnderWay,
    ) -> Result<(), LaneError> {
        self.take_up(subscriber, &mut under_way);
        self.stretch.fetch();
        let mut next = Some((entry, under_way));
        while let Some((entry, under_way)) = next {
            if let Err(trouble) = self.deliver(subscriber, &entry, under_way) {
                // What was handled before is not to blame for it.
                self.stretch.settle().ok();
                return Err(trouble);
            }
            if self.stopping.load(Ordering::Relaxed) || subscriber.pace.is_ahead(&*self.log, SHARE) {
                self.stretch.break_up()?;
            }
            next = self.stretch.next();
        }
        Ok(self.stretch.settle()?)
    }

    /// What was `handled` is settled, now or with others of its stretch; or not, where it is to be handled again.
    pub(in crate::delivery) fn end(
        &mut self,
        subscriber: &Subscriber,
        alone: Option<MutexGuard<'_, Shared>>,
        entry: &Entry,
        under_way: &mut UnderWay,
        delivery: &Delivery<'_>,
        mut handled: Handled,
    ) -> Result<bool, LaneError> {
        let took = handled.took;
        let running = under_way.side.of(&mut self.running, &mut self.before);
        let is_quick = under_way.in_stretch
            && under_way.is_ordinary()
            && is_plain(&handled, running.lanes, running.batch_bytes);
        if is_quick {
            let (hold, version) = (under_way.hold, running.handler.version());
            let mut inner = self.stretch.inner.lock();
            inner.settle_later(entry, delivery, hold, version, handled);
        } else {
            self.stretch.settle()?;
            if !self.settle(subscriber, alone, under_way, delivery, &mut handled)? {
                // In the end it may run alone.
                self.stretch.break_up()?;
                return Ok(false);
            }
        }
        self.stretch.ran(took)?;
        Ok(true)
    }

    /// Take up what is to be delivered behind `first`, which was chosen, where it and they are ordinary deliveries of a plugin without
    /// trouble.
    pub(in crate::delivery) fn take_up(&self, subscriber: &Subscriber, first: &mut UnderWay) {
        let inner = &mut *self.stretch.inner.lock();
        let may_be = inner.most > 1 && first.is_ordinary();
        let Some(running) = self.running.as_ref().filter(|_| may_be) else {
            return;
        };
        let shared = &mut *subscriber.shared.lock();
        let (untroubled, settled_at, above) = {
            let state = subscriber.state.lock();
            let untroubled = state.breaker.open().is_none()
                && state.probation.is_none()
                && state.rewinding.is_none()
                && state.again.is_none()
                && state.own.is_none()
                && state.redrive.is_empty();
            (untroubled, state.settled_at, state.cursor.above.len())
        };
        let untroubled = untroubled && shared.history.is_none() && shared.interrupted.is_empty();
        let queue = shared.queue_of(false);
        if !untroubled || !queue.may_run_ahead(above) {
            return;
        }
        // The other lanes have their part.
        let most = (queue.fresh() + 1).div_ceil(running.lanes).min(inner.most);
        while inner.ahead.len() + 1 < most
            && let Some(entry) = queue.take_up()
        {
            let Ok(event) = queue.minds_keys().then(|| event_of(&entry)).transpose() else {
                // Whoever chooses it says why it can't be read.
                queue.put_back(entry);
                break;
            };
            let key = event.and_then(|event| event.key);
            if queue.pass(key, entry.offset) {
                let hold = queue.begin_ahead(key, entry.offset);
                let under_way = UnderWay {
                    in_stretch: true,
                    ..UnderWay::new(Turned::FIRST, hold, settled_at)
                };
                inner.ahead.push_back((entry, under_way));
            }
        }
        first.in_stretch = !inner.ahead.is_empty();
    }
}

/// Whether nothing is to be decided of what was `handled` in one of so many `lanes`, so that it can be settled with others of its stretch.
pub(super) fn is_plain(handled: &Handled, lanes: usize, batch_bytes: usize) -> bool {
    let effects = &handled.effects;
    handled.failure.is_none()
        && effects.writes.is_empty()
        && effects.timers.is_empty()
        && handled.calls.is_empty()
        && (lanes == 1 || handled.reads.is_empty())
        && settle::refuse_effects(handled, &[], batch_bytes.min(BYTES)).is_none()
}

impl UnderWay {
    /// Whether it is the first delivery of a fresh event, by the version that runs and on the plugin's own state.
    pub(super) fn is_ordinary(&self) -> bool {
        let Turned {
            attempt,
            free,
            replay,
            historic,
            rewind,
        } = self.turned;
        (attempt, free, replay, historic) == (1, 0, false, false)
            && rewind.is_none()
            && self.side == Side::Live
            && !self.probe
            && self.conflicts == 0
            && self.interrupted.is_none()
            && self.shadow.is_none()
            && self.awaits.is_none()
    }
}
