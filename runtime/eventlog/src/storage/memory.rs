//! Files in memory: for tests and trials.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Storage, StorageFile};

/// Files that end with the process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    locked: Arc<AtomicBool>,
}

impl MemoryStorage {
    /// The content of a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.files.lock().get(name).map(|file| file.0.lock().clone())
    }

    /// Put `content` into a file, made where it is missing.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        self.files
            .lock()
            .insert(name.to_owned(), Arc::new(MemoryFile(Mutex::new(content))));
    }
}

/// Gives the folder back.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Storage for MemoryStorage {
    fn place(&self) -> String {
        "memory".into()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let taken = self.locked.swap(true, Ordering::SeqCst);
        Ok((!taken).then(|| Box::new(Held(self.locked.clone())) as Box<dyn Any + Send + Sync>))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemoryFile::default());
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = self
            .files
            .lock()
            .get(name)
            .cloned()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files
            .lock()
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl StorageFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(copy_out(&self.0.lock(), at, buffer))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        copy_in(&mut self.0.lock(), at, bytes);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0
            .lock()
            .resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Copy from `content` at `at` into `buffer`; answers how much there was.
pub(super) fn copy_out(content: &[u8], at: u64, buffer: &mut [u8]) -> usize {
    let from = usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
    let length = buffer.len().min(content.len() - from);
    buffer[..length].copy_from_slice(&content[from..from + length]);
    length
}

/// Copy `bytes` into `content` at `at`, which grows with zeros where it must.
pub(super) fn copy_in(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let from = usize::try_from(at).expect("files in memory are smaller than memory");
    if content.len() < from + bytes.len() {
        content.resize(from + bytes.len(), 0);
    }
    content[from..from + bytes.len()].copy_from_slice(bytes);
}
