//! A disk that misbehaves as disks do, the same way every time for the same seed.

mod noted;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::noted::{ChangeKind, DiskChange};
use super::memory::{MemoryStorage, copy_in, copy_out};
use super::{Space, Storage, StorageFile};
use crate::proof::Dice;

/// Writes are torn at multiples of this.
const SECTOR: usize = 512;

/// A disk that keeps unsynced changes apart, and can be told to fail. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FaultyStorage(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, usize>,
    /// Names as of the last folder sync.
    durable_files: BTreeMap<String, usize>,
    contents: Vec<Content>,
    /// Calls that change something, so far.
    changes: u64,
    /// Those since somebody asked for them.
    noted: Option<Vec<DiskChange>>,
    /// From which of them on all fail.
    dead_from: Option<u64>,
    /// From which sync on they fail; nothing is synced then.
    syncs: u64,
    sync_fails_from: Option<u64>,
    /// Bytes that were read, so far.
    bytes_read: u64,
    /// Bytes that fit.
    room: Option<usize>,
    /// Whether no file can be cut, for want of room.
    cuts_refused: bool,
    locked: bool,
}

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Room taken beyond its length.
    allocated: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

/// What a crash does to changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// All of them are lost.
    LoseAll,
    /// All of them are there: what the end of a process, and not of the system, does.
    KeepAll,
    /// Each may be lost, kept or torn at a sector, whatever the order they were made in.
    Tear(u64),
}

impl FaultyStorage {
    /// Every changing call from the one with this number on fails, as after a power cut.
    pub fn die_at(&self, change: u64) {
        self.0.lock().dead_from = Some(change);
    }

    /// Syncs from the one with this number on fail.
    pub fn fail_syncs_from(&self, sync: u64) {
        self.0.lock().sync_fails_from = Some(sync);
    }

    /// Only `bytes` fit on the disk.
    pub fn limit(&self, bytes: usize) {
        self.0.lock().room = Some(bytes);
    }

    /// No file can be cut from here on: there are file systems that need room for it.
    pub fn refuse_cuts(&self) {
        self.0.lock().cuts_refused = true;
    }

    /// Bytes on the disk, and room that is taken.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// Syncs of files so far, those that failed included.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Bytes that were read of files so far, as often as they were.
    pub fn bytes_read(&self) -> u64 {
        self.0.lock().bytes_read
    }

    /// Changing calls so far.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// The changing calls since the last call of this, those that failed included; nothing at the first.
    pub fn noted(&self) -> Vec<DiskChange> {
        self.0.lock().noted.replace(Vec::new()).unwrap_or_default()
    }

    /// What the disk holds after a crash.
    pub fn crash(&self, how: Crash) -> MemoryStorage {
        let disk = self.0.lock();
        let mut dice = Dice::new(match how {
            Crash::Tear(seed) => seed,
            _ => 0,
        });
        let mut names = disk.durable_files.clone();
        match how {
            Crash::LoseAll => {}
            Crash::KeepAll => names.clone_from(&disk.files),
            Crash::Tear(_) => {
                for (name, file) in &disk.files {
                    if dice.one_in(2) {
                        names.insert(name.clone(), *file);
                    }
                }
                for name in disk
                    .durable_files
                    .keys()
                    .filter(|name| !disk.files.contains_key(*name))
                {
                    if dice.one_in(2) {
                        names.remove(name);
                    }
                }
            }
        }
        let after = MemoryStorage::default();
        for (name, file) in names {
            let content = &disk.contents[file];
            after.put(
                &name,
                match how {
                    Crash::LoseAll => content.durable.clone(),
                    Crash::KeepAll => content.live.clone(),
                    Crash::Tear(_) => content.torn(&mut dice),
                },
            );
        }
        after
    }

    fn file(&self, number: usize) -> Arc<dyn StorageFile> {
        Arc::new(FaultyFile {
            disk: self.0.clone(),
            number,
        })
    }
}

impl Content {
    fn torn(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Truncate(length) if dice.one_in(2) => {
                    bytes.resize(usize::try_from(*length).unwrap_or(0), 0);
                }
                Change::Truncate(_) => {}
                Change::Write(at, written) => match dice.below(4) {
                    0 => {}
                    1 => copy_in(&mut bytes, *at, written),
                    2 => {
                        let sectors = written.len() / SECTOR + 1;
                        let kept = dice.place(sectors) * SECTOR;
                        let kept = kept.min(written.len());
                        copy_in(&mut bytes, *at, &written[..kept]);
                    }
                    _ => {
                        // Sectors reach the disk in any order: there may be a hole before what is there.
                        for (sector, part) in written.chunks(SECTOR).enumerate() {
                            if dice.one_in(2) {
                                copy_in(&mut bytes, at + (sector * SECTOR) as u64, part);
                            }
                        }
                    }
                },
            }
        }
        bytes
    }
}

impl Disk {
    fn used(&self) -> usize {
        let of = |number: &usize| {
            let content = &self.contents[*number];
            content.live.len().max(content.allocated)
        };
        self.files.values().map(of).sum()
    }

    fn free(&self) -> usize {
        self.room
            .map_or(usize::MAX, |room| room.saturating_sub(self.used()))
    }

    /// A change of the file with this number is asked for.
    fn change_file(&mut self, number: usize, kind: ChangeKind) -> io::Result<()> {
        let named = self.files.iter().find(|(_, file)| **file == number);
        let name = named.map(|(name, _)| name.clone()).unwrap_or_default();
        self.change(&name, kind)
    }

    fn change(&mut self, name: &str, kind: ChangeKind) -> io::Result<()> {
        self.changes += 1;
        if let Some(noted) = &mut self.noted {
            let file = name.to_owned();
            noted.push(DiskChange { file, kind });
        }
        if self.dead_from.is_some_and(|dead| self.changes >= dead) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }
}

struct Held(FaultyStorage);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

impl Storage for FaultyStorage {
    fn place(&self) -> String {
        "a faulty disk".into()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let taken = std::mem::replace(&mut self.0.lock().locked, true);
        Ok((!taken).then(|| Box::new(Held(self.clone())) as Box<dyn Any + Send + Sync>))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut disk = self.0.lock();
        disk.change(name, ChangeKind::Create)?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.contents.push(Content::default());
        let number = disk.contents.len() - 1;
        disk.files.insert(name.to_owned(), number);
        drop(disk);
        Ok(self.file(number))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let number = self
            .0
            .lock()
            .files
            .get(name)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(number))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change(name, ChangeKind::Remove)?;
        disk.files
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change(from, ChangeKind::Rename)?;
        let file = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change("", ChangeKind::SyncFolder)?;
        disk.durable_files = disk.files.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let disk = self.0.lock();
        Ok(disk.room.map_or(Space::ENDLESS, |size| Space {
            size: size as u64,
            free: disk.free() as u64,
        }))
    }
}

struct FaultyFile {
    disk: Arc<Mutex<Disk>>,
    number: usize,
}

impl StorageFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().contents[self.number].live.len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let read = copy_out(&disk.contents[self.number].live, at, buffer);
        disk.bytes_read += read as u64;
        Ok(read)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let kind = ChangeKind::Write {
            at,
            bytes: bytes.len(),
        };
        let alive = disk.change_file(self.number, kind);
        let fits = bytes.len().min(disk.free());
        let content = &mut disk.contents[self.number];
        // A write that is cut off may still have begun.
        content.unsynced.push(Change::Write(at, bytes.to_vec()));
        alive?;
        copy_in(&mut content.live, at, &bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change_file(self.number, ChangeKind::Truncate)?;
        if disk.cuts_refused {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut disk.contents[self.number];
        content.unsynced.push(Change::Truncate(length));
        content
            .live
            .resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change_file(self.number, ChangeKind::Allocate)?;
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        if bytes > disk.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.contents[self.number].allocated = bytes;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change_file(self.number, ChangeKind::Sync)?;
        disk.syncs += 1;
        if disk.sync_fails_from.is_some_and(|from| disk.syncs >= from) {
            // The kind that is easily taken for a write that can be tried again.
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the sync failed"));
        }
        let content = &mut disk.contents[self.number];
        content.durable = content.live.clone();
        content.unsynced.clear();
        Ok(())
    }
}
