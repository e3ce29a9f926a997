//! Probation: the rule as a table, and lanes that follow it.

use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use crate::delivery::breaker::Attempt;
use crate::delivery::handler::{Delivery, Handled};
use crate::delivery::probation::{Probation, Tally};
use crate::log::record::{
    AskedBy, DeploymentAction, FailureClass, FailureRecord, Outcome, Record, Terms, Verdict, VersionId,
    Watched,
};

pub(super) const TERMS: Terms = Terms {
    events: 50,
    seconds: 60,
    slower: 5,
    share: 0,
    own: false,
};

pub(super) fn ok() -> Script {
    Arc::new(|_, _| Handled::default())
}

/// Fails with `class` where `is_bad`.
pub(super) fn bad(
    class: FailureClass,
    is_bad: impl Fn(&Delivery<'_>) -> bool + Send + Sync + 'static,
) -> Script {
    Arc::new(move |delivery, _| {
        if is_bad(delivery) {
            failed(class)
        } else {
            Handled::default()
        }
    })
}

/// A bed with `old` in its first version, and `new` watched in its second.
fn watched(old: Script, new: Script) -> Bed {
    let mut bed = Bed::new(old);
    bed.terms = Some(TERMS);
    bed.swap(new);
    bed
}

pub(super) fn live(bed: &Bed) -> u8 {
    bed.subscriber
        .state
        .lock()
        .live
        .as_ref()
        .unwrap()
        .version
        .version
        .0[0]
}

/// What was delivered, as `offset:attempt` and the version that did it.
fn seen(bed: &Bed) -> Vec<(String, u8)> {
    let saw = bed.saw.lock();
    saw.iter()
        .map(|saw| (format!("{}:{}", saw.offset, saw.attempt), saw.version))
        .collect()
}

fn rollbacks(bed: &Bed) -> Vec<(AskedBy, String)> {
    let back = |bytes: &[u8]| match Record::decode(bytes).unwrap() {
        Record::Deployment(deployment) => match deployment.action {
            DeploymentAction::RolledBack(back) => Some((deployment.by, back.why)),
            _ => None,
        },
        _ => None,
    };
    bed.records()
        .iter()
        .filter_map(|(_, _, bytes)| back(bytes))
        .collect()
}

/// The state is what the records say.
pub(super) fn agree(bed: &Bed) {
    let (live, folded) = (bed.subscriber.state.lock().clone(), bed.fold());
    assert_eq!(
        format!("{:?}", live.snapshot(Offset(0))),
        format!("{:?}", folded.snapshot(Offset(0)))
    );
}

/// A version, an event, and what came of it: how long it took, or how it failed.
type Did = (u8, u64, Result<u64, (FailureClass, Watched)>);

/// A version that did these things, held against one that failed `known` of a hundred: whether it fell.
fn falls(known: u64, did: &[Did]) -> bool {
    let known = Tally {
        done: 100 - known,
        failed: known,
        took: (100 - known) * 1000,
    };
    let mut probation = Probation::new(VersionId([2; 8]), VersionId([1; 8]), TERMS, known, [].iter());
    for (version, event, came) in did {
        let (verdict, watched, took) = match came {
            Ok(took) => (Verdict::Done, None, *took),
            Err((class, watched)) => {
                let failure = FailureRecord {
                    class: *class,
                    reason: "r",
                };
                let watched = Some(*watched).filter(|_| *version == 2);
                (Verdict::Retry { due: 1, failure }, watched, 0)
            }
        };
        let outcome = Outcome {
            version: VersionId([*version; 8]),
            event: *event,
            verdict,
            watched,
            took,
            ..Outcome::default()
        };
        probation.apply(Micros(1), &outcome, *event == 77);
    }
    probation.fallen().is_some()
}

#[test]
fn the_table_of_what_makes_a_watched_version_fall() {
    use FailureClass::{Limit, Loop, Memory, Reject, Retry, Time, Trap};
    let passed = |class| Err((class, Watched::PassedOn));
    let again = |class| Err((class, Watched::Again));
    for class in [Trap, Limit, Memory, Time, Retry] {
        assert!(
            falls(0, &[(2, 7, passed(class)), (1, 7, Ok(1))]),
            "{class:?}, where the one before did not fail"
        );
        assert!(
            !falls(0, &[(2, 7, passed(class))]),
            "{class:?}: the one before was not asked yet"
        );
        assert!(
            !falls(0, &[(2, 7, passed(class)), (1, 7, again(class)), (1, 7, Ok(1))]),
            "{class:?}: the one before failed as well"
        );
        assert!(
            !falls(0, &[(2, 77, passed(class)), (1, 77, Ok(1))]),
            "{class:?}: it had failed before"
        );
        assert!(
            !falls(0, &[(2, 7, passed(class)), (1, 8, Ok(1))]),
            "{class:?}: another event"
        );
    }
    for class in [Reject, Loop] {
        assert!(
            !falls(0, &[(2, 7, passed(class)), (1, 7, Ok(1))]),
            "{class:?} never counts"
        );
    }
    // What asks to be tried again counts where it does so more than twice as often as before.
    let flaky = [(2, 1, Ok(1)), (2, 2, Ok(1)), (2, 7, passed(Retry)), (1, 7, Ok(1))];
    assert!(falls(10, &flaky) && !falls(40, &flaky));
    let slow = |took| {
        let did: Vec<_> = (0..20).map(|event| (2, event, Ok(took))).collect();
        falls(0, &did)
    };
    assert!(slow(6_100) && !slow(5_900), "by 5 ms, and five times as long");
    assert!(!falls(0, &[(2, 1, Ok(1_000_000))]), "one slow event says nothing");
}

#[test]
fn the_table_of_who_tries_next() {
    use FailureClass::{Reject, Retry, Trap};
    let next = |class, tried, row: u64, probe| {
        let mut probation = Probation::new(
            VersionId([2; 8]),
            VersionId([1; 8]),
            TERMS,
            Tally::default(),
            [].iter(),
        );
        for event in 0..row {
            let failure = FailureRecord { class, reason: "r" };
            let outcome = Outcome {
                version: VersionId([2; 8]),
                event,
                verdict: Verdict::Retry { due: 1, failure },
                watched: Some(Watched::Again),
                ..Outcome::default()
            };
            probation.apply(Micros(1), &outcome, false);
        }
        let failure = failed(class).failure.unwrap();
        let attempt = Attempt {
            key: None,
            event: Offset(7),
            spent: 0,
            probe,
            ended: Micros(5),
            dice: 0.0,
        };
        let decision = probation.decide(&failure, tried, &attempt, &POLICY);
        assert!(decision.free, "it never costs a retry");
        let Verdict::Retry { due, .. } = decision.verdict else {
            panic!("a watched version gives nothing up");
        };
        (due, decision.watched.unwrap())
    };
    for (class, tried, row, probe, due, who) in [
        (Trap, 1, 0, false, 5, Watched::PassedOn),
        (Reject, 1, 0, false, 5, Watched::PassedOn),
        (Retry, 1, 0, false, 10_005, Watched::Again),
        (Retry, 2, 1, false, 20_005, Watched::Again),
        (Retry, 1, 2, false, 5, Watched::PassedOn),
        (Retry, 3, 0, false, 5, Watched::PassedOn),
        (Retry, 1, 0, true, 5, Watched::PassedOn),
    ] {
        let came = next(class, tried, row, probe);
        assert_eq!(
            came,
            (due, who),
            "{class:?}, attempt {tried} behind {row} failures, probe: {probe}"
        );
    }
}

#[test]
fn invariant_03_a_version_that_traps_is_rolled_back_by_itself_and_nothing_is_lost_or_out_of_order() {
    let mut bed = watched(
        ok(),
        bad(FailureClass::Trap, |delivery| delivery.event.key == Some("b")),
    );
    for key in ["a", "b", "a", "b", "b"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    assert_eq!(live(&bed), 1);
    let [(by, why)] = &rollbacks(&bed)[..] else {
        panic!("it is rolled back once");
    };
    assert_eq!(
        (*by, why.contains("offset 4, where version")),
        (AskedBy::Probation, true),
        "{why}"
    );
    // The event that failed goes on at once with the version before, and then everything.
    let expected = [
        ("3:1", 2),
        ("4:1", 2),
        ("4:2", 1),
        ("5:1", 1),
        ("6:1", 1),
        ("7:1", 1),
    ];
    assert_eq!(seen(&bed), expected.map(|(what, by)| (what.to_owned(), by)));
    {
        let state = bed.subscriber.state.lock();
        assert_eq!((state.counters, state.cursor.parked.len()), ([5, 1, 0], 0));
        assert_eq!(state.ran[&VersionId([2; 8])].counters, [1, 1, 0]);
    }
    agree(&bed);
}

#[test]
fn a_poison_event_that_the_version_before_fails_too_is_given_up_and_the_new_version_stays() {
    let poison = |delivery: &Delivery<'_>| delivery.event.key == Some("poison");
    let mut bed = watched(bad(FailureClass::Trap, poison), bad(FailureClass::Trap, poison));
    for key in ["poison", "a", "poison", "a"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    let dead: Vec<u64> = bed
        .subscriber
        .state
        .lock()
        .dead
        .keys()
        .map(|event| event.0)
        .collect();
    assert_eq!(dead, [3, 5]);
    // One attempt of the watched version, which cost nothing, and the three of the version before.
    let at_first: Vec<_> = seen(&bed)
        .into_iter()
        .filter(|(what, _)| what.starts_with("3:"))
        .collect();
    let expected = [("3:1", 2), ("3:2", 1), ("3:3", 1), ("3:4", 1)];
    assert_eq!(at_first, expected.map(|(what, by)| (what.to_owned(), by)));
    agree(&bed);
}

#[test]
fn what_failed_before_the_swap_is_no_fault_of_the_new_version() {
    let healed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_healed = healed.clone();
    let sick = move |_: &Delivery<'_>| !is_healed.load(std::sync::atomic::Ordering::Relaxed);
    let mut bed = Bed::new(bad(FailureClass::Trap, sick));
    bed.publish(Some("a"));
    bed.run();
    bed.terms = Some(TERMS);
    bed.swap(bad(FailureClass::Trap, |delivery| delivery.offset == Offset(2)));
    healed.store(true, std::sync::atomic::Ordering::Relaxed);
    bed.publish(Some("b"));
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    assert_eq!(bed.subscriber.state.lock().counters, [2, 2, 0]);
    agree(&bed);
}

#[test]
fn rejects_are_passed_on_and_roll_nothing_back() {
    let mut bed = watched(ok(), bad(FailureClass::Reject, |_| true));
    for _ in 0..5 {
        bed.publish(None);
    }
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    assert_eq!(
        bed.subscriber.state.lock().counters,
        [5, 5, 0],
        "it gives nothing up"
    );
    agree(&bed);
}

#[test]
fn an_outage_of_what_both_need_is_no_fault_of_the_new_version() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let script = || {
        let down = down.clone();
        bad(FailureClass::Retry, move |_| {
            down.load(std::sync::atomic::Ordering::Relaxed)
        })
    };
    let mut bed = watched(script(), script());
    for key in ["a", "b", "c", "d", "e", "f"] {
        bed.publish(Some(key));
    }
    for _ in 0..40 {
        if let crate::delivery::lane::Rest::Until(Some(due)) = bed.run() {
            bed.clock.set(due);
        }
    }
    assert!(
        bed.subscriber.state.lock().breaker.open().is_some(),
        "it is paused"
    );
    down.store(false, std::sync::atomic::Ordering::Relaxed);
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    let state = bed.fold();
    assert_eq!(
        (state.counters[0], state.counters[2], state.cursor.parked.len()),
        (6, 0, 0)
    );
    agree(&bed);
}

#[test]
fn a_version_that_mends_an_outage_is_tried_at_once_though_it_is_watched() {
    let mut bed = Bed::new(bad(FailureClass::Retry, |_| true));
    for key in ["a", "b", "c", "d"] {
        bed.publish(Some(key));
    }
    bed.run();
    assert!(
        bed.subscriber.state.lock().breaker.open().is_some(),
        "it is paused"
    );
    bed.terms = Some(TERMS);
    bed.swap(ok());
    bed.run();
    assert_eq!((live(&bed), bed.fold().counters[0]), (2, 4));
    agree(&bed);
}

#[test]
fn a_much_slower_version_is_rolled_back() {
    let takes = |ms| -> Script {
        Arc::new(move |_, _| Handled {
            took: Duration::from_millis(ms),
            ..Handled::default()
        })
    };
    let mut bed = Bed::new(takes(1));
    for _ in 0..30 {
        bed.publish(None);
    }
    bed.run_all();
    bed.terms = Some(TERMS);
    bed.swap(takes(30));
    for _ in 0..30 {
        bed.publish(None);
    }
    bed.run_all();
    assert_eq!(live(&bed), 1);
    assert!(
        rollbacks(&bed)[0].1.contains("much slower"),
        "{:?}",
        rollbacks(&bed)
    );
    assert_eq!(bed.fold().counters, [60, 0, 0]);
    agree(&bed);
}

#[test]
fn behind_its_probation_a_version_is_on_its_own() {
    let mut bed = watched(
        ok(),
        bad(FailureClass::Trap, |delivery| delivery.event.key == Some("bad")),
    );
    for _ in 0..TERMS.events {
        bed.publish(Some("good"));
    }
    bed.publish(Some("bad"));
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    assert_eq!(bed.subscriber.state.lock().dead.len(), 1, "it is judged no more");
    // By time as well.
    let mut bed = watched(
        ok(),
        bad(FailureClass::Trap, |delivery| delivery.event.key == Some("bad")),
    );
    bed.publish(Some("good"));
    bed.run_all();
    bed.clock.set(Micros(bed.now() + 61_000_000));
    bed.publish(Some("bad"));
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    agree(&bed);
}

#[test]
fn a_version_that_fell_before_a_restart_is_rolled_back_after_it() {
    let traps = || bad(FailureClass::Trap, |_| true);
    let mut bed = watched(ok(), traps());
    bed.publish(Some("a"));
    bed.publish(Some("a"));
    // One attempt of each version, and the process ends before the lane can follow.
    bed.stop_after(2);
    bed.run();
    assert_eq!((live(&bed), rollbacks(&bed)), (2, vec![]));
    let mut bed = bed.restart_beside(traps(), ok());
    bed.run_all();
    assert_eq!((live(&bed), rollbacks(&bed).len()), (1, 1));
    assert_eq!(bed.fold().counters, [2, 1, 0]);
    agree(&bed);
}

#[test]
fn the_first_version_has_nothing_to_go_back_to() {
    let mut bed = Bed::new(ok());
    bed.terms = Some(TERMS);
    let mut first = Bed::new(bad(FailureClass::Trap, |_| true));
    first.publish(Some("a"));
    first.run_all();
    assert_eq!(
        (first.subscriber.state.lock().dead.len(), rollbacks(&first)),
        (1, vec![])
    );
    // One that is watched is no measure for the next: what stood before it is.
    bed.swap(bad(FailureClass::Retry, |_| true));
    bed.swap(bad(FailureClass::Trap, |_| true));
    bed.publish(Some("a"));
    bed.run_all();
    assert_eq!(live(&bed), 1);
    agree(&bed);
}
