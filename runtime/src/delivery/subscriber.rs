//! One plugin as delivery sees it: its state, the version that runs, and the bell that wakes its lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nerve_eventlog::Offset;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use tokio::sync::Notify;

use super::cursor::OrderKey;
use super::handler::Version;
use super::lane::Shared;
use super::pace::Pace;
use super::probation::Probation;
use super::took::Took;
use crate::contract::Holding;
use crate::log::index::{Bell, Next, SubscriberId};
use crate::log::record::VersionId;
use crate::log::sequencer::Sequencer;
use crate::state::PluginState;

/// One plugin. Lock order: `gate`, then `shared`, then `state`, then the sequencer's own lock.
pub struct Subscriber {
    /// The plugin's name.
    pub name: Box<str>,
    /// Its name as a writer of the log.
    pub writer: Box<str>,
    /// Its number in the type index.
    pub id: SubscriberId,
    /// Rung when there may be something to deliver.
    pub bell: Bell,
    /// Read by each lane while it delivers an event, or a stretch of quick ones: whoever writes it stands between two events.
    pub(super) gate: RwLock<Slot>,
    /// What its lanes share.
    pub(super) shared: Mutex<Shared>,
    /// What the slot holds, for those who only look: they must not wait for a delivery.
    shown: Mutex<Option<Arc<dyn Version>>>,
    /// Its part of the fold. Whoever appends a record about the plugin holds this until the record is applied,
    /// so that the fold sees records in the order of the log.
    pub state: Mutex<PluginState>,
    /// Why it can't go on, where it can't: damage in the log, or a version that does not load.
    pub trouble: Mutex<Option<String>>,
    /// Set when dead letters may have to be delivered again.
    pub redrive: AtomicBool,
    /// Set when a probation may have come to its end.
    pub(super) judged: AtomicBool,
    /// The plugin needs nothing that lies below this offset: retention has seen to it. It goes back with the cursor, while
    /// retention stands still.
    pub needs_nothing_below: AtomicU64,
    forgotten: AtomicBool,
    /// A lane found nothing left to deliver up to here but retries of parked keys. The cursor stays behind where no event
    /// matches.
    pub(super) looked: AtomicU64,
    /// Rung when a timer is set to fire before every other one of the plugin.
    pub timer_bell: Bell,
    /// What a version is held against that runs again without being asked.
    pub(super) contracts: Arc<Holding>,
    /// How long its handlers ran.
    pub took: Took,
    /// How far it is ahead of the disk.
    pub(super) pace: Pace,
    settled: Notify,
    /// How many wait; held while `wanted` changes.
    waiters: Mutex<usize>,
    /// The least offset that somebody waits for.
    wanted: AtomicU64,
}

/// The version that runs.
#[derive(Default)]
pub struct Slot {
    /// `None` while the plugin is removed or does not load.
    pub version: Option<Arc<dyn Version>>,
    /// The version before, while the one that runs is watched.
    pub before: Option<Arc<dyn Version>>,
    /// Why the version before is not there, where it should be: what it has waits.
    pub missing: Option<Arc<str>>,
    /// Counts swaps.
    pub generation: u64,
}

/// Proof of standing between two events of a plugin.
pub struct Between<'a> {
    slot: RwLockWriteGuard<'a, Slot>,
    subscriber: &'a Subscriber,
}

impl Between<'_> {
    /// State and cursor went back with `version`, on a log that begins at `first`: put it in place, and let the lanes look at
    /// the fold anew.
    pub fn go_back(self, version: Option<Arc<dyn Version>>, first: Offset) {
        self.subscriber
            .needs_nothing_below
            .store(first.0, Ordering::Relaxed);
        self.look_back();
        self.swap(version);
    }

    /// What was settled may be unsettled: the lanes look at the fold anew. Retention has left what a canary may give back.
    pub fn look_back(&self) {
        let one = self.subscriber;
        one.shared.lock().requeue();
        one.looked.store(0, Ordering::Relaxed);
        one.redrive.store(true, Ordering::Relaxed);
    }

    /// The same versions go on, and forget what they remember of their states.
    pub fn begin_anew(mut self) {
        self.slot.generation += 1;
        self.subscriber.bell.notify_one();
    }

    /// Show `version` as the one that runs, under the lock of the fold that says so: whoever asks sees both or neither.
    pub fn show(&self, _fold: &PluginState, version: Option<&Arc<dyn Version>>) {
        *self.subscriber.shown.lock() = version.cloned();
    }

    /// Put `version` in place and wake a lane, which sees it before its next delivery.
    pub fn swap(self, version: Option<Arc<dyn Version>>) {
        self.swap_watched(version, None);
    }

    /// The same, for a version that is watched and takes the place of `before`.
    pub fn swap_watched(mut self, version: Option<Arc<dyn Version>>, before: Option<Arc<dyn Version>>) {
        self.slot.missing = None;
        self.put(version, before);
    }

    /// The same, where the version `before` may not load: what it has then waits, for the reason that is given.
    pub fn swap_beside(
        mut self,
        version: Option<Arc<dyn Version>>,
        before: Option<Result<Arc<dyn Version>, String>>,
    ) {
        let (before, missing) = match before {
            Some(Err(why)) => (None, Some(why.into())),
            before => (before.and_then(Result::ok), None),
        };
        self.slot.missing = missing;
        self.put(version, before);
    }

    fn put(mut self, version: Option<Arc<dyn Version>>, before: Option<Arc<dyn Version>>) {
        self.subscriber.shown.lock().clone_from(&version);
        (self.slot.version, self.slot.before) = (version, before);
        self.slot.generation += 1;
        // After a restart it may have fallen before.
        self.subscriber.judged.store(true, Ordering::Relaxed);
        self.subscriber.bell.notify_one();
    }

    /// The version `id`, where it is in the slot.
    pub fn find(&self, id: VersionId) -> Option<Arc<dyn Version>> {
        let both = [&self.slot.version, &self.slot.before];
        let found = both.into_iter().flatten().find(|version| version.id() == id);
        found.cloned()
    }

    /// The watched version fell: the one before runs again.
    pub(super) fn swap_to_before(mut self, state: MutexGuard<'_, PluginState>, unsettles: bool) {
        let before = self.slot.before.take();
        self.show(&state, before.as_ref());
        drop(state);
        if unsettles {
            self.look_back();
        }
        self.swap(before);
    }

    /// The version is watched no more.
    pub(super) fn let_go_of_before(mut self) {
        self.slot.before = None;
    }

    /// The cursor went over a gap, or a rewind begins or ends: the lanes look at the fold anew before their next
    /// delivery.
    pub fn look_anew(self) {
        self.subscriber.shared.lock().requeue();
        self.subscriber.bell.notify_one();
    }
}

/// The name under which the plugin `name` writes to the log.
pub fn writer(name: &str) -> Box<str> {
    format!("plugin/{name}").into()
}

impl Subscriber {
    /// A plugin with nothing running yet.
    pub fn new(
        name: &str,
        mut state: PluginState,
        sequencer: &Sequencer,
        timer_bell: Bell,
        contracts: Arc<Holding>,
    ) -> Arc<Self> {
        let (told, plugin) = (contracts.clone(), Box::<str>::from(name));
        state.tell_of_versions(move |versions| told.runs(&plugin, versions));
        let bell = Bell::default();
        let id = sequencer.add_subscriber(bell.clone());
        Arc::new(Self {
            name: name.into(),
            writer: writer(name),
            id,
            bell,
            gate: RwLock::default(),
            shared: Mutex::default(),
            shown: Mutex::default(),
            redrive: AtomicBool::new(!state.redrive.is_empty()),
            judged: AtomicBool::default(),
            needs_nothing_below: AtomicU64::new(sequencer.log().bounds().first.0),
            forgotten: AtomicBool::default(),
            looked: AtomicU64::default(),
            state: Mutex::new(state),
            trouble: Mutex::default(),
            timer_bell,
            contracts,
            took: Took::default(),
            pace: Pace::default(),
            settled: Notify::new(),
            waiters: Mutex::default(),
            wanted: AtomicU64::new(u64::MAX),
        })
    }

    /// Whether more than `share` bytes of what it appended to `log` are not durable.
    #[cfg(test)]
    pub fn is_ahead(&self, log: &dyn nerve_eventlog::Log, share: usize) -> bool {
        self.pace.is_ahead(log, share)
    }

    /// Whether its state was given up: another one of its name may be there.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Its state was given up: its lane ends.
    pub(super) fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// The version that runs.
    pub fn version(&self) -> Option<Arc<dyn Version>> {
        self.shown.lock().clone()
    }

    /// Nothing is left to deliver up to here but what waits behind parked keys, where a lane has found that.
    pub fn looked(&self) -> Offset {
        Offset(self.looked.load(Ordering::Relaxed))
    }

    /// Stand between two events: no delivery runs while the answer is held.
    pub fn between_events(&self) -> Between<'_> {
        Between {
            slot: self.gate.write(),
            subscriber: self,
        }
    }

    /// An outcome was settled, of a handler that `took` so long; under the lock of the fold, so that whoever sees the outcome
    /// counted sees its time, too. Where a version `was_watched` and that came to its end, the next lane that looks follows.
    pub(super) fn note_outcome(&self, state: &PluginState, took: Duration, was_watched: bool) {
        self.took.add(took);
        let goes_on = |probation: &Probation| probation.fallen().is_none();
        if was_watched && !state.probation.as_ref().is_some_and(goes_on) {
            self.judged.store(true, Ordering::Relaxed);
        }
    }

    /// No lane goes on: one of them ended by a fault of the host.
    pub(super) fn halt(&self) {
        self.shared.lock().halted = true;
    }

    /// An event was settled, and every one up to `passed` had its turn: wake those who wait for no more than that.
    pub fn notify_settled(&self, passed: Offset) {
        if self.wanted.load(Ordering::SeqCst) <= passed.0 {
            self.settled.notify_waiters();
        }
    }

    /// Whether every matching event up to `offset` is settled.
    pub fn has_settled(&self, offset: Offset, sequencer: &Sequencer) -> bool {
        let state = self.state.lock();
        let cursor = &state.cursor;
        let looked = cursor.low.max(self.looked());
        let parked_before = cursor.parked.iter().any(|(key, parked)| {
            let head_before = |head: &super::cursor::Head| !head.replay && head.event <= offset;
            parked.head.as_ref().is_some_and(head_before)
                || (matches!(key, OrderKey::Key(_)) && parked.waits_from <= offset.min(cursor.low))
        });
        !parked_before
            && (looked >= offset
                || match sequencer.next(self.id, looked, cursor.above.len() + 1) {
                    Next::Hot(next) => next
                        .iter()
                        .all(|next| *next > offset || cursor.above.contains(next)),
                    Next::Cold(_) => false,
                })
    }

    /// The oldest event that waits for its turn, by its `state`; of those below the hot window it is not known which match.
    pub fn oldest_waiting(&self, state: &PluginState, sequencer: &Sequencer) -> Option<Offset> {
        let cursor = &state.cursor;
        let looked = cursor.low.max(Offset(self.looked.load(Ordering::Relaxed)));
        match sequencer.next(self.id, looked, cursor.above.len() + 1) {
            Next::Hot(next) => next.into_iter().find(|next| !cursor.above.contains(next)),
            Next::Cold(_) => Some(looked.next()),
        }
    }

    /// Wait until every matching event up to `offset` is settled.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub async fn wait_for_settled(&self, offset: Offset, sequencer: &Sequencer) {
        struct Waiting<'a>(&'a Subscriber);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                let mut waiters = self.0.waiters.lock();
                *waiters -= 1;
                if *waiters == 0 {
                    self.0.wanted.store(u64::MAX, Ordering::SeqCst);
                }
            }
        }
        {
            let mut waiters = self.waiters.lock();
            *waiters += 1;
            self.wanted.fetch_min(offset.0, Ordering::SeqCst);
        }
        let _waiting = Waiting(self);
        loop {
            let mut notified = std::pin::pin!(self.settled.notified());
            notified.as_mut().enable();
            if self.has_settled(offset, sequencer) {
                return;
            }
            notified.await;
        }
    }
}
