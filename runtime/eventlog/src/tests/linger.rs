//! While the disk is busy, what nobody waits for is held back, and what somebody waits for is not.

use std::any::Any;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::{batch, open};
use crate::storage::{MemoryStorage, Storage, StorageFile};
use crate::{FileLog, Log, Offset, Options};

/// A storage that calls somebody in the midst of each sync of a file.
#[derive(Default)]
struct Called {
    of: MemoryStorage,
    who: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

struct CalledFile {
    of: Arc<dyn StorageFile>,
    who: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Called {
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

    fn sync(&self) -> io::Result<()> {
        self.who.get().into_iter().for_each(|call| call());
        self.of.sync()
    }
}

/// How many syncs find something appended in their midst: more than make the thread busy.
const BUSY: u64 = 20;

/// A log that lets more come for as long as `linger`, after so many syncs that it does, with one record that waits; and what becomes
/// durable in it from then on.
fn busy(linger: Duration) -> (Arc<FileLog>, Receiver<Offset>) {
    let storage = Called::default();
    let who = storage.who.clone();
    let options = Options {
        linger,
        ..Options::default()
    };
    let log = Arc::new(open(Arc::new(storage), options).unwrap().0);
    // The log has the storage, and must not own itself.
    let of: Weak<FileLog> = Arc::downgrade(&log);
    let call = move || {
        if let Some(log) = of.upgrade().filter(|log| log.bounds().last < Offset(BUSY)) {
            let last = append(&log, 1);
            if last < Offset(BUSY) {
                log.hasten(last);
            }
        }
    };
    assert!(who.set(Box::new(call)).is_ok());
    let (tell, told) = channel();
    log.on_durable(Box::new(move |durable| tell.send(durable.unwrap()).unwrap()));
    // Who follows the log waits for what comes, and is in no hurry.
    log.hasten(Offset(BUSY + 1000));
    append(&log, 1);
    while told.recv().unwrap() < Offset(BUSY - 1) {}
    (log, told)
}

fn append(log: &FileLog, bytes: usize) -> Offset {
    log.append(batch(&[&vec![7; bytes]]), None).unwrap().last
}

#[test]
fn what_nobody_waits_for_is_synced_together_once_it_is_enough() {
    let (log, told) = busy(Duration::from_hours(1));
    for _ in 0..100 {
        append(&log, 1000);
    }
    let last = append(&log, 64 << 10);
    assert_eq!(told.recv().unwrap(), last, "all of it in one sync");
    log.close().unwrap();
}

#[test]
fn what_somebody_waits_for_is_synced_at_once() {
    let (log, told) = busy(Duration::from_hours(1));
    log.wait_durable(Offset(BUSY)).unwrap();
    assert_eq!(told.recv().unwrap(), Offset(BUSY));
    log.close().unwrap();
    // In a way of their own.
    let (log, told) = busy(Duration::from_hours(1));
    log.hasten(Offset(BUSY));
    assert_eq!(told.recv().unwrap(), Offset(BUSY));
    log.close().unwrap();
}

#[test]
fn what_nobody_waits_for_is_synced_in_time_and_when_the_log_ends() {
    let (log, told) = busy(Duration::from_millis(1));
    assert_eq!(told.recv().unwrap(), Offset(BUSY));
    log.close().unwrap();
    let (log, told) = busy(Duration::from_hours(1));
    log.close().unwrap();
    assert_eq!(told.recv().unwrap(), Offset(BUSY));
}
