//! When the syncing thread lets more come before it syncs.
//!
//! A sync keeps the processor busy for as long as some deliveries take, however little it syncs, and to wake the thread for it takes who
//! appends as long again. While the thread is never out of work and nobody waits for what was appended, it therefore lets some come
//! together first. Whoever waits for an offset that is appended has it synced at once: no publisher is acknowledged later for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::MutexGuard;

use crate::Offset;
use crate::file_log::{Durability, Shared, State};

/// Syncs in a row that left something behind them, after which the thread is busy.
const BUSY: u32 = 4;

/// Bytes that are enough to be synced: half of what the host lets one of its plugins be ahead of the disk.
const ENOUGH: usize = 128 << 10;

/// Who waits for what, and whether the thread lets more come.
#[derive(Debug, Default)]
pub(crate) struct Linger {
    /// The last offset that was appended since the log was opened.
    appended: AtomicU64,
    /// The last one of those that somebody waits for.
    wanted: AtomicU64,
    lingers: AtomicBool,
}

impl Shared {
    /// Somebody waits for what was appended up to `through`. What is still to be appended is waited for by those who follow the log,
    /// who take what comes when it comes.
    pub(crate) fn hasten(&self, through: Offset) {
        let Linger {
            appended,
            wanted,
            lingers,
        } = &self.linger;
        if through.0 > appended.load(Ordering::Acquire) {
            return;
        }
        // The thread says that it lingers before it looks at this: one of the two sees the other.
        wanted.fetch_max(through.0, Ordering::SeqCst);
        if lingers.load(Ordering::SeqCst) {
            let _state = self.state.lock();
            self.work.notify_one();
        }
    }

    /// A batch was appended up to `last`, and waits in `state`: wake the thread where it is time.
    pub(crate) fn appended(&self, state: &mut State, last: Offset) {
        self.linger.appended.store(last.0, Ordering::Release);
        self.waits.store(true, Ordering::Relaxed);
        let is_enough = self.linger.lingers.load(Ordering::Relaxed) && state.undurable_bytes >= ENOUGH;
        // One ring is enough: whoever appends before the thread is awake finds it rung for.
        if std::mem::take(&mut state.idle) || is_enough {
            self.work.notify_one();
        }
    }

    /// Let more come to what waits in `state`, where the last syncs left something behind them `busy` times.
    pub(crate) fn linger(&self, state: &mut MutexGuard<'_, State>, busy: u32) {
        if busy < BUSY || self.options.durability != Durability::Fsync {
            return;
        }
        let Linger { wanted, lingers, .. } = &self.linger;
        lingers.store(true, Ordering::SeqCst);
        let may_wait = |state: &mut State| {
            let is_wanted = wanted.load(Ordering::SeqCst) > state.durable.0;
            state.undurable_bytes < ENOUGH && !state.closing && !is_wanted
        };
        self.work.wait_while_for(state, may_wait, self.options.linger);
        lingers.store(false, Ordering::SeqCst);
    }
}
