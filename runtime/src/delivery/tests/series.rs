//! What a guest handles within one call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nerve_eventlog::{Clock, ManualClock, Micros};

use super::bed::{Bed, POLICY, Script, failed};
use crate::delivery::handler::{Delivery, Effects, Handled};
use crate::log::record::{Cause, FailureClass, Outcome, Record, Verdict};

/// A bed in which 30 events of three keys are handled as `script` says.
fn bed(script: impl Fn(&Delivery<'_>) -> Handled + Send + Sync + 'static) -> Bed {
    let script: Script = Arc::new(move |delivery, _| script(delivery));
    let bed = Bed::new(script);
    for n in 0..30 {
        bed.publish_as(&format!("e-{n}"), "in.x", Some(&format!("k{}", n % 3)));
    }
    bed
}

/// What `look` finds in each outcome.
fn outcomes<T>(bed: &Bed, look: impl Fn(&Outcome<'_>) -> T) -> Vec<T> {
    let records = bed.records();
    let decoded = records.iter().map(|(.., bytes)| Record::decode(bytes).unwrap());
    let outcome = |record| match record {
        Record::Outcome(outcome) => Some(look(&outcome)),
        _ => None,
    };
    decoded.filter_map(outcome).collect()
}

#[test]
fn each_has_a_clock_and_a_seed_of_its_own() {
    let clock = Arc::new(std::sync::OnceLock::<Arc<ManualClock>>::new());
    let own = clock.clone();
    let mut bed = bed(move |delivery| {
        let clock = own.get().unwrap();
        assert_eq!(delivery.started, clock.now());
        clock.set(Micros(clock.now().0 + 7));
        Handled {
            used_seed: true,
            ..Handled::default()
        }
    });
    clock.set(bed.clock.clone()).ok().unwrap();
    bed.run();
    assert!(bed.calls() < 5, "{} calls", bed.calls());
    let all = outcomes(&bed, |outcome| (outcome.started, outcome.seed.unwrap()));
    assert_eq!(all.len(), 30);
    assert!(all.windows(2).all(|two| two[1].0 == two[0].0 + 7), "{all:?}");
    let seeds: BTreeSet<_> = all.iter().map(|(_, seed)| seed).collect();
    assert_eq!(seeds.len(), 30);
}

#[test]
fn what_fails_is_the_last_one_alone() {
    let mut bed = bed(|delivery| match delivery.event.id {
        "e-7" | "e-8" => failed(FailureClass::Trap),
        _ => Handled::default(),
    });
    bed.run_all();
    let dead = outcomes(&bed, |outcome| {
        (outcome.verdict != Verdict::Done).then_some((outcome.event, outcome.attempt))
    });
    let first = bed.entries().nth(1).unwrap().offset.0;
    let dead: Vec<_> = dead.into_iter().flatten().collect();
    let expected = [1, 2, 3].map(|attempt| [(first + 7, attempt), (first + 8, attempt)]);
    assert_eq!(BTreeSet::from_iter(dead), BTreeSet::from_iter(expected.concat()));
    assert_eq!(bed.subscriber.state.lock().counters, [28, 4, 2]);
    assert!(bed.calls() < 30, "{} calls", bed.calls());
}

#[test]
fn what_is_to_be_settled_by_itself_ends_the_call() {
    let mut bed = bed(|delivery| {
        let writes = delivery.event.id == "e-9";
        let write = ("k".into(), Some(Bytes::from_static(b"v")));
        Handled {
            effects: Effects {
                writes: if writes { vec![write] } else { Vec::new() },
                ..Effects::default()
            },
            ..Handled::default()
        }
    });
    bed.run();
    let written = outcomes(&bed, |outcome| outcome.writes.len());
    assert_eq!(written.iter().position(|writes| *writes == 1), Some(9));
    assert_eq!(bed.subscriber.state.lock().counters[0], 30);
    assert_eq!(bed.subscriber.state.lock().key_values.len(), 1);
}

#[test]
fn an_event_of_a_loop_is_handed_over_to_nobody() {
    let script: Script = Arc::new(|delivery, _| {
        assert_eq!(delivery.event.hops(), 0);
        Handled::default()
    });
    let mut bed = Bed::with_policy(script, POLICY);
    for n in 0..20 {
        let cause = Cause {
            id: "c",
            offset: 1,
            hops: 1000,
            index: 0,
        };
        bed.publish_caused(&format!("e-{n}"), "in.x", None, Some(cause).filter(|_| n == 11));
    }
    bed.run_all();
    assert_eq!(bed.subscriber.state.lock().counters[0], 19);
    assert_eq!(bed.subscriber.state.lock().dead.len(), 1);
}

#[test]
fn an_event_larger_than_the_guest_takes_is_not_handed_over() {
    let asked = Arc::new(AtomicUsize::new(0));
    let own = asked.clone();
    let mut bed = bed(move |delivery| {
        let journal = delivery.outside.journal.unwrap();
        if journal.may_go_on() {
            let most = delivery.event.data.len() - 1;
            let back = journal.go_on(Handled::default(), most, &mut |next| {
                panic!("{} was handed over", next.event.id)
            });
            assert!(back.is_some());
            own.fetch_add(1, Ordering::Relaxed);
        }
        Handled::default()
    });
    bed.run();
    assert!(asked.load(Ordering::Relaxed) > 0);
    assert_eq!(bed.subscriber.state.lock().counters[0], 30);
}

#[test]
fn who_stops_begins_no_other() {
    let mut bed = bed(|_| Handled::default());
    bed.stop_after(12);
    bed.run();
    assert_eq!(bed.saw.lock().len(), 12);
    assert_eq!(bed.subscriber.state.lock().counters[0], 12);
}
