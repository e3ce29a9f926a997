//! A seeded simulation of several lanes: who chooses, runs its handler or settles next is drawn from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use nerve_eventlog::proof::{Scale, cases};
use nerve_eventlog::{Entry, Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Delivery, Effects, Emit, Handled, Outside, SetTimer};
use crate::delivery::lane::event_of;
use crate::delivery::timer;
use crate::log::record::{FailureClass, OperatorAction, Record, Verdict};
use crate::state::KeyValues;

/// How long a version may take to go.
const LONGEST: Duration = Duration::from_mins(1);

/// Adds to counters that it shares with events of other keys; some fail by chance, some for what they read.
fn adds(seed: u64) -> Script {
    Arc::new(move |delivery, state| {
        let mut dice = fastrand::Rng::with_seed(
            seed ^ delivery.offset.0.wrapping_mul(0x9e37_79b9) ^ (u64::from(delivery.attempt) << 48),
        );
        let mut handled = match dice.u32(..20) {
            0..2 => failed(FailureClass::Trap),
            2 => failed(FailureClass::Reject),
            _ => Handled::default(),
        };
        if dice.bool() {
            return handled;
        }
        let key = format!("count/{}", dice.u32(..3));
        let count = handled
            .reads
            .get(state, key.clone())
            .map_or(0, |bytes| bytes.len());
        if count % 7 == 6 && delivery.attempt == 1 {
            return Handled {
                reads: handled.reads,
                ..failed(FailureClass::Retry)
            };
        }
        let mut writes = vec![(key.into(), Some(vec![0; count + 1].into()))];
        if dice.bool() {
            let all = handled.reads.scan(state, "count/", None, 10);
            let sum: usize = all.iter().map(|(_, value)| value.len()).sum();
            writes.push(("sum".into(), Some(sum.to_string().into())));
        }
        let timers = if dice.u32(..4) == 0 {
            vec![("t".into(), Some(set(delivery)))]
        } else {
            vec![]
        };
        handled.effects = Effects {
            emits: vec![],
            writes,
            timers,
        };
        handled
    })
}

fn set(delivery: &Delivery<'_>) -> SetTimer {
    SetTimer {
        due: Micros(delivery.started.0 + 5000),
        emit: Emit {
            r#type: "timed.out".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        },
    }
}

/// One simulated life: the bed at its end, and what was published.
fn simulate(seed: u64, script: &Script) -> (Bed, BTreeMap<u64, Option<String>>) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut published = BTreeMap::new();
    let mut bed = Bed::with_lanes(script.clone(), POLICY, dice.usize(1..=4));
    let mut lanes = Stepped::new(&bed, seed).in_stretches();
    for _ in 0..dice.usize(50..400) {
        match dice.u32(..40) {
            0..10 => {
                let key = (dice.u32(..5) > 0).then(|| format!("k{}", dice.u32(..4)));
                published.insert(bed.publish(key.as_deref()), key);
            }
            10..33 => {
                let n = dice.usize(..4);
                lanes.step(&mut bed, n);
            }
            33 => {
                let n = dice.usize(..bed.lanes.len());
                bed.lanes[n].stretch.break_up().unwrap();
            }
            34 => bed.clock.set(Micros(bed.now() + dice.u64(..30_000))),
            35 => {
                // Whatever was under way is lost with the process.
                bed = bed.restart(script.clone());
                lanes = Stepped::new(&bed, seed).in_stretches();
            }
            36 => {
                lanes.settle_all(&mut bed);
                bed.swap_to(script.clone(), dice.usize(1..=4));
            }
            37 => {
                timer::fire(&bed.subscriber, &bed.sequencer, Micros(bed.now())).unwrap();
            }
            _ => bed.redrive_all(),
        }
    }
    lanes.run_all(&mut bed, &mut dice);
    (bed, published)
}

/// The promises, checked on the log alone: the state is what the handlers make when they run one after another, in
/// the order in which they were settled.
fn check(bed: &Bed, published: &BTreeMap<u64, Option<String>>, script: &Script, seed: u64) {
    let model = KeyValues::default();
    let mut done = BTreeSet::new();
    let mut ended = BTreeSet::new();
    let mut redriven = BTreeSet::new();
    let mut last_of_key: BTreeMap<&str, u64> = BTreeMap::new();
    let mut open: BTreeMap<&str, u64> = BTreeMap::new();
    let events: BTreeMap<u64, Entry> = bed.entries().map(|entry| (entry.offset.0, entry)).collect();
    for (offset, entry) in &events {
        let outcome = match Record::decode(&entry.payload).unwrap() {
            Record::Outcome(outcome) => outcome,
            Record::Operator(operator) => {
                if let OperatorAction::Redrive(events) = operator.action {
                    redriven.extend(events);
                }
                continue;
            }
            _ => continue,
        };
        let event = event_of(&events[&outcome.event]).unwrap();
        let first = ended.insert(outcome.event) || matches!(outcome.verdict, Verdict::Retry { .. });
        assert!(
            !done.contains(&outcome.event) && (first || redriven.contains(&outcome.event)),
            "seed {seed}: {offset} settles twice"
        );
        if let Some(key) = event.key {
            let waiting = open.remove(key);
            assert!(
                waiting.is_none_or(|at| at == outcome.event),
                "seed {seed}: {offset} overtakes {waiting:?}"
            );
            let last = last_of_key.entry(key).or_default();
            assert!(
                outcome.replay || *last <= outcome.event,
                "seed {seed}: {offset} goes back from {last}"
            );
            *last = outcome.event.max(*last);
        }
        let delivery = Delivery {
            offset: outcome.event(),
            recorded: events[&outcome.event].time,
            event: &event,
            record: &events[&outcome.event].payload,
            attempt: outcome.attempt,
            replay: outcome.replay,
            rewind: None,
            historic: false,
            started: Micros(outcome.started),
            seed: 0,
            outside: Outside::default(),
        };
        let again = script(&delivery, &model);
        let class = match outcome.verdict {
            Verdict::Done => None,
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => Some(failure.class),
        };
        let expected = again.failure.map(|failure| failure.class);
        assert_eq!(class, expected, "seed {seed}: {offset} saw another state");
        match outcome.verdict {
            Verdict::Done => {
                done.insert(outcome.event);
                let writes = outcome.writes.iter();
                let writes: Vec<_> = writes.map(|write| (write.key, write.value)).collect();
                let expected = again.effects.writes.iter();
                let expected: Vec<_> = expected.map(|(key, value)| (&**key, value.as_deref())).collect();
                assert_eq!(writes, expected, "seed {seed}: {offset} saw another state");
                for (key, value) in &again.effects.writes {
                    model.write(key, value.clone());
                }
            }
            Verdict::Retry { .. } => {
                ended.remove(&outcome.event);
                if let Some(key) = event.key {
                    open.insert(key, outcome.event);
                }
            }
            Verdict::Dead { .. } => {}
        }
    }
    let published: BTreeSet<u64> = published.keys().copied().collect();
    assert_eq!(ended, published, "seed {seed}: every event came to an end");
    let (folded, live) = (bed.fold(), bed.subscriber.state.lock());
    assert_eq!(folded.cursor, live.cursor, "seed {seed}");
    assert!(
        folded.cursor.above.is_empty(),
        "seed {seed}: something holds the mark"
    );
    assert!(live.cursor.parked.is_empty(), "seed {seed}");
    assert_eq!(
        live.key_values.scan("", None, 100),
        model.scan("", None, 100),
        "seed {seed}"
    );
    drop(live);
    let last = published.last().copied().unwrap_or_default();
    assert!(
        bed.subscriber.has_settled(Offset(last), &bed.sequencer),
        "seed {seed}"
    );
}

#[test]
fn invariant_03_several_lanes_keep_the_order_of_each_key_and_settle_as_one_after_another() {
    let scale = Scale {
        short: 1000,
        long: 100_000,
    };
    let conflicts = AtomicU64::new(0);
    cases("several lanes of one plugin", scale, |seed| {
        let script = adds(seed);
        let (bed, published) = simulate(seed, &script);
        check(&bed, &published, &script, seed);
        conflicts.fetch_add(bed.subscriber.state.lock().conflicts, Ordering::Relaxed);
    });
    assert!(conflicts.into_inner() > 0, "some runs have to come into conflict");
}

#[test]
#[should_panic(expected = "saw another state")]
fn the_check_notices_an_update_that_is_lost_when_reads_are_not_looked_at() {
    for seed in 0..100 {
        let script = adds(seed);
        let blind: Script = {
            let script = script.clone();
            Arc::new(move |delivery, state| Handled {
                reads: crate::delivery::reads::Reads::default(),
                ..script(delivery, state)
            })
        };
        let (bed, published) = simulate(seed, &blind);
        check(&bed, &published, &script, seed);
    }
}

#[test]
#[should_panic(expected = "came to an end")]
fn the_check_notices_an_event_that_was_never_delivered() {
    let script = adds(1);
    let (bed, mut published) = simulate(1, &script);
    published.insert(u64::MAX, None);
    check(&bed, &published, &script, 1);
}

#[test]
fn a_lane_at_rest_keeps_no_version_that_another_took_the_place_of() {
    let (held, gone) = channel::<()>();
    let script: Script = Arc::new(move |_, _| {
        assert!(held.send(()).is_ok());
        Handled::default()
    });
    let mut bed = Bed::with_lanes(script, POLICY, 2);
    for lane in &mut bed.lanes[..2] {
        lane.run();
    }
    bed.swap(Arc::new(|_, _| Handled::default()));
    bed.lanes[0].run();
    assert_eq!(
        gone.try_recv(),
        Err(TryRecvError::Empty),
        "the lane that did not run has it"
    );
    bed.lanes[1].let_go_of_old();
    // It goes on a thread of its own.
    assert_eq!(gone.recv_timeout(LONGEST), Err(RecvTimeoutError::Disconnected));
}
