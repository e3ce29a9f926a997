//! Frames that wait are synced together, and a crash before that takes no more than they are.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};

use super::called::Called;
use super::{batch, open};
use crate::storage::{Crash, FaultyStorage, MemoryStorage, Storage};
use crate::{FileLog, Log, Offset, Options};

/// Bytes of a batch, two of which are more than a frame.
const LARGE: usize = 600 << 10;

/// A log in which `more` such batches come in the midst of the sync of the first record; and what becomes durable in it.
fn behind(storage: Arc<dyn Storage>, more: u64) -> Option<(Arc<FileLog>, Receiver<Offset>)> {
    let (storage, who) = Called::new(storage);
    let log = Arc::new(open(Arc::new(storage), Options::default()).ok()?.0);
    let told = durable(&log);
    let of: Weak<FileLog> = Arc::downgrade(&log);
    let call = move || {
        if let Some(log) = of.upgrade().filter(|log| log.bounds().last == Offset(1)) {
            for offset in 2..2 + more {
                log.append(batch(&[&large(offset)]), None).unwrap();
            }
        }
    };
    assert!(who.set(Box::new(call)).is_ok());
    log.append(batch(&[&large(1)]), None).ok()?;
    Some((log, told))
}

/// What becomes durable in `log` from here on. Where the disk dies, nobody is told.
fn durable(log: &FileLog) -> Receiver<Offset> {
    let (tell, told) = channel();
    log.on_durable(Box::new(move |durable| {
        drop(durable.map(|durable| tell.send(durable)));
    }));
    told
}

/// The record at an offset.
fn large(offset: u64) -> Vec<u8> {
    let byte = u8::try_from(offset).unwrap();
    vec![byte; if offset == 1 { 1 } else { LARGE }]
}

#[test]
fn frames_that_wait_are_synced_together_up_to_some_megabytes() {
    let (log, told) = behind(Arc::new(MemoryStorage::default()), 20).unwrap();
    let durable: Vec<u64> = told.iter().map(|durable| durable.0).take(5).collect();
    assert_eq!(durable, [1, 7, 13, 19, 21]);
    log.close().unwrap();
}

#[test]
fn what_is_written_does_not_wait_for_the_room_that_another_frame_may_need() {
    let disk = FaultyStorage::default();
    disk.limit(16 << 20);
    let (storage, who) = Called::new(Arc::new(disk));
    let options = Options {
        reserve_bytes: 2 << 20,
        ..Options::default()
    };
    let log = Arc::new(open(Arc::new(storage), options).unwrap().0);
    let append = |log: &FileLog| log.append(batch(&[&vec![7; LARGE]]), None).unwrap().last;
    while !log.short_of_room() {
        log.wait_durable(append(&log)).unwrap();
    }
    let told = durable(&log);
    let (of, before) = (Arc::downgrade(&log), log.bounds().last);
    let until = Offset(before.0 + 4);
    let call = move || {
        if let Some(log) = of.upgrade() {
            while log.bounds().last < until {
                append(&log);
            }
        }
    };
    assert!(who.set(Box::new(call)).is_ok());
    append(&log);
    // Of what came before, somebody may be told only now.
    let mut behind = told.iter().skip_while(|durable| *durable <= before);
    for offset in before.0 + 1..=until.0 {
        assert_eq!(behind.next(), Some(Offset(offset)), "one by one");
    }
    log.close().unwrap();
}

#[test]
fn invariant_01_a_crash_between_frames_that_are_synced_together_loses_nothing_that_was_acknowledged() {
    let run = |die_at: u64| {
        let disk = FaultyStorage::default();
        disk.die_at(die_at);
        let acknowledged = behind(Arc::new(disk.clone()), 5).map_or(0, |(log, told)| {
            log.wait_durable(Offset(6)).ok();
            log.close().ok();
            drop(log);
            told.iter().last().map_or(0, |durable| durable.0)
        });
        (disk, acknowledged)
    };
    let mut between = 0;
    for die_at in 1..=run(u64::MAX).0.changes() {
        let (disk, acknowledged) = run(die_at);
        for how in [Crash::LoseAll, Crash::KeepAll]
            .into_iter()
            .chain((0..6).map(Crash::Tear))
        {
            let after: Arc<dyn Storage> = Arc::new(disk.crash(how));
            let (_, _, found) = open(after, Options::default()).unwrap_or_else(|refused| {
                panic!("crash at {die_at}, {how:?}: a crash is no damage, but: {refused}")
            });
            let count = found.len() as u64;
            assert!(
                (acknowledged..=6).contains(&count)
                    && (1..).zip(&found).all(|(offset, found)| *found == large(offset)),
                "crash at {die_at}, {how:?}: {acknowledged} acknowledged, {count} found"
            );
            between += u64::from((2..6).contains(&count));
        }
    }
    assert!(between > 0, "some of the frames were found, and not all");
}
