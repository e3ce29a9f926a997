//! Fuzzing of records, of the fold that follows them, and of checkpoints.

use nerve_eventlog::proof::{Mutator, fuzz};
use nerve_eventlog::{Micros, Offset};

use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, Event, FailureClass, FailureRecord, Fired, LiveVersion,
    OpenReason, Opens, Operator, OperatorAction, Outcome, Record, TimerChange, TimerSet, Verdict, Write,
};
use crate::state::{Fold, checkpoint};

/// One record of each kind, and more of those that say more.
fn records() -> Vec<Vec<u8>> {
    let event = Event {
        id: "e",
        source: "test",
        r#type: "in.x",
        key: Some("k"),
        subject: None,
        time: Some(7),
        content_type: "application/json",
        data: &[0x81, 0xa1, b'a', 0x01],
        correlation: None,
        cause: None,
        traceparent: None,
        data_schema: None,
        extensions: vec![],
    };
    let mut timer = Vec::new();
    Record::encode_event(&event, &mut timer);
    let (class, reason) = (FailureClass::Trap, "it trapped");
    let failure = FailureRecord { class, reason };
    let outcome = Outcome {
        plugin: "p",
        event: 2,
        attempt: 1,
        key: Some("k"),
        low_water: 2,
        ..Outcome::default()
    };
    let live = LiveVersion {
        subscriptions: vec!["in.>".into(), "other.*".into()],
        ..LiveVersion::default()
    };
    let deployment = |action| {
        Record::Deployment(Deployment {
            who: None,
            plugin: "p".into(),
            pair: None,
            action,
            by: AskedBy::Folder,
            warnings: Vec::new(),
        })
    };
    let operator = |action| {
        Record::Operator(Operator {
            who: None,
            plugin: "p".into(),
            action,
        })
    };
    let all = [
        Record::Event(event.clone()),
        deployment(DeploymentAction::Live(Box::new(live))),
        deployment(DeploymentAction::Refused { reason: "no".into() }),
        deployment(DeploymentAction::Removed),
        operator(OperatorAction::Redrive(vec![2, 3])),
        operator(OperatorAction::Drop(vec![2])),
        operator(OperatorAction::Pause),
        operator(OperatorAction::Resume),
        Record::Outcome(Outcome {
            verdict: Verdict::Retry { due: 9, failure },
            opens: Some(Opens {
                why: OpenReason::Outage,
                probe: Some(9),
            }),
            ..outcome.clone()
        }),
        Record::Outcome(Outcome {
            verdict: Verdict::Dead { failure },
            cleared: true,
            ..outcome.clone()
        }),
        Record::Outcome(Outcome {
            writes: vec![Write {
                key: "a",
                value: Some(b"1"),
                previous: None,
            }],
            timers: vec![TimerChange {
                name: "t",
                set: Some(TimerSet {
                    due: 9,
                    event: &timer,
                }),
            }],
            emitted: 1,
            ..outcome.clone()
        }),
        Record::Fired(Fired {
            plugin: "p",
            name: "t",
            set_at: 5,
        }),
    ];
    all.iter()
        .map(|record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes
        })
        .collect()
}

/// An input is a list of records, each behind its length in two bytes.
fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(&u16::try_from(record.len()).unwrap().to_le_bytes());
        out.extend_from_slice(record);
    }
    out
}

/// Read the records of `input` and let a fold follow them; what came of it. `spoil` changes what is written again.
fn follow(input: &[u8], spoil: Option<&Record<'_>>) -> String {
    let (mut fold, mut rest, mut offset, mut kinds) = (Fold::default(), input, 0, String::new());
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (record, behind) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
        rest = behind;
        offset += 1;
        match Record::decode(record) {
            Ok(decoded) => {
                let mut again = Vec::new();
                spoil.unwrap_or(&decoded).encode(&mut again);
                let again = Record::decode(&again).unwrap();
                assert_eq!(again, decoded, "a record is read as it was written");
                fold.apply(Offset(offset), Micros(offset), &decoded);
                kinds.push(char::from(b'0' + record[0]));
            }
            Err(unreadable) => {
                let text = unreadable.to_string();
                assert!(text.len() < 1024, "a message of {} bytes", text.len());
                kinds.extend(text.chars().filter(char::is_ascii_lowercase).take(80));
            }
        }
    }
    for state in fold.into_plugins().into_values() {
        let bytes = rmp_serde::to_vec(&state).unwrap();
        let again: crate::state::PluginState = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(
            rmp_serde::to_vec(&again).unwrap(),
            bytes,
            "a fold is kept as it was"
        );
        let counts = (
            state.dead.len(),
            state.cursor.parked.len(),
            state.breaker.open().is_some(),
        );
        kinds.extend(format!("{counts:?}").chars());
    }
    kinds
}

#[test]
fn fuzz_records_and_the_fold() {
    let records = records();
    let mut corpus = vec![framed(&records)];
    corpus.extend(records.iter().map(|record| framed(std::slice::from_ref(record))));
    let words: Vec<&[u8]> = records
        .iter()
        .map(Vec::as_slice)
        .chain([
            &b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\xdd\xff\xff\xff\xff",
        ])
        .collect();
    let fuzzed = fuzz(
        "fuzz: records and the fold",
        Mutator::new(&words),
        corpus,
        |input| follow(input, None),
    );
    assert!(fuzzed.outcomes > 30, "{fuzzed:?}");
}

#[test]
#[should_panic(expected = "a record is read as it was written")]
fn the_fuzzer_notices_a_record_that_is_written_otherwise() {
    let [.., fired] = &records()[..] else {
        unreachable!("there are records")
    };
    let other = Record::Fired(Fired {
        plugin: "p",
        name: "another",
        set_at: 5,
    });
    follow(&framed(std::slice::from_ref(fired)), Some(&other));
}

#[test]
fn fuzz_checkpoints() {
    let mut fold = Fold::default();
    for (offset, record) in (1..).zip(records()) {
        fold.apply(Offset(offset), Micros(offset), &Record::decode(&record).unwrap());
    }
    let disk = nerve_eventlog::storage::MemoryStorage::default();
    let (log, _) = nerve_eventlog::FileLog::open(
        std::sync::Arc::new(disk.clone()),
        nerve_eventlog::Options::default(),
        std::sync::Arc::new(nerve_eventlog::ManualClock::default()),
        None,
        &mut |_| {},
    )
    .unwrap();
    let made = checkpoint::Checkpoint {
        log: nerve_eventlog::Log::id(&log),
        through: Offset(12),
        time: Micros(12),
        key: crate::ingest::IdentityKey::random(),
        window: vec![vec![1; 80].into()],
        window_through: Offset(12),
        schemas: fold.schemas().clone(),
        plugins: fold.into_plugins(),
        observed: crate::trace::map::Observed::default(),
    };
    made.write(&disk).unwrap();
    let whole = checkpoint::read(&disk, Offset(12)).unwrap();
    let body = whole[..whole.len() - 32].to_vec();
    // Without its hash, which is made right for every other input.
    let fuzzed = fuzz(
        "fuzz: checkpoints",
        Mutator::new(&[b"NERVECKP"]),
        vec![body.clone()],
        move |input| {
            let hash = blake3::hash(input);
            let right = [input, hash.as_bytes()].concat();
            let wrong = [input, &[7; 32]].concat();
            assert!(checkpoint::parse(&wrong).is_err() && checkpoint::parse(input).is_err());
            match checkpoint::parse(&right) {
                Ok(found) => {
                    let window = crate::log::window::Window::from_bytes(
                        crate::log::window::WindowOptions::default(),
                        &found.window,
                    );
                    format!(
                        "{} {:?}",
                        found.plugins.len(),
                        window
                            .remembered()
                            .as_bytes()
                            .map(<[u8]>::len)
                            .sum::<usize>()
                            .min(100)
                    )
                }
                Err(unusable) => {
                    let text = unusable.to_string();
                    assert!(text.len() < 1024, "a message of {} bytes", text.len());
                    text.chars().filter(char::is_ascii_lowercase).take(100).collect()
                }
            }
        },
    );
    assert!(fuzzed.outcomes > 5, "{fuzzed:?}");
}
