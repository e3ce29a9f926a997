//! Tests of the log on its storages: conformance, crashes, rot, and a comparison with a plain vector.

mod called;
mod crash;
mod damage;
mod fuzz;
mod known;
mod linger;
mod model;
mod prepared;
mod repair;
mod room;
mod rot;
mod snapshot;
mod together;

use std::sync::Arc;

use crate::conformance::{self, batch};
use crate::storage::{FaultyStorage, FsStorage, MemoryStorage, Storage};
use crate::{
    AppendError, Durability, Entry, FileLog, Log, ManualClock, Micros, Offset, OpenError, Options, Reach,
    ReadError, Recovered,
};

/// Options that make many small segments.
fn small() -> Options {
    Options {
        segment_bytes: 700,
        reserve_bytes: 0,
        ..Options::default()
    }
}

fn open(
    storage: Arc<dyn Storage>,
    options: Options,
) -> Result<(FileLog, Recovered, Vec<Vec<u8>>), OpenError> {
    let mut seen = Vec::new();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let (log, recovered) = FileLog::open(storage, options, clock, None, &mut |entry| {
        assert_eq!(
            entry.offset.0,
            seen.len() as u64 + 1,
            "records are visited in order, without gaps"
        );
        seen.push(entry.payload.to_vec());
    })?;
    Ok((log, recovered, seen))
}

/// A log of `batches` batches with two records each, every one synced by itself.
fn filled(storage: &Arc<dyn Storage>, options: Options, batches: u64) -> FileLog {
    let (log, _, _) = open(storage.clone(), options).unwrap();
    for n in 0..batches {
        let appended = log
            .append(batch(&[&record(2 * n + 1), &record(2 * n + 2)]), None)
            .unwrap();
        log.wait_durable(appended.last).unwrap();
    }
    log
}

/// The payload at an offset of such a log.
fn record(offset: u64) -> Vec<u8> {
    format!(
        "record {offset} {}",
        "x".repeat(usize::try_from(offset % 40).unwrap())
    )
    .into_bytes()
}

fn records(count: u64) -> Vec<Vec<u8>> {
    (1..=count).map(record).collect()
}

#[test]
fn what_is_appended_while_the_thread_is_busy_awake_or_asleep_is_written() {
    for durability in [Durability::Os, Durability::Fsync] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let options = Options {
            durability,
            ..small()
        };
        let (log, _, _) = open(storage.clone(), options.clone()).unwrap();
        for n in 1..=600 {
            let appended = log.append(batch(&[&record(n)]), None).unwrap();
            if n % 3 == 0 {
                log.wait_durable(appended.last).unwrap();
            }
        }
        log.close().unwrap();
        drop(log);
        assert_eq!(open(storage, options).unwrap().2, records(600), "{durability:?}");
    }
}

#[test]
fn every_storage_and_durability_conforms() {
    let folders: Vec<_> = (0..20).map(|_| tempfile::tempdir().unwrap()).collect();
    for durability in [Durability::Fsync, Durability::Os, Durability::Memory] {
        let options = Options {
            durability,
            ..small()
        };
        let mut unused = folders.iter();
        conformance::suite(&mut || {
            let folder = tempfile::tempdir_in(unused.next().unwrap().path())
                .unwrap()
                .keep();
            Box::new(open(Arc::new(FsStorage::new(folder)), options.clone()).unwrap().0)
        });
        conformance::suite(&mut || {
            Box::new(
                open(Arc::new(MemoryStorage::default()), options.clone())
                    .unwrap()
                    .0,
            )
        });
        conformance::suite(&mut || {
            Box::new(
                open(Arc::new(FaultyStorage::default()), options.clone())
                    .unwrap()
                    .0,
            )
        });
    }
}

#[test]
fn a_log_is_found_again_as_it_was() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let id = filled(&storage, small(), 50).id();
    let (log, recovered, seen) = open(storage, small()).unwrap();
    assert_eq!(seen, records(100));
    assert_eq!(
        (log.id(), recovered.records, log.bounds().durable),
        (id, 100, Offset(100))
    );
    assert!(recovered.torn.is_none(), "a clean stop leaves nothing to cut");
    assert!(log.size().0 > 3, "it has several segments");
}

#[test]
fn what_left_the_hot_window_is_read_from_disk_through_the_same_call() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let options = Options {
        hot_bytes: 500,
        ..small()
    };
    let log = filled(&storage, options, 50);
    assert!(log.bounds().hot_first > Offset(80));
    let (mut seen, mut from) = (Vec::new(), Offset(1));
    while let Some(last) = {
        let entries = log.read(from, 300, Reach::Durable).unwrap();
        seen.extend(entries.iter().map(|entry| entry.payload.to_vec()));
        entries.last().map(|entry| entry.offset)
    } {
        from = last.next();
    }
    assert_eq!(seen, records(100));
    let mut some: Vec<Entry> = Vec::new();
    log.read_at(&[3, 4, 50, 99, 100].map(Offset), &mut some).unwrap();
    assert_eq!(
        some.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(),
        [3, 4, 50, 99, 100]
    );
}

/// Between looking whether a record is there and looking for its segment, the segment may go.
#[test]
fn a_reader_that_meets_a_segment_while_it_goes_never_finds_nothing() {
    for _ in 0..300 {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let options = Options {
            hot_bytes: 0,
            segment_bytes: 100,
            ..small()
        };
        let log = filled(&storage, options, 10);
        let end = log.bounds().last;
        let read = || {
            let mut at = Offset(1);
            while at < end {
                match log.read(at, 1, Reach::Durable) {
                    Ok(entries) => at = entries.last().expect("what is not gone is there").offset.next(),
                    Err(ReadError::Gone { first, .. }) => at = first,
                    Err(bad) => panic!("{bad}"),
                }
            }
        };
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| scope.spawn(read));
            for offset in 1..=end.0 {
                log.drop_before(Offset(offset)).unwrap();
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }
}

#[test]
fn retention_drops_whole_segments_and_says_what_is_gone() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let log = filled(
        &storage,
        Options {
            hot_bytes: 0,
            ..small()
        },
        50,
    );
    let first = log.drop_before(Offset(60)).unwrap();
    assert!(first > Offset(30) && first <= Offset(60));
    let asked = log.read(Offset(1), 10, Reach::Durable);
    assert!(matches!(asked, Err(ReadError::Gone { first: left, .. }) if left == first));
    assert_eq!(
        log.read(first, 10, Reach::Durable).unwrap()[0].payload,
        record(first.0)
    );
    drop(log);
    let mut visited = Vec::new();
    let clock = Arc::new(ManualClock::default());
    let (log, _) = FileLog::open(storage, small(), clock, None, &mut |entry| {
        visited.push(entry.offset);
    })
    .unwrap();
    assert_eq!((visited[0], visited.len() as u64), (first, 101 - first.0));
    assert_eq!(log.bounds().first, first);
}

#[test]
fn times_never_go_backwards_also_over_a_restart() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let clock = Arc::new(ManualClock::new(Micros(50)));
    for (now, expected) in [(50, 50), (40, 50), (60, 60), (1, 60)] {
        clock.set(Micros(now));
        let (log, _) = FileLog::open(storage.clone(), small(), clock.clone(), None, &mut |_| {}).unwrap();
        assert_eq!(log.append(batch(&[b"r"]), None).unwrap().time, Micros(expected));
        log.close().unwrap();
    }
}

#[test]
fn a_second_opener_is_refused_and_told_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FsStorage::new(folder.path().to_owned()));
    let first = open(storage.clone(), small()).unwrap();
    let Err(OpenError::InUse { folder: named }) = open(storage.clone(), small()) else {
        panic!("it must be refused")
    };
    assert_eq!(named, folder.path().display().to_string());
    drop(first);
    open(storage, small()).unwrap();
}

#[test]
fn a_writers_last_batch_is_known_after_a_restart() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let (log, _, _) = open(storage.clone(), small()).unwrap();
    let last = log
        .append(batch(&[b"a", b"b"]).writer("lane"), None)
        .unwrap()
        .last;
    drop(log);
    let (log, _, _) = open(storage, small()).unwrap();
    let condition = |last| Some(crate::Condition { writer: "lane", last });
    assert!(matches!(
        log.append(batch(&[b"c"]), condition(None)),
        Err(AppendError::Conflict { .. })
    ));
    log.append(batch(&[b"c"]), condition(Some(last))).unwrap();
}

#[test]
fn invariant_07_a_failed_sync_poisons_the_log_and_is_never_retried() {
    let disk = FaultyStorage::default();
    let (log, _, _) = open(Arc::new(disk.clone()), small()).unwrap();
    log.wait_durable(log.append(batch(&[b"kept"]), None).unwrap().last)
        .unwrap();
    disk.fail_syncs_from(0);
    let lost = log.append(batch(&[b"lost"]), None).unwrap();
    log.wait_durable(lost.last).unwrap_err();
    let before = disk.changes();
    assert!(matches!(
        log.append(batch(&[b"more"]), None),
        Err(AppendError::Poisoned { .. })
    ));
    assert_eq!(log.bounds().durable, Offset(1));
    log.close().unwrap_err();
    assert_eq!(disk.changes(), before, "nothing was tried again");
}

#[test]
fn appends_are_refused_while_too_much_waits() {
    let options = Options {
        max_undurable_bytes: 300,
        ..small()
    };
    let (log, _, _) = open(Arc::new(MemoryStorage::default()), options).unwrap();
    let refused = (0..100_000).find_map(|_| log.append(batch(&[&[1; 200]]), None).err());
    let Some(AppendError::Full {
        batch: back,
        undurable_bytes,
    }) = refused
    else {
        panic!("it never was full")
    };
    assert!(undurable_bytes > 0 && undurable_bytes <= 300);
    log.wait_durable(log.bounds().last).unwrap();
    log.append(back, None).unwrap();
}
