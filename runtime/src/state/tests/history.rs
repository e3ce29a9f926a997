//! Recovering state backwards, against folding forwards.

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::proof::{Dice, Scale, cases};
use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Batch, FileLog, Log, ManualClock, Offset, Options, Reach};
use serde_bytes::ByteBuf;

use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, LiveVersion, Mute, Outcome, Record, Replay, RewindEnd, Rewound,
    RolledBack, StateBack, Verdict, VersionId, Write, WriteBack,
};
use crate::state::history::{self, HistoryError};
use crate::state::{Fold, KeyValues};

fn log(segment_bytes: u64) -> FileLog {
    let options = Options {
        segment_bytes,
        ..Options::default()
    };
    let clock = Arc::new(ManualClock::default());
    let opened = FileLog::open(
        Arc::new(MemoryStorage::default()),
        options,
        clock,
        None,
        &mut |_| {},
    );
    opened.unwrap().0
}

fn append(log: &dyn Log, record: &Record<'_>) -> Offset {
    let mut batch = Batch::new();
    batch.push_with(|out| record.encode(out));
    let appended = log
        .append(batch, None)
        .map_err(|refused| refused.to_string())
        .unwrap();
    log.wait_durable(appended.last).unwrap();
    appended.last
}

fn entries(state: &KeyValues) -> Vec<(Box<str>, Bytes)> {
    state.scan("", None, usize::MAX)
}

/// The state of `plugin` as the records up to `through` make it.
fn folded(log: &dyn Log, plugin: &str, through: Offset) -> KeyValues {
    let mut fold = Fold::default();
    let all = log.read(log.bounds().first, usize::MAX, Reach::Appended).unwrap();
    for entry in all.iter().filter(|entry| entry.offset <= through) {
        fold.apply(entry.offset, entry.time, &Record::decode(&entry.payload).unwrap());
    }
    let state = fold.into_plugins().remove(plugin).unwrap_or_default();
    state.key_values.snapshot()
}

/// Outcomes of two plugins that write, write over and remove a few keys, as their states say.
fn write_at_random(log: &dyn Log, dice: &mut Dice, outcomes: u64) -> KeyValues {
    let states = [KeyValues::default(), KeyValues::default()];
    for event in 1..=outcomes {
        let plugin = dice.place(2);
        let mut keys: Vec<String> = (0..dice.below(4))
            .map(|_| format!("k{}", dice.below(6)))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let writes: Vec<(String, Option<Bytes>, Option<Bytes>)> = keys
            .into_iter()
            .map(|key| {
                let value = (!dice.one_in(3)).then(|| Bytes::from(vec![dice.byte(); dice.place(9)]));
                let previous = states[plugin].get(&key);
                states[plugin].write(&key, value.clone());
                (key, value, previous)
            })
            .collect();
        let outcome = Outcome {
            plugin: ["p", "q"][plugin],
            event,
            low_water: event,
            verdict: Verdict::Done,
            writes: writes
                .iter()
                .map(|(key, value, previous)| Write {
                    key,
                    value: value.as_deref(),
                    previous: previous.as_deref(),
                })
                .collect(),
            ..Outcome::default()
        };
        append(log, &Record::Outcome(outcome));
    }
    let [p, _] = states;
    p
}

#[test]
fn the_state_recovered_backwards_is_the_one_folded_forwards_at_every_offset() {
    let scale = Scale {
        short: 100,
        long: 20_000,
    };
    cases("state recovered backwards", scale, |seed| {
        let (log, mut dice) = (log(1 << 20), Dice::new(seed));
        let now = write_at_random(&log, &mut dice, 40);
        let through = log.bounds().last;
        assert_eq!(entries(&now), entries(&folded(&log, "p", through)));
        for offset in 1..=through.0 + 1 {
            let then = history::before(&log, "p", &now, through, Offset(offset)).unwrap();
            let expected = folded(&log, "p", Offset(offset - 1));
            assert_eq!(entries(&then), entries(&expected), "before offset {offset}");
            assert_eq!(then.bytes(), expected.bytes(), "before offset {offset}");
        }
        // A state that was taken earlier does not see what came later.
        let middle = Offset(20);
        let then = history::before(&log, "p", &folded(&log, "p", middle), middle, Offset(9)).unwrap();
        assert_eq!(entries(&then), entries(&folded(&log, "p", Offset(8))));
    });
}

#[test]
fn what_retention_took_or_was_given_up_is_said_with_the_offset_that_can_be_had() {
    let log = log(2048);
    write_at_random(&log, &mut Dice::new(1), 100);
    let left = log.drop_before(Offset(60)).unwrap();
    assert!(left > Offset(1) && left <= Offset(60), "{left}");
    let (now, through) = (KeyValues::default(), log.bounds().last);
    let refused = history::before(&log, "p", &now, through, left.prev()).unwrap_err();
    assert!(
        matches!(refused, HistoryError::Gone { first, .. } if first == left),
        "{refused}"
    );
    history::before(&log, "p", &now, through, left).unwrap();

    let forgotten = |plugin: &str| {
        append(
            &log,
            &Record::Deployment(Deployment {
                who: None,
                plugin: plugin.to_owned(),
                pair: None,
                action: DeploymentAction::Forgotten,
                by: AskedBy::Retention,
                warnings: Vec::new(),
            }),
        )
    };
    forgotten("q");
    let given_up = forgotten("p");
    let through = log.bounds().last;
    let refused = history::before(&log, "p", &now, through, left).unwrap_err();
    assert!(
        matches!(refused, HistoryError::Replaced { at, .. } if at == given_up),
        "{refused}"
    );
    history::before(&log, "p", &now, through, given_up.next()).unwrap();
}

#[test]
fn a_state_that_a_rewind_builds_is_none_of_it_until_it_takes_its_place() {
    let log = log(1 << 20);
    let value = |value| Write {
        key: "k",
        value: Some(value),
        previous: None,
    };
    let outcome = Outcome {
        plugin: "p",
        event: 1,
        low_water: 1,
        writes: vec![value(b"old")],
        ..Outcome::default()
    };
    append(&log, &Record::Outcome(outcome.clone()));
    let of = Replay {
        historic: true,
        fresh: true,
        ..Replay::default()
    };
    let built = append(
        &log,
        &Record::Outcome(Outcome {
            writes: vec![value(b"new")],
            rewind: Some(of),
            ..outcome
        }),
    );
    let now: KeyValues = [("k".into(), Bytes::from_static(b"old"))].into_iter().collect();
    let then = history::before(&log, "p", &now, built, built).unwrap();
    assert_eq!(entries(&then), entries(&now));
    let then = history::before(&log, "p", &now, built, Offset(1)).unwrap();
    assert!(then.is_empty());

    let swapped = append(
        &log,
        &Record::Rewound(Rewound {
            plugin: "p".into(),
            generation: 1,
            end: RewindEnd::Swapped,
        }),
    );
    let refused = history::before(&log, "p", &now, swapped, built).unwrap_err();
    assert!(
        matches!(refused, HistoryError::Replaced { at, .. } if at == swapped),
        "{refused}"
    );
    history::before(&log, "p", &now, swapped, swapped.next()).unwrap();
}

#[test]
fn a_state_that_went_back_is_recovered_from_both_sides_of_its_rollback() {
    let log = log(1 << 20);
    let version = |n: u8| LiveVersion {
        version: VersionId([n; 8]),
        ..LiveVersion::default()
    };
    let deploy = |action| {
        let deployment = Deployment {
            who: None,
            plugin: "p".into(),
            pair: None,
            action,
            by: AskedBy::Api,
            warnings: Vec::new(),
        };
        append(&log, &Record::Deployment(deployment))
    };
    let write = |event, key: &str, value: Option<&[u8]>, previous: Option<&[u8]>| {
        let outcome = Outcome {
            plugin: "p",
            event,
            low_water: event,
            writes: vec![Write { key, value, previous }],
            ..Outcome::default()
        };
        append(&log, &Record::Outcome(outcome))
    };
    deploy(DeploymentAction::Live(Box::new(version(1))));
    write(1, "kept", Some(b"1"), None);
    write(2, "gone", Some(b"2"), None);
    let left = deploy(DeploymentAction::Live(Box::new(version(2))));
    write(3, "gone", None, Some(b"2"));
    write(4, "new", Some(b"4"), None);
    let bytes = |bytes: &[u8]| Some(ByteBuf::from(bytes.to_vec()));
    let back = |key: &str, value, previous| WriteBack {
        key: key.into(),
        value,
        previous,
    };
    let back = RolledBack {
        version: version(1),
        from: VersionId([2; 8]),
        why: String::new(),
        state: Some(Box::new(StateBack {
            to: left.0,
            mute: Mute::default(),
            writes: vec![back("gone", bytes(b"2"), None), back("new", None, bytes(b"4"))],
        })),
        mute: None,
    };
    let at = deploy(DeploymentAction::RolledBack(Box::new(back)));
    write(3, "gone", Some(b"3"), Some(b"2"));
    let through = log.bounds().last;
    let now = folded(&log, "p", through);
    assert_eq!(entries(&folded(&log, "p", at)), entries(&folded(&log, "p", left)));
    for offset in 1..=through.0 + 1 {
        let then = history::before(&log, "p", &now, through, Offset(offset)).unwrap();
        let expected = folded(&log, "p", Offset(offset - 1));
        assert_eq!(entries(&then), entries(&expected), "before offset {offset}");
    }
}
