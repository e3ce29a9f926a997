//! What is taken of an answer, and what is refused in which words.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::ingest::message_pack;
use crate::log::record::{Mode, TypeSchema};

fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    Answer::Answered {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), serde_bytes::ByteBuf::from(value.as_bytes())))
            .collect(),
        body: body.into(),
    }
}

fn one(event: &Value) -> Answer {
    answered(
        200,
        &[("content-type", "application/cloudevents+json; charset=utf-8")],
        &event.to_string(),
    )
}

fn many(events: &Value) -> Answer {
    answered(
        202,
        &[("content-type", "Application/CloudEvents-Batch+JSON")],
        &events.to_string(),
    )
}

fn event(name: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": "own", "source": "billing", "type": name, "partitionkey": "k", "data": data})
}

/// What is taken where `a` and `b.c` may be emitted, within `limits` and where `contracts` hold.
fn taken_with(
    limits: &Limits,
    contracts: &Holding,
    answer: &Answer,
    cut: Option<&Failed>,
) -> Result<Taken, Failure> {
    let types = ["a".to_owned(), "b.c".to_owned()];
    let taker = Taker {
        types: &types,
        limits,
        contracts,
    };
    taker.take(answer, cut, "https://x/in")
}

fn taken(answer: &Answer) -> Result<Taken, Failure> {
    taken_with(
        &Limits::default(),
        &Holding::new(Mode::Enforce, BTreeMap::new()),
        answer,
        None,
    )
}

fn json_of(emit: &Emit) -> Value {
    serde_json::from_slice(&message_pack::to_json(&emit.data).unwrap()).unwrap()
}

#[test]
fn an_answer_in_each_mode_is_taken_and_one_that_is_no_cloud_event_says_nothing() {
    let first = taken(&one(&event("a", &json!({"n": 1})))).unwrap().emits;
    assert_eq!((&*first[0].r#type, first[0].key.as_deref()), ("a", Some("k")));
    assert_eq!(json_of(&first[0]), json!({"n": 1}));

    let both = taken(&many(&json!([event("a", &json!(1)), event("b.c", &json!(2))])))
        .unwrap()
        .emits;
    let types: Vec<&str> = both.iter().map(|emit| &*emit.r#type).collect();
    assert_eq!(types, ["a", "b.c"]);
    assert!(taken(&many(&json!([]))).unwrap().emits.is_empty());

    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "own"),
        ("ce-source", "billing"),
        ("ce-type", "b.c"),
        ("ce-subject", "%C3%BC"),
        ("content-type", "text/plain"),
    ];
    let third = taken(&answered(200, &headers, "hello")).unwrap().emits;
    assert_eq!(
        (
            third[0].subject.as_deref(),
            third[0].content_type.as_deref(),
            &*third[0].data
        ),
        (Some("ü"), Some("text/plain"), &b"hello"[..])
    );

    for nothing in [
        answered(200, &[("content-type", "application/json")], "{\"type\":\"a\"}"),
        answered(204, &[], ""),
    ] {
        assert!(!is_events(&nothing) && taken(&nothing).unwrap().emits.is_empty());
    }
    assert!(is_events(&one(&json!(1))) && !is_events(&answered(500, &[("ce-specversion", "1.0")], "")));
}

#[test]
fn what_can_not_be_taken_fails_the_delivery_and_says_why() {
    use FailureClass::{Contract, Limit, Retry};
    let own_source = {
        let mut event = event("a", &json!(1));
        event["source"] = json!("nerve:other");
        event
    };
    for (answer, class, says) in [
        (
            one(&event("z", &json!(1))),
            Contract,
            "type \"z\", which webhook.emits does not list",
        ),
        (one(&json!({"type": "a"})), Contract, "specversion"),
        (one(&own_source), Contract, "reserved for plugins"),
        (
            many(&json!([event("a", &json!(1)), 7])),
            Contract,
            "event 1 of the batch",
        ),
        (
            answered(200, &[("content-type", "application/cloudevents+xml")], "<a/>"),
            Contract,
            "cloudevents+xml",
        ),
        (
            one(&event("a", &json!("x".repeat(600_000)))),
            Contract,
            "600005 bytes",
        ),
        (
            many(&json!([
                event("a", &json!("x".repeat(300_000))),
                event("a", &json!("x".repeat(300_000)))
            ])),
            Limit,
            "limit emit_bytes",
        ),
    ] {
        let failed = taken(&answer).unwrap_err();
        assert_eq!(failed.class, class, "{failed:?}");
        assert!(failed.reason.contains(says), "{says}: {}", failed.reason);
    }
    let long_subject = {
        let mut event = event("a", &json!(1));
        event["subject"] = json!("x".repeat(300));
        one(&event)
    };
    assert!(
        taken(&long_subject)
            .unwrap_err()
            .reason
            .contains("the subject of an emitted a")
    );

    let holding = Holding::new(Mode::Enforce, BTreeMap::new());
    let few = Limits {
        emits: 1,
        ..Limits::default()
    };
    let two = many(&json!([event("a", &json!(1)), event("a", &json!(2))]));
    let failed = taken_with(&few, &holding, &two, None).unwrap_err();
    assert!(failed.reason.contains("more than 1 events"), "{failed:?}");
    for (class, expected) in [(CallFailure::Limit, Limit), (CallFailure::Protocol, Retry)] {
        let cut = Failed {
            class,
            reason: "cut".into(),
        };
        let failed = taken_with(&Limits::default(), &holding, &two, Some(&cut)).unwrap_err();
        assert_eq!((failed.class, &*failed.reason), (expected, "cut"));
    }
}

#[test]
fn what_is_answered_is_held_against_the_contract_of_its_type() {
    let holding = |mode| -> Arc<Holding> {
        let schema = TypeSchema {
            json: Some("{\"type\":\"object\",\"required\":[\"n\"]}".into()),
            mode: Some(mode),
        };
        Holding::new(Mode::Enforce, BTreeMap::from([("a".to_owned(), schema)]))
    };
    let (good, bad) = (one(&event("a", &json!({"n": 1}))), one(&event("a", &json!({}))));
    let limits = Limits::default();
    let enforced = holding(Mode::Enforce);
    assert_eq!(
        taken_with(&limits, &enforced, &good, None).unwrap().emits.len(),
        1
    );
    let failed = taken_with(&limits, &enforced, &bad, None).unwrap_err();
    assert_eq!(failed.class, FailureClass::Contract);
    assert!(failed.reason.starts_with("contract a: "), "{}", failed.reason);
    let warned = taken_with(&limits, &holding(Mode::Warn), &bad, None).unwrap();
    assert!(warned.emits.len() == 1 && warned.lines[0].text.starts_with("contract a: "));
    let off = taken_with(&limits, &holding(Mode::Off), &bad, None).unwrap();
    assert!(off.emits.len() == 1 && off.lines.is_empty());
}
