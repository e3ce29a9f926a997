//! A canary: which version has which key, and when a key changes hands.

use std::collections::{BTreeMap, BTreeSet};

use super::bed::Bed;
use super::probation::{TERMS, agree, bad, live, ok};
use crate::delivery::cursor::OrderKey;
use crate::delivery::lane::Rest;
use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, FailureClass, Record, RolledBack, Terms, VersionId,
};

/// Half of the keys.
pub(super) const HALF: Terms = Terms {
    share: 5_000,
    ..TERMS
};

/// Keys k0 to k19.
fn keys() -> Vec<String> {
    (0..20).map(|n| format!("k{n}")).collect()
}

fn publish_all(bed: &Bed) {
    for key in keys() {
        bed.publish(Some(&key));
    }
}

/// Which versions had the events of each key since, in order.
fn versions(bed: &Bed, since: usize) -> BTreeMap<String, BTreeSet<u8>> {
    let mut had: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for saw in &bed.saw.lock()[since..] {
        had.entry(saw.key.clone().unwrap())
            .or_default()
            .insert(saw.version);
    }
    had
}

/// The offsets of each key were delivered in their order.
fn in_order(bed: &Bed) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for saw in bed.saw.lock().iter() {
        let before = last.insert(saw.key.clone().unwrap(), saw.offset);
        assert!(
            before.is_none_or(|before| before <= saw.offset),
            "{saw:?} behind {before:?}"
        );
    }
}

pub(super) fn record(bed: &Bed, action: DeploymentAction) {
    let between = bed.subscriber.between_events();
    let deployment = Deployment {
        who: None,
        plugin: "p".into(),
        pair: None,
        action,
        by: AskedBy::Operator,
        warnings: Vec::new(),
    };
    let mut state = bed.subscriber.state.lock();
    let mut batch = nerve_eventlog::Batch::new();
    batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
    let appended = bed.sequencer.append(batch, None, std::iter::empty()).unwrap();
    state.apply_deployment(appended.first, appended.time, &deployment);
    drop(state);
    drop(between);
}

#[test]
fn invariant_03_a_canary_has_its_share_of_the_keys_until_it_is_promoted() {
    let mut bed = Bed::new(ok());
    bed.terms = Some(HALF);
    bed.swap(ok());
    for _ in 0..8 {
        publish_all(&bed);
    }
    bed.run_all();
    let had = versions(&bed, 0);
    assert!(
        had.values().all(|versions| versions.len() == 1),
        "a key has one version: {had:?}"
    );
    let canarys = had.values().filter(|versions| versions.contains(&2)).count();
    assert!((4..17).contains(&canarys), "{canarys} of 20 keys");
    // The watch is over by now, and the share stays what it is.
    let seen = bed.saw.lock().len();
    bed = bed.restart_beside(ok(), ok());
    publish_all(&bed);
    bed.run_all();
    assert_eq!(versions(&bed, seen), had, "over a restart too");
    record(&bed, DeploymentAction::Promoted(VersionId([2; 8])));
    let seen = bed.saw.lock().len();
    publish_all(&bed);
    bed.run_all();
    assert!(
        versions(&bed, seen)
            .values()
            .all(|versions| *versions == [2].into())
    );
    assert!(bed.fold().probation.is_none(), "the version before is let go of");
    in_order(&bed);
    agree(&bed);
}

#[test]
fn a_parked_key_stays_with_the_version_before_until_it_is_free() {
    let sick = bad(FailureClass::Retry, |delivery| delivery.attempt < 3);
    let mut bed = Bed::new(sick);
    publish_all(&bed);
    // One attempt at the first two, which park their keys.
    bed.stop_after(2);
    bed.run();
    let parked: Vec<String> = keys().into_iter().take(2).collect();
    let mut bed = bed.restart(bad(FailureClass::Retry, |delivery| delivery.attempt < 3));
    bed.terms = Some(HALF);
    bed.swap(ok());
    publish_all(&bed);
    bed.run_all();
    for key in &parked {
        let saw = bed.saw.lock();
        let of_key: Vec<(u32, u8)> = saw
            .iter()
            .filter(|saw| saw.key.as_ref() == Some(key))
            .map(|saw| (saw.attempt, saw.version))
            .collect();
        assert!(
            of_key[..3].iter().all(|(_, version)| *version == 1),
            "{key}: {of_key:?}"
        );
    }
    // What is parked when the canary is promoted stays as well.
    record(&bed, DeploymentAction::Promoted(VersionId([2; 8])));
    assert_eq!(live(&bed), 2);
    in_order(&bed);
    agree(&bed);
}

#[test]
fn a_canary_that_fails_is_taken_back_and_so_is_one_that_an_operator_does_not_want() {
    let mut bed = Bed::new(ok());
    bed.terms = Some(HALF);
    bed.swap(bad(FailureClass::Trap, |_| true));
    publish_all(&bed);
    publish_all(&bed);
    bed.run_all();
    assert_eq!(
        (live(&bed), bed.fold().counters[0], bed.fold().counters[2]),
        (1, 40, 0)
    );
    in_order(&bed);
    agree(&bed);

    let mut bed = Bed::new(ok());
    bed.terms = Some(HALF);
    bed.swap(ok());
    publish_all(&bed);
    bed.run_all();
    let version = bed.fold().former[&VersionId([1; 8])].clone();
    let back = RolledBack {
        version,
        from: VersionId([2; 8]),
        why: "it was told to".into(),
        state: None,
        mute: None,
    };
    record(&bed, DeploymentAction::RolledBack(Box::new(back)));
    assert!(bed.fold().probation.is_none());
    agree(&bed);
}

/// Run the lane so often at most, and advance the clock to each retry.
pub(super) fn run_for(bed: &mut Bed, rounds: usize) {
    for _ in 0..rounds {
        let Rest::Until(Some(due)) = bed.run() else { return };
        bed.clock.set(due);
    }
}

/// Which versions tried the events of `key`, attempts at one event after the other.
fn tried(bed: &Bed, key: &str) -> Vec<(u64, u8)> {
    let saw = bed.saw.lock();
    let of_key = saw.iter().filter(|saw| saw.key.as_deref() == Some(key));
    of_key.map(|saw| (saw.offset, saw.version)).collect()
}

#[test]
fn what_both_versions_failed_goes_back_to_the_canary_when_its_watch_is_over() {
    let down = || bad(FailureClass::Retry, |_| true);
    let stumbles = || bad(FailureClass::Trap, |delivery| delivery.attempt == 1);
    for restarts in [false, true] {
        let mut bed = Bed::new(down());
        bed.terms = Some(HALF);
        bed.swap(stumbles());
        // The canary has ada, and the version before, which fails everything, the others: all of them wait.
        let [first, ..] = ["ada", "ada", "bob", "carol", "mallory"].map(|key| bed.publish(Some(key)));
        run_for(&mut bed, 5);
        assert_eq!(tried(&bed, "ada")[..2], [(first, 2), (first, 1)]);
        assert!(
            bed.fold().breaker.open().is_some(),
            "an outage of the version before"
        );
        if restarts {
            bed = bed.restart_beside(stumbles(), down());
        }
        run_for(&mut bed, 100);
        let ada = tried(&bed, "ada");
        assert_eq!(
            (ada.first(), ada.last()),
            (Some(&(first, 2)), Some(&(first + 1, 2))),
            "{ada:?}"
        );
        assert!(
            !bed.fold()
                .cursor
                .parked
                .contains_key(&OrderKey::Key("ada".into()))
        );
        assert!(bed.fold().probation.is_some(), "it is a canary still");
        in_order(&bed);
        agree(&bed);
    }
}

#[test]
fn what_the_version_before_fails_again_behind_a_promotion_is_the_canarys() {
    let mut bed = Bed::new(bad(FailureClass::Retry, |_| true));
    bed.terms = Some(HALF);
    bed.swap(ok());
    for _ in 0..2 {
        for key in ["bob", "carol", "mallory"] {
            bed.publish(Some(key));
        }
    }
    run_for(&mut bed, 20);
    assert_eq!(bed.fold().counters[0], 0, "all of them wait");
    record(&bed, DeploymentAction::Promoted(VersionId([2; 8])));
    run_for(&mut bed, 20);
    assert_eq!((bed.fold().counters[0], bed.fold().counters[2]), (6, 0));
    let watch = bed.fold().probation.unwrap();
    assert!(!watch.minds_keys(), "no key is the version before's any more");
    in_order(&bed);
    agree(&bed);
}
