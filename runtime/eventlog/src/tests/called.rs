//! A storage that lets a test in while the log syncs.

use std::any::Any;
use std::io;
use std::sync::{Arc, OnceLock};

use crate::storage::{Space, Storage, StorageFile};

/// A storage that calls somebody in the midst of each sync of a file.
pub(super) struct Called {
    of: Arc<dyn Storage>,
    who: Who,
}

/// Who is called, once that is set.
pub(super) type Who = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

struct CalledFile {
    of: Arc<dyn StorageFile>,
    who: Who,
}

impl Called {
    pub(super) fn new(of: Arc<dyn Storage>) -> (Self, Who) {
        let who = Who::default();
        (Self { of, who: who.clone() }, who)
    }

    fn file(&self, of: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let who = self.who.clone();
        Arc::new(CalledFile { of, who })
    }
}

impl Storage for Called {
    fn place(&self) -> String {
        self.of.place()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.of.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.of.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.of.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.of.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.of.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.of.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.of.sync_folder()
    }

    fn space(&self) -> io::Result<Space> {
        self.of.space()
    }
}

impl StorageFile for CalledFile {
    fn length(&self) -> io::Result<u64> {
        self.of.length()
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.of.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.of.write_at(at, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.of.truncate(length)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.of.allocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.who.get().into_iter().for_each(|call| call());
        self.of.sync()
    }
}
