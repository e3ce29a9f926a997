//! A disk that runs full: publishing ends before settling does, and it heals by itself.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::Crash;

const SIZE: usize = 64_000;
const RESERVE: usize = 4000;

fn reserving() -> Options {
    Options {
        reserve_bytes: RESERVE as u64,
        ..small()
    }
}

/// A disk of [`SIZE`], and a log on it that is short of room.
fn short() -> (FaultyStorage, FileLog) {
    let disk = FaultyStorage::default();
    disk.limit(SIZE);
    let (log, _, _) = open(Arc::new(disk.clone()), reserving()).unwrap();
    assert!(!log.short_of_room(), "an empty disk has room");
    while !log.short_of_room() {
        append(&log);
    }
    (disk, log)
}

/// Append a record and wait until it is durable.
fn append(log: &FileLog) {
    let appended = log.append(batch(&[&[7; 100]]), None).unwrap();
    log.wait_durable(appended.last).unwrap();
    assert!(appended.last.0 < 10_000, "the disk never is full");
}

fn holds_back(disk: &FaultyStorage) -> bool {
    disk.list().unwrap().iter().any(|name| name == "reserve")
}

fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

/// How many records a crash leaves.
fn left(disk: &FaultyStorage) -> u64 {
    let (_, _, found) = open(Arc::new(disk.crash(Crash::LoseAll)), small()).unwrap();
    found.len() as u64
}

#[test]
fn a_full_disk_without_a_reserve_acknowledges_nothing_more() {
    let disk = FaultyStorage::default();
    let (log, _, _) = open(Arc::new(disk.clone()), small()).unwrap();
    disk.limit(900);
    let mut acknowledged = 0;
    while let Ok(appended) = log.append(batch(&[&[7; 100]]), None) {
        if log.wait_durable(appended.last).is_err() {
            break;
        }
        acknowledged += 1;
    }
    assert!(acknowledged > 0);
    assert_eq!(left(&disk), acknowledged);
}

#[test]
fn what_settles_has_room_when_publishers_have_none_and_the_reserve_behind_it() {
    let (disk, log) = short();
    assert!(holds_back(&disk) && disk.used() < SIZE);
    while holds_back(&disk) {
        append(&log);
    }
    append(&log);
    let durable = log.bounds().durable.0;
    assert_eq!(left(&disk), durable, "all that was acknowledged is there");
}

#[test]
fn a_write_waits_for_room_and_the_log_heals_without_a_restart() {
    let (disk, log) = short();
    // Somebody else takes all that is left, and more than the reserve.
    disk.limit(disk.used() - RESERVE);
    let appended = log.append(batch(&[&[8; 100]]), None).unwrap();
    until(|| !holds_back(&disk));
    assert!(
        log.bounds().durable < appended.last,
        "what is not on disk is not durable"
    );
    disk.limit(2 * SIZE);
    log.wait_durable(appended.last).unwrap();
    until(|| !log.short_of_room() && holds_back(&disk));
    append(&log);
    let durable = log.bounds().durable.0;
    log.close().unwrap();
    assert_eq!(left(&disk), durable);
}

#[test]
fn a_log_that_ends_does_not_wait_for_room() {
    let (disk, log) = short();
    disk.limit(disk.used() - RESERVE);
    let durable = log.bounds().durable.0;
    let appended = log.append(batch(&[&[8; 100]]), None).unwrap();
    log.end_waiting();
    log.wait_durable(appended.last).unwrap_err();
    log.close().unwrap_err();
    assert_eq!(left(&disk), durable, "nothing acknowledged is missing");
}

#[test]
fn a_log_that_was_idle_when_the_disk_filled_up_stops_cleanly() {
    let (disk, log) = short();
    disk.limit(disk.used());
    log.close().unwrap();
    assert_eq!(left(&disk), log.bounds().durable.0);
}

#[test]
fn invariant_07_a_sync_that_finds_the_disk_full_poisons_and_is_not_retried() {
    // Far enough for the syncs of an append, of a segment that ends and of one that begins.
    for fails_at in 2..14 {
        let disk = FaultyStorage::default();
        let (log, _, _) = open(Arc::new(disk.clone()), reserving()).unwrap();
        let poisoned = Arc::new(AtomicBool::new(false));
        let told = poisoned.clone();
        log.on_durable(Box::new(move |durable| {
            told.fetch_or(durable.is_err(), Ordering::SeqCst);
        }));
        disk.fail_syncs_from(fails_at);
        let ended = || poisoned.load(Ordering::SeqCst) || disk.syncs() > fails_at;
        while !ended() {
            let Ok(appended) = log.append(batch(&[&[7; 100]]), None) else {
                break;
            };
            until(|| log.bounds().durable >= appended.last || ended());
        }
        until(ended);
        assert_eq!(disk.syncs(), fails_at, "the failed sync is the last one");
        log.append(batch(&[b"y"]), None).unwrap_err();
    }
}

#[test]
fn a_log_that_opens_on_a_full_disk_says_so_and_heals() {
    let disk = FaultyStorage::default();
    disk.limit(SIZE);
    drop(open(Arc::new(disk.clone()), small()).unwrap());
    disk.limit(disk.used() + 100);
    let options = Options {
        reserve_bytes: 10,
        ..small()
    };
    let (log, _, _) = open(Arc::new(disk.clone()), options.clone()).unwrap();
    assert!(!log.short_of_room(), "100 bytes are enough for 10");
    drop(log);
    disk.limit(disk.used() - 10 + 14);
    let (log, _, _) = open(Arc::new(disk.clone()), options).unwrap();
    assert!(log.short_of_room(), "14 bytes are not");
    disk.limit(SIZE);
    until(|| !log.short_of_room());
}

#[test]
fn what_the_process_before_held_back_is_held_back_again() {
    let (disk, log) = short();
    drop(log);
    disk.limit(disk.used() + RESERVE / 2);
    let (log, _, _) = open(Arc::new(disk.clone()), reserving()).unwrap();
    assert!(!log.short_of_room() && holds_back(&disk));
}

#[test]
fn a_disk_smaller_than_the_reserve_is_used_all_the_same() {
    let disk = FaultyStorage::default();
    disk.limit(SIZE);
    let (log, _, _) = open(
        Arc::new(disk.clone()),
        Options {
            reserve_bytes: 1 << 30,
            ..small()
        },
    )
    .unwrap();
    assert!(holds_back(&disk));
    while !log.short_of_room() {
        append(&log);
    }
    assert!(disk.used() > SIZE / 10 * 9, "{} of {SIZE}", disk.used());
}

#[test]
fn a_crash_anywhere_on_a_disk_that_runs_full_loses_nothing_acknowledged() {
    let run = |dies_at: Option<u64>| {
        let disk = FaultyStorage::default();
        disk.limit(8000);
        if let Some(change) = dies_at {
            disk.die_at(change);
        }
        let options = Options {
            reserve_bytes: 1000,
            ..small()
        };
        let mut acknowledged = 0;
        if let Ok((log, _, _)) = open(Arc::new(disk.clone()), options) {
            for _ in 0..29 {
                let Ok(appended) = log.append(batch(&[&[7; 100]]), None) else {
                    break;
                };
                if log.wait_durable(appended.last).is_err() {
                    break;
                }
                acknowledged = appended.last.0;
            }
        }
        (disk, acknowledged)
    };
    let (whole, all) = run(None);
    assert!(all == 29 && !holds_back(&whole), "the reserve is used");
    for change in 1..=whole.changes() {
        let (disk, acknowledged) = run(Some(change));
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Tear(change)] {
            let (log, _, found) = open(Arc::new(disk.crash(crash)), small()).unwrap();
            assert!(found.len() as u64 >= acknowledged, "change {change}, {crash:?}");
            append(&log);
        }
    }
}
