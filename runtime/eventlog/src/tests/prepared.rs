//! Zeros that are written ahead of the frames: no reader takes them for records, and none for damage.

use super::*;
use crate::frame::written;
use crate::segment;
use crate::storage::Crash;
use crate::verify::verify;

/// A disk after a power cut that lost nothing, of a log with `batches` batches that was not stopped.
fn killed(options: &Options, batches: u64) -> MemoryStorage {
    let disk = FaultyStorage::default();
    let log = filled(
        &(Arc::new(disk.clone()) as Arc<dyn Storage>),
        options.clone(),
        batches,
    );
    let after = disk.crash(Crash::LoseAll);
    drop(log);
    let copy = MemoryStorage::default();
    for name in after.list().unwrap() {
        copy.put(&name, after.content(&name).unwrap());
    }
    copy
}

#[test]
fn what_was_prepared_is_no_torn_tail_and_is_used() {
    let disk = killed(&Options::default(), 3);
    let name = segment::name(Offset(1));
    let before = disk.content(&name).unwrap();
    assert!(before.len() > written(&before) + 100_000, "it was prepared");
    let report = verify(&disk, &[]).unwrap();
    assert!(report.damage.is_empty() && report.torn.is_none());
    assert_eq!(report.segments[0].bytes, written(&before) as u64);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, recovered, seen) = open(storage.clone(), Options::default()).unwrap();
    assert!(recovered.torn.is_none());
    assert_eq!(seen, records(6));
    let one = log.append(batch(&[&record(7), &record(8)]), None).unwrap();
    log.wait_durable(one.last).unwrap();
    let after = disk.content(&name).unwrap();
    assert_eq!(after.len(), before.len(), "what follows is written into it");
    drop(log);
    let stopped = disk.content(&name).unwrap();
    let report = verify(&disk, &[]).unwrap();
    assert_eq!(
        stopped.len() as u64,
        report.segments[0].bytes,
        "a clean stop gives it back"
    );
    assert_eq!(open(storage, Options::default()).unwrap().2, records(8));
}

#[test]
fn a_frame_that_is_torn_in_what_was_prepared_is_cut_and_copied_without_the_zeros() {
    let disk = killed(&Options::default(), 3);
    let name = segment::name(Offset(1));
    let whole = disk.content(&name).unwrap();
    let mut torn = whole.clone();
    let end = written(&whole);
    torn[end + 8..end + 12].copy_from_slice(b"half");
    disk.put(&name, torn);
    let report = verify(&disk, &[]).unwrap();
    assert_eq!(
        report.segments[0].bytes,
        end as u64 + 12,
        "the zeros are not counted"
    );
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, recovered, seen) = open(storage, Options::default()).unwrap();
    let torn = recovered.torn.expect("something stands there");
    assert_eq!((seen, torn.byte, torn.bytes), (records(6), end as u64, 12));
    assert!(
        torn.may_hold_acknowledged,
        "no sync can be told from another in there"
    );
    assert_eq!(disk.content(&torn.copied_to).unwrap(), b"\0\0\0\0\0\0\0\0half");
    drop(log);
}

#[test]
fn zeros_with_a_frame_behind_them_are_damage() {
    let disk = killed(&Options::default(), 3);
    let name = segment::name(Offset(1));
    let mut bytes = disk.content(&name).unwrap();
    // A write that the disk acknowledged and lost.
    let frame = crate::frame::Header::read(&bytes[segment::HEADER..]).unwrap();
    let end = segment::HEADER + usize::try_from(frame.size()).unwrap();
    bytes[segment::HEADER..end].fill(0);
    disk.put(&name, bytes);
    let refused = open(Arc::new(disk), Options::default());
    assert!(matches!(refused, Err(OpenError::Damaged { byte: 64, .. })));
}

#[test]
fn a_segment_gives_back_what_was_prepared_before_another_begins() {
    let storage: Arc<dyn Storage> = Arc::new(killed(&Options::default(), 3));
    // It is full at once: a segment is smaller now.
    let options = Options {
        segment_bytes: 300,
        ..small()
    };
    let (log, ..) = open(storage.clone(), options).unwrap();
    let one = log.append(batch(&[b"more"]), None).unwrap();
    log.wait_durable(one.last).unwrap();
    let first = storage.open(&segment::name(Offset(1))).unwrap();
    assert_eq!(first.length().unwrap(), log.segments()[0].bytes);
    assert!(log.segments().len() > 1);
    let snapshot = log.snapshot().unwrap();
    let copied = snapshot.copy(0, &mut |_| Ok(())).unwrap();
    assert_eq!(copied, Offset(6), "and can be copied");
}

#[test]
fn no_segment_is_prepared_beyond_its_size_nor_behind_a_large_frame() {
    let options = Options {
        segment_bytes: 100 << 10,
        ..small()
    };
    let bytes = killed(&options, 1).content(&segment::name(Offset(1))).unwrap();
    assert_eq!(bytes.len(), 100 << 10);
    let disk = FaultyStorage::default();
    let (log, _, _) = open(Arc::new(disk.clone()), Options::default()).unwrap();
    let one = log.append(batch(&[&vec![7; 100 << 10]]), None).unwrap();
    log.wait_durable(one.last).unwrap();
    let bytes = disk
        .crash(Crash::LoseAll)
        .content(&segment::name(Offset(1)))
        .unwrap();
    assert_eq!(bytes.len(), written(&bytes));
}

#[test]
fn where_the_disk_has_room_for_a_part_of_the_zeros_the_log_goes_on_and_cuts_them_off_in_the_end() {
    let options = Options {
        reserve_bytes: 0,
        ..Options::default()
    };
    let disk = FaultyStorage::default();
    disk.limit(10_000);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, ..) = open(storage.clone(), options.clone()).unwrap();
    let first = log.append(batch(&[&record(1)]), None).unwrap();
    log.wait_durable(first.last).unwrap();
    let file = disk.open(&segment::name(Offset(1))).unwrap();
    assert_eq!(file.length().unwrap(), 10_000, "as much as fits");
    disk.limit(20_000);
    let changes = disk.changes();
    let second = log.append(batch(&[&record(2)]), None).unwrap();
    log.wait_durable(second.last).unwrap();
    log.close().unwrap();
    assert!(
        disk.changes() < changes + 9,
        "what is prepared is not prepared again"
    );
    assert_eq!(file.length().unwrap(), log.segments()[0].bytes);
    drop(log);
    assert_eq!(open(storage, options).unwrap().2, records(2));
}

#[test]
fn a_log_that_can_not_give_back_what_was_prepared_stops_cleanly_with_all_that_it_has() {
    let disk = FaultyStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let log = filled(&storage, Options::default(), 3);
    disk.refuse_cuts();
    log.close().unwrap();
    let file = disk.open(&segment::name(Offset(1))).unwrap();
    assert!(file.length().unwrap() > log.segments()[0].bytes, "it was not cut");
    drop(log);
    let (_log, recovered, seen) = open(storage, Options::default()).unwrap();
    assert!(recovered.torn.is_none());
    assert_eq!(seen, records(6));
}
