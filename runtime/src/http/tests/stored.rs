//! Data as the released format has it, `tests/data/format-1`: it is opened, and what is in it is found.
//!
//! The data was written by this test: `NERVE_STORED_DATA=tests/data/format-1 cargo test -p nerve stored` writes it anew,
//! which is right only as long as the format was not released.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Batch, FileLog, Log, ManualClock, Micros, Options, verify};
use serde_json::{Value, json};

use super::bed::{Bed, event};
use crate::delivery::subscriber;
use crate::host::HostOptions;
use crate::log::record::{
    Answer, Asked, AskedBy, Attribute, Call, Cause, Deployment, DeploymentAction, Event, FailureClass,
    FailureRecord, Fired, Gap, Hash, Intent, KeptEvent, Kind, Level, Line, LiveVersion, Operator,
    OperatorAction, Outcome, Record, TimerChange, TimerSet, Verdict, Write,
};
use crate::state::checkpoint;

/// What is asked of the host to see what is in the data.
const QUESTIONS: [&str; 6] = [
    "/v1/events?after=0&limit=1000",
    "/v1/events/a/trace",
    "/v1/plugins",
    "/v1/plugins/shop/state?prefix=open/",
    "/v1/plugins/shop/logs?after=0",
    "/v1/dead-letters",
];

fn options() -> HostOptions {
    HostOptions {
        log: Options {
            segment_bytes: 1500,
            ..Options::default()
        },
        clock: Arc::new(ManualClock::new(Micros(2_000_000))),
        ..HostOptions::default()
    }
}

const FAILURE: FailureRecord<'static> = FailureRecord {
    class: FailureClass::Retry,
    reason: "not yet",
};

/// An event with every attribute.
fn plain() -> Event<'static> {
    Event {
        id: "a",
        source: "web",
        r#type: "order.placed",
        key: Some("k"),
        subject: Some("s"),
        time: Some(1_000_000),
        content_type: "application/json",
        // {"n": 1}
        data: &[0x81, 0xa1, b'n', 1],
        correlation: Some("chain"),
        cause: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        data_schema: Some("https://shop.example/order"),
        extensions: vec![
            ("flag", Attribute::Bool(true)),
            ("number", Attribute::Integer(7)),
            ("text", Attribute::Text("x")),
        ],
    }
}

fn emitted(id: &'static str) -> Record<'static> {
    Record::Event(Event {
        id,
        source: "nerve:shop",
        r#type: "order.seen",
        cause: Some(Cause {
            id: "a",
            offset: 2,
            hops: 1,
            index: 0,
        }),
        extensions: Vec::new(),
        ..plain()
    })
}

fn outcome(event: u64, verdict: Verdict<'static>) -> Outcome<'static> {
    Outcome {
        plugin: "shop",
        event,
        attempt: 1,
        verdict,
        low_water: event,
        ..Outcome::default()
    }
}

fn done() -> Outcome<'static> {
    let timer = |name, due| TimerChange {
        name,
        set: Some(TimerSet { due, event: &[] }),
    };
    Outcome {
        emitted: 1,
        writes: vec![
            Write {
                key: "open/a",
                value: Some(&[1]),
                previous: None,
            },
            Write {
                key: "shut/a",
                value: Some(b"bytes"),
                previous: None,
            },
        ],
        lines: vec![Line {
            level: Level::Warn,
            text: "look",
        }],
        timers: vec![timer("kept", 9_000_000), timer("fired", 1_500_000)],
        seed: Some(7),
        ..outcome(2, Verdict::Done)
    }
}

fn live() -> DeploymentAction {
    DeploymentAction::Live(Box::new(LiveVersion {
        label: "1.2.3".into(),
        settings: Some("start = \"beginning\"\n".into()),
        subscriptions: vec!["order.placed".into()],
        emits: vec!["order.seen".into()],
        readable: vec!["open/".into()],
        from_beginning: true,
        ..LiveVersion::default()
    }))
}

fn deployment(plugin: &str, action: DeploymentAction) -> Record<'static> {
    Record::Deployment(Deployment {
        who: None,
        plugin: plugin.into(),
        pair: Some(Hash::of(b"pair")),
        action,
        by: AskedBy::Folder,
        warnings: Vec::new(),
    })
}

fn operator(action: OperatorAction) -> Record<'static> {
    Record::Operator(Operator {
        who: None,
        plugin: "shop".into(),
        action,
    })
}

fn intent() -> Record<'static> {
    let answer = Answer::Answered {
        status: 200,
        headers: Vec::new(),
        body: b"ok".to_vec(),
    };
    Record::Intent(Box::new(Intent {
        plugin: "shop".into(),
        event: 5,
        attempt: 2,
        calls: vec![Call {
            asked: Asked::default(),
            took: 1,
            answer,
        }],
        ..Intent::default()
    }))
}

/// Every kind of record, as batches.
fn written() -> Vec<Vec<Record<'static>>> {
    let bytes = Event {
        id: "b",
        content_type: "image/png",
        data: b"\x89PNG",
        extensions: Vec::new(),
        ..plain()
    };
    let mut record = Vec::new();
    Record::encode_event(&bytes, &mut record);
    let retry = Verdict::Retry {
        due: u64::MAX / 2,
        failure: FAILURE,
    };
    let retry = Outcome {
        key: Some("k"),
        kept: Some(KeptEvent {
            recorded: 1_000_000,
            record: record.leak(),
        }),
        ..outcome(5, retry)
    };
    let dead = Outcome {
        attempt: 2,
        key: Some("k"),
        cleared: true,
        ..outcome(5, Verdict::Dead { failure: FAILURE })
    };
    vec![
        vec![deployment("shop", live())],
        vec![Record::Event(plain())],
        vec![Record::Outcome(done()), emitted("emitted")],
        vec![Record::Event(bytes)],
        vec![Record::Outcome(retry)],
        vec![
            Record::Fired(Fired {
                plugin: "shop",
                name: "fired",
                set_at: 3,
            }),
            emitted("later"),
        ],
        vec![intent()],
        vec![Record::Outcome(dead)],
        vec![operator(OperatorAction::Pause)],
        vec![operator(OperatorAction::Resume)],
        vec![deployment("gone", live())],
        vec![Record::Gap(Gap {
            plugin: "gone".into(),
            from: 1,
            through: 2,
            events: 1,
            why: "it was too far behind".into(),
        })],
        vec![deployment("gone", DeploymentAction::Removed)],
        vec![deployment(
            "bad",
            DeploymentAction::Refused {
                reason: "it does not load".into(),
            },
        )],
        vec![operator(OperatorAction::Pause)],
    ]
}

/// Write a log of two segments and more, and a checkpoint with records behind it, into memory.
async fn write() -> (MemoryStorage, MemoryStorage) {
    let (log, checkpoints) = (MemoryStorage::default(), MemoryStorage::default());
    let of_log: Arc<dyn Storage> = Arc::new(log.clone());
    {
        let options = options();
        let (log, _) = FileLog::open(of_log.clone(), options.log, options.clock, None, &mut |_| {}).unwrap();
        for records in written() {
            let mut batch = Batch::new();
            for record in &records {
                batch.push_with(|out| record.encode(out));
            }
            if records.iter().any(|record| matches!(record, Record::Outcome(_))) {
                batch = batch.writer(&subscriber::writer("shop"));
            }
            log.wait_durable(log.append(batch, None).unwrap().last).unwrap();
        }
        log.close().unwrap();
    }
    let bed = Bed::on(&of_log, Arc::new(checkpoints.clone()), options()).unwrap();
    bed.host.checkpoint().unwrap();
    let mut behind = event("behind", "order.placed");
    behind["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01".into();
    bed.publish(&behind).await;
    bed.host.stop().await.unwrap();
    // The one of the clean stop leaves nothing behind it.
    let newest = checkpoint::list(&checkpoints).unwrap()[0];
    checkpoints.remove(&checkpoint::name(newest)).unwrap();
    (log, checkpoints)
}

/// A disk with the same files.
fn copy_of(disk: &MemoryStorage) -> MemoryStorage {
    let copy = MemoryStorage::default();
    for name in disk.list().unwrap() {
        copy.put(&name, disk.content(&name).unwrap());
    }
    copy
}

/// What a host says that opens these disks.
async fn answers_of(log: &MemoryStorage, checkpoints: &MemoryStorage) -> Value {
    let log: Arc<dyn Storage> = Arc::new(copy_of(log));
    let bed = Bed::on(&log, Arc::new(copy_of(checkpoints)), options()).unwrap();
    assert!(bed.host.log_status().segments > 1);
    let answers = answers(&bed).await;
    bed.host.stop().await.unwrap();
    answers
}

/// The kinds of the records in a log.
fn kinds_in(log: &MemoryStorage) -> BTreeSet<u8> {
    let mut kinds = BTreeSet::new();
    let report = verify::read(log, &[], &mut |entry| {
        kinds.insert(entry.payload[0]);
    })
    .unwrap();
    assert!(report.damage.is_empty() && report.torn.is_none());
    kinds
}

async fn answers(bed: &Bed) -> Value {
    let mut out = BTreeMap::new();
    for question in QUESTIONS {
        let mut answer = bed.get(question).await.ok();
        let plugins = answer.get_mut("plugins").and_then(Value::as_array_mut);
        for plugin in plugins.into_iter().flatten() {
            // It counts what is in memory, which is another part of the log after another start.
            plugin.as_object_mut().unwrap().remove("lag");
        }
        out.insert(question, answer);
    }
    json!(out)
}

/// Where `found` lacks something of what is `expected`; later versions may say more.
fn missing(expected: &Value, found: &Value, at: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, value)| {
            missing(
                value,
                found.get(name).unwrap_or(&Value::Null),
                &format!("{at}/{name}"),
            )
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .find_map(|(n, (expected, found))| missing(expected, found, &format!("{at}/{n}")))
        }
        _ => (expected != found).then(|| format!("{at}: {expected} expected, {found} found")),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/format-1")
}

/// The files of a folder that is stored.
fn stored(name: &str) -> MemoryStorage {
    let disk = MemoryStorage::default();
    for entry in std::fs::read_dir(folder().join(name)).unwrap() {
        let path = entry.unwrap().path();
        disk.put(
            path.file_name().unwrap().to_str().unwrap(),
            std::fs::read(&path).unwrap(),
        );
    }
    disk
}

#[tokio::test]
async fn stored_data_of_format_1_is_opened_and_all_of_it_found() {
    let (log, checkpoints) = write().await;
    let now = answers_of(&log, &checkpoints).await;
    if let Some(folder) = std::env::var_os("NERVE_STORED_DATA") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        for (name, disk) in [("log", &log), ("checkpoints", &checkpoints)] {
            std::fs::remove_dir_all(folder.join(name)).ok();
            std::fs::create_dir_all(folder.join(name)).unwrap();
            // Whatever else is there is no part of the format.
            let is_stored = |file: &String| file.starts_with('0');
            for file in disk.list().unwrap().into_iter().filter(is_stored) {
                std::fs::write(folder.join(name).join(&file), disk.content(&file).unwrap()).unwrap();
            }
        }
        std::fs::write(
            folder.join("expected.json"),
            serde_json::to_string_pretty(&now).unwrap() + "\n",
        )
        .unwrap();
    }

    let expected = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    assert_eq!(missing(&expected, &now, ""), None, "today's data holds the same");
    let log = stored("log");
    let every = [
        Kind::Event,
        Kind::Outcome,
        Kind::Deployment,
        Kind::Operator,
        Kind::Fired,
        Kind::Gap,
        Kind::Intent,
    ];
    assert_eq!(kinds_in(&log), every.map(|kind| kind as u8).into());
    for checkpoints in [stored("checkpoints"), MemoryStorage::default()] {
        assert_eq!(
            missing(&expected, &answers_of(&log, &checkpoints).await, ""),
            None
        );
    }
    assert!(
        missing(&json!({ "a": [1] }), &json!({ "a": [2] }), "").is_some(),
        "a difference is noticed"
    );
}
