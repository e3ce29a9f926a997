//! The seeded simulation of a whole host: publishers, deliveries, retries, timers, dead letters, swaps, operators,
//! checkpoints, retention and rotation, with a crash anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use nerve_eventlog::proof::{Scale, cases};
use nerve_eventlog::storage::Crash;
use nerve_eventlog::{Micros, Offset, Options};
use parking_lot::Mutex;

use super::history::HAPPENS;
use super::script::Scripted;
use super::world::{Handlers, PLUGINS, World, is_guest};
use crate::host::{CheckpointError, PublishError, RewindOrder, RewindTo, Stopped};
use crate::log::record::{Mute, Prefer, Record, Verdict};
use crate::plugin::deploy::Redelivers;

/// A host that lives the life of `seed` until everything is worked off and durable.
pub(super) fn live(seed: u64) -> World {
    live_with(seed, Handlers::Functions)
}

fn live_with(seed: u64, handlers: Handlers) -> World {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut world = live_on(seed, handlers, &mut dice, 30..120);
    while world.drain().and_then(|()| world.flush()).is_err() {
        world.crash(how(&mut dice));
    }
    world
}

/// A host that has lived for some `steps`.
pub(super) fn live_on(seed: u64, handlers: Handlers, dice: &mut fastrand::Rng, steps: Range<usize>) -> World {
    let options = Options {
        segment_bytes: dice.u64(600..8000),
        hot_bytes: dice.usize(2000..100_000),
        ..Options::default()
    };
    let mut world = World::new(seed, options, false);
    world.handlers = handlers;
    let mut names = 0;
    for (plugin, _) in PLUGINS {
        if dice.u8(..4) > 0 {
            drop(world.deploy(plugin, Some(1)));
        }
    }
    for _ in 0..dice.usize(steps) {
        if let Err(stopped) = step(&mut world, dice, &mut names) {
            world.tell(|| format!("the host stops: {stopped}"));
            world.crash(how(dice));
        }
        world.follow();
    }
    world
}

pub(super) fn how(dice: &mut fastrand::Rng) -> Crash {
    match dice.u8(..4) {
        0 => Crash::LoseAll,
        1 => Crash::KeepAll,
        _ => Crash::Tear(dice.u64(..)),
    }
}

/// One thing that happens to a host.
fn step(world: &mut World, dice: &mut fastrand::Rng, names: &mut u64) -> Result<(), Stopped> {
    let plugin = PLUGINS[dice.usize(..PLUGINS.len())].0;
    match dice.u8(..100) {
        0..28 => publish(world, dice, names)?,
        28..33 => publish_again(world, dice)?,
        33..63 => {
            let (lane, deliveries) = (dice.usize(..3), dice.u32(1..4));
            world.tell(|| {
                format!("{plugin} makes {deliveries} deliveries a lane, beginning with lane {lane}")
            });
            world.run(plugin, lane, deliveries)?;
        }
        63..73 => world.flush()?,
        73..82 => {
            world.clock.set(Micros(world.now() + dice.u64(..40_000)));
            world.tell(|| "time has passed, and timers fire".to_owned());
            world.fire()?;
        }
        82 => {
            let mute = Mute {
                emit: dice.u8(..3) > 0,
                http: dice.bool(),
            };
            let (to_before, goes_back) = (dice.u8(..3) > 0, dice.u8(..3) > 0);
            let again = if goes_back {
                Redelivers::Since(mute)
            } else {
                Redelivers::Canarys(Some(mute))
            };
            world.roll_back(plugin, to_before, again)?;
        }
        83..85 => {
            let number = world.versions.get(plugin).copied().unwrap_or(0) + dice.u32(1..4);
            world.deploy(
                plugin,
                Some(if dice.u8(..3) > 0 {
                    Scripted::sound(number)
                } else {
                    number
                }),
            )?;
        }
        85 => match dice.u8(..5) {
            0 => world.promote(plugin, Prefer::Canary)?,
            1 => world.promote(plugin, Prefer::Before)?,
            2 if world.subscriber(plugin).is_some() => world.deploy(plugin, None)?,
            _ => world.refuse(plugin)?,
        },
        86..89 => checkpoint(world)?,
        89..91 => world.retain()?,
        91..94 => operate(world, dice, plugin)?,
        94..96 => rewind(world, dice, plugin)?,
        96..98 => world.crash(how(dice)),
        _ => {
            // The power goes at one of the next changes, whatever they are.
            let (log, checkpoints) = (dice.u64(1..30), dice.u64(1..12));
            world.tell(|| {
                format!("the power will go at change {log} of the log's disk, or {checkpoints} of the checkpoints'")
            });
            let disk = &world.log_disk.disk;
            disk.die_at(disk.changes() + log);
            let disk = &world.checkpoints;
            disk.die_at(disk.changes() + checkpoints);
        }
    }
    Ok(())
}

fn publish(world: &mut World, dice: &mut fastrand::Rng, names: &mut u64) -> Result<(), Stopped> {
    // Whoever got no answer publishes again.
    for lost in std::mem::take(&mut world.lost) {
        let record = lost.record.clone();
        let event = crate::log::record::event(&record).unwrap().unwrap();
        let again = world.event(&lost.id, event.r#type, event.key, event.data[0]);
        if let Err(stopped) = world.publish(&[again]) {
            world.lost.push(lost);
            return Err(stopped);
        }
    }
    let events: Vec<_> = (0..dice.u8(1..4))
        .map(|_| {
            *names += 1;
            let key = (dice.u8(..5) > 0).then(|| format!("k{}", dice.u8(..4)));
            world.event(
                &format!("e{names}"),
                ["in.x", "in.y", "else"][dice.usize(..3)],
                key.as_deref(),
                0xc0,
            )
        })
        .collect();
    world.publish(&events)
}

/// An event that was published before is a duplicate, and with another content a conflict.
fn publish_again(world: &mut World, dice: &mut fastrand::Rng) -> Result<(), Stopped> {
    let seed = world.seed;
    let Some(offset) = world
        .history
        .sent
        .keys()
        .copied()
        .nth(dice.usize(..=world.history.sent.len()))
    else {
        return Ok(());
    };
    let sent = world.history.sent[&offset].clone();
    world.tell(|| format!("{} is published again", sent.id));
    let event = crate::log::record::event(&sent.record).unwrap().unwrap();
    let data = if dice.bool() { event.data[0] } else { 0xc3 };
    let again = world.event(&sent.id, event.r#type, event.key, data);
    match world.host.publish(&[again]) {
        Ok(published) => assert!(
            data == event.data[0] && published[0].duplicate && published[0].offset == offset,
            "seed {seed}: {} was published at {offset}, and again at {published:?}",
            sent.id
        ),
        Err(PublishError::Conflict { offset: at, .. }) => assert!(
            data != event.data[0] && at == Some(offset),
            "seed {seed}: {} is the same event",
            sent.id
        ),
        Err(PublishError::Stopped(stopped)) => return Err(stopped),
        Err(other) => panic!("seed {seed}: {other}"),
    }
    Ok(())
}

pub(super) fn checkpoint(world: &mut World) -> Result<(), Stopped> {
    world.tell(|| "a checkpoint".to_owned());
    world.flush()?;
    match world.host.checkpoint() {
        Ok(_) => Ok(()),
        Err(CheckpointError::Stopped(stopped)) => Err(stopped),
        // The disk of the checkpoints is gone: so is the power.
        Err(CheckpointError::Io { .. }) => Err(Stopped::Stopping),
    }
}

fn operate(world: &mut World, dice: &mut fastrand::Rng, plugin: &'static str) -> Result<(), Stopped> {
    let host = world.host.clone();
    let letter = |world: &World| -> Option<Offset> {
        let subscriber = world.subscriber(plugin)?;
        let state = subscriber.state.lock();
        state.dead.keys().next().copied()
    };
    match dice.u8(..8) {
        0..3 => world.operate(
            plugin,
            |name| async move { host.redrive(name, None).await.map(drop) },
        ),
        3 => match letter(world) {
            Some(event) => world.operate(plugin, |name| async move {
                host.redrive(name, Some(event)).await.map(drop)
            }),
            None => Ok(()),
        },
        4 => match letter(world) {
            Some(event) => world.operate(
                plugin,
                |name| async move { host.drop_dead_letter(name, event).await },
            ),
            None => Ok(()),
        },
        5 => world.operate(
            plugin,
            |name| async move { host.pause_plugin(name).await.map(drop) },
        ),
        _ => world.operate(
            plugin,
            |name| async move { host.resume_plugin(name).await.map(drop) },
        ),
    }
}

/// A rewind of any kind begins, or the one that runs is stopped.
fn rewind(world: &mut World, dice: &mut fastrand::Rng, plugin: &'static str) -> Result<(), Stopped> {
    let Some(subscriber) = world.subscriber(plugin) else {
        return Ok(());
    };
    let (first, settled, runs) = {
        let state = subscriber.state.lock();
        let first = world.host.log().bounds().first;
        if state.own.is_some() {
            return Ok(());
        }
        (first, state.cursor.low, state.rewinding.is_some())
    };
    let host = world.host.clone();
    if runs {
        return world.operate(
            plugin,
            // On this thread: a seed is one life.
            |name| async move {
                host.give_up_rewind(&subscriber)?;
                host.plugin(name).await.map(drop)
            },
        );
    }
    if first > settled {
        return Ok(());
    }
    let order = RewindOrder {
        to: RewindTo::Offset(Offset(dice.u64(first.0..=settled.0))),
        mute: Mute {
            emit: dice.u8(..3) > 0,
            http: dice.bool(),
        },
        fresh: dice.bool(),
        rate: dice.bool().then(|| dice.u32(50..5000)),
    };
    world.operate(plugin, |name| async move {
        host.begin_rewind(&subscriber, &order)?;
        host.plugin(name).await.map(drop)
    })
}

#[test]
fn whatever_happens_to_a_host_it_keeps_its_promises() {
    let scale = Scale {
        short: 2_000,
        long: 1_000_000,
    };
    let seen: Mutex<BTreeSet<&str>> = Mutex::default();
    cases("seeded simulation of a host", scale, |seed| {
        let world = live(seed);
        world.check(true);
        if seen.lock().len() < HAPPENS.len() {
            let happened = world.history.happened();
            seen.lock().extend(happened);
        }
    });
    if std::env::var_os("NERVE_PROOF_SEED").is_none() {
        let seen = seen.into_inner();
        let never: Vec<_> = HAPPENS.iter().filter(|what| !seen.contains(**what)).collect();
        assert!(never.is_empty(), "in no life there was {never:?}");
    }
}

/// Who was followed by whom in handling the events of a plugin: whether each was a guest.
fn took_over(world: &World) -> BTreeSet<(bool, bool)> {
    let mut last = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (_, bytes) in &world.history.records {
        let Ok(Record::Outcome(outcome)) = Record::decode(bytes) else {
            continue;
        };
        if outcome.verdict == Verdict::Done {
            let is_guest = is_guest(Scripted::number_of(outcome.version));
            let before = last.insert(outcome.plugin, is_guest);
            seen.extend(before.map(|before| (before, is_guest)));
        }
    }
    seen
}

#[test]
fn whatever_happens_to_a_host_of_guests_it_keeps_its_promises() {
    let scale = Scale {
        short: 200,
        long: 20_000,
    };
    let seen: Mutex<BTreeSet<(bool, bool)>> = Mutex::default();
    cases("seeded simulation of a host, real guests", scale, |seed| {
        let world = live_with(seed, Handlers::Guests);
        world.check(true);
        seen.lock().extend(took_over(&world));
    });
    if std::env::var_os("NERVE_PROOF_SEED").is_none() {
        let all = [false, true].map(|was| [(was, false), (was, true)]).concat();
        assert!(
            seen.into_inner().into_iter().eq(all),
            "guests take over from functions, and back"
        );
    }
}

#[test]
#[should_panic(expected = "counts every done event once")]
fn the_check_notices_guests_whose_writes_are_dropped() {
    for seed in 0..20 {
        live_with(seed, Handlers::ForgetfulGuests).check(true);
    }
}

#[test]
fn one_seed_is_one_life() {
    let life = |seed, handlers| {
        let history = live_with(seed, handlers).history.clone();
        let outcomes = history.records.iter().filter_map(|(time, bytes)| {
            let Ok(Record::Outcome(outcome)) = Record::decode(bytes) else {
                return None;
            };
            let what = format!("{:?}", outcome.verdict);
            Some((
                *time,
                outcome.plugin.to_owned(),
                outcome.event,
                outcome.attempt,
                what,
            ))
        });
        (outcomes.collect::<Vec<_>>(), history.records.len(), history.lost)
    };
    for seed in 0..20 {
        for handlers in [Handlers::Functions, Handlers::Guests] {
            assert_eq!(
                life(seed, handlers),
                life(seed, handlers),
                "seed {seed}, {handlers:?}"
            );
        }
    }
}
