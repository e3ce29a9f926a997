//! Timers: set, replaced and cancelled with their delivery, fired once.

use std::sync::Arc;

use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, Script, failed};
use crate::delivery::handler::{Delivery, Effects, Emit, Handled, SetTimer};
use crate::delivery::timer;
use crate::log::record::{FailureClass, Record};

fn emit(of: &Delivery<'_>, data: &[u8]) -> Emit {
    Emit {
        r#type: "timed.out".into(),
        key: of.event.key.map(Into::into),
        subject: None,
        content_type: None,
        data: data.to_vec(),
    }
}

/// Events of key `k/MS` set timer `k` to fire after that time; of key `k/-` cancel it.
fn sets() -> Script {
    sets_with(&[0xc0])
}

fn sets_with(data: &'static [u8]) -> Script {
    Arc::new(move |delivery, _| {
        let (name, wait) = delivery
            .event
            .key
            .and_then(|key| key.split_once('/'))
            .expect("the tests publish such keys");
        let set = wait.parse::<u64>().ok().map(|ms| SetTimer {
            due: Micros(delivery.started.0 + ms * 1000),
            emit: emit(delivery, data),
        });
        Handled {
            effects: Effects {
                timers: vec![(name.into(), set)],
                ..Effects::default()
            },
            ..Handled::default()
        }
    })
}

fn fire(bed: &Bed) -> Option<Micros> {
    timer::fire(&bed.subscriber, &bed.sequencer, Micros(bed.now())).unwrap()
}

/// Events that timers emitted, as `type key hops`.
fn fired(bed: &Bed) -> Vec<String> {
    let records = bed.records();
    let events = records
        .iter()
        .filter_map(|(_, _, bytes)| match Record::decode(bytes) {
            Ok(Record::Event(event)) if event.source == "nerve:p" => Some(format!(
                "{} {} {}",
                event.r#type,
                event.key.unwrap_or("-"),
                event.hops()
            )),
            _ => None,
        });
    events.collect()
}

fn wait(bed: &Bed, ms: u64) {
    bed.clock.set(Micros(bed.now() + ms * 1000));
}

#[test]
fn a_timer_fires_when_it_is_due_and_once() {
    let mut bed = Bed::new(sets());
    bed.publish(Some("a/50"));
    bed.run();
    assert_eq!(fire(&bed), Some(Micros(1_050_000)), "it is not due yet");
    assert!(fired(&bed).is_empty());
    wait(&bed, 50);
    assert_eq!(fire(&bed), None);
    assert_eq!(fire(&bed), None);
    assert_eq!(fired(&bed), ["timed.out a/50 1"]);
}

#[test]
fn invariant_04_timers_of_many_bytes_fire_in_turns_so_that_others_have_theirs() {
    // All at once would be more than a batch may hold in the end, and would end the timers of everybody.
    let mut bed = Bed::new(sets_with(vec![0; 300 << 10].leak()));
    for key in ["a/10", "b/10", "c/10"] {
        bed.publish(Some(key));
    }
    bed.run();
    wait(&bed, 10);
    let due = Some(Micros(bed.now()));
    for turn in 1..=3 {
        assert_eq!(fire(&bed), due.filter(|_| turn < 3));
        assert_eq!(fired(&bed).len(), turn);
    }
}

#[test]
fn a_plugin_that_is_late_with_its_timers_lets_them_fire_before_its_next_event() {
    let mut bed = Bed::new(sets());
    let mut settles_behind = |ms: u64, key: &str| {
        wait(&bed, ms);
        bed.publish(Some(key));
        bed.run();
        fired(&bed).join(", ")
    };
    assert_eq!(settles_behind(0, "a/10"), "");
    assert_eq!(settles_behind(60, "b/1000"), "", "it is 50 ms late, which may be");
    assert_eq!(settles_behind(1, "c/1000"), "timed.out a/10 1");
    let last = Record::decode(&bed.records().last().unwrap().2)
        .unwrap()
        .plugin()
        .map(str::to_owned);
    assert_eq!(
        last.as_deref(),
        Some("p"),
        "its next event is settled behind the timer's"
    );
}

#[test]
fn a_timer_is_replaced_and_cancelled_by_its_name() {
    let mut bed = Bed::new(sets());
    for key in ["a/10", "b/10", "a/30", "b/-"] {
        bed.publish(Some(key));
    }
    bed.run();
    wait(&bed, 10);
    assert_eq!(fire(&bed), Some(Micros(1_030_000)));
    assert!(fired(&bed).is_empty());
    wait(&bed, 20);
    fire(&bed);
    assert_eq!(fired(&bed), ["timed.out a/30 1"]);
}

#[test]
fn timers_survive_a_restart_and_what_fired_does_not_fire_again() {
    let mut bed = Bed::new(sets());
    bed.publish(Some("a/10"));
    bed.publish(Some("b/20"));
    bed.run();
    wait(&bed, 10);
    fire(&bed);
    let folded = bed.fold();
    {
        let live = bed.subscriber.state.lock();
        assert_eq!(
            (&folded.timers, folded.settled_at),
            (&live.timers, live.settled_at)
        );
    }
    let mut bed = bed.restart(sets());
    wait(&bed, 60_000);
    fire(&bed);
    assert_eq!(fired(&bed), ["timed.out a/10 1", "timed.out b/20 1"]);
    // The lane's next batch is conditional on what the timer appended.
    bed.publish(Some("c/1"));
    bed.run();
    assert_eq!(bed.subscriber.state.lock().counters, [3, 0, 0]);
}

#[test]
fn invariant_02_a_failed_attempt_sets_no_timer() {
    let mut bed = Bed::new(Arc::new(|delivery, _| {
        let set = SetTimer {
            due: Micros(0),
            emit: emit(delivery, &[0xc0]),
        };
        Handled {
            effects: Effects {
                timers: vec![("t".into(), Some(set))],
                ..Effects::default()
            },
            ..failed(FailureClass::Reject)
        }
    }));
    bed.publish(None);
    bed.run();
    assert_eq!(fire(&bed), None);
    assert!(fired(&bed).is_empty());
}

#[test]
fn more_timers_than_allowed_fail_the_delivery_that_sets_them() {
    let mut bed = Bed::new(sets());
    for key in ["a/10", "b/10", "c/10", "a/20", "d/10"] {
        bed.publish(Some(key));
    }
    bed.run();
    let state = bed.subscriber.state.lock();
    assert_eq!((state.timers.len(), state.counters), (3, [4, 1, 0]));
    let parked = state.cursor.parked.values().next().unwrap();
    let reason = &parked.head.as_ref().unwrap().reason;
    assert_eq!(&**reason, "limit timers: 3 may be set at a time");
}

#[test]
fn a_schedule_is_no_loop() {
    let mut bed = Bed::new(sets());
    bed.publish(Some("a/1000"));
    bed.run();
    wait(&bed, 1000);
    fire(&bed);
    assert_eq!(fired(&bed), ["timed.out a/1000 0"]);
    let records = bed.records();
    let (offset, _, last) = records.last().unwrap();
    let Ok(Record::Event(event)) = Record::decode(last) else {
        panic!("the event is the last record, at {offset}")
    };
    assert_eq!(
        Offset(event.cause.unwrap().offset),
        Offset(2),
        "its cause is the event whose handling set it"
    );
}
