//! The rules of delivery, one by one.

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::Offset;

use crate::delivery::lane::{Rest, event_of};

use super::bed::{Bed, Script, failed};
use super::probation::TERMS;
use crate::delivery::handler::{Effects, Emit, Handled};
use crate::log::record::{FailureClass, OperatorAction, Record, Verdict};

fn ok() -> Script {
    Arc::new(|_, _| Handled::default())
}

/// Fails every attempt at events of key `bad` before attempt `good_from`.
fn bad_key(good_from: u32) -> Script {
    Arc::new(move |delivery, _| {
        if delivery.event.key == Some("bad") && delivery.attempt < good_from {
            failed(FailureClass::Trap)
        } else {
            Handled::default()
        }
    })
}

#[test]
fn invariant_03_a_parked_key_keeps_its_order_while_other_keys_go_on() {
    let mut bed = Bed::new(bad_key(2));
    for key in ["bad", "good", "bad", "good"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    assert_eq!(bed.seen(), "2/1 3/1 5/1 2/2 4/1 4/2");
}

#[test]
fn invariant_06_a_poison_event_stops_one_key_and_becomes_a_dead_letter() {
    let mut bed = Bed::new(bad_key(9));
    for key in [Some("bad"), Some("good"), None] {
        bed.publish(key);
    }
    bed.run_all();
    assert_eq!(bed.seen(), "2/1 3/1 4/1 2/2 2/3");
    let state = bed.subscriber.state.lock();
    assert_eq!(state.dead.keys().copied().collect::<Vec<_>>(), [Offset(2)]);
    assert!(state.cursor.parked.is_empty(), "a dead letter stops nothing");
    assert_eq!(state.counters, [2, 2, 1]);
}

#[test]
fn a_reject_is_a_dead_letter_at_once_and_a_mended_version_takes_it_when_asked() {
    let mut bed = Bed::new(Arc::new(|_, _| failed(FailureClass::Reject)));
    bed.publish(Some("k"));
    bed.run_all();
    assert_eq!(bed.seen(), "2/1");
    bed.swap(ok());
    bed.publish(Some("k"));
    bed.run_all();
    bed.operate(OperatorAction::Redrive(vec![2]));
    bed.run_all();
    assert_eq!(bed.seen(), "2/1 5/1 2/1");
    let last = bed.saw.lock().last().cloned().unwrap();
    assert!(last.replay && last.version == 2);
    assert!(bed.subscriber.state.lock().dead.is_empty());
}

#[test]
fn a_retry_after_a_swap_uses_the_new_version_at_once() {
    let mut bed = Bed::new(bad_key(9));
    bed.publish(Some("bad"));
    bed.run();
    bed.swap(ok());
    bed.run();
    let versions: Vec<u8> = bed.saw.lock().iter().map(|saw| saw.version).collect();
    assert_eq!((bed.seen().as_str(), versions), ("2/1 2/2", vec![1, 2]));
}

#[test]
fn a_restart_finds_parked_keys_and_what_waits_behind_them() {
    let mut bed = Bed::new(bad_key(3));
    for key in ["bad", "good", "bad", "good", "bad"] {
        bed.publish(Some(key));
    }
    bed.run();
    let mut bed = bed.restart(bad_key(3));
    bed.run_all();
    assert_eq!(bed.seen(), "2/1 3/1 5/1 2/2 2/3 4/1 4/2 4/3 6/1 6/2 6/3");
    let expected = "2/1 3/1 5/1 2/2 2/3";
    assert!(bed.seen().starts_with(expected), "{}", bed.seen());
    assert!(bed.subscriber.state.lock().cursor.parked.is_empty());
}

#[test]
fn invariant_02_a_failed_attempt_leaves_no_effect_but_its_outcome() {
    let effects = || Effects {
        timers: vec![],
        emits: vec![Emit {
            r#type: "out".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        }],
        writes: vec![("n".into(), Some(Bytes::from_static(b"1")))],
    };
    let mut bed = Bed::new(Arc::new(move |delivery, _| Handled {
        effects: effects(),
        ..if delivery.attempt == 1 {
            failed(FailureClass::Trap)
        } else {
            Handled::default()
        }
    }));
    bed.publish(None);
    bed.run();
    assert_eq!(bed.subscriber.state.lock().key_values.get("n"), None);
    bed.run_all();
    assert_eq!(
        bed.subscriber.state.lock().key_values.get("n").as_deref(),
        Some(&b"1"[..])
    );
    let records = bed.records();
    let kinds: Vec<u8> = records.iter().map(|(_, _, bytes)| bytes[0]).collect();
    assert_eq!(
        kinds,
        [3, 1, 2, 2, 1],
        "deployment, event, retry, done with its event behind it"
    );
    let Ok(Record::Event(emitted)) = Record::decode(&records[4].2) else {
        panic!("an event was emitted")
    };
    assert_eq!(
        (emitted.source, emitted.cause.unwrap().offset, emitted.hops()),
        ("nerve:p", 2, 1)
    );
}

#[test]
fn invariant_02_two_writers_never_settle_the_same_delivery() {
    let mut first = Bed::new(ok());
    first.publish(None);
    let mut second = first.twin(ok());
    first.run();
    assert!(
        matches!(second.run(), Rest::ForGood),
        "the second writer is refused and stops"
    );
    let outcomes = first
        .records()
        .iter()
        .filter(|(_, _, bytes)| matches!(Record::decode(bytes), Ok(Record::Outcome(o)) if o.verdict == Verdict::Done))
        .count();
    assert_eq!(outcomes, 1);
}

#[test]
fn a_chain_longer_than_the_longest_is_a_dead_letter() {
    let mut bed = Bed::new(Arc::new(|_, _| Handled {
        effects: Effects {
            timers: vec![],
            emits: vec![Emit {
                r#type: "in.again".into(),
                key: None,
                subject: None,
                content_type: None,
                data: vec![0xc0],
            }],
            writes: vec![],
        },
        ..Handled::default()
    }));
    bed.publish(None);
    bed.run_all();
    let state = bed.subscriber.state.lock();
    let dead: Vec<_> = state.dead.values().map(|dead| dead.class).collect();
    assert_eq!(dead, [FailureClass::Loop]);
    assert_eq!(
        state.counters[0],
        u64::from(crate::delivery::settle::LONGEST_CHAIN) + 1
    );
}

#[test]
fn what_the_fold_finds_is_what_was_live() {
    let mut bed = Bed::new(bad_key(2));
    for key in ["bad", "good", "bad"] {
        bed.publish(Some(key));
    }
    bed.run();
    let (folded, live) = (bed.fold(), bed.subscriber.state.lock());
    assert_eq!(folded.cursor, live.cursor);
    assert_eq!(folded.settled_at, live.settled_at);
    assert_eq!(folded.counters, live.counters);
}

#[test]
fn invariant_06_effects_that_fit_into_no_batch_fail_their_delivery_alone() {
    let mut bed = Bed::new(Arc::new(|delivery, _| {
        let size = if delivery.event.key == Some("bad") {
            17 << 20
        } else {
            1
        };
        Handled {
            effects: Effects {
                emits: vec![Emit {
                    r#type: "out.x".into(),
                    key: None,
                    subject: None,
                    content_type: Some("text/plain".into()),
                    data: vec![0; size],
                }],
                ..Effects::default()
            },
            ..Handled::default()
        }
    }));
    for key in ["bad", "good"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    let state = bed.subscriber.state.lock();
    let reason = &state.dead[&Offset(2)].reason;
    assert!(reason.starts_with("limit batch_bytes: "), "{reason}");
    assert_eq!(state.counters, [1, 2, 1], "the other key went on");
    drop(state);
    let records: Vec<_> = bed.entries().collect();
    let emitted = records.iter().filter_map(|entry| event_of(entry).ok());
    let emitted: Vec<_> = emitted.filter(|event| event.r#type == "out.x").collect();
    let [one] = &emitted[..] else {
        panic!("{} events were emitted", emitted.len())
    };
    assert_eq!(one.cause.map(|cause| cause.offset), Some(3), "by the other key");
}

/// Tells on which thread it goes.
struct Goes(std::sync::mpsc::Sender<std::thread::ThreadId>);

impl Drop for Goes {
    fn drop(&mut self) {
        self.0.send(std::thread::current().id()).ok();
    }
}

/// A version, and who hears on which thread it goes.
fn goes() -> (Script, std::sync::mpsc::Receiver<std::thread::ThreadId>) {
    let (tells, told) = std::sync::mpsc::channel();
    let goes = Goes(tells);
    let script: Script = Arc::new(move |_, _| {
        let _ = &goes;
        Handled::default()
    });
    (script, told)
}

#[test]
fn no_delivery_waits_until_the_version_before_has_gone() {
    let (before, told) = goes();
    let mut bed = Bed::new(before);
    bed.publish(None);
    bed.run_all();
    bed.swap(ok());
    bed.publish(None);
    bed.run_all();
    assert_eq!(bed.saw.lock().len(), 2);
    assert_ne!(told.recv().unwrap(), std::thread::current().id());
}

#[test]
fn no_delivery_waits_until_the_version_before_a_watched_one_has_gone() {
    let mut bed = Bed::new(ok());
    bed.terms = Some(TERMS);
    bed.swap(ok());
    let (before, told) = goes();
    let mut bed = bed.restart_beside(ok(), before);
    for _ in 0..=TERMS.events {
        bed.publish(None);
    }
    bed.run_all();
    assert!(bed.subscriber.state.lock().probation.is_none());
    assert_ne!(told.recv().unwrap(), std::thread::current().id());
}
