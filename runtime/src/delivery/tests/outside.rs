//! Calls outside: the intent before the call, and attempts that go on after a crash.

use std::sync::Arc;

use nerve_eventlog::storage::{Crash, FaultyStorage, MemoryStorage};
use nerve_eventlog::{Durability, FileLog, ManualClock, Micros, Offset, Options};
use parking_lot::Mutex;

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Delivery, Handled};
use crate::log::record::{Answer, Asked, Call, CallFailure, FailureClass, Hash, Intent, Record};

fn asked(n: u8) -> Asked {
    Asked {
        request: Hash([n; 32]),
        ..Asked::default()
    }
}

fn answered(n: u8) -> Call {
    Call {
        asked: asked(n),
        took: 1,
        answer: Answer::Failed {
            class: CallFailure::Connect,
            reason: format!("answer {n}"),
        },
    }
}

/// Say that call number `index` is about to be made, behind `calls`.
fn intend(delivery: &Delivery<'_>, index: u8, calls: &[Call]) {
    let intent = Intent {
        event: delivery.offset.0,
        attempt: delivery.attempt,
        replay: delivery.replay,
        started: delivery.started.0,
        seed: delivery.seed,
        index: index.into(),
        asked: asked(index),
        calls: calls.to_vec(),
        ..Intent::default()
    };
    delivery.outside.journal.unwrap().intend(intent).unwrap();
}

/// The intents in what is left of a disk: event and call.
fn intents(disk: MemoryStorage) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    let clock = Arc::new(ManualClock::new(Micros(1)));
    FileLog::open(Arc::new(disk), Options::default(), clock, None, &mut |entry| {
        if let Ok(Record::Intent(intent)) = Record::decode(&entry.payload) {
            found.push((intent.event, intent.index));
        }
    })
    .unwrap();
    found
}

fn on_disk(storage: &FaultyStorage, script: Script) -> Bed {
    let options = Options {
        durability: Durability::Fsync,
        ..Options::default()
    };
    Bed::on(Arc::new(storage.clone()), options, script)
}

#[test]
fn invariant_01_a_call_is_made_only_when_its_intent_is_durable() {
    let storage = FaultyStorage::default();
    let disk = storage.clone();
    let called = Arc::new(Mutex::new(0));
    let calls = called.clone();
    // Where a server would be called, the power goes: what is left must know of the call.
    let mut bed = on_disk(
        &storage,
        Arc::new(move |delivery, _| {
            for index in 0..2 {
                intend(delivery, index, &[]);
                let left = intents(disk.crash(Crash::LoseAll));
                let own = (delivery.offset.0, index.into());
                assert_eq!(
                    left.last(),
                    Some(&own),
                    "the call {own:?} is made before its intent is durable"
                );
                *calls.lock() += 1;
            }
            Handled::default()
        }),
    );
    for _ in 0..20 {
        bed.publish(Some("k"));
    }
    bed.run();
    assert_eq!(*called.lock(), 40);
}

/// What a resumed attempt is given.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    attempt: u32,
    started: Micros,
    seed: u64,
    calls: Vec<Call>,
    asked: Option<Hash>,
    key: String,
}

impl Given {
    fn of(delivery: &Delivery<'_>) -> Self {
        let outside = delivery.outside;
        Self {
            attempt: delivery.attempt,
            started: delivery.started,
            seed: delivery.seed,
            calls: outside.calls.to_vec(),
            asked: outside.asked,
            key: outside.journal.unwrap().idempotency_key(delivery.offset, 0, 1),
        }
    }
}

#[test]
fn an_attempt_that_a_crash_interrupted_goes_on_with_its_clock_seed_and_answers() {
    let storage = FaultyStorage::default();
    let (first, left) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let (given, disk, image) = (first.clone(), storage.clone(), left.clone());
    let mut bed = on_disk(
        &storage,
        Arc::new(move |delivery, _| {
            if delivery.attempt == 1 {
                return failed(FailureClass::Retry);
            }
            intend(delivery, 0, &[]);
            intend(delivery, 1, &[answered(0)]);
            *given.lock() = Some(Given::of(delivery));
            *image.lock() = Some(disk.crash(Crash::LoseAll));
            Handled::default()
        }),
    );
    let event = bed.publish(Some("k"));
    bed.run_all();
    let before = first.lock().clone().unwrap();
    assert_eq!((before.attempt, &before.calls, before.asked), (2, &vec![], None));

    // The next start of what the crash left: the attempt goes on, and only that one.
    let given = Arc::new(Mutex::new(Vec::new()));
    let seen = given.clone();
    let script: Script = Arc::new(move |delivery, _| {
        seen.lock().push(Given::of(delivery));
        if delivery.attempt == 2 {
            return failed(FailureClass::Retry);
        }
        Handled::default()
    });
    let disk = Arc::new(left.lock().take().unwrap());
    let mut bed = Bed::reopen(disk, Options::default(), script);
    assert!(bed.fold().attempts.contains_key(&Offset(event)));
    bed.run_all();
    let given = given.lock().clone();
    let went_on = Given {
        calls: vec![answered(0)],
        asked: Some(asked(1).request),
        ..before.clone()
    };
    assert_eq!(given[0], went_on);
    assert_eq!(
        (given[1].attempt, &given[1].calls, given[1].asked),
        (3, &vec![], None),
        "a new attempt asks anew"
    );
    assert_eq!(
        given[1].key, before.key,
        "the key stays over restarts and retries"
    );
    assert!(bed.fold().attempts.is_empty());
    assert_eq!(given.len(), 2);
}

#[test]
fn a_run_that_is_made_again_after_a_conflict_asks_nobody_again() {
    let given = Arc::new(Mutex::new(Vec::new()));
    let seen = given.clone();
    let script: Script = Arc::new(move |delivery, state| {
        let mut handled = Handled::default();
        handled.reads.get(state, "n".into());
        if delivery.event.key == Some("calls") {
            seen.lock().push((Given::of(delivery), delivery.outside.logged));
            if delivery.outside.calls.is_empty() {
                intend(delivery, 0, &[]);
            }
            handled.calls = vec![answered(0)];
        } else {
            handled.effects.writes = vec![("n".into(), Some(vec![1].into()))];
        }
        handled
    });
    let mut bed = Bed::with_lanes(script, POLICY, 2);
    let mut lanes = Stepped::new(&bed, 0);
    bed.publish(Some("calls"));
    bed.publish(Some("writes"));
    lanes.steps(&mut bed, 0, 2);
    lanes.steps(&mut bed, 1, 3);
    lanes.steps(&mut bed, 0, 3);
    let given = given.lock().clone();
    let (first, _) = &given[0];
    let again = Given {
        calls: vec![answered(0)],
        ..first.clone()
    };
    assert_eq!(given[1..], [(again, 0)], "its answer is not in the log yet");
    let fold = bed.fold();
    assert_eq!(
        (fold.conflicts, fold.counters, fold.attempts.len()),
        (1, [2, 0, 0], 0)
    );
}
