//! What nobody waits for is held back, and what somebody waits for is not.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::called::Called;
use super::{batch, open};
use crate::storage::{MemoryStorage, Storage};
use crate::{FileLog, Log, Offset, Options};

/// A log on `storage` that lets more come for as long as `linger`, and what becomes durable in it.
fn patient(storage: Arc<dyn Storage>, linger: Duration) -> (Arc<FileLog>, Receiver<Offset>) {
    let options = Options {
        linger,
        ..Options::default()
    };
    let log = Arc::new(open(storage, options).unwrap().0);
    let (tell, told) = channel();
    log.on_durable(Box::new(move |durable| tell.send(durable.unwrap()).unwrap()));
    (log, told)
}

fn idle(linger: Duration) -> (Arc<FileLog>, Receiver<Offset>) {
    patient(Arc::new(MemoryStorage::default()), linger)
}

/// How many syncs find something appended in their midst: more than make the thread busy.
const BUSY: u64 = 20;

/// Such a log that is never out of work, with one record that waits; and what becomes durable in it from then on.
fn busy(linger: Duration) -> (Arc<FileLog>, Receiver<Offset>) {
    let (storage, who) = Called::new(Arc::new(MemoryStorage::default()));
    let (log, told) = patient(Arc::new(storage), linger);
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
    log.hasten(append(&log, 1));
    while told.recv().unwrap() < Offset(BUSY - 1) {}
    (log, told)
}

fn append(log: &FileLog, bytes: usize) -> Offset {
    log.append(batch(&[&vec![7; bytes]]), None).unwrap().last
}

#[test]
fn what_nobody_waits_for_is_synced_together_once_it_is_enough() {
    for (log, told) in [idle(Duration::from_hours(1)), busy(Duration::from_hours(1))] {
        for _ in 0..100 {
            append(&log, 1000);
        }
        let last = append(&log, 64 << 10);
        assert_eq!(told.recv().unwrap(), last, "all of it in one sync");
        log.close().unwrap();
    }
}

#[test]
fn what_somebody_waits_for_is_synced_at_once() {
    for log in [idle, busy] {
        let (log, told) = log(Duration::from_hours(1));
        let last = append(&log, 1);
        log.wait_durable(last).unwrap();
        assert_eq!(told.recv().unwrap(), last);
        // In a way of their own.
        let last = append(&log, 1);
        log.hasten(last);
        assert_eq!(told.recv().unwrap(), last);
        log.close().unwrap();
    }
}

#[test]
fn who_waits_for_what_is_still_to_come_has_it_synced_when_it_comes() {
    let (log, told) = idle(Duration::from_hours(1));
    for wanted in [Offset(3), Offset(4)] {
        log.hasten(wanted);
        log.hasten(Offset(1000));
        while append(&log, 1) < wanted {}
        assert_eq!(told.recv().unwrap(), wanted, "and not what came before it");
    }
    // They have it, and nobody waits any more.
    append(&log, 1);
    let last = append(&log, 128 << 10);
    assert_eq!(told.recv().unwrap(), last);
    log.close().unwrap();
}

#[test]
fn who_follows_a_busy_log_takes_what_comes_when_it_comes() {
    let (log, told) = busy(Duration::from_hours(1));
    log.hasten(Offset(BUSY + 1));
    for _ in 0..100 {
        append(&log, 1000);
    }
    let last = append(&log, 64 << 10);
    assert_eq!(told.recv().unwrap(), last);
    log.close().unwrap();
}

#[test]
fn what_nobody_waits_for_is_synced_in_time_and_when_the_log_ends() {
    for (linger, ends) in [(Duration::from_millis(1), false), (Duration::from_hours(1), true)] {
        let (log, told) = idle(linger);
        let last = append(&log, 1);
        if ends {
            log.close().unwrap();
        }
        assert_eq!(told.recv().unwrap(), last);
        log.close().unwrap();
    }
}
