//! A seeded simulation: random keys, failures, restarts, swaps and redrives against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nerve_eventlog::Micros;

use super::bed::{Bed, Script, failed};
use crate::delivery::handler::{Effects, Handled};
use crate::log::record::{FailureClass, OperatorAction, Record, Verdict};

/// Which attempts fail, decided by a hash so that it does not depend on the order of things.
fn script(seed: u64) -> Script {
    Arc::new(move |delivery, state| {
        let mut dice = fastrand::Rng::with_seed(
            seed ^ delivery.offset.0.wrapping_mul(0x9e37_79b9) ^ (u64::from(delivery.attempt) << 48),
        );
        match dice.u32(..20) {
            0..3 => failed(FailureClass::Trap),
            3 => failed(FailureClass::Reject),
            4..12 => Handled::default(),
            _ => {
                let count = state.get("count").map_or(0, |bytes| bytes.len());
                let writes = vec![("count".into(), Some(vec![0; count + 1].into()))];
                Handled {
                    effects: Effects {
                        timers: vec![],
                        emits: vec![],
                        writes,
                    },
                    ..Handled::default()
                }
            }
        }
    })
}

/// The promises, checked on the log alone.
fn check(bed: &Bed, published: &BTreeMap<u64, Option<String>>, seed: u64) {
    let mut ended: BTreeMap<u64, bool> = BTreeMap::new();
    let mut last_of_key: BTreeMap<&str, u64> = BTreeMap::new();
    let mut open: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut done, mut redriven) = (0, BTreeSet::new());
    for (offset, _, bytes) in bed.records() {
        match Record::decode(&bytes).unwrap() {
            Record::Outcome(outcome) => {
                let key = published[&outcome.event].as_deref();
                let first_end = !ended.contains_key(&outcome.event);
                assert!(
                    first_end || redriven.contains(&outcome.event),
                    "seed {seed}: {offset} settles twice"
                );
                if let Some(key) = key {
                    let waiting = open.get(key);
                    assert!(
                        waiting.is_none_or(|at| *at == outcome.event),
                        "seed {seed}: {offset} overtakes {waiting:?}"
                    );
                    if !outcome.replay {
                        let last = last_of_key.get(key).copied().unwrap_or_default();
                        assert!(
                            last <= outcome.event,
                            "seed {seed}: {offset} goes back from {last}"
                        );
                        last_of_key.insert(key_of(published, outcome.event), outcome.event);
                    }
                }
                match outcome.verdict {
                    Verdict::Retry { .. } => {
                        if key.is_some() {
                            open.insert(key_of(published, outcome.event), outcome.event);
                        }
                    }
                    Verdict::Done | Verdict::Dead { .. } => {
                        if let Some(key) = key {
                            open.remove(key);
                        }
                        let is_done = outcome.verdict == Verdict::Done;
                        assert!(
                            ended.insert(outcome.event, is_done) != Some(true),
                            "seed {seed}: {offset} is done twice"
                        );
                        done += outcome.writes.len();
                    }
                }
            }
            Record::Operator(operator) => {
                if let OperatorAction::Redrive(events) = operator.action {
                    redriven.extend(events);
                }
            }
            _ => {}
        }
    }
    assert_eq!(
        ended.len(),
        published.len(),
        "seed {seed}: every event came to an end"
    );
    let count = bed
        .subscriber
        .state
        .lock()
        .key_values
        .get("count")
        .map_or(0, |bytes| bytes.len());
    assert_eq!(
        count, done,
        "seed {seed}: the state counts every done event that writes, once"
    );
    let cursor = bed.fold().cursor;
    assert_eq!(cursor, bed.subscriber.state.lock().cursor, "seed {seed}");
    assert!(cursor.above.is_empty(), "seed {seed}: something holds the mark");
}

fn key_of(published: &BTreeMap<u64, Option<String>>, event: u64) -> &str {
    published[&event].as_deref().unwrap_or_default()
}

fn simulate(seed: u64) -> (Bed, BTreeMap<u64, Option<String>>) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut published = BTreeMap::new();
    let mut bed = Bed::new(script(seed));
    for _ in 0..dice.usize(20..120) {
        match dice.u32(..20) {
            0..12 => {
                let key = (dice.u32(..5) > 0).then(|| format!("k{}", dice.u32(..4)));
                published.insert(bed.publish(key.as_deref()), key);
            }
            12..16 => {
                bed.run();
            }
            16 => bed.clock.set(Micros(bed.now() + dice.u64(..30_000))),
            17 => bed = bed.restart(script(seed)),
            18 => bed.swap(script(seed)),
            _ => bed.redrive_all(),
        }
    }
    bed.run_all();
    (bed, published)
}

#[test]
fn invariant_03_nothing_is_lost_doubled_or_reordered_whatever_happens() {
    for seed in 0..500 {
        let (bed, published) = simulate(seed);
        check(&bed, &published, seed);
    }
}

#[test]
#[should_panic(expected = "seed")]
fn the_check_notices_an_event_that_never_came_to_an_end() {
    let (bed, mut published) = simulate(1);
    published.insert(u64::MAX, None);
    check(&bed, &published, 1);
}
