//! Which keys and events a canary has, and which stay with the version before.

use nerve_eventlog::{Micros, Offset};

use super::bed::Bed;
use super::canary::HALF;
use super::probation::{TERMS, bad, ok};
use super::watch::{id, watch};
use crate::delivery::cursor::OrderKey;
use crate::delivery::probation::{Probation, Tally, own_name};
use crate::log::record::{Cause, Event, FailureClass, Terms};

/// An event with this id, caused by another one or not.
fn event(id: &str, caused: bool) -> Event<'_> {
    let cause = Cause {
        id: "c",
        offset: 1,
        hops: 1,
        index: 0,
    };
    Event {
        id,
        source: "test",
        r#type: "in.x",
        key: None,
        subject: None,
        time: None,
        content_type: "application/json",
        data: &[],
        correlation: None,
        cause: caused.then_some(cause),
        traceparent: None,
        data_schema: None,
        extensions: Vec::new(),
    }
}

#[test]
fn an_event_without_a_key_goes_by_its_id_and_an_emitted_one_by_what_does_not_name_the_log() {
    assert_eq!(own_name(&event("a-1", false)), "a-1");
    assert_eq!(own_name(&event("97a2fb5d-b447-0", true)), "b447-0");
    assert_eq!(own_name(&event("plain", true)), "plain");
    let probation = watch(HALF, Tally::default());
    let own = |name: &str| probation.is_of_before(&OrderKey::Own(Offset(1)), name);
    let befores = (0..1000).filter(|n| own(&format!("id-{n}"))).count();
    assert!((400..600).contains(&befores), "{befores} of 1000");
    // The same key or id goes the same way for every plugin and version, for ever.
    let sides = ["ada", "bob", "carol", "dave", "eve", "mallory"];
    assert_eq!(sides.map(own), SIDES);
    let other = Probation::new(id(9), id(8), HALF, Tally::default(), [].iter());
    let keyed = |name: &str| other.is_of_before(&OrderKey::Key(name.into()), "");
    assert_eq!(sides.map(keyed), SIDES);
}

/// Which of them stay with the version before, by the hashes of their names.
const SIDES: [bool; 6] = [false, true, true, false, false, true];

#[test]
fn a_canary_has_no_more_keys_than_its_share() {
    let of_canary = |share| {
        let probation = watch(Terms { share, ..TERMS }, Tally::default());
        let key = |n: &u32| OrderKey::Key(format!("k{n}").into());
        (0..10_000)
            .filter(|n| !probation.is_of_before(&key(n), ""))
            .count()
    };
    let (some, half) = (of_canary(500), of_canary(5_000));
    assert!(
        (400..600).contains(&some) && (4_800..5_200).contains(&half),
        "{some}, {half}"
    );
    assert_eq!(of_canary(10_000), 10_000);
}

#[test]
fn a_key_that_is_parked_at_a_promotion_stays_with_the_version_that_has_it() {
    let mut probation = watch(HALF, Tally::default());
    let keys: Vec<OrderKey> = (0..40).map(|n| OrderKey::Key(format!("k{n}").into())).collect();
    let (befores, canarys): (Vec<_>, Vec<_>) = keys.iter().partition(|key| probation.is_of_before(key, ""));
    let (own, owns) = (
        OrderKey::Own(Offset(3)),
        ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"],
    );
    let name = owns
        .into_iter()
        .find(|name| probation.is_of_before(&own, name))
        .unwrap();
    let parked = [(befores[0], None), (canarys[0], None), (&own, Some(name))];
    probation.promote(parked.into_iter());
    assert_eq!(probation.share, None);
    assert!(probation.is_of_before(befores[0], "") && probation.is_of_before(&own, name));
    assert!(!probation.is_of_before(canarys[0], "") && !probation.is_of_before(befores[1], ""));
    assert!(
        !probation.has_ended(Micros(u64::MAX)),
        "the version before is needed"
    );
    probation.free(befores[0]);
    assert!(!probation.is_of_before(befores[0], "") && probation.minds_keys());
    // A gap took the event that waited.
    probation.retain_held(|_| false);
    assert!(!probation.minds_keys());
}

#[test]
fn what_an_operator_delivers_again_is_the_live_versions_a_canary_or_not() {
    let mut bed = Bed::new(bad(FailureClass::Trap, |_| true));
    bed.publish(Some("k"));
    bed.run_all();
    bed.terms = Some(Terms { share: 1, ..TERMS });
    bed.swap(ok());
    bed.redrive_all();
    bed.run_all();
    let saw = bed.saw.lock().last().cloned().unwrap();
    assert_eq!((saw.replay, saw.version), (true, 2));
}
