//! How long a version is watched, and what counts meanwhile: each rule on its own.

use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, POLICY, failed};
use super::canary::HALF;
use super::probation::{TERMS, agree, bad, live, ok};
use crate::delivery::breaker::Attempt;
use crate::delivery::probation::{Probation, Tally};
use crate::log::record::{
    Answer, Asked, AskedBy, Call, CallFailure, Deployment, DeploymentAction, FailureClass, FailureRecord,
    Hash, LiveVersion, Outcome, Terms, Verdict, VersionId, Watched,
};
use crate::state::PluginState;

const SECOND: u64 = 1_000_000;

pub(super) fn id(n: u8) -> VersionId {
    VersionId([n; 8])
}

/// Version 2, watched under `terms` and held against version 1, which did what is `known`.
pub(super) fn watch(terms: Terms, known: Tally) -> Probation {
    Probation::new(id(2), id(1), terms, known, [].iter())
}

/// The outcome of `event` under a version.
fn outcome(version: u8, event: u64, verdict: Verdict<'static>, watched: Option<Watched>) -> Outcome<'static> {
    Outcome {
        version: id(version),
        event,
        verdict,
        watched,
        took: 1_000,
        ..Outcome::default()
    }
}

fn done(version: u8, event: u64) -> Outcome<'static> {
    outcome(version, event, Verdict::Done, None)
}

/// A failed attempt of the watched version.
fn fails(class: FailureClass, event: u64, next: Watched) -> Outcome<'static> {
    let failure = FailureRecord { class, reason: "r" };
    outcome(2, event, Verdict::Retry { due: 1, failure }, Some(next))
}

fn apply(probation: &mut Probation, outcomes: impl IntoIterator<Item = Outcome<'static>>) {
    for outcome in outcomes {
        probation.apply(Micros(SECOND), &outcome, false);
    }
}

#[test]
fn a_watch_ends_after_so_many_attempts_failed_ones_among_them() {
    let mut probation = watch(TERMS, Tally::default());
    for event in 0..TERMS.events.into() {
        assert!(!probation.has_ended(Micros(SECOND)), "after {event}");
        let failing = fails(FailureClass::Retry, event, Watched::Again);
        apply(
            &mut probation,
            [if event % 2 == 0 { done(2, event) } else { failing }],
        );
    }
    assert!(probation.has_ended(Micros(SECOND)));
}

#[test]
fn a_watch_ends_so_long_after_its_first_attempt() {
    let mut probation = watch(TERMS, Tally::default());
    assert!(
        !probation.has_ended(Micros(1000 * SECOND)),
        "nothing was seen of it yet"
    );
    probation.apply(Micros(SECOND), &done(2, 1), false);
    probation.apply(Micros(50 * SECOND), &done(2, 2), false);
    assert!(!probation.has_ended(Micros(61 * SECOND - 1)));
    assert!(probation.has_ended(Micros(61 * SECOND)));
}

#[test]
fn what_is_delivered_again_says_nothing_of_a_version() {
    let mut probation = watch(TERMS, Tally::default());
    for event in 0..2 * u64::from(TERMS.events) {
        let again = Outcome {
            replay: true,
            ..done(2, event)
        };
        apply(&mut probation, [again]);
    }
    assert_eq!(probation.seen, Tally::default());
    assert!(!probation.has_ended(Micros(1000 * SECOND)));
}

#[test]
fn a_watch_does_not_end_while_the_version_before_is_asked_or_once_it_fell() {
    let mut probation = watch(TERMS, Tally::default());
    apply(
        &mut probation,
        (1..TERMS.events.into()).map(|event| done(2, event)),
    );
    apply(&mut probation, [fails(FailureClass::Trap, 99, Watched::PassedOn)]);
    assert!(probation.is_asking() && !probation.has_ended(Micros(1000 * SECOND)));
    assert!(probation.has_passed_on(Offset(99), Micros(SECOND)));
    apply(&mut probation, [done(1, 99)]);
    assert!(probation.fallen().is_some() && !probation.is_asking());
    assert!(
        !probation.has_passed_on(Offset(99), Micros(SECOND)),
        "it has come to its end"
    );
    assert!(!probation.has_ended(Micros(1000 * SECOND)), "a rollback is due");
    let first = probation.fallen().map(str::to_owned);
    apply(
        &mut probation,
        [fails(FailureClass::Trap, 100, Watched::PassedOn), done(1, 100)],
    );
    assert_eq!(
        probation.fallen().map(str::to_owned),
        first,
        "the first reason stays"
    );
}

#[test]
fn what_the_version_before_gives_up_on_is_not_its_own_any_more() {
    let mut probation = watch(TERMS, Tally::default());
    let failure = FailureRecord {
        class: FailureClass::Trap,
        reason: "r",
    };
    apply(
        &mut probation,
        [
            fails(FailureClass::Trap, 7, Watched::PassedOn),
            outcome(1, 7, Verdict::Retry { due: 1, failure }, None),
        ],
    );
    assert!(probation.has_passed_on(Offset(7), Micros(SECOND)) && !probation.is_asking());
    apply(&mut probation, [outcome(1, 7, Verdict::Dead { failure }, None)]);
    assert!(!probation.has_passed_on(Offset(7), Micros(SECOND)) && probation.fallen().is_none());
}

/// Whom an event goes to next that version 2 failed for the first time, after these attempts.
fn next_after(outcomes: impl IntoIterator<Item = Outcome<'static>>) -> Watched {
    let mut probation = watch(TERMS, Tally::default());
    apply(&mut probation, outcomes);
    let attempt = Attempt {
        key: None,
        event: Offset(99),
        spent: 0,
        probe: false,
        ended: Micros(5),
        dice: 0.0,
    };
    let failure = failed(FailureClass::Retry).failure.unwrap();
    probation.decide(&failure, 1, &attempt, &POLICY).watched.unwrap()
}

#[test]
fn three_events_that_fail_in_a_row_are_passed_on_a_success_or_a_reject_is_none_of_them() {
    let again = |event| fails(FailureClass::Retry, event, Watched::Again);
    let rejects = |event| fails(FailureClass::Reject, event, Watched::PassedOn);
    assert_eq!(next_after([again(1), again(2)]), Watched::PassedOn);
    assert_eq!(next_after([again(1), again(2), done(2, 3)]), Watched::Again);
    assert_eq!(next_after([again(1), rejects(2), rejects(3)]), Watched::Again);
}

/// Whether version 2 falls that takes `took`, where version 1 took `before`, each in microseconds and over so many events.
fn is_too_slow(terms: Terms, (before, count_before): (u64, u64), (took, count): (u64, u64)) -> bool {
    let known = Tally {
        done: count_before,
        failed: 0,
        took: before * count_before,
    };
    let mut probation = watch(terms, known);
    let slow = |event| Outcome {
        took,
        ..done(2, event)
    };
    apply(&mut probation, (0..count).map(slow));
    probation.fallen().is_some()
}

#[test]
fn a_version_is_too_slow_by_factor_by_time_and_over_enough_events_or_not_at_all() {
    assert!(is_too_slow(TERMS, (10_000, 20), (50_001, 20)));
    assert!(
        !is_too_slow(TERMS, (10_000, 20), (50_000, 20)),
        "five times as long"
    );
    assert!(!is_too_slow(TERMS, (1_000, 20), (6_000, 20)), "5 ms more");
    assert!(!is_too_slow(TERMS, (10_000, 20), (50_001, 19)), "it did too few");
    assert!(
        !is_too_slow(TERMS, (10_000, 19), (50_001, 20)),
        "the version before did too few"
    );
    let off = Terms { slower: 0, ..TERMS };
    assert!(
        !is_too_slow(off, (10, 100), (SECOND, 20)),
        "no times are compared"
    );
}

#[test]
fn the_time_that_others_took_to_answer_is_not_the_versions() {
    let call = Call {
        asked: Asked {
            request: Hash::default(),
            ..Asked::default()
        },
        took: 900,
        answer: Answer::Failed {
            class: CallFailure::Connect,
            reason: String::new(),
        },
    };
    let mut tally = Tally::default();
    tally.count(&Outcome {
        calls: vec![call].into(),
        ..done(2, 1)
    });
    assert_eq!((tally.done, tally.took), (1, 100));
}

#[test]
fn what_asks_to_be_tried_again_counts_where_it_fails_more_than_twice_as_often() {
    let known = |failed| Tally {
        done: 100 - failed,
        failed,
        took: 0,
    };
    let falls = |known| {
        let mut probation = watch(TERMS, known);
        let passed_on = fails(FailureClass::Retry, 7, Watched::PassedOn);
        apply(&mut probation, [done(2, 1), done(2, 2), passed_on, done(1, 7)]);
        probation.fallen().is_some()
    };
    assert!(falls(known(16)) && !falls(known(17)), "it failed a third");
    assert!(falls(Tally::default()), "of the version before nothing is known");
}

#[test]
fn what_a_version_tried_again_itself_counts_when_the_version_before_does_it() {
    let mut bed = Bed::new(ok());
    bed.terms = Some(TERMS);
    bed.swap(bad(FailureClass::Retry, |_| true));
    bed.publish(Some("k"));
    bed.run_all();
    let attempts: Vec<(u32, u8)> = bed
        .saw
        .lock()
        .iter()
        .map(|saw| (saw.attempt, saw.version))
        .collect();
    assert_eq!(attempts, [(1, 2), (2, 2), (3, 2), (4, 1)]);
    assert_eq!(live(&bed), 1);
    agree(&bed);
}

#[test]
fn where_the_version_before_is_asked_its_answer_comes_before_another_probe() {
    let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = down.clone();
    let mut bed = Bed::new(bad(FailureClass::Retry, move |_| {
        is_down.load(std::sync::atomic::Ordering::Relaxed)
    }));
    for key in ["a", "b", "c", "d", "e", "f"] {
        bed.publish(Some(key));
    }
    bed.run();
    assert!(bed.subscriber.state.lock().breaker.open().is_some(), "an outage");
    down.store(false, std::sync::atomic::Ordering::Relaxed);
    bed.terms = Some(TERMS);
    bed.swap(bad(FailureClass::Trap, |_| true));
    let before = bed.saw.lock().len();
    bed.run_all();
    let since: Vec<(u64, u8)> = bed.saw.lock()[before..]
        .iter()
        .map(|saw| (saw.offset, saw.version))
        .collect();
    // A fresh one, then one that failed before, and the answer to that.
    let [(fresh, 2), (failed, 2), (asked, 1), ..] = since[..] else {
        panic!("{since:?}");
    };
    assert!(fresh > failed && failed == asked, "{since:?}");
    assert_eq!(live(&bed), 1);
    agree(&bed);
}

#[test]
fn a_canary_that_was_watched_long_enough_is_judged_no_more() {
    let mut probation = watch(HALF, Tally::default());
    let known = Tally {
        done: 100,
        failed: 0,
        took: 100_000,
    };
    probation.known = known;
    apply(
        &mut probation,
        (0..HALF.events.into()).map(|event| done(2, event)),
    );
    let slow = |event| Outcome {
        took: SECOND,
        ..done(2, event)
    };
    apply(&mut probation, (100..200).map(slow));
    apply(
        &mut probation,
        [fails(FailureClass::Trap, 300, Watched::PassedOn), done(1, 300)],
    );
    assert_eq!(probation.fallen(), None);
    assert!(
        !probation.has_ended(Micros(1000 * SECOND)),
        "and it stays a canary"
    );
}

/// A plugin to which these things were done.
fn after(done: impl IntoIterator<Item = DeploymentAction>) -> PluginState {
    let mut state = PluginState::default();
    for (at, action) in (1..).zip(done) {
        let deployment = Deployment {
            who: None,
            plugin: "p".into(),
            pair: None,
            action,
            by: AskedBy::Api,
            warnings: Vec::new(),
        };
        state.apply_deployment(Offset(at), Micros(at * SECOND), &deployment);
    }
    state
}

fn deployed(n: u8, terms: Terms) -> DeploymentAction {
    DeploymentAction::Live(Box::new(LiveVersion {
        version: id(n),
        subscriptions: vec!["in.>".into()],
        probation: Some(terms),
        ..LiveVersion::default()
    }))
}

#[test]
fn who_is_watched_and_held_against_whom() {
    let watched = |done: Vec<DeploymentAction>| {
        let probation = after(done).probation;
        probation.map(|probation| (probation.watched, probation.before, probation.share))
    };
    let live = |n| deployed(n, TERMS);
    assert_eq!(
        watched(vec![live(1)]),
        None,
        "a first version has nothing to go back to"
    );
    assert_eq!(watched(vec![live(1), live(2)]), Some((id(2), id(1), None)));
    assert_eq!(
        watched(vec![live(1), live(2), live(3)]),
        Some((id(3), id(1), None)),
        "one that is watched itself is no measure"
    );
    assert_eq!(
        watched(vec![live(1), live(2), live(1)]),
        None,
        "the version before, deployed again, is no watch against itself"
    );
    assert_eq!(
        watched(vec![live(1), deployed(2, HALF)]),
        Some((id(2), id(1), Some(5_000)))
    );
    assert_eq!(
        watched(vec![live(1), deployed(2, HALF), live(3)]),
        Some((id(3), id(1), None)),
        "a version that is deployed takes the canary's place"
    );
    let promoted = |n| vec![live(1), deployed(2, HALF), DeploymentAction::Promoted(id(n))];
    assert_eq!(watched(promoted(2)), Some((id(2), id(1), None)));
    assert_eq!(
        watched(promoted(3)),
        Some((id(2), id(1), Some(5_000))),
        "another one was meant"
    );
    assert_eq!(watched(vec![live(1), live(2), DeploymentAction::Removed]), None);
    assert_eq!(
        watched(vec![deployed(1, HALF)]),
        None,
        "a first version runs for all keys"
    );
}

#[test]
fn a_version_that_is_deployed_again_while_it_is_watched_is_not_watched_anew() {
    let mut state = after([deployed(1, TERMS), deployed(2, TERMS)]);
    state.apply_outcome(Offset(9), Micros(9 * SECOND), &done(2, 8));
    let seen = state.probation.as_ref().map(|probation| probation.seen.done);
    let again = Deployment {
        who: None,
        plugin: "p".into(),
        pair: None,
        action: deployed(2, TERMS),
        by: AskedBy::Api,
        warnings: Vec::new(),
    };
    state.apply_deployment(Offset(10), Micros(10 * SECOND), &again);
    assert_eq!(
        (seen, state.probation.map(|probation| probation.seen.done)),
        (Some(1), Some(1))
    );
}

/// Attempts that each version made at the event at `offset`.
fn attempts_at(bed: &Bed, offset: u64) -> [usize; 2] {
    let saw = bed.saw.lock();
    let at = |version| {
        saw.iter()
            .filter(move |saw| (saw.offset, saw.version) == (offset, version))
    };
    [at(1).count(), at(2).count()]
}

#[test]
fn what_is_passed_on_is_tried_as_the_settings_of_the_watched_version_say() {
    let poison = || bad(FailureClass::Trap, |_| true);
    for (terms, attempts) in [(TERMS, [5, 1]), (Terms { share: 1, ..TERMS }, [3, 0])] {
        let mut bed = Bed::new(poison());
        bed.terms = Some(terms);
        bed.policy.attempts = 5;
        bed.swap(poison());
        let offset = bed.publish(Some("k"));
        bed.run_all();
        assert_eq!(attempts_at(&bed, offset), attempts, "{terms:?}");
        assert_eq!(bed.fold().dead.len(), 1);
    }
}

#[test]
fn failures_of_a_watched_version_open_no_breaker() {
    let sick = || bad(FailureClass::Retry, |_| true);
    let mut bed = Bed::new(sick());
    bed.terms = Some(TERMS);
    bed.swap(sick());
    for key in ["a", "b", "c"] {
        bed.publish(Some(key));
    }
    // Each key under the watched version, the third of them passed on, and that under the version before.
    bed.stop_after(4);
    bed.run();
    let versions: Vec<u8> = bed.saw.lock().iter().map(|saw| saw.version).collect();
    assert_eq!(versions, [2, 2, 2, 1]);
    assert!(
        bed.subscriber.state.lock().breaker.open().is_none(),
        "one key failed by now"
    );
    agree(&bed);
}
