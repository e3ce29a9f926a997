//! Opening with a checkpoint: what is known is not read again, and what contradicts it refuses to start.

use super::*;
use crate::storage::Crash;
use crate::{Condition, Known};

fn known(log: &FileLog, through: u64) -> Known {
    Known {
        log: log.id(),
        through: Offset(through),
        time: Micros(7),
        writers: vec![("w".into(), Offset(3))],
    }
}

/// Open with what is known; answers the log and the offsets that were visited.
fn open_known(storage: &Arc<dyn Storage>, known: &Known) -> Result<(FileLog, Vec<u64>), OpenError> {
    let mut visited = Vec::new();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let (log, _) = FileLog::open(storage.clone(), small(), clock, Some(known), &mut |entry| {
        assert_eq!(*entry.payload, *record(entry.offset.0));
        visited.push(entry.offset.0);
    })?;
    Ok((log, visited))
}

#[test]
fn what_a_checkpoint_knows_is_not_read_again_and_can_still_be_read() {
    for through in 0..=100 {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let log = filled(&storage, small(), 50);
        let known = known(&log, through);
        let segments = log.size().0;
        drop(log);
        let (log, visited) = open_known(&storage, &known).unwrap();
        let from = visited.first().copied().unwrap_or(101);
        assert!(
            from <= through + 1,
            "{through}: nothing that is not known is left out"
        );
        assert_eq!(visited, (from..=100).collect::<Vec<_>>());
        if through > 60 {
            assert!(from > 40, "{through}: most is left out");
        }
        assert_eq!(log.size().0, segments);
        // From the end to the beginning, then in one go.
        for offset in (1..=100).rev() {
            let mut found = Vec::new();
            log.read_at(&[Offset(offset)], &mut found).unwrap();
            assert_eq!((found.len(), &*found[0].payload), (1, &*record(offset)));
        }
        let mut read = Vec::new();
        while let Some(entry) = log
            .read(Offset(read.len() as u64 + 1), 300, Reach::Durable)
            .unwrap()
            .first()
        {
            read.push(entry.payload.to_vec());
        }
        assert_eq!(read, records(100));
        let condition = |last| {
            Some(Condition {
                writer: "w",
                last: Some(Offset(last)),
            })
        };
        let refused = log.append(batch(&[b"x"]).writer("w"), condition(2));
        assert!(matches!(refused, Err(AppendError::Conflict { .. })));
        let appended = log.append(batch(&[b"x"]).writer("w"), condition(3)).unwrap();
        assert_eq!((appended.first, appended.time), (Offset(101), Micros(7)));
    }
}

#[test]
fn a_log_that_ends_before_its_checkpoint_is_refused() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let known = known(&filled(&storage, small(), 50), 101);
    let refused = open_known(&storage, &known).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Behind { .. }), "{refused}");
}

#[test]
fn a_log_of_another_id_is_refused() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let other: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let known = known(&filled(&other, small(), 50), 90);
    filled(&storage, small(), 50);
    let refused = open_known(&storage, &known).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn invariant_07_a_bad_tail_that_a_checkpoint_knows_is_damage_and_not_torn() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    // One segment, and no mark behind the last frame: only the checkpoint knows that it was synced.
    let log = filled(&storage, Options::default(), 5);
    let (last, known) = (known(&log, 10), known(&log, 8));
    drop(log);
    let name = storage
        .list()
        .unwrap()
        .into_iter()
        .find(|n| crate::segment::first_of(n).is_some())
        .unwrap();
    let file = storage.open(&name).unwrap();
    let whole = crate::storage::read_all(&*file, 0).unwrap();
    let last_record = record(10);
    let at = whole
        .windows(last_record.len())
        .position(|bytes| bytes == last_record);
    file.truncate(at.unwrap() as u64 + 3).unwrap();
    let refused = open_known(&storage, &last).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    let (log, _) = open_known(&storage, &known).unwrap();
    assert_eq!(
        log.bounds().last,
        Offset(8),
        "and what it does not know of is torn"
    );
}

#[test]
fn a_crash_while_a_segment_begins_is_no_damage_for_a_checkpoint_that_ends_there() {
    let mut begun = 0;
    for die_at in 1..400 {
        let disk = FaultyStorage::default();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let (log, _, _) = open(storage, small()).unwrap();
        disk.die_at(disk.changes() + die_at);
        let mut durable = 0;
        for n in 0..20u64 {
            let Ok(one) = log.append(batch(&[&record(2 * n + 1), &record(2 * n + 2)]), None) else {
                break;
            };
            if log.wait_durable(one.last).is_err() {
                break;
            }
            durable = one.last.0;
        }
        let known = known(&log, durable);
        for how in [Crash::LoseAll, Crash::KeepAll, Crash::Tear(die_at)] {
            let after: Arc<dyn Storage> = Arc::new(disk.crash(how));
            let (log, _) = open_known(&after, &known)
                .unwrap_or_else(|refused| panic!("crash at {die_at}, {how:?}: {refused}"));
            begun = begun.max(log.size().0);
        }
        drop(log);
        if durable == 40 {
            break;
        }
    }
    assert!(begun > 2, "some crashes met the beginning of a segment");
}

#[test]
fn a_last_segment_without_a_header_that_a_checkpoint_knows_is_damage_and_stays_where_it_is() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let known = known(&filled(&storage, small(), 50), 100);
    let last = storage.list().unwrap().pop().unwrap();
    let rotten = vec![0; disk.content(&last).unwrap().len()];
    disk.put(&last, rotten.clone());
    let refused = open_known(&storage, &known).map(|_| ()).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Damaged { file, .. } if *file == last),
        "{refused}"
    );
    assert_eq!(disk.content(&last), Some(rotten));
}

#[test]
fn a_log_whose_only_segment_was_just_begun_goes_on_behind_what_a_checkpoint_knows() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let known = known(&filled(&storage, small(), 50), 60);
    let disk = MemoryStorage::default();
    disk.put(&crate::segment::name(Offset(61)), vec![0; 10]);
    let storage: Arc<dyn Storage> = Arc::new(disk);
    let (log, _) = open_known(&storage, &known).unwrap();
    assert_eq!((log.id(), log.bounds().last), (known.log, Offset(60)));
    let appended = log.append(batch(&[b"x"]), None).unwrap();
    assert_eq!((appended.first, appended.time), (Offset(61), Micros(7)));
}
