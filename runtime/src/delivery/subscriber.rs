//! One plugin as delivery sees it: its state, the version that runs, and the bell that wakes its lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nerve_eventlog::Offset;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::handler::Version;
use crate::log::index::{Bell, Next, SubscriberId};
use crate::log::sequencer::Sequencer;
use crate::state::PluginState;

/// One plugin. Lock order: `gate`, then `state`, then the sequencer's own lock.
pub struct Subscriber {
    /// The plugin's name.
    pub name: Box<str>,
    /// Its name as a writer of the log.
    pub writer: Box<str>,
    /// Its number in the type index.
    pub id: SubscriberId,
    /// Rung when there may be something to deliver.
    pub bell: Bell,
    /// Held while one event is delivered: whoever holds it stands between two events.
    pub(super) gate: Mutex<Slot>,
    /// What the slot holds, for those who only look: they must not wait for a delivery.
    shown: Mutex<Option<Arc<dyn Version>>>,
    /// Its part of the fold. Whoever appends a record about the plugin holds this until the record is applied,
    /// so that the fold sees records in the order of the log.
    pub state: Mutex<PluginState>,
    /// Why it can't go on, where it can't: damage in the log, or a version that does not load.
    pub trouble: Mutex<Option<String>>,
    /// Set when dead letters may have to be delivered again.
    pub redrive: AtomicBool,
    /// Rung when a timer is set to fire before every other one of the plugin.
    pub timer_bell: Bell,
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
    /// Counts swaps.
    pub generation: u64,
}

/// Proof of standing between two events of a plugin.
pub struct Between<'a> {
    slot: MutexGuard<'a, Slot>,
    subscriber: &'a Subscriber,
}

impl Between<'_> {
    /// Put `version` in place and wake the lane, which sees it before its next delivery.
    pub fn swap(mut self, version: Option<Arc<dyn Version>>) {
        self.subscriber.shown.lock().clone_from(&version);
        self.slot.version = version;
        self.slot.generation += 1;
        self.subscriber.bell.notify_one();
    }
}

/// The name under which the plugin `name` writes to the log.
pub fn writer(name: &str) -> Box<str> {
    format!("plugin/{name}").into()
}

impl Subscriber {
    /// A plugin with nothing running yet.
    pub fn new(name: &str, state: PluginState, sequencer: &Sequencer, timer_bell: Bell) -> Arc<Self> {
        let bell = Bell::default();
        let id = sequencer.add_subscriber(bell.clone());
        Arc::new(Self {
            name: name.into(),
            writer: writer(name),
            id,
            bell,
            gate: Mutex::default(),
            shown: Mutex::default(),
            redrive: AtomicBool::new(!state.redrive.is_empty()),
            state: Mutex::new(state),
            trouble: Mutex::default(),
            timer_bell,
            settled: Notify::new(),
            waiters: Mutex::default(),
            wanted: AtomicU64::new(u64::MAX),
        })
    }

    /// The version that runs.
    pub fn version(&self) -> Option<Arc<dyn Version>> {
        self.shown.lock().clone()
    }

    /// Stand between two events: no delivery runs while the answer is held.
    pub fn between_events(&self) -> Between<'_> {
        Between {
            slot: self.gate.lock(),
            subscriber: self,
        }
    }

    /// Everything up to `low` is settled, or waits behind a parked key: wake those who wait for no more than that.
    pub fn notify_settled(&self, low: Offset) {
        if self.wanted.load(Ordering::SeqCst) <= low.0 {
            self.settled.notify_waiters();
        }
    }

    /// Whether every matching event up to `offset` is settled.
    pub fn has_settled(&self, offset: Offset, sequencer: &Sequencer) -> bool {
        let state = self.state.lock();
        let low = state.cursor.low;
        let parked_before = state.cursor.parked.values().any(|parked| {
            parked
                .head
                .as_ref()
                .is_some_and(|head| !head.replay && head.event <= offset)
                || parked.waits_from <= offset.min(low)
        });
        !parked_before
            && (low >= offset
                || match sequencer.next(self.id, low, 1) {
                    Next::Hot(next) => next.first().is_none_or(|next| *next > offset),
                    Next::Cold(_) => false,
                })
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
