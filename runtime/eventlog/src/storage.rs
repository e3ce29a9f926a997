//! What the log asks of a disk.

mod faulty;
mod fs;
mod memory;
mod untouched;

use std::any::Any;
use std::io;
use std::sync::Arc;

pub use faulty::{ChangeKind, Crash, DiskChange, FaultyStorage};
pub use fs::FsStorage;
pub use memory::MemoryStorage;
pub use untouched::Untouched;

/// A folder of files.
///
/// What implementations MUST hold to: a change of a file is durable only once [`StorageFile::sync`] has
/// answered, a created, renamed or removed name only once [`Storage::sync_folder`] has; what was synced is
/// never lost; a call that fails may have done any part of its work.
pub trait Storage: Send + Sync {
    /// Name of the folder, for messages.
    fn place(&self) -> String;

    /// Take the folder for this process; given back when the answer is dropped. `Ok(None)` where another
    /// process has it.
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;

    /// Names of the files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Make a file, empty; an error where there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Open a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Remove a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Give a file another name; a file that has it is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Make created, renamed and removed names durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// The size of the disk, and what is free on it.
    fn space(&self) -> io::Result<Space> {
        Ok(Space::ENDLESS)
    }
}

/// How large a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that fit in all.
    pub size: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

impl Space {
    /// Where nobody counts.
    pub const ENDLESS: Self = Self {
        size: u64::MAX,
        free: u64::MAX,
    };
}

/// A file.
pub trait StorageFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fill `buffer` from `at` on; answers how much there was.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Write all of `bytes` at `at`.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cut the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Take room for `bytes`, without changing the file's length; given back when the file is removed. An error of
    /// kind `Unsupported` where the file system can't.
    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// Make the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// Everything in a file from `at` on.
pub(crate) fn read_all(file: &dyn StorageFile, at: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?.saturating_sub(at)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(at, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
