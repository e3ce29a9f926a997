//! Fuzzing of recovery: any bytes in the place of a segment, with and without checksums that are right.

use std::any::Any;
use std::io;

use super::*;
use crate::proof::{Dice, Mutator, fuzz, reseal};
use crate::storage::StorageFile;
use crate::{Known, LogId, ReadError, frame, segment, verify};

/// The id of the log that is fuzzed: always the same, so that a seed tells the same story.
const ID: LogId = LogId([7; 16]);

/// Three segments as the log writes them, of records whose sizes differ.
fn segments() -> Vec<(String, Vec<u8>)> {
    let (mut next, mut chain) = (Offset(1), 0);
    let mut dice = Dice::new(3);
    (0..3)
        .map(|_| {
            let header = segment::Header {
                format: segment::FORMAT,
                log: ID,
                first: next,
                made: Micros(5),
                previous: chain,
            };
            let (name, mut bytes) = (segment::name(next), header.write().to_vec());
            let mut put = |next: &mut Offset, synced: Offset, batches: &[Vec<u8>], count: u32| {
                let mut out = Vec::new();
                let parts = batches.iter().map(Vec::as_slice);
                chain = frame::write(&mut out, ID, *next, count, synced, chain, parts);
                bytes.extend_from_slice(&out);
                next.0 += u64::from(count);
            };
            for _ in 0..3 {
                let (mut batches, mut count, before) = (Vec::new(), 0, next.prev());
                for _ in 0..=dice.below(2) {
                    let records: Vec<Vec<u8>> = (0..=dice.below(3))
                        .map(|_| (0..dice.below(40)).map(|_| dice.byte()).collect())
                        .collect();
                    let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
                    let made = batch(&parts).writer(["", "a", "writer"][dice.place(3)]);
                    count += u32::try_from(made.len()).unwrap();
                    batches.push(made.seal(Micros(6)));
                }
                put(&mut next, before, &batches, count);
                put(&mut next, Offset(before.0 + u64::from(count)), &[], 0);
            }
            (name, bytes)
        })
        .collect()
}

/// What an input means: `which` segment it replaces, whether its checksums are made right, whether a checkpoint
/// knows of the beginning, and the bytes.
fn disk_of(input: &[u8], whole: &[(String, Vec<u8>)]) -> (MemoryStorage, Option<Known>, bool) {
    let (control, bytes) = input
        .split_first()
        .map_or((0, input), |(first, rest)| (*first, rest));
    let mut bytes = bytes.to_vec();
    let resealed = control & 0x80 != 0;
    if resealed {
        reseal(&mut bytes);
    }
    let disk = MemoryStorage::default();
    for (at, (name, content)) in whole.iter().enumerate() {
        let replaced = at == usize::from(control & 3);
        disk.put(name, if replaced { bytes.clone() } else { content.clone() });
    }
    let known = (control & 0x40 != 0).then(|| Known {
        log: ID,
        through: Offset(u64::from(control >> 2 & 0xf)),
        time: Micros(6),
        writers: vec![("a".into(), Offset(2))],
    });
    (disk, known, resealed)
}

/// A disk on which nobody asks for more bytes at once than there can be: no length is believed before it is checked.
struct Measured(MemoryStorage);

struct MeasuredFile(Arc<dyn StorageFile>);

impl Storage for Measured {
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
        Ok(Arc::new(MeasuredFile(self.0.create(name)?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(MeasuredFile(self.0.open(name)?)))
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

impl StorageFile for MeasuredFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.0.length()?.max(segment::HEADER as u64);
        assert!(buffer.len() as u64 <= most, "{} bytes of {most}", buffer.len());
        self.0.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(at, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

fn contents(disk: &MemoryStorage) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap().into_iter();
    names
        .map(|name| (name.clone(), disk.content(&name).unwrap()))
        .collect()
}

/// Open the log in `disk`; its records by offset.
fn open_any(
    disk: &MemoryStorage,
    known: Option<&Known>,
) -> Result<(FileLog, Recovered, Vec<Entry>), OpenError> {
    let options = Options {
        hot_bytes: 100,
        ..small()
    };
    let mut seen: Vec<Entry> = Vec::new();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let (log, recovered) = FileLog::open(
        Arc::new(Measured(disk.clone())),
        options,
        clock,
        known,
        &mut |entry| {
            if let Some(last) = seen.last() {
                assert_eq!(
                    entry.offset,
                    last.offset.next(),
                    "records are visited without gaps"
                );
            }
            seen.push(entry.clone());
        },
    )?;
    Ok((log, recovered, seen))
}

/// Open what the input makes of the log, and hold what is found against what was written; what came of it in words.
fn recover(input: &[u8], whole: &[(String, Vec<u8>)], written: &[Entry]) -> String {
    let (disk, known, resealed) = disk_of(input, whole);
    let before = contents(&disk);
    let report = verify::verify(&disk, &[]).unwrap();
    let (log, recovered, seen) = match open_any(&disk, known.as_ref()) {
        Ok(opened) => opened,
        Err(refused) => {
            let said = refused.to_string();
            assert_eq!(contents(&disk), before, "a refusal changes nothing: {said}");
            assert!(
                said.contains(".log, byte")
                    || said.contains(".log has log format")
                    || said.contains("ends at offset"),
                "{said}"
            );
            return without_digits(&said);
        }
    };
    if !resealed {
        // Nothing that was not written, and what is missing at the end is said, or the file ends between two frames.
        let from = seen
            .first()
            .map_or(0, |entry| usize::try_from(entry.offset.0 - 1).unwrap());
        assert!(
            written[from..].starts_with(&seen),
            "what is found is what was written"
        );
        let all = seen
            .last()
            .is_some_and(|last| last.offset == written.last().unwrap().offset);
        assert!(
            all || recovered.torn.is_some() || report.damage.is_empty(),
            "a cut is said"
        );
    }
    if let Some(torn) = &recovered.torn {
        let aside = disk.content(&torn.copied_to).unwrap();
        assert_eq!(aside.len() as u64, torn.bytes, "what was cut is kept aside");
    }
    let mut from = log.bounds().first;
    loop {
        match log.read(from, 64, Reach::Durable) {
            Ok(entries) => {
                let Some(last) = entries.last() else { break };
                from = last.offset.next();
            }
            Err(ReadError::Damaged { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    log.append(batch(&[b"after"]), None).unwrap();
    log.close().unwrap();
    drop(log);
    let (_log, again, after) =
        open_any(&disk, known.as_ref()).unwrap_or_else(|no| panic!("the second time: {no}"));
    assert!(again.torn.is_none(), "what was cut once is whole");
    let ends = |seen: &[Entry]| seen.last().map(|entry| entry.payload.clone());
    assert_eq!(ends(&after).as_deref(), Some(&b"after"[..]));
    format!(
        "{} {} {:?}",
        seen.len(),
        recovered.torn.map_or(0, |torn| torn.offset.0),
        report.damage.first().map(|damage| without_digits(&damage.what)),
    )
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[test]
fn fuzz_recovery_of_the_log() {
    let whole = segments();
    let disk = MemoryStorage::default();
    for (name, bytes) in &whole {
        disk.put(name, bytes.clone());
    }
    let (_, _, written) = open_any(&disk, None).unwrap();
    assert!(written.len() > 9);
    let mut corpus = Vec::new();
    for control in [0x00, 0x80, 0x40 | 8 << 2, 0xc0 | 8 << 2] {
        for (at, (_, bytes)) in whole.iter().enumerate() {
            corpus.push([&[control | u8::try_from(at).unwrap()], &bytes[..]].concat());
        }
    }
    let mutator = Mutator::new(&[b"NVF1", b"NERVELOG", &[7; 16]]);
    let fuzzed = fuzz("fuzz: recovery of the log", mutator, corpus, move |input| {
        recover(input, &whole, &written)
    });
    assert!(fuzzed.outcomes > 5, "{fuzzed:?}");
}

#[test]
#[should_panic(expected = "what is found is what was written")]
fn the_fuzzer_notices_a_record_that_was_not_written() {
    let whole = segments();
    let disk = MemoryStorage::default();
    for (name, bytes) in &whole {
        disk.put(name, bytes.clone());
    }
    let (_, _, mut written) = open_any(&disk, None).unwrap();
    written[1].payload = b"another"[..].into();
    recover(&[&[2], &whole[2].1[..]].concat(), &whole, &written);
}
