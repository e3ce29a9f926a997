//! Flipped bits and cut files by the thousand: recovery refuses and names the place, finds every record, or says
//! what it cut, and cuts only what may be cut.

use std::sync::OnceLock;

use super::*;
use crate::proof::{Dice, Scale, cases};
use crate::storage::Crash;
use crate::{Known, verify};

/// Logs that are damaged, made once.
const SAMPLES: u64 = 48;

/// A log as it was before it was damaged.
struct Sample {
    files: Vec<(String, Vec<u8>)>,
    written: Vec<Entry>,
    /// Whether it was stopped cleanly: behind every record stands proof that it was synced.
    is_clean: bool,
    /// What a checkpoint knows of it, where there is one.
    known: Option<Known>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip { file: usize, bit: usize },
    Cut { file: usize, length: usize },
}

/// A log of several segments: some with a beginning that was dropped, some that a checkpoint knows, some that were
/// stopped by a power cut.
fn sample(seed: u64) -> Sample {
    let mut dice = Dice::new(seed);
    let disk = FaultyStorage::default();
    let options = Options {
        segment_bytes: 300 + dice.below(1200),
        ..small()
    };
    let (log, _, _) = open(Arc::new(disk.clone()), options).unwrap();
    let mut last = Offset(0);
    for n in 0..10 + dice.below(30) {
        let records: Vec<Vec<u8>> = (0..=dice.below(3)).map(|at| record(n * 4 + at)).collect();
        let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        last = log.append(batch(&parts).writer("w"), None).unwrap().last;
        if !dice.one_in(3) {
            log.wait_durable(last).unwrap();
        }
    }
    log.wait_durable(last).unwrap();
    let dropped = dice.one_in(3);
    if dropped {
        log.drop_before(Offset(dice.below(last.0))).unwrap();
    }
    // What a checkpoint holds may be gone from the log; without one the log begins at its first record.
    let known = (dropped || dice.one_in(3)).then(|| Known {
        log: log.id(),
        through: Offset(log.bounds().first.prev().0.max(dice.below(last.0 + 1))),
        time: Micros(1),
        writers: vec![("w".into(), last)],
    });
    let mut written = Vec::new();
    let mut from = log.bounds().first;
    while from <= last {
        written.extend(log.read(from, 4096, Reach::Durable).unwrap());
        from = written.last().map_or(last, |entry: &Entry| entry.offset).next();
    }
    let is_clean = dice.one_in(2);
    if is_clean {
        log.close().unwrap();
    }
    let after = disk.crash(if is_clean { Crash::KeepAll } else { Crash::LoseAll });
    drop(log);
    let names = after.list().unwrap().into_iter();
    let files = names.map(|name| (name.clone(), after.content(&name).unwrap()));
    Sample {
        files: files.collect(),
        written,
        is_clean,
        known,
    }
}

fn samples() -> &'static [Sample] {
    static SAMPLES_MADE: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES_MADE.get_or_init(|| (0..SAMPLES).map(sample).collect())
}

fn harm(sample: &Sample, dice: &mut Dice) -> Vec<Harm> {
    let count = if dice.one_in(4) { 1 + dice.below(3) } else { 1 };
    (0..count)
        .map(|_| {
            // The end of the last file is where a cut is allowed, and so where mistakes are likeliest.
            let file = if dice.one_in(2) {
                sample.files.len() - 1
            } else {
                dice.place(sample.files.len())
            };
            let length = sample.files[file].1.len();
            if dice.one_in(4) {
                Harm::Cut {
                    file,
                    length: dice.place(length),
                }
            } else {
                Harm::Flip {
                    file,
                    bit: dice.place(length * 8),
                }
            }
        })
        .collect()
}

fn damaged(sample: &Sample, harms: &[Harm]) -> MemoryStorage {
    let mut files = sample.files.clone();
    for harm in harms {
        match *harm {
            Harm::Flip { file, bit } => {
                if let Some(byte) = files[file].1.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Harm::Cut { file, length } => files[file].1.truncate(length),
        }
    }
    let disk = MemoryStorage::default();
    for (name, bytes) in files {
        disk.put(&name, bytes);
    }
    disk
}

fn contents(disk: &MemoryStorage) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.list().unwrap().into_iter();
    names.map(|name| (name.clone(), disk.content(&name))).collect()
}

/// What `verify` says of the `disk`, with the checkpoint of the `sample`.
fn look_at(sample: &Sample, disk: &MemoryStorage) -> verify::Report {
    let known: Vec<_> = sample
        .known
        .iter()
        .map(|known| (known.log, known.through))
        .collect();
    verify::verify(disk, &known).unwrap()
}

/// What looking at the `disk` says of what happened to it.
fn check_verify(sample: &Sample, harms: &[Harm], disk: &MemoryStorage) {
    let report = look_at(sample, disk);
    let is_cut = harms.iter().any(|harm| matches!(harm, Harm::Cut { .. }));
    let is_changed = contents(disk)
        .iter()
        .zip(&sample.files)
        .any(|(now, was)| now.1.as_ref() != Some(&was.1));
    assert!(
        !is_changed || is_cut || !report.damage.is_empty() || report.torn.is_some(),
        "verify notices it"
    );
}

/// What recovery makes of the `disk`, held against what was written.
fn check(sample: &Sample, harms: &[Harm], disk: &MemoryStorage) {
    let before = contents(disk);
    let report = look_at(sample, disk);
    let is_cut = harms.iter().any(|harm| matches!(harm, Harm::Cut { .. }));
    let options = Options {
        hot_bytes: 0,
        ..small()
    };
    let mut seen: Vec<Entry> = Vec::new();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let opened = FileLog::open(
        Arc::new(disk.clone()),
        options,
        clock,
        sample.known.as_ref(),
        &mut |entry| {
            seen.push(entry.clone());
        },
    );
    let (log, recovered) = match opened {
        Ok(opened) => opened,
        Err(OpenError::Damaged { file, byte, .. }) => {
            let there = before.iter().find(|(name, _)| *name == file);
            let length = there.and_then(|(_, bytes)| bytes.as_ref()).map(Vec::len);
            assert!(
                length.is_some_and(|length| byte <= length as u64),
                "{file}, byte {byte} is a place"
            );
            assert_eq!(contents(disk), before, "a refusal changes nothing");
            return;
        }
        Err(OpenError::Behind { through, last, .. }) => {
            assert!(is_cut && last < through, "only what was cut off can be missing");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    let end = log.bounds().last;
    let missing = sample
        .written
        .last()
        .map_or(0, |last| last.offset.0.saturating_sub(end.0));
    if missing > 0 {
        let Some(torn) = &recovered.torn else {
            // The file ends between two frames, as if they had never been written: no file tells that by itself.
            // What a checkpoint knows is not read at the start, and with it goes the mark behind it in its segment.
            let known = sample.known.as_ref().map_or(Offset(0), |known| known.through);
            let reads = before
                .iter()
                .rfind(|(name, _)| crate::segment::first_of(name).is_some_and(|first| first <= known.next()));
            let unread = report.damage.iter().all(|damage| {
                damage.offset <= known || reads.is_some_and(|(first_read, _)| damage.file < *first_read)
            });
            assert!(is_cut && unread, "{missing} records are missing in silence");
            return;
        };
        assert_eq!(torn.offset, end.next(), "the cut is where it is said to be");
        assert!(
            is_cut || torn.may_hold_acknowledged,
            "what was acknowledged is not called torn"
        );
        assert!(
            is_cut || harms.len() > 1 || !sample.is_clean,
            "one flipped bit loses nothing of a log that was stopped cleanly"
        );
        assert!(
            sample.known.as_ref().is_none_or(|known| known.through <= end),
            "what a checkpoint knows is not cut"
        );
        assert!(
            disk.content(&torn.copied_to).is_some(),
            "what was cut is kept aside"
        );
    }
    let first = sample.written.first().map_or(1, |entry| entry.offset.0);
    let expected = |offset: Offset| &sample.written[usize::try_from(offset.0 - first).unwrap()];
    for entry in &seen {
        assert_eq!(entry, expected(entry.offset), "what is found is what was written");
    }
    // What was not read at the start is verified when it is read.
    let mut from = log.bounds().first;
    while from <= end {
        match log.read(from, 512, Reach::Durable) {
            Ok(entries) => {
                for entry in &entries {
                    assert_eq!(entry, expected(entry.offset), "what is read is what was written");
                }
                let last = entries
                    .last()
                    .unwrap_or_else(|| panic!("{from} is in the log and can't be read"));
                from = last.offset.next();
            }
            Err(ReadError::Damaged { file, offset, .. }) => {
                assert!(before.iter().any(|(name, _)| *name == file) && offset <= end);
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn invariant_07_damage_is_never_silent_wherever_it_is() {
    let scale = Scale {
        short: 20_000,
        long: 1_000_000,
    };
    cases("bit flips and truncations: log", scale, |seed| {
        let mut dice = Dice::new(seed ^ 0xdead);
        let sample = &samples()[dice.place(samples().len())];
        let harms = harm(sample, &mut dice);
        check_verify(sample, &harms, &damaged(sample, &harms));
        check(sample, &harms, &damaged(sample, &harms));
    });
}

/// A sample that was stopped cleanly, with every record in its files, and records in the last of them.
fn clean() -> &'static Sample {
    let ends_with_records = |sample: &Sample| {
        let begins = sample
            .files
            .last()
            .and_then(|(name, _)| crate::segment::first_of(name));
        begins <= sample.written.last().map(|last| last.offset)
    };
    let whole = samples()
        .iter()
        .find(|sample| sample.is_clean && sample.known.is_none() && ends_with_records(sample));
    whole.expect("there is one among the samples")
}

#[test]
#[should_panic(expected = "missing in silence")]
fn the_check_notices_a_recovery_that_cuts_at_the_first_bad_place() {
    // As a recovery would leave it that takes every bad place for a torn write: cut, and nothing said.
    let sample = clean();
    let file = sample.files.len() - 1;
    let cut = Harm::Cut {
        file,
        length: crate::segment::HEADER,
    };
    let flip = Harm::Flip {
        file,
        bit: (crate::segment::HEADER + 60) * 8,
    };
    check(sample, &[flip], &damaged(sample, &[cut]));
}

#[test]
#[should_panic(expected = "what is found is what was written")]
fn the_check_notices_a_record_that_changed() {
    let sample = clean();
    let disk = damaged(sample, &[]);
    let name = &sample.files[0].0;
    let mut bytes = disk.content(name).unwrap();
    let at = crate::segment::HEADER + crate::frame::HEADER + crate::batch::HEADER + 5;
    bytes[at] ^= 1;
    crate::proof::reseal(&mut bytes);
    disk.put(name, bytes);
    let behind = crate::segment::first_of(&sample.files[1].0).unwrap();
    let one = Sample {
        files: vec![(name.clone(), disk.content(name).unwrap())],
        written: sample
            .written
            .iter()
            .filter(|entry| entry.offset < behind)
            .cloned()
            .collect(),
        is_clean: false,
        known: None,
    };
    check(&one, &[], &damaged(&one, &[]));
}
