//! The rules of several lanes, one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Log as _, Offset, Options};

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Effects, Handled};
use crate::log::record::{FailureClass, OperatorAction, Outcome, Record};

/// Counts all events in one place.
pub(super) fn counts() -> Script {
    Arc::new(|_, state| {
        let mut handled = Handled::default();
        let count = handled
            .reads
            .get(state, "n".into())
            .map_or(0, |bytes| bytes.len());
        handled.effects.writes = vec![("n".into(), Some(vec![0; count + 1].into()))];
        handled
    })
}

fn start(script: Script, lanes: usize) -> (Bed, Stepped) {
    let bed = Bed::with_lanes(script, POLICY, lanes);
    let lanes = Stepped::new(&bed, 0);
    (bed, lanes)
}

/// What `of` says of each outcome.
fn outcomes<T>(bed: &Bed, of: impl Fn(&Outcome<'_>) -> T) -> Vec<T> {
    let entries = bed.entries();
    let outcome = |entry: nerve_eventlog::Entry| match Record::decode(&entry.payload) {
        Ok(Record::Outcome(outcome)) => Some(of(&outcome)),
        _ => None,
    };
    entries.filter_map(outcome).collect()
}

#[test]
fn a_run_whose_reads_were_changed_is_made_again_and_in_the_end_alone() {
    let (mut bed, mut lanes) = start(counts(), 2);
    bed.publish(Some("slow"));
    for n in 0..4 {
        bed.publish(Some(&format!("k{n}")));
    }
    lanes.step(&mut bed, 0);
    for _ in 0..3 {
        lanes.step(&mut bed, 0);
        lanes.steps(&mut bed, 1, 3);
        lanes.step(&mut bed, 0);
    }
    assert_eq!(
        bed.seen(),
        "2/1 3/1 2/1 4/1 2/1 5/1",
        "three runs came to nothing"
    );
    assert_eq!(bed.discarded.load(Ordering::Relaxed), 3);
    lanes.step(&mut bed, 0);
    assert_eq!(
        outcomes(&bed, |outcome| (outcome.event, outcome.conflicts)).last(),
        Some(&(2, 3))
    );
    let state = bed.subscriber.state.lock();
    assert_eq!((state.conflicts, state.counters), (3, [4, 0, 0]));
    assert_eq!(state.key_values.get("n").map(|bytes| bytes.len()), Some(4));
}

#[test]
fn a_failure_that_followed_from_what_another_lane_changed_is_none() {
    let (mut bed, mut lanes) = start(
        Arc::new(|delivery, state| {
            let mut handled = counts()(delivery, state);
            if delivery.event.key == Some("needs-one") && state.get("n").is_none() {
                handled.failure = failed(FailureClass::Reject).failure;
            }
            handled
        }),
        2,
    );
    bed.publish(Some("needs-one"));
    bed.publish(Some("other"));
    lanes.steps(&mut bed, 0, 2);
    lanes.steps(&mut bed, 1, 3);
    lanes.settle_all(&mut bed);
    assert_eq!(bed.subscriber.state.lock().counters, [2, 0, 0]);
}

#[test]
fn invariant_08_lanes_may_not_pass_the_limit_of_the_state_together() {
    let (mut bed, mut lanes) = start(
        Arc::new(|delivery, _| {
            let key = delivery.event.key.expect("the test publishes keys");
            Handled {
                effects: Effects {
                    writes: vec![(key.into(), Some(vec![0; 600 << 10].into()))],
                    ..Effects::default()
                },
                ..Handled::default()
            }
        }),
        2,
    );
    bed.publish(Some("a"));
    bed.publish(Some("b"));
    for n in [0, 0, 1, 1] {
        lanes.step(&mut bed, n);
    }
    lanes.settle_all(&mut bed);
    let state = bed.subscriber.state.lock();
    assert_eq!((state.counters, state.key_values.len()), ([1, 1, 0], 1));
    let reason = &state
        .cursor
        .parked
        .values()
        .next()
        .unwrap()
        .head
        .as_ref()
        .unwrap()
        .reason;
    assert_eq!(&**reason, "limit state_bytes: the state would pass 1048576 bytes");
    assert_eq!(
        bed.discarded.load(Ordering::Relaxed),
        1,
        "the instance that took it for a success is gone"
    );
}

#[test]
fn what_was_settled_above_a_slow_event_is_not_delivered_again_after_a_crash() {
    let (mut bed, mut lanes) = start(Arc::new(|_, _| Handled::default()), 2);
    let events: Vec<u64> = ["slow", "a", "slow", "b"]
        .map(|key| bed.publish(Some(key)))
        .into();
    lanes.step(&mut bed, 0);
    lanes.steps(&mut bed, 1, 7);
    assert_eq!(
        outcomes(&bed, |outcome| (outcome.event, outcome.low_water)),
        [(3, 1), (5, 1)]
    );
    assert!(!bed.subscriber.has_settled(Offset(events[1]), &bed.sequencer));
    let mut bed = bed.restart(Arc::new(|_, _| Handled::default()));
    bed.saw.lock().clear();
    bed.run_all();
    assert_eq!(bed.seen(), "2/1 4/1");
    assert!(bed.subscriber.has_settled(Offset(events[3]), &bed.sequencer));
}

#[test]
fn whoever_has_settled_everything_has_so_still_when_what_others_did_left_the_hot_window() {
    let options = Options {
        hot_bytes: 1000,
        ..Options::default()
    };
    let storage = Arc::new(MemoryStorage::default());
    let mut bed = Bed::on(storage, options, Arc::new(|_, _| Handled::default()));
    let others = |bed: &Bed| {
        let mut last = Offset(0);
        for _ in 0..5000 {
            last = bed.publish_of("other", None);
        }
        bed.log.wait_durable(last).unwrap();
        last
    };
    bed.publish(None);
    bed.run();
    let last = others(&bed);
    assert!(
        bed.log.bounds().hot_first > Offset(4),
        "its events have left the window"
    );
    assert!(
        bed.subscriber.has_settled(last, &bed.sequencer),
        "nothing of its own was forgotten"
    );
    let mut bed = bed.restart(Arc::new(|_, _| Handled::default()));
    let floor = bed.log.bounds().hot_first;
    assert!(
        !bed.subscriber.has_settled(last, &bed.sequencer),
        "nobody has looked yet at what lies before {floor}"
    );
    bed.run();
    assert!(
        bed.subscriber.has_settled(last, &bed.sequencer),
        "a lane has looked, and found nothing"
    );
}

#[test]
fn invariant_03_dead_letters_run_again_in_order_and_never_beside_their_keys_live_events() {
    let broken: Script = Arc::new(|_, _| failed(FailureClass::Reject));
    let (mut bed, mut lanes) = start(broken, 3);
    for key in ["a", "a", "b", "a"] {
        bed.publish(Some(key));
    }
    lanes.run_all(&mut bed, &mut fastrand::Rng::with_seed(1));
    assert_eq!(bed.subscriber.state.lock().dead.len(), 4);
    bed.swap_to(Arc::new(|_, _| Handled::default()), 3);
    bed.saw.lock().clear();
    let live = bed.publish(Some("a"));
    // A live event of the key is under way when the operator asks.
    lanes.step(&mut bed, 0);
    bed.operate(OperatorAction::Redrive(vec![2, 3, 4, 5]));
    for n in [1, 2] {
        lanes.step(&mut bed, n);
    }
    let under_way: Vec<u64> = lanes.under_way().map(|entry| entry.offset.0).collect();
    assert_eq!(under_way, [live, 4], "only the letter of the other key is begun");
    lanes.run_all(&mut bed, &mut fastrand::Rng::with_seed(1));
    let of_a: Vec<(u64, bool)> = {
        let saw = bed.saw.lock();
        let of_a = saw.iter().filter(|saw| saw.key.as_deref() == Some("a"));
        of_a.map(|saw| (saw.offset, saw.replay)).collect()
    };
    assert_eq!(of_a, [(live, false), (2, true), (3, true), (5, true)]);
    assert!(bed.subscriber.state.lock().dead.is_empty());
}

#[test]
fn invariant_06_what_was_under_way_when_the_breaker_opened_is_no_probe() {
    let (mut bed, mut lanes) = start(Arc::new(|_, _| failed(FailureClass::Trap)), 4);
    for n in 0..8 {
        bed.publish(Some(&format!("k{n}")));
    }
    for n in [0, 1, 2, 3] {
        lanes.step(&mut bed, n);
    }
    lanes.settle_all(&mut bed);
    {
        let state = bed.subscriber.state.lock();
        let open = state.breaker.open().expect("three keys failed");
        assert_eq!(open.probes, 0, "the fourth delivery began before it opened");
        bed.clock.set(open.probe.expect("a probe is due"));
    }
    assert!(lanes.step(&mut bed, 2));
    for n in [0, 1, 3] {
        assert!(!lanes.step(&mut bed, n), "a probe is alone");
    }
    lanes.settle_all(&mut bed);
    assert_eq!(
        outcomes(&bed, |outcome| outcome.free),
        [false, false, false, true, true]
    );
    assert_eq!(
        bed.subscriber.state.lock().breaker.open().map(|open| open.probes),
        Some(1)
    );
}
