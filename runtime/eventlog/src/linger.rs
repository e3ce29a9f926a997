//! When the syncing thread lets more come before it syncs.
//!
//! A sync keeps the processor busy for as long as some deliveries take, however little it syncs, and what is appended while it runs has to
//! wait for another. So the thread first lets some come together, as long as nobody waits for what was appended. Whoever waits for an offset
//! that is appended has it synced at once: no publisher is acknowledged later for it. Whoever waits for one that is still to come has
//! it synced when it comes, but not where the thread is never out of work: who follows the log then takes what comes when it comes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::MutexGuard;

use crate::Offset;
use crate::file_log::{Durability, Shared, State};

/// Syncs in a row that left something behind them, after which the thread is busy.
const BUSY: u32 = 4;

/// Bytes that are enough to be synced: half of what the host lets one of its plugins be ahead of the disk.
const ENOUGH: usize = 128 << 10;

/// Who waits for what, and whether the thread lets more come.
#[derive(Debug)]
pub(crate) struct Linger {
    /// The last offset that was appended since the log was opened.
    appended: AtomicU64,
    /// The last one of those that somebody waits for.
    wanted: AtomicU64,
    /// The next that somebody waits for who came before it was appended.
    awaited: AtomicU64,
    lingers: AtomicBool,
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            appended: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            lingers: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// Somebody waits for `through`.
    pub(crate) fn hasten(&self, through: Offset) {
        let Linger {
            appended,
            wanted,
            awaited,
            lingers,
        } = &self.linger;
        if through.0 > appended.load(Ordering::Acquire) {
            // Who appends says so before looking at this: one of the two sees the other.
            awaited.fetch_min(through.0, Ordering::SeqCst);
            if through.0 > appended.load(Ordering::SeqCst) {
                return;
            }
        }
        // The thread says that it lingers before it looks at this.
        wanted.fetch_max(through.0, Ordering::SeqCst);
        if lingers.load(Ordering::SeqCst) {
            let _state = self.state.lock();
            self.work.notify_one();
        }
    }

    /// A batch was appended up to `last`, and waits in `state`: wake the thread where it is time.
    pub(crate) fn appended(&self, state: &mut State, last: Offset) {
        self.linger.appended.store(last.0, Ordering::SeqCst);
        self.waits.store(true, Ordering::Relaxed);
        let lingers = self.linger.lingers.load(Ordering::Relaxed);
        // One ring is enough: whoever appends before the thread is awake finds it rung for.
        if std::mem::take(&mut state.idle) || (lingers && self.is_time(state)) {
            self.work.notify_one();
        }
    }

    /// Whether what waits in `state` is to be synced, whether or not somebody waits for what was there when asked for.
    fn is_time(&self, state: &State) -> bool {
        let Linger {
            appended, awaited, ..
        } = &self.linger;
        let has_come = || awaited.load(Ordering::SeqCst) <= appended.load(Ordering::Relaxed);
        state.undurable_bytes >= ENOUGH || state.closing || (state.busy < BUSY && has_come())
    }

    /// Let more come to what waits in `state`.
    pub(crate) fn linger(&self, state: &mut MutexGuard<'_, State>) {
        if self.options.durability != Durability::Fsync {
            return;
        }
        let own = &self.linger;
        own.lingers.store(true, Ordering::SeqCst);
        let may_wait = |state: &mut State| {
            let is_wanted = own.wanted.load(Ordering::SeqCst) > state.durable.0;
            !is_wanted && !self.is_time(state)
        };
        self.work.wait_while_for(state, may_wait, self.options.linger);
        own.lingers.store(false, Ordering::SeqCst);
        // What has come is about to be synced. Who asks in this moment for what comes later may not be heard, and has it in time.
        if own.awaited.load(Ordering::SeqCst) <= own.appended.load(Ordering::Relaxed) {
            own.awaited.store(u64::MAX, Ordering::SeqCst);
        }
    }
}
