//! A disk whose writer waits to be let on, so that what a crash meets depends on the seed and not on the scheduler.
//!
//! While the gate is shut, the syncing thread of the log stands before its next change. What is appended meanwhile is
//! not durable, and handlers run ahead of the disk as they do on a slow one.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nerve_eventlog::storage::{Crash, FaultyStorage, MemoryStorage, Storage, StorageFile};
use nerve_eventlog::{Log, Offset, Poisoned};
use parking_lot::{Condvar, Mutex};

/// The thread that has to wait; every other one, that of retention say, changes the disk at once.
const WRITER: &str = "eventlog-sync";

/// Bytes of a mark: a frame without records.
pub(super) const MARK: usize = 56;

/// A faulty disk behind a gate. Clones share both.
#[derive(Clone)]
pub(super) struct Gated {
    pub(super) disk: FaultyStorage,
    gate: Arc<Gate>,
    /// Whether all syncs of a file but the first are answered without being made: what a disk must not do.
    pub(super) lies: bool,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Whether the writer stands before the gate.
    waits: bool,
    /// Bytes of the last write that was tried.
    wrote: usize,
    /// Whether a change of the writer failed.
    failed: bool,
}

impl Gated {
    /// A disk with the files of `content`, all of them synced.
    pub(super) fn new(content: &MemoryStorage, lies: bool) -> Self {
        Self {
            disk: filled(content),
            gate: Arc::default(),
            lies,
        }
    }

    /// Something was appended to `log`: wait until the writer has taken it and stands before the gate, so that what is
    /// appended next is in another frame.
    pub(super) fn appended(&self, log: &dyn Log) {
        let bounds = log.bounds();
        if bounds.last == bounds.durable {
            return;
        }
        let mut state = self.gate.state.lock();
        while !state.waits && !state.failed {
            self.gate.changed.wait(&mut state);
        }
    }

    /// Let the writer on until everything in `log` is durable and it rests, or can't go on.
    pub(super) fn flush(&self, log: &dyn Log) -> Result<(), Poisoned> {
        let bounds = log.bounds();
        let mut state = self.gate.state.lock();
        if bounds.last > bounds.durable && !state.failed {
            (state.open, state.wrote) = (true, 0);
            self.gate.changed.notify_all();
            drop(state);
            let durable = log.wait_durable(bounds.last);
            state = self.gate.state.lock();
            // The mark behind the last frame is the writer's last change before it rests.
            while durable.is_ok() && state.wrote != MARK && !state.failed {
                self.gate.changed.wait(&mut state);
            }
            state.open = false;
        }
        let failed = state.failed;
        drop(state);
        if failed {
            log.wait_durable(Offset(u64::MAX))
        } else {
            Ok(())
        }
    }

    /// What the disk holds after a crash now; nothing can be changed on it any more.
    pub(super) fn crash(&self, how: Crash) -> MemoryStorage {
        let after = self.disk.crash(how);
        self.disk.die_at(0);
        let mut state = self.gate.state.lock();
        state.open = true;
        self.gate.changed.notify_all();
        after
    }

    fn change<T>(&self, bytes: usize, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if std::thread::current().name() != Some(WRITER) {
            return change();
        }
        let mut state = self.gate.state.lock();
        state.waits = true;
        self.gate.changed.notify_all();
        while !state.open {
            self.gate.changed.wait(&mut state);
        }
        state.waits = false;
        let done = change();
        state.failed |= done.is_err();
        state.wrote = bytes;
        self.gate.changed.notify_all();
        done
    }
}

/// A faulty disk with the files of `content`, all of them synced.
pub(super) fn filled(content: &MemoryStorage) -> FaultyStorage {
    let disk = FaultyStorage::default();
    for name in content.list().unwrap() {
        let file = disk.create(&name).unwrap();
        file.write_at(0, &content.content(&name).unwrap()).unwrap();
        file.sync().unwrap();
    }
    disk.sync_folder().unwrap();
    disk
}

struct GatedFile {
    disk: Gated,
    file: Arc<dyn StorageFile>,
    synced: AtomicBool,
}

impl Storage for Gated {
    fn place(&self) -> String {
        self.disk.place()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.change(0, || self.disk.create(name))?;
        let disk = self.clone();
        let synced = AtomicBool::new(false);
        Ok(Arc::new(GatedFile { disk, file, synced }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let (file, disk, synced) = (self.disk.open(name)?, self.clone(), AtomicBool::new(true));
        Ok(Arc::new(GatedFile { disk, file, synced }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(0, || self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(0, || self.disk.remove(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.change(0, || self.disk.sync_folder())
    }
}

impl StorageFile for GatedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(bytes.len(), || self.file.write_at(at, bytes))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.change(0, || self.file.truncate(length))
    }

    fn sync(&self) -> io::Result<()> {
        let lies = self.synced.swap(true, Ordering::Relaxed) && self.disk.lies;
        self.disk
            .change(0, || if lies { Ok(()) } else { self.file.sync() })
    }
}
