//! Trees and finds in logs of records written by hand.

use std::sync::Arc;

use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Batch, Durability, FileLog, Log, ManualClock, Micros, Offset, Options};

use super::{Delivery, Node, find, tree};
use crate::log::record::{
    Cause, Event, FailureClass, FailureRecord, Operator, OperatorAction, Outcome, Record, Replay, Verdict,
    VersionId, event,
};

struct Bed {
    log: FileLog,
    clock: Arc<ManualClock>,
}

impl Bed {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Micros(1000)));
        let options = Options {
            durability: Durability::Memory,
            ..Options::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        let (log, _) = FileLog::open(storage, options, clock.clone(), None, &mut |_| {}).unwrap();
        Self { log, clock }
    }

    fn append(&self, records: &[Record<'_>]) -> u64 {
        let mut batch = Batch::new();
        for record in records {
            batch.push_with(|out| record.encode(out));
        }
        self.log.append(batch, None).unwrap().first.0
    }
}

fn fact(id: &'static str, source: &'static str, cause: Option<u64>) -> Record<'static> {
    Record::Event(Event {
        id,
        source,
        r#type: "t",
        key: None,
        subject: None,
        time: None,
        content_type: "application/json",
        data: &[0xc0],
        correlation: None,
        cause: cause.map(|offset| Cause {
            id: "cause",
            offset,
            hops: 1,
            index: 0,
        }),
        traceparent: None,
        data_schema: None,
        extensions: vec![],
    })
}

fn outcome(plugin: &'static str, event: u64, attempt: u32, started: u64, emitted: u32) -> Outcome<'static> {
    Outcome {
        plugin,
        version: VersionId([1; 8]),
        event,
        attempt,
        low_water: event,
        started,
        took: 1,
        emitted,
        ..Outcome::default()
    }
}

/// A tree in one line: events as ids, deliveries as plugin/attempt.
fn in_line(node: &Node) -> String {
    let id = event(&node.entry.payload).unwrap().unwrap().id.to_owned();
    let deliveries: Vec<String> = node.deliveries.iter().map(delivery_in_line).collect();
    format!("{id}({})", deliveries.join(" "))
}

fn delivery_in_line(delivery: &Delivery) -> String {
    let Ok(Record::Outcome(outcome)) = Record::decode(&delivery.entry.payload) else {
        panic!("no outcome");
    };
    let emitted: Vec<String> = delivery.emitted.iter().map(in_line).collect();
    format!("{}/{}[{}]", outcome.plugin, outcome.attempt, emitted.join(" "))
}

#[test]
fn a_tree_has_what_the_event_led_to_and_nothing_else() {
    let bed = Bed::new();
    let before = bed.append(&[fact("before", "s", None)]);
    let root = bed.append(&[fact("root", "s", None)]);
    // Outcomes of another event, with an event of their own, stand between.
    bed.append(&[
        Record::Outcome(outcome("p", before, 1, 0, 1)),
        fact("other", "nerve:p", Some(before)),
    ]);
    let emitted = bed.append(&[
        Record::Outcome(outcome("p", root, 1, 0, 2)),
        fact("one", "nerve:p", Some(root)),
        fact("two", "nerve:p", Some(root)),
    ]);
    // A publisher's event right behind an outcome is not its effect.
    bed.append(&[Record::Outcome(outcome("q", root, 1, 0, 0))]);
    bed.append(&[fact("after", "s", None)]);
    bed.append(&[
        Record::Outcome(outcome("q", emitted + 2, 1, 0, 1)),
        fact("three", "nerve:q", Some(emitted + 2)),
    ]);
    let tree = tree(&bed.log, Offset(root)).unwrap();
    assert_eq!(
        in_line(&tree.root.unwrap()),
        "root(p/1[one() two(q/1[three()])] q/1[])"
    );
    assert!(!tree.truncated);
}

#[test]
fn a_retry_waited_since_it_was_due() {
    let bed = Bed::new();
    let root = bed.append(&[fact("root", "s", None)]);
    let failure = FailureRecord {
        class: FailureClass::Trap,
        reason: "it was told to",
    };
    let failed = Outcome {
        verdict: Verdict::Retry { due: 5000, failure },
        ..outcome("p", root, 1, 1400, 0)
    };
    bed.append(&[Record::Outcome(failed)]);
    bed.append(&[Record::Outcome(outcome("q", root, 1, 1600, 0))]);
    bed.clock.set(Micros(6000));
    bed.append(&[Record::Outcome(outcome("p", root, 2, 5007, 0))]);
    let root = tree(&bed.log, Offset(root)).unwrap().root.unwrap();
    let waited: Vec<u64> = root.deliveries.iter().map(|delivery| delivery.waited).collect();
    assert_eq!(waited, [400, 600, 7]);
}

#[test]
fn a_tree_that_is_too_large_is_cut_and_says_so() {
    let bed = Bed::new();
    let root = bed.append(&[fact("root", "s", None)]);
    for attempt in 1..=10_000 {
        bed.append(&[Record::Outcome(outcome("p", root, attempt, 0, 0))]);
    }
    let tree = tree(&bed.log, Offset(root)).unwrap();
    assert!(tree.truncated);
    assert_eq!(tree.root.unwrap().deliveries.len(), 9_999);
}

#[test]
fn what_is_no_event_has_no_tree() {
    let bed = Bed::new();
    let root = bed.append(&[fact("root", "s", None)]);
    let at = bed.append(&[Record::Outcome(outcome("p", root, 1, 0, 0))]);
    assert!(tree(&bed.log, Offset(at)).unwrap().root.is_none());
    assert!(tree(&bed.log, Offset(at + 1)).unwrap().root.is_none());
}

#[test]
fn events_are_found_by_id_and_source_however_far_back() {
    let bed = Bed::new();
    let offsets = |id: &str, source: Option<&str>| -> Vec<u64> {
        let found = find(&bed.log, id, source).unwrap();
        found.iter().map(|entry| entry.offset.0).collect()
    };
    assert_eq!(offsets("a", None), [0; 0], "the log is empty");
    bed.append(&[fact("a", "s", None), fact("a", "r", None)]);
    for _ in 0..20_000 {
        bed.append(&[fact("x", "s", None)]);
    }
    bed.append(&[fact("a", "s", None)]);
    assert_eq!(offsets("a", None), [1, 2, 20_003]);
    assert_eq!(offsets("a", Some("r")), [2]);
    assert_eq!(
        offsets("a", Some("s")),
        [20_003],
        "the newest, where the window forgot the first"
    );
    assert_eq!(offsets("b", None), [0; 0]);
}

#[test]
fn the_slowest_way_leads_to_what_ended_last_and_one_delivery_alone_is_none() {
    let bed = Bed::new();
    let took = |plugin, event, started, took, emitted| {
        Record::Outcome(Outcome {
            took,
            ..outcome(plugin, event, 1, started, emitted)
        })
    };
    let root = bed.append(&[fact("root", "s", None)]);
    bed.append(&[took("quick", root, 1000, 1, 0)]);
    let one = bed.append(&[
        took("p", root, 1000, 10, 2),
        fact("one", "nerve:p", Some(root)),
        fact("two", "nerve:p", Some(root)),
    ]);
    bed.append(&[took("q", one + 2, 1100, 50, 0)]);
    bed.append(&[took("r", one + 1, 1020, 500, 0)]);
    let alone = bed.append(&[fact("alone", "s", None)]);
    bed.append(&[took("p", alone, 1000, 7, 0)]);

    let found = tree(&bed.log, Offset(root)).unwrap();
    assert_eq!(found.slowest_us, 520);
    assert_eq!(slow(&found.root.unwrap()), "root p one r");
    let found = tree(&bed.log, Offset(alone)).unwrap();
    assert_eq!((found.slowest_us, slow(&found.root.unwrap())), (7, String::new()));
}

/// The events and plugins that are marked, in order.
fn slow(node: &Node) -> String {
    let mut out = Vec::new();
    if node.slow {
        out.push(event(&node.entry.payload).unwrap().unwrap().id.to_owned());
    }
    for delivery in &node.deliveries {
        if delivery.slow {
            let Ok(Record::Outcome(outcome)) = Record::decode(&delivery.entry.payload) else {
                panic!("no outcome");
            };
            out.push(outcome.plugin.to_owned());
        }
        out.extend(
            delivery
                .emitted
                .iter()
                .map(slow)
                .filter(|below| !below.is_empty()),
        );
    }
    out.join(" ")
}

#[test]
fn a_tree_says_who_retried_dropped_and_rewound() {
    let bed = Bed::new();
    let operated = |plugin: &str, action, who: Option<&str>| {
        Record::Operator(Operator {
            plugin: plugin.into(),
            action,
            who: who.map(str::to_owned),
        })
    };
    let root = bed.append(&[fact("root", "s", None)]);
    bed.append(&[Record::Outcome(outcome("p", root, 1, 0, 0))]);
    let other = bed.append(&[fact("other", "s", None)]);
    bed.append(&[operated(
        "p",
        OperatorAction::Redrive(vec![other, root]),
        Some("ann"),
    )]);
    bed.append(&[operated("p", OperatorAction::Drop(vec![root]), None)]);
    bed.append(&[operated("p", OperatorAction::Drop(vec![other]), Some("bob"))]);
    let rewind = bed.append(&[operated("p", OperatorAction::StopRewind, Some("cid"))]);
    let rewound = |generation| {
        Record::Outcome(Outcome {
            rewind: Some(Replay {
                generation,
                ..Replay::default()
            }),
            ..outcome("p", root, 1, 0, 0)
        })
    };
    bed.append(&[rewound(rewind)]);
    bed.append(&[rewound(999)]);
    let tree = tree(&bed.log, Offset(root)).unwrap();
    let root = tree.root.unwrap();
    let told: Vec<_> = root
        .operated
        .iter()
        .map(|one| (one.what, one.who.as_deref(), &*one.plugin))
        .collect();
    assert_eq!(told, [("retried", Some("ann"), "p"), ("dropped", None, "p")]);
    let by: Vec<_> = tree.rewound_by.into_iter().collect();
    assert_eq!(
        by,
        [(Offset(rewind), "cid".to_owned())],
        "what is not in the log is not known"
    );
}
