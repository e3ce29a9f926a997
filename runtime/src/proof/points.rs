//! A crash at each named point of what a host does: every change that it makes to its disks has a name, and at every
//! one of them the power goes, in every way in which a disk can lose what was not synced.

use std::collections::BTreeMap;

use nerve_eventlog::Options;
use nerve_eventlog::proof::{Scale, cases};
use nerve_eventlog::storage::ChangeKind::{Create, Remove, Sync, SyncFolder, Write};
use nerve_eventlog::storage::{ChangeKind, Crash, DiskChange, FaultyStorage};
use nerve_eventlog::verify::verify;
use parking_lot::Mutex;

use super::gate::MARK;
use super::script::Scripted;
use super::simulation::{checkpoint, how, live_on};
use super::world::{Handlers, PLUGINS, World};
use crate::host::Stopped;

/// The disks of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Log,
    Checkpoints,
}

/// What is done to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Make,
    WriteHeader,
    WriteFrame,
    WriteMark,
    WriteAll,
    Sync,
    SyncNames,
    Remove,
}

use Disk::{Checkpoints, Log};

/// A point: its name, the disk, what is about to be done to it, and the points that can come before it on that disk.
/// Before the first one stands the beginning.
type Point = (&'static str, Disk, Does, &'static [&'static str]);

const BEGIN: &str = "the beginning";
const FRAME: &str = "a frame is written";
const PREPARED: &str = "room is prepared behind the frame";
const FRAME_SYNCED: &str = "the frame is synced";
const MARKED: &str = "the mark is written";
const FULL: &str = "the full segment is synced";
const BEGUN: &str = "a segment is made";
const HEADER: &str = "its header is written";
const HEADER_SYNCED: &str = "the header is synced";
const BEGUN_SYNCED: &str = "the segment's name is synced";
const DROPPED: &str = "the oldest segment is removed";
const DROPPED_SYNCED: &str = "the removal of the segment is synced";
const CUT_OFF: &str = "a checkpoint that was cut off is removed";
const CHECKPOINT: &str = "a checkpoint is made";
const WRITTEN: &str = "the checkpoint is written";
const WRITTEN_SYNCED: &str = "the checkpoint is synced";
const NAMED: &str = "the checkpoint's name is synced";
const OLD: &str = "an old checkpoint is removed";
const OLD_SYNCED: &str = "the removal of the checkpoint is synced";

/// Every point at which a host changes its disks.
const POINTS: [Point; 18] = [
    (
        FRAME,
        Log,
        Does::WriteFrame,
        &[BEGIN, MARKED, FRAME_SYNCED, BEGUN_SYNCED],
    ),
    // No other write follows one of a frame before its sync.
    (PREPARED, Log, Does::WriteFrame, &[FRAME]),
    (FRAME_SYNCED, Log, Does::Sync, &[FRAME, PREPARED]),
    (MARKED, Log, Does::WriteMark, &[FRAME_SYNCED]),
    (FULL, Log, Does::Sync, &[BEGIN, MARKED, FRAME_SYNCED]),
    (BEGUN, Log, Does::Make, &[FULL]),
    (HEADER, Log, Does::WriteHeader, &[BEGUN]),
    (HEADER_SYNCED, Log, Does::Sync, &[HEADER]),
    (BEGUN_SYNCED, Log, Does::SyncNames, &[HEADER_SYNCED]),
    // The mark is that of versions which retention gives up.
    (DROPPED, Log, Does::Remove, &[BEGIN, MARKED, DROPPED_SYNCED]),
    (DROPPED_SYNCED, Log, Does::SyncNames, &[DROPPED]),
    (CUT_OFF, Checkpoints, Does::Remove, &[BEGIN, OLD_SYNCED]),
    (CHECKPOINT, Checkpoints, Does::Make, &[BEGIN, OLD_SYNCED, CUT_OFF]),
    (WRITTEN, Checkpoints, Does::WriteAll, &[CHECKPOINT]),
    (WRITTEN_SYNCED, Checkpoints, Does::Sync, &[WRITTEN]),
    (NAMED, Checkpoints, Does::SyncNames, &[WRITTEN_SYNCED]),
    (OLD, Checkpoints, Does::Remove, &[NAMED, OLD]),
    (OLD_SYNCED, Checkpoints, Does::SyncNames, &[NAMED, OLD]),
];

/// What a host does.
struct Operation {
    name: &'static str,
    /// What has to be there first.
    needs: fn(&mut World) -> Result<(), Stopped>,
    does: fn(&mut World) -> Result<(), Stopped>,
    /// Points that must be met in some life.
    points: &'static [&'static str],
}

const FRAMES: &[&str] = &[FRAME, FRAME_SYNCED, MARKED];

const OPERATIONS: [Operation; 7] = [
    Operation {
        name: "publish",
        needs: |_| Ok(()),
        does: |world| publish(world, 3).and_then(|()| world.flush()),
        points: FRAMES,
    },
    Operation {
        name: "settle",
        needs: |world| {
            world.revive()?;
            publish(world, 2)?;
            world.flush()
        },
        does: |world| {
            for (plugin, _) in PLUGINS {
                world.run(plugin, 0, 2)?;
            }
            world.flush()
        },
        points: FRAMES,
    },
    Operation {
        name: "rotate",
        needs: |world| {
            while !segments(world).1 {
                fill(world)?;
            }
            Ok(())
        },
        does: |world| publish(world, 1).and_then(|()| world.flush()),
        points: &[
            FULL,
            BEGUN,
            HEADER,
            HEADER_SYNCED,
            BEGUN_SYNCED,
            FRAME,
            PREPARED,
            FRAME_SYNCED,
            MARKED,
        ],
    },
    Operation {
        name: "checkpoint",
        needs: |world| {
            for _ in 0..2 {
                publish(world, 1)?;
                checkpoint(world)?;
            }
            publish(world, 1)?;
            world.flush()
        },
        does: checkpoint,
        points: &[CHECKPOINT, WRITTEN, WRITTEN_SYNCED, NAMED, OLD, OLD_SYNCED],
    },
    Operation {
        name: "checkpoint again",
        needs: |world| {
            publish(world, 1)?;
            world.flush()?;
            let disk = &world.checkpoints;
            disk.die_at(disk.changes() + 2);
            assert!(checkpoint(world).is_err(), "the disk dies while it writes");
            world.crash(Crash::KeepAll);
            Ok(())
        },
        does: checkpoint,
        points: &[CUT_OFF, CHECKPOINT, WRITTEN, WRITTEN_SYNCED, NAMED, OLD_SYNCED],
    },
    Operation {
        name: "retain",
        needs: |world| {
            world.drain()?;
            while segments(world).0 < 6 {
                fill(world)?;
            }
            // The log may go up to the older of two checkpoints, of which retention makes the other.
            world.drain()?;
            checkpoint(world)?;
            publish(world, 1)?;
            world.drain()?;
            world.flush()
        },
        does: World::retain,
        points: &[
            CHECKPOINT,
            WRITTEN,
            WRITTEN_SYNCED,
            NAMED,
            OLD_SYNCED,
            DROPPED,
            DROPPED_SYNCED,
        ],
    },
    Operation {
        name: "deploy",
        needs: |_| Ok(()),
        does: |world| {
            let number = world.versions.get("a").copied().unwrap_or(0) + 1;
            world.deploy("a", Some(Scripted::sound(number)))?;
            world.flush()?;
            world.refuse("a")?;
            world.deploy("b", None)?;
            world.flush()
        },
        points: FRAMES,
    },
];

/// Publish so many events, of which nobody heard before.
fn publish(world: &mut World, count: u64) -> Result<(), Stopped> {
    let events: Vec<_> = (0..count)
        .map(|at| {
            let name = format!("p{}-{at}", world.host.log().bounds().last);
            let key = (at == 0).then_some("k1");
            world.event(&name, "in.y", key, 0xc0)
        })
        .collect();
    world.publish(&events)
}

/// Publish an event that is long and makes nobody emit, so that few of them fill a segment.
fn fill(world: &mut World) -> Result<(), Stopped> {
    let name = format!("fill.fill.{}{}", world.host.log().bounds().last, "-".repeat(200));
    let event = world.event(&name, "in.x", None, 0xc0);
    world.publish(&[event])?;
    world.flush()
}

fn is_segment(name: &str) -> bool {
    name.strip_suffix(".log").is_some()
}

/// How many segments the log has, and whether the last one is full.
fn segments(world: &World) -> (usize, bool) {
    let seen = verify(&world.log_disk.disk, &[]).unwrap().segments;
    let written = seen.last().map_or(0, |last| last.bytes);
    (seen.len(), written >= world.options.segment_bytes)
}

fn does(change: &DiskChange, disk: Disk) -> Option<Does> {
    let is_own = match disk {
        Log => is_segment(&change.file),
        Checkpoints => change.file.strip_suffix(".checkpoint").is_some(),
    };
    Some(match change.kind {
        SyncFolder => Does::SyncNames,
        _ if !is_own => return None,
        Create => Does::Make,
        Write { at: 0, .. } if disk == Log => Does::WriteHeader,
        Write { bytes: MARK, .. } if disk == Log => Does::WriteMark,
        Write { .. } if disk == Log => Does::WriteFrame,
        Write { .. } => Does::WriteAll,
        Sync => Does::Sync,
        Remove => Does::Remove,
        ChangeKind::Truncate | ChangeKind::Allocate | ChangeKind::Rename => return None,
    })
}

/// The points at which `changes` were made to `disk`, one for each, by the table `points`.
fn named(changes: &[DiskChange], disk: Disk, points: &[Point]) -> Result<Vec<&'static str>, String> {
    let mut names = vec![BEGIN];
    for change in changes {
        let before = names[names.len() - 1];
        let does = does(change, disk);
        let point = points
            .iter()
            .find(|(_, on, what, behind)| *on == disk && Some(*what) == does && behind.contains(&before));
        let Some((name, ..)) = point else {
            return Err(format!(
                "{change:?} on {disk:?}, behind {before:?}, is no point that has a name"
            ));
        };
        names.push(*name);
    }
    names.remove(0);
    Ok(names)
}

/// How often each point of each operation was met by a crash.
type Met = BTreeMap<(&'static str, &'static str), u64>;

/// The points of the operations that were not `met`.
fn missed(met: &Met) -> Vec<String> {
    let all = OPERATIONS.iter().flat_map(|operation| {
        let points = operation.points.iter();
        points.map(|point| (operation.name, *point))
    });
    let mut missed: Vec<String> = all
        .filter(|point| !met.contains_key(point))
        .map(|(operation, point)| format!("{operation}: {point}"))
        .collect();
    let of_none = POINTS
        .iter()
        .filter(|(name, ..)| !met.keys().any(|(_, point)| point == name));
    missed.extend(of_none.map(|(name, ..)| (*name).to_owned()));
    missed
}

/// A host that has lived for a while and is about to do `operation`; everything is durable, and its disks note what
/// changes.
fn about_to(operation: &Operation, seed: u64) -> (World, fastrand::Rng) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut world = live_on(seed, Handlers::Functions, &mut dice, 5..25);
    loop {
        // What a step armed must not go off in what follows.
        world.log_disk.disk.die_at(u64::MAX);
        world.checkpoints.die_at(u64::MAX);
        if world.flush().and_then(|()| (operation.needs)(&mut world)).is_ok() {
            break;
        }
        world.crash(how(&mut dice));
    }
    world.log_disk.disk.noted();
    world.checkpoints.noted();
    (world, dice)
}

fn disk_of(world: &World, disk: Disk) -> &FaultyStorage {
    match disk {
        Log => &world.log_disk.disk,
        Checkpoints => &world.checkpoints,
    }
}

/// The points of `operation` in the life of `seed`, on each disk.
fn points_of(operation: &Operation, seed: u64) -> [(Disk, Vec<&'static str>); 2] {
    let (mut world, _) = about_to(operation, seed);
    let done = (operation.does)(&mut world);
    assert!(done.is_ok(), "seed {seed}: {}: {done:?}", operation.name);
    [Log, Checkpoints].map(|disk| {
        let names = named(&disk_of(&world, disk).noted(), disk, &POINTS);
        let names = names.unwrap_or_else(|what| panic!("seed {seed}: {}: {what}", operation.name));
        (disk, names)
    })
}

/// The power goes at change `at` of `disk`, during `operation` or behind it; the host on what is left keeps every
/// promise. Answers the point.
fn crash_at(operation: &Operation, seed: u64, disk: Disk, at: usize, crash: Crash) -> Option<&'static str> {
    let (mut world, mut dice) = about_to(operation, seed);
    let dying = disk_of(&world, disk);
    dying.die_at(dying.changes() + at as u64);
    world.tell(|| format!("{}, and a crash at change {at} of {disk:?}", operation.name));
    let done = (operation.does)(&mut world);
    let mut changes = disk_of(&world, disk).noted();
    // Behind its death a disk may still be asked for something.
    changes.truncate(at);
    let names = named(&changes, disk, &POINTS).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    let point = names.get(at - 1).copied();
    assert_eq!(
        done.is_err(),
        point.is_some(),
        "seed {seed}: {}: who waits for a disk that is gone is told: {point:?}, {done:?}",
        operation.name
    );
    world.crash(crash);
    while world.drain().and_then(|()| world.flush()).is_err() {
        world.crash(how(&mut dice));
    }
    world.check(true);
    point
}

#[test]
fn a_crash_at_each_named_point_breaks_no_promise() {
    let lives = |count| count * OPERATIONS.len() as u64;
    let scale = Scale {
        short: lives(1),
        long: lives(400),
    };
    let met: Mutex<Met> = Mutex::default();
    cases("a crash at each named point", scale, |seed| {
        let operation = &OPERATIONS[usize::try_from(seed).unwrap() % OPERATIONS.len()];
        let mut crashes = 0;
        for (disk, names) in points_of(operation, seed) {
            for at in 1..=names.len() + 1 {
                let tears = (0..2).map(|n| Crash::Tear(seed * 1000 + at as u64 * 10 + n));
                for crash in [Crash::LoseAll, Crash::KeepAll].into_iter().chain(tears) {
                    let point = crash_at(operation, seed, disk, at, crash);
                    assert_eq!(
                        point,
                        names.get(at - 1).copied(),
                        "seed {seed}: one seed is one life"
                    );
                    crashes += 1;
                    if let Some(point) = point {
                        *met.lock().entry((operation.name, point)).or_default() += 1;
                    }
                }
            }
        }
        crashes
    });
    if std::env::var_os("NERVE_PROOF_SEED").is_none() {
        let missed = missed(&met.into_inner());
        assert!(missed.is_empty(), "no crash came at {missed:?}");
    }
}

#[test]
fn a_change_without_a_name_and_a_point_without_a_crash_are_noticed() {
    let rotate = &OPERATIONS[2];
    let (mut world, _) = about_to(rotate, 1);
    (rotate.does)(&mut world).unwrap();
    let changes = world.log_disk.disk.noted();
    let names = named(&changes, Log, &POINTS).unwrap();
    assert_eq!(names, rotate.points);
    for left_out in &names {
        let table: Vec<Point> = POINTS.into_iter().filter(|(name, ..)| name != left_out).collect();
        assert!(named(&changes, Log, &table).is_err(), "{left_out} has a name");
    }
    // A segment that is made before the one before it is on disk.
    let mut swapped = changes.clone();
    swapped.swap(0, 1);
    assert!(named(&swapped, Log, &POINTS).is_err());
    let mut met: Met = BTreeMap::new();
    for operation in &OPERATIONS {
        met.extend(operation.points.iter().map(|point| ((operation.name, *point), 1)));
    }
    assert_eq!(missed(&met), Vec::<String>::new());
    met.remove(&("settle", FRAME_SYNCED));
    assert_eq!(missed(&met), ["settle: the frame is synced"]);
}

#[test]
#[should_panic(expected = "the log ends at")]
fn the_crashes_notice_a_disk_that_answers_syncs_without_making_them() {
    let mut world = World::new(0, Options::default(), true);
    publish(&mut world, 1).and_then(|()| world.flush()).unwrap();
    let disk = world.log_disk.disk.clone();
    // The frame is written and answered, and the power goes at the mark behind it.
    disk.die_at(disk.changes() + 3);
    publish(&mut world, 1).unwrap();
    drop(world.flush());
    world.crash(Crash::LoseAll);
}
