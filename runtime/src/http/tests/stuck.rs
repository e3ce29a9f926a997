//! A storage whose syncs hang until they are let go.

use std::any::Any;
use std::io;
use std::sync::Arc;

use nerve_eventlog::storage::{MemoryStorage, Storage, StorageFile};
use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

#[derive(Default)]
pub(super) struct Stuck {
    inner: MemoryStorage,
    gate: Arc<Gate>,
}

impl Stuck {
    /// No sync ends until the answer is dropped.
    pub(super) fn shut(&self) -> Shut {
        *self.gate.shut.lock() = true;
        Shut(self.gate.clone())
    }
}

pub(super) struct Shut(Arc<Gate>);

impl Drop for Shut {
    fn drop(&mut self) {
        *self.0.shut.lock() = false;
        self.0.opened.notify_all();
    }
}

impl Storage for Stuck {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let (file, gate) = (self.inner.create(name)?, self.gate.clone());
        Ok(Arc::new(StuckFile { file, gate }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let (file, gate) = (self.inner.open(name)?, self.gate.clone());
        Ok(Arc::new(StuckFile { file, gate }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.inner.sync_folder()
    }
}

struct StuckFile {
    file: Arc<dyn StorageFile>,
    gate: Arc<Gate>,
}

impl StorageFile for StuckFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        let mut shut = self.gate.shut.lock();
        while *shut {
            self.gate.opened.wait(&mut shut);
        }
        drop(shut);
        self.file.sync()
    }
}
