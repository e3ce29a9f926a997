//! Damage to files of a small log: every truncation, every flipped bit, lost and swapped segments.

use super::*;
use crate::segment;
use crate::verify;

/// A log of 6 records in one segment, cleanly stopped.
fn one_segment() -> (MemoryStorage, String, Vec<u8>) {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(filled(&storage, Options::default(), 3));
    let name = segment::name(Offset(1));
    let bytes = disk.content(&name).unwrap();
    (disk, name, bytes)
}

/// A disk that holds just this file.
fn disk_with(name: &str, bytes: Vec<u8>) -> Arc<dyn Storage> {
    let disk = MemoryStorage::default();
    disk.put(name, bytes);
    Arc::new(disk)
}

#[test]
fn invariant_07_every_flipped_bit_is_refused_or_harms_only_a_mark() {
    let (_, name, bytes) = one_segment();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        match open(disk_with(&name, rotten.clone()), Options::default()) {
            Err(OpenError::Damaged { file, .. }) => {
                assert_eq!(file, name);
                refused += 1;
            }
            // A version this program does not know can't be told from rot that the checksum misses: there is none.
            Err(other) => panic!("bit {bit}: {other}"),
            Ok((_, recovered, seen)) => {
                // Only the last marks, which hold no records, can be cut: the proof of what stands before them is
                // then gone, and that is said.
                assert_eq!(seen, records(6), "bit {bit}: no record is lost in silence");
                assert!(recovered.torn.is_some(), "bit {bit}: it is reported");
            }
        }
        let report = verify::verify(&*disk_with(&name, rotten), &[]).unwrap();
        assert!(
            !report.damage.is_empty() || report.torn.is_some(),
            "bit {bit}: verify notices it"
        );
    }
    assert!(refused > bytes.len() * 8 / 2);
}

#[test]
fn every_truncation_keeps_whole_batches_and_is_never_silent_about_a_cut() {
    let (_, name, bytes) = one_segment();
    for length in 0..bytes.len() {
        let opened = open(disk_with(&name, bytes[..length].to_vec()), Options::default());
        let (_, recovered, seen) = opened.unwrap_or_else(|cause| panic!("length {length}: {cause}"));
        assert_eq!(seen, records(seen.len() as u64));
        assert!(seen.len() % 2 == 0);
        let at_a_boundary = recovered.torn.is_none();
        let whole: u64 = if at_a_boundary {
            length as u64
        } else {
            recovered.torn.unwrap().byte
        };
        assert!(whole <= length as u64);
    }
}

#[test]
fn recovery_without_the_torn_or_rotten_rule_would_lose_acknowledged_records() {
    // The negative control: cutting at the first bad place, whatever stands behind it, loses records in silence.
    let (_, name, bytes) = one_segment();
    let mut rotten = bytes.clone();
    let at = segment::HEADER + crate::frame::HEADER + 30;
    rotten[at] ^= 1;
    assert!(matches!(
        open(disk_with(&name, rotten.clone()), Options::default()),
        Err(OpenError::Damaged { .. })
    ));
    rotten.truncate(segment::HEADER);
    let (_, _, seen) = open(disk_with(&name, rotten), Options::default()).unwrap();
    assert!(seen.is_empty(), "six acknowledged records would be gone");
}

#[test]
fn a_lost_or_foreign_segment_is_damage() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(filled(&storage, small(), 40));
    let names: Vec<String> = storage.list().unwrap();
    assert!(names.len() > 3);
    let other = MemoryStorage::default();
    drop(filled(
        &(Arc::new(other.clone()) as Arc<dyn Storage>),
        small(),
        40,
    ));

    let copy = |replace: &dyn Fn(usize, &str) -> Option<Vec<u8>>| {
        let copy = MemoryStorage::default();
        for (at, name) in names.iter().enumerate() {
            if let Some(bytes) = replace(at, name) {
                copy.put(name, bytes);
            }
        }
        Arc::new(copy) as Arc<dyn Storage>
    };
    let lost = copy(&|at, name| (at != 1).then(|| disk.content(name).unwrap()));
    assert!(matches!(open(lost, small()), Err(OpenError::Damaged { .. })));
    let foreign = copy(&|at, name| {
        if at == 1 {
            other.content(name)
        } else {
            disk.content(name)
        }
    });
    assert!(matches!(open(foreign, small()), Err(OpenError::Damaged { .. })));
    let short = copy(&|at, name| {
        disk.content(name)
            .map(|b| if at == 1 { b[..b.len() - 9].to_vec() } else { b })
    });
    assert!(matches!(open(short, small()), Err(OpenError::Damaged { .. })));
}

#[test]
fn damage_found_by_a_read_stops_only_the_reader_that_needs_it() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let log = filled(
        &storage,
        Options {
            hot_bytes: 0,
            ..small()
        },
        40,
    );
    let name = segment::name(Offset(1));
    let mut bytes = disk.content(&name).unwrap();
    bytes[segment::HEADER + crate::frame::HEADER + 20] ^= 1;
    disk.put(&name, bytes);
    let Err(ReadError::Damaged { file, offset, .. }) = log.read(Offset(1), 10, Reach::Durable) else {
        panic!("the damage is found")
    };
    assert_eq!((file, offset), (name, Offset(1)));
    let scrubbed = log.scrub(Offset(1), 100);
    assert!(matches!(scrubbed.damage, Some(ReadError::Damaged { .. })));
    // What lies behind is sound, up to the segment that is being written.
    let (mut at, mut parts) = (scrubbed.next, 0);
    while let Some(from) = at {
        let scrubbed = log.scrub(from, 100);
        assert!(scrubbed.damage.is_none());
        (at, parts) = (scrubbed.next, parts + 1);
    }
    assert!(parts > 5, "it is read in parts");
    let next = log.bounds().last;
    assert!(
        !log.read(next, 10, Reach::Durable).unwrap().is_empty(),
        "other readers go on"
    );
    log.append(batch(&[b"and publishing too"]), None).unwrap();
}

#[test]
fn another_format_is_refused_by_name() {
    let (_, name, mut bytes) = one_segment();
    bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let opened = open(disk_with(&name, bytes), Options::default());
    assert!(matches!(
        opened,
        Err(OpenError::Format {
            found: 9,
            known: 1,
            ..
        })
    ));
}

#[test]
fn a_lost_segment_before_the_checkpoint_is_damage_to_who_reads_it() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let id = filled(&storage, small(), 40).id();
    let mut names = storage.list().unwrap();
    names.sort();
    storage.remove(&names[1]).unwrap();
    let known = crate::Known {
        log: id,
        through: Offset(80),
        time: Micros(1),
        writers: Vec::new(),
    };
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let (log, _) = FileLog::open(storage, small(), clock, Some(&known), &mut |_| {}).unwrap();
    let lost = segment::first_of(&names[1]).unwrap();
    assert!(matches!(
        log.read(lost, 10, Reach::Durable),
        Err(ReadError::Damaged { .. })
    ));
}

/// Whether the log on `disk` is refused for the segment that was just begun, by opening it and by looking at it.
fn is_refused(disk: &MemoryStorage, begun: &str, known: Option<&crate::Known>) -> bool {
    let of = known.map(|known| (known.log, known.through));
    let report = verify::verify(disk, of.as_slice()).unwrap();
    let before = disk.list().unwrap();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let opened = FileLog::open(Arc::new(disk.clone()), small(), clock, known, &mut |_| {});
    let Err(OpenError::Damaged { file, .. }) = opened else {
        return false;
    };
    assert!(!report.damage.is_empty(), "verify says so too");
    assert_eq!(disk.list().unwrap(), before, "a refusal changes nothing");
    file == begun
}

#[test]
fn invariant_07_a_gap_before_a_segment_that_was_just_begun_is_damage_and_no_torn_tail() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let id = filled(&storage, small(), 40).id();
    let names = storage.list().unwrap();
    let [.., before, begun] = &names[..] else { panic!() };
    let content = |name: &String| disk.content(name).unwrap();
    let whole = content(before);
    // The segments but the last two, the one before the last as long as this, and the beginning of a last one.
    let cut = |length: usize| {
        let copy = MemoryStorage::default();
        for name in &names {
            copy.put(name, content(name));
        }
        copy.put(before, whole[..length].to_vec());
        copy.put(begun, content(begun)[..20].to_vec());
        copy
    };
    let end = segment::first_of(begun).unwrap().prev();
    let mut refused = 0;
    for length in segment::HEADER..=whole.len() {
        if is_refused(&cut(length), begun, None) {
            refused += 1;
        } else if let Ok((log, recovered, _)) = open(Arc::new(cut(length)), small()) {
            assert_eq!(log.bounds().last, end, "length {length}: no record is missing");
            assert_eq!(recovered.torn.unwrap().file, *begun);
        }
    }
    assert!(refused > 1, "some cuts fell between two frames");
    let lost = cut(whole.len());
    lost.remove(before).unwrap();
    assert!(is_refused(&lost, begun, None));
    // Where it stands alone, a checkpoint must reach it.
    let alone = || {
        let alone = MemoryStorage::default();
        alone.put(begun, Vec::new());
        alone
    };
    let known = |through| crate::Known {
        log: id,
        through,
        time: Micros(1),
        writers: Vec::new(),
    };
    assert!(!is_refused(&alone(), begun, Some(&known(end))));
    assert!(is_refused(&alone(), begun, Some(&known(end.prev()))));
    assert!(is_refused(&alone(), begun, None));
}
