//! Writing checkpoints, piece by piece.

use std::any::Any;
use std::io;
use std::sync::Arc;

use nerve_eventlog::storage::{FaultyStorage, MemoryStorage, Storage, StorageFile};
use nerve_eventlog::{Micros, Offset};

use crate::ingest::IdentityKey;
use crate::state::checkpoint::{self, Checkpoint, PIECE};

fn with_window(bytes: usize) -> Checkpoint<'static> {
    let mut dice = fastrand::Rng::with_seed(bytes as u64);
    let window: Vec<u8> = std::iter::repeat_with(|| dice.u8(..)).take(bytes).collect();
    Checkpoint {
        log: serde_json::from_value(vec![7; 16].into()).unwrap(),
        through: Offset(12),
        time: Micros(12),
        key: IdentityKey::random(),
        window: window.chunks(100_000).map(|part| part.to_vec().into()).collect(),
        window_through: Offset(12),
        schemas: std::collections::BTreeMap::new(),
        plugins: std::collections::BTreeMap::new(),
        observed: crate::trace::map::Observed::default(),
    }
}

#[test]
fn a_checkpoint_of_any_length_is_read_as_it_was_written() {
    let length_of = |window| {
        let disk = MemoryStorage::default();
        let made = with_window(window);
        made.write(&disk).unwrap();
        let bytes = checkpoint::read(&disk, made.through).unwrap();
        let found = checkpoint::parse(&bytes).unwrap();
        assert!(
            found.window.concat() == made.window.concat() && found.through == made.through,
            "{window}"
        );
        bytes.len()
    };
    // What stands around a window of this size.
    let around = length_of(2 * PIECE) - 2 * PIECE;
    // The hash at the end falls into the last piece, into the next, and between the two.
    let ends = [0, 1, 16, 31, 32, 33, 40];
    for end in ends {
        assert_eq!(length_of(3 * PIECE + end - around), 3 * PIECE + end);
    }
    length_of(0);
}

#[test]
fn a_checkpoint_that_reads_otherwise_than_it_was_written_is_refused_and_removed() {
    let made = with_window(600_000);
    for at in [0, 300_000, 600_000] {
        let disk = Forgetful(MemoryStorage::default(), at);
        let refused = made.write(&disk).unwrap_err().to_string();
        assert!(refused.contains("does not hold what was written"), "{refused}");
        assert!(disk.list().unwrap().is_empty());
    }
    let disk = Forgetful(MemoryStorage::default(), usize::MAX);
    made.write(&disk).unwrap();
}

#[test]
fn a_checkpoint_that_finds_no_room_says_what_the_system_said_and_leaves_nothing() {
    let disk = FaultyStorage::default();
    disk.limit(400_000);
    let full = with_window(600_000).write(&disk).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    assert!(disk.list().unwrap().is_empty());
}

/// A disk that takes all, and holds one byte otherwise when a file is opened.
struct Forgetful(MemoryStorage, usize);

impl Storage for Forgetful {
    fn place(&self) -> String {
        self.0.place()
    }
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.0.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut bytes = self.0.content(name).unwrap();
        if let Some(byte) = bytes.get_mut(self.1) {
            *byte = !*byte;
        }
        self.0.put(name, bytes);
        self.0.open(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.0.sync_folder()
    }
}
