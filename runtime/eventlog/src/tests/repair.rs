//! Repairs: over seeded damages what is left opens and loses no more than was said, and a crash anywhere in a repair
//! leaves a log that is refused as before, or opens and has lost no more than planned.

use std::collections::BTreeMap;

use super::*;
use crate::repair::{Keep, Plan, RepairError};
use crate::segment;
use crate::storage::Crash;
use crate::verify::{self, verify};
use crate::{Bounds, Known, LogId};

/// Records of the log that is damaged.
const RECORDS: u64 = 60;

/// A small generator (xorshift64), so that a seed always tells the same story.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

type Files = BTreeMap<String, Vec<u8>>;

/// Payloads by offset.
type Payloads = BTreeMap<u64, Vec<u8>>;

/// The files of a log of so many records in several segments, without what retention dropped below `first`.
fn whole(first: u64) -> (LogId, Files) {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let log = filled(&storage, small(), RECORDS / 2);
    log.drop_before(Offset(first)).unwrap();
    let id = log.id();
    drop(log);
    let names = storage.list().unwrap().into_iter();
    (
        id,
        names
            .map(|name| (name.clone(), disk.content(&name).unwrap()))
            .collect(),
    )
}

fn disk_of(files: &Files) -> MemoryStorage {
    let disk = MemoryStorage::default();
    for (name, bytes) in files {
        disk.put(name, bytes.clone());
    }
    disk
}

/// A faulty disk that holds `files`, all of it synced.
fn faulty(files: &Files) -> FaultyStorage {
    let disk = FaultyStorage::default();
    for (name, bytes) in files {
        let file = disk.create(name).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
    }
    disk.sync_folder().unwrap();
    disk
}

/// One to three damages: flipped bits, zeros, shortened and lost files.
fn damage(files: &mut Files, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let names: Vec<String> = files.keys().cloned().collect();
        let Some(name) = names.get(dice.below(names.len().max(1))) else {
            return;
        };
        let bytes = files.get_mut(name).unwrap();
        let at = dice.below(bytes.len().max(1));
        match dice.below(6) {
            0 => drop(files.remove(name)),
            1 => bytes.truncate(at),
            2 => bytes.iter_mut().skip(at).take(90).for_each(|byte| *byte = 0),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
}

/// Open with the newest of the `known` checkpoints; answers the records that can be read from `from` on.
fn open_newest(
    storage: &Arc<dyn Storage>,
    id: LogId,
    known: &[u64],
    from: Offset,
) -> Result<(Payloads, Recovered, Bounds), OpenError> {
    let known = known.iter().max().map(|through| Known {
        log: id,
        through: Offset(*through),
        time: Micros(1),
        writers: Vec::new(),
    });
    let options = Options {
        hot_bytes: 0,
        ..small()
    };
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let (log, recovered) = FileLog::open(storage.clone(), options, clock, known.as_ref(), &mut |_| {})?;
    let (mut found, mut at) = (BTreeMap::new(), log.bounds().first.max(from));
    while let Ok(entries) = log.read(at, 200, Reach::Durable)
        && let Some(last) = entries.last()
    {
        at = last.offset.next();
        found.extend(
            entries
                .into_iter()
                .map(|entry| (entry.offset.0, entry.payload.to_vec())),
        );
    }
    let bounds = log.bounds();
    Ok((found, recovered, bounds))
}

fn with_log(id: LogId, known: &[u64]) -> Vec<(LogId, Offset)> {
    known.iter().map(|through| (id, Offset(*through))).collect()
}

/// The checkpoints that a log from `first` to `last` holds to.
fn held(known: &[u64], first: Offset, last: Offset) -> Vec<u64> {
    let held = known.iter().copied();
    held.filter(|known| *known <= last.0 && known + 1 >= first.0)
        .collect()
}

#[test]
fn a_repaired_log_opens_and_has_lost_no_more_than_was_said() {
    let (mut repaired, mut based, mut hopeless) = (0, 0, 0);
    for seed in 0..4000 {
        let dice = &mut Dice::new(seed);
        let (id, mut files) = whole([1, 1, 20][dice.below(3)]);
        let begins = segment::first_of(files.keys().next().unwrap()).unwrap().0;
        let mut known: Vec<u64> = (0..dice.below(3)).map(|_| 1 + dice.below(60) as u64).collect();
        known.retain(|known| *known + 1 >= begins);
        damage(&mut files, dice);
        let disk = disk_of(&files);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let report = verify(&*storage, &with_log(id, &known)).unwrap();
        let keep = [Keep::Newest, Keep::Oldest][dice.below(2)];
        let mut readable = BTreeMap::new();
        verify::read(&*storage, &[], &mut |entry| {
            readable.insert(entry.offset.0, entry.payload.to_vec());
        })
        .unwrap();
        let plan = match Plan::new(&*storage, &with_log(id, &known), keep) {
            Ok(plan) => plan,
            Err(RepairError::NoBeginning { .. }) => {
                hopeless += 1;
                continue;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        };
        if plan.is_sound() {
            assert!(report.damage.is_empty(), "seed {seed}");
            drop(plan);
            if begins == 1 || !known.is_empty() {
                open_newest(&storage, id, &known, Offset(1))
                    .unwrap_or_else(|refused| panic!("seed {seed}: verify found it sound, but: {refused}"));
            }
            continue;
        }
        let aside: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        plan.carry_out(&*storage, &*aside, "repaired").unwrap();
        let outcome = plan.outcome.clone();
        drop(plan);
        let held = held(&known, outcome.first, outcome.last);
        assert!(
            outcome.first == Offset(1) || outcome.base.is_some(),
            "seed {seed}: {outcome:?}"
        );
        assert!(
            outcome.base.is_none_or(|base| held.contains(&base.0)),
            "seed {seed}: {outcome:?}"
        );
        let after = verify(&*storage, &with_log(id, &held)).unwrap();
        assert_eq!(
            (after.damage, after.torn),
            (Vec::new(), None),
            "seed {seed}: {outcome:?}"
        );
        let (found, recovered, _) = open_newest(&storage, id, &held, Offset(1))
            .unwrap_or_else(|refused| panic!("seed {seed}: {outcome:?}: {refused}"));
        assert_eq!(recovered.repaired.as_deref(), Some("repaired"));
        let expected: BTreeMap<u64, Vec<u8>> = (outcome.first.0..=outcome.last.0)
            .map(|offset| (offset, record(offset)))
            .collect();
        assert_eq!(found, expected, "seed {seed}: {outcome:?}");
        let said = |offset: u64| {
            outcome
                .lost
                .iter()
                .any(|(from, to)| (from.0..=to.0).contains(&offset))
        };
        for offset in readable.keys() {
            assert_ne!(
                found.contains_key(offset),
                said(*offset),
                "seed {seed}, offset {offset}: {outcome:?}"
            );
        }
        repaired += 1;
        based += u64::from(outcome.base.is_some() && !found.is_empty());
    }
    assert!(
        repaired > 2000 && based > 300 && hopeless > 20,
        "{repaired}, {based}, {hopeless}"
    );
}

#[test]
fn a_crash_anywhere_in_a_repair_leaves_a_log_that_is_refused_or_has_lost_no_more_than_planned() {
    let (mut refused, mut planned) = (0, 0);
    for seed in 0..150 {
        let dice = &mut Dice::new(seed);
        let (id, mut files) = whole(1);
        let known = [10 + dice.below(50) as u64];
        damage(&mut files, dice);
        let keep = [Keep::Newest, Keep::Oldest][dice.below(2)];
        let storage: Arc<dyn Storage> = Arc::new(disk_of(&files));
        // What opens as it is, with its damage before the checkpoint, is another matter.
        if open_newest(&storage, id, &known, Offset(1)).is_ok() {
            continue;
        }
        let plan = |storage: &dyn Storage| Plan::new(storage, &with_log(id, &known), keep);
        let Ok(outcome) = plan(&disk_of(&files)).map(|plan| plan.outcome.clone()) else {
            continue;
        };
        let held = held(&known, outcome.first, outcome.last);
        for die_at in 1.. {
            let disk = faulty(&files);
            let aside = FaultyStorage::default();
            let first = plan(&disk).unwrap();
            disk.die_at(disk.changes() + die_at);
            let done = first.carry_out(&disk, &aside, "repaired").is_ok();
            for how in [
                Crash::LoseAll,
                Crash::KeepAll,
                Crash::Tear(seed),
                Crash::Tear(seed + 1000),
            ] {
                let at = format!("seed {seed}, crash at {die_at}, {how:?}, {outcome:?}");
                let after: Arc<dyn Storage> = Arc::new(disk.crash(how));
                let names = after.list().unwrap();
                for (name, bytes) in &files {
                    let changed = !names.contains(name)
                        || crate::storage::read_all(&*after.open(name).unwrap(), 0).unwrap() != *bytes;
                    let copy = aside.crash(Crash::LoseAll);
                    assert!(
                        !changed || copy.content(name).as_ref() == Some(bytes),
                        "{at}: {name} was copied"
                    );
                }
                // Before the repair is whole the checkpoint is there; behind it only where the log holds to it.
                match open_newest(&after, id, &known, outcome.first) {
                    Err(OpenError::Damaged { .. } | OpenError::Behind { .. }) => refused += 1,
                    Err(other) => panic!("{at}: {other}"),
                    // What is in front of the planned log may still be there, damage and all.
                    Ok((found, _, bounds)) => {
                        assert!(
                            bounds.first <= outcome.first && bounds.last >= outcome.last,
                            "{at}"
                        );
                        let is_new = (bounds.first, bounds.last) == (outcome.first, outcome.last);
                        let kept = outcome.first.0..=outcome.last.0;
                        assert!(!is_new || found.into_keys().eq(kept), "{at}");
                        planned += 1;
                    }
                }
                let copies = FaultyStorage::default();
                let again = plan(&*after).unwrap_or_else(|refused| panic!("{at}: {refused}"));
                again.carry_out(&*after, &copies, "again").unwrap();
                drop(again);
                let (found, ..) = open_newest(&after, id, &held, outcome.first)
                    .unwrap_or_else(|refused| panic!("{at}: {refused}"));
                assert!(found.into_keys().eq(outcome.first.0..=outcome.last.0), "{at}");
            }
            if done {
                break;
            }
        }
    }
    assert!(refused > 1000 && planned > 100, "{refused}, {planned}");
}

#[test]
fn a_sound_log_is_left_as_it_is_and_a_log_in_use_is_not_touched() {
    let (id, files) = whole(1);
    let disk = disk_of(&files);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let plan = Plan::new(&*storage, &[(id, Offset(RECORDS))], Keep::Newest).unwrap();
    assert!(plan.is_sound() && plan.changes().is_empty());
    drop(plan);
    let log = open(storage.clone(), small()).unwrap();
    let refused = Plan::new(&*storage, &[], Keep::Newest).map(|_| ()).unwrap_err();
    assert!(matches!(refused, RepairError::InUse { .. }));
    drop(log);
}

#[test]
fn a_damaged_header_between_sound_frames_costs_no_record() {
    let (id, mut files) = whole(1);
    let name = files.keys().nth(1).unwrap().clone();
    files.get_mut(&name).unwrap()[20] ^= 1;
    let storage: Arc<dyn Storage> = Arc::new(disk_of(&files));
    assert!(open_newest(&storage, id, &[], Offset(1)).is_err());
    let plan = Plan::new(&*storage, &[], Keep::Newest).unwrap();
    assert_eq!((plan.outcome.lost.len(), plan.changes()), (0, vec![name]));
    plan.carry_out(&*storage, &MemoryStorage::default(), "repaired")
        .unwrap();
    drop(plan);
    assert_eq!(open_newest(&storage, id, &[], Offset(1)).unwrap().0.len(), 60);
}
