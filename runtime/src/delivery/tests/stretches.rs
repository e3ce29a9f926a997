//! What a lane takes up together, and when it settles it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::bed::{Bed, POLICY, Script, failed};
use super::conflicts::counts;
use super::stepped::Stepped;
use crate::delivery::handler::{Delivery, Emit, Handled, LogLine};
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{FailureClass, Intent, Level, Record, Verdict};

/// A bed in which `count` events of `keys` are published, and how many were settled each time that a handler began.
fn settled_before(
    count: u64,
    keys: u64,
    script: impl Fn(&Delivery<'_>) -> Handled + Send + Sync + 'static,
) -> (Bed, Vec<u64>) {
    let subscriber = Arc::new(OnceLock::<Arc<Subscriber>>::new());
    let settled = Arc::new(Mutex::new(Vec::new()));
    let script: Script = {
        let (subscriber, settled) = (subscriber.clone(), settled.clone());
        Arc::new(move |delivery, _| {
            let counters = subscriber.get().unwrap().state.lock().counters;
            settled.lock().push(counters.iter().sum());
            script(delivery)
        })
    };
    let mut bed = Bed::new(script);
    subscriber.set(bed.subscriber.clone()).ok().unwrap();
    for n in 0..count {
        bed.publish_as(&format!("e-{n}"), "in.x", Some(&format!("k{}", n % keys)));
    }
    bed.run_all();
    let settled = settled.lock().clone();
    (bed, settled)
}

/// Which event each outcome is of, counted from 0, and what it came to; in the order of the log.
fn outcomes(bed: &Bed) -> Vec<(u64, char)> {
    let (mut events, mut outcomes) = (Vec::new(), Vec::new());
    for (offset, _, bytes) in bed.records() {
        match Record::decode(&bytes).unwrap() {
            Record::Event(event) if event.cause.is_none() => events.push(offset.0),
            Record::Outcome(outcome) => {
                let event = events.binary_search(&outcome.event).unwrap() as u64;
                outcomes.push((
                    event,
                    match outcome.verdict {
                        Verdict::Done => 'd',
                        Verdict::Retry { .. } => 'r',
                        Verdict::Dead { .. } => 'x',
                    },
                ));
            }
            Record::Intent(_) => outcomes.push((u64::MAX, 'i')),
            _ => {}
        }
    }
    outcomes
}

/// Whether some began before those before them were settled.
fn in_stretches(settled: &[u64]) -> bool {
    settled.windows(2).any(|two| two[0] == two[1])
}

fn emit() -> Emit {
    Emit {
        r#type: "out.x".into(),
        key: None,
        subject: None,
        content_type: None,
        data: vec![0xc0],
    }
}

#[test]
fn what_is_quick_is_settled_together_each_with_what_it_emits_behind_it() {
    let (bed, settled) = settled_before(40, 3, |_| {
        let mut handled = Handled::default();
        handled.effects.emits = vec![emit(), emit()];
        handled
    });
    // The first says how long they take; then as many as there may be, of those that were taken from the log.
    assert_eq!(settled[..3], [0, 1, 1]);
    assert!(
        settled.iter().collect::<std::collections::BTreeSet<_>>().len() < 5,
        "{settled:?}"
    );
    assert_eq!(settled.len(), 40);
    let records = bed.records();
    let mut causes = Vec::new();
    for (at, (offset, _, bytes)) in records.iter().enumerate() {
        let Record::Outcome(outcome) = Record::decode(bytes).unwrap() else {
            continue;
        };
        assert_eq!((outcome.attempt, outcome.emitted), (1, 2));
        assert_eq!(
            outcome.low_water, outcome.event,
            "so far it is settled, and no further"
        );
        for (index, (_, _, bytes)) in (0..).zip(&records[at + 1..at + 3]) {
            let Record::Event(event) = Record::decode(bytes).unwrap() else {
                panic!("behind {offset} stands what it emitted");
            };
            let cause = event.cause.unwrap();
            assert_eq!((cause.offset, cause.index), (outcome.event, index));
        }
        causes.push(outcome.event);
    }
    assert!(causes.is_sorted() && causes.len() == 40);
    assert_eq!(bed.fold().cursor, bed.subscriber.state.lock().cursor);
    assert_eq!(bed.fold().settled_at, bed.subscriber.state.lock().settled_at);
}

#[test]
fn what_is_slow_is_settled_before_the_next_one_begins() {
    let (_, settled) = settled_before(20, 3, |_| Handled {
        took: Duration::from_millis(1),
        ..Handled::default()
    });
    assert_eq!(settled, (0..20).collect::<Vec<_>>());
}

#[test]
fn quick_ones_before_a_slow_one_wait_for_no_other() {
    let (_, settled) = settled_before(20, 3, |delivery| Handled {
        took: Duration::from_micros(if delivery.event.id.ends_with("-7") {
            1000
        } else {
            1
        }),
        ..Handled::default()
    });
    assert_eq!(settled.len(), 20);
    assert!(in_stretches(&settled));
    let slow = settled.iter().position(|settled| *settled > 1).unwrap();
    assert_eq!(
        settled[slow], slow as u64,
        "all up to the slow one are settled behind it"
    );
}

#[test]
fn what_writes_is_settled_before_the_next_one_reads() {
    let mut bed = Bed::new(counts());
    for _ in 0..40 {
        bed.publish(None);
    }
    bed.run();
    let count = bed.subscriber.state.lock().key_values.get("n");
    assert_eq!(count.map(|bytes| bytes.len()), Some(40));
}

#[test]
fn what_a_failed_event_makes_wait_waits_though_it_was_taken_up_with_it() {
    let (bed, settled) = settled_before(12, 3, |delivery| {
        if delivery.event.id.ends_with("-5") && delivery.attempt == 1 {
            return failed(FailureClass::Trap);
        }
        Handled::default()
    });
    assert!(in_stretches(&settled));
    let outcomes = outcomes(&bed);
    let of_key: Vec<_> = outcomes.iter().filter(|(event, _)| event % 3 == 2).collect();
    assert_eq!(of_key, [&(2, 'd'), &(5, 'r'), &(5, 'd'), &(8, 'd'), &(11, 'd')]);
    assert_eq!(outcomes.len(), 13);
}

#[test]
fn what_was_handled_before_is_settled_before_anything_is_called() {
    let (bed, settled) = settled_before(10, 3, |delivery| {
        if delivery.event.id.ends_with("-6") {
            let journal = delivery.outside.journal.unwrap();
            let intent = Intent {
                event: delivery.offset.0,
                attempt: 1,
                ..Intent::default()
            };
            journal.intend(intent).unwrap();
        }
        Handled::default()
    });
    assert!(in_stretches(&settled));
    let outcomes = outcomes(&bed);
    let expected: Vec<_> = (0..6).map(|n| (n, 'd')).collect();
    assert_eq!(outcomes[..6], expected, "those before");
    assert_eq!(outcomes[6..8], [(u64::MAX, 'i'), (6, 'd')]);
    assert!(bed.fold().attempts.is_empty());
}

#[test]
fn what_was_taken_up_behind_one_that_takes_long_is_anybodys() {
    let mut bed = Bed::with_lanes(Arc::new(|_, _| Handled::default()), POLICY, 2);
    bed.call_anew();
    let mut lanes = Stepped::new(&bed, 0).in_stretches();
    bed.publish(Some("before"));
    lanes.steps(&mut bed, 0, 4);
    for key in ["a", "b", "c", "d"] {
        bed.publish(Some(key));
    }
    // The first lane has its part; the other takes the rest.
    lanes.steps(&mut bed, 0, 2);
    lanes.steps(&mut bed, 1, 9);
    assert_eq!(bed.subscriber.state.lock().counters[0], 3);
    assert!(!lanes.step(&mut bed, 1), "nothing is left for it");
    bed.lanes[0].stretch.break_up().unwrap();
    lanes.steps(&mut bed, 1, 4);
    assert_eq!(keys(&bed), ["before", "a", "c", "d", "b"]);
    assert_eq!(bed.subscriber.state.lock().counters[0], 4);
    lanes.steps(&mut bed, 0, 2);
    assert_eq!(bed.subscriber.state.lock().counters[0], 5);
}

#[test]
fn what_was_taken_up_behind_one_that_took_long_is_anybodys() {
    let script: Script = Arc::new(|delivery, _| Handled {
        took: Duration::from_millis(u64::from(delivery.event.key == Some("a"))),
        ..Handled::default()
    });
    let mut bed = Bed::with_lanes(script, POLICY, 2);
    let mut lanes = Stepped::new(&bed, 0).in_stretches();
    bed.publish(Some("before"));
    lanes.steps(&mut bed, 0, 4);
    for key in ["a", "b"] {
        bed.publish(Some(key));
    }
    bed.publish(Some("c"));
    lanes.steps(&mut bed, 0, 3);
    assert_eq!(bed.subscriber.state.lock().counters[0], 2);
    lanes.steps(&mut bed, 1, 8);
    assert_eq!(keys(&bed), ["before", "a", "b", "c"]);
}

fn keys(bed: &Bed) -> Vec<String> {
    bed.saw.lock().iter().filter_map(|saw| saw.key.clone()).collect()
}

#[test]
fn what_waited_behind_a_settled_one_is_for_a_lane_that_rests() {
    let mut bed = Bed::with_lanes(Arc::new(|_, _| Handled::default()), POLICY, 2);
    bed.call_anew();
    let mut lanes = Stepped::new(&bed, 0).in_stretches();
    bed.publish(Some("before"));
    lanes.steps(&mut bed, 0, 4);
    for key in ["a", "b", "a"] {
        bed.publish(Some(key));
    }
    // The first lane has the first two. The third waits behind the first, and the other lane rests.
    lanes.steps(&mut bed, 0, 3);
    assert!(!lanes.step(&mut bed, 1));
    let rung = || std::pin::pin!(bed.subscriber.bell.notified()).as_mut().enable();
    rung();
    assert!(!rung());
    bed.lanes[0].stretch.break_up().unwrap();
    assert!(rung(), "the first is settled, and the second takes long");
    assert!(lanes.step(&mut bed, 1));
    assert_eq!(lanes.under_way().count(), 2);
}

#[test]
fn what_was_given_back_is_delivered_to_the_next_version_where_that_wants_it() {
    let fails: Script = Arc::new(|delivery, _| match delivery.event.id {
        "fails" => failed(FailureClass::Reject),
        _ => Handled::default(),
    });
    // A subscription that was not there before begins at the swap.
    for (subscribes, wanted) in [("in.>", &["y", "x"][..]), ("in.x", &[])] {
        let mut bed = Bed::new(fails.clone());
        let mut lanes = Stepped::new(&bed, 0).in_stretches();
        bed.publish(None);
        lanes.steps(&mut bed, 0, 4);
        bed.publish_as("fails", "in.x", None);
        bed.publish_of("in.y", Some("y"));
        bed.publish_of("in.x", Some("x"));
        lanes.steps(&mut bed, 0, 3);
        assert_eq!(keys(&bed), [""; 0], "they were given back");
        bed.subscribes = subscribes;
        bed.swap(fails.clone());
        bed.run_all();
        assert_eq!(keys(&bed), wanted);
        let last = bed.publish(None);
        bed.run_all();
        let cursor = bed.fold().cursor;
        assert_eq!((cursor.low.0, cursor.above.len()), (last, 0), "{subscribes}");
    }
}

#[test]
fn what_logs_much_is_settled_before_it_would_wait_for_its_turn() {
    let text: Box<str> = "x".repeat(4000).into();
    let (_, settled) = settled_before(33, 3, move |_| Handled {
        lines: vec![LogLine {
            level: Level::Info,
            text: text.clone(),
        }],
        ..Handled::default()
    });
    assert!(in_stretches(&settled));
    for (at, settled) in (0..).zip(settled) {
        assert!(at - settled <= 8, "{at} began with {settled} settled");
    }
}
