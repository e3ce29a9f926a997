//! Publishing as a stream: what is acknowledged when, and what a refusal leaves.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, BodyDataStream};
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Durability, Offset, Options};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::ServiceExt;

use super::bed::{Bed, event, request};
use super::stuck::Stuck;
use crate::host::HostOptions;
use crate::ingest::{Limits, SourceRate};

const LINES: &str = "application/x-ndjson";

/// The lines of an answer on its way in.
pub(super) struct Answer {
    body: BodyDataStream,
    read: String,
}

impl Answer {
    async fn of(bed: &Bed, body: Body) -> Self {
        Self::shown(bed, &[], body).await
    }

    /// The answer to a stream with these headers.
    pub(super) async fn shown(bed: &Bed, headers: &[(&str, &str)], body: Body) -> Self {
        let headers = [headers, &[("content-type", LINES)]].concat();
        let asked = request("POST", "/v1/events", &headers, body);
        let response = bed.router.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], LINES);
        Self {
            body: response.into_body().into_data_stream(),
            read: String::new(),
        }
    }

    /// The next line; `None` where the answer ends.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.read.split_once('\n') {
                let line = serde_json::from_str(line).unwrap();
                self.read = rest.to_owned();
                return Some(line);
            }
            let part = self.body.next().await?.unwrap();
            self.read.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    /// All lines that are left.
    async fn rest(mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await {
            lines.push(line);
        }
        lines
    }
}

/// A body that comes in parts, as they are sent.
pub(super) fn open() -> (mpsc::UnboundedSender<String>, Body) {
    let (send, parts) = mpsc::unbounded_channel::<String>();
    let parts = UnboundedReceiverStream::new(parts).map(Ok::<_, Infallible>);
    (send, Body::from_stream(parts))
}

fn whole(parts: Vec<String>) -> Body {
    Body::from_stream(futures_util::stream::iter(
        parts.into_iter().map(Ok::<_, Infallible>),
    ))
}

pub(super) fn line(id: &str) -> String {
    format!("{}\n", event(id, "t"))
}

fn range(first: usize, count: usize, offset: u64, duplicate: bool) -> Value {
    json!({ "first": first, "count": count, "offset": offset, "duplicate": duplicate })
}

/// The ranges one behind the other, whatever came as one and whatever as several.
fn joined(ranges: &[Value]) -> Vec<Value> {
    let number = |range: &Value, name: &str| range[name].as_u64().unwrap();
    let mut out: Vec<Value> = Vec::new();
    for next in ranges {
        let counted: u64 = out.iter().map(|range| number(range, "count")).sum();
        assert_eq!(number(next, "first"), counted, "{ranges:?}");
        if let Some(last) = out.last_mut()
            && last["duplicate"] == next["duplicate"]
            && number(last, "offset") + number(last, "count") == number(next, "offset")
        {
            last["count"] = json!(number(last, "count") + number(next, "count"));
        } else {
            out.push(next.clone());
        }
    }
    out
}

#[tokio::test]
async fn each_event_is_acknowledged_once_wherever_the_parts_of_the_body_end() {
    let text = format!(
        "{}{}\r\n \n{}{}{}",
        line("a"),
        event("b", "t"),
        line("a"),
        line("c"),
        event("d", "t")
    );
    for cut in 0..text.len() {
        let bed = Bed::new();
        let (head, tail) = text.split_at(cut);
        let parts = vec![head.to_owned(), tail.to_owned()];
        let mut lines = Answer::of(&bed, whole(parts)).await.rest().await;
        assert_eq!(lines.pop().unwrap(), json!({ "taken": 5 }), "cut at {cut}");
        let expected = [range(0, 2, 1, false), range(2, 1, 1, true), range(3, 2, 3, false)];
        assert_eq!(joined(&lines), expected, "cut at {cut}");
        assert_eq!(bed.host.log().bounds().last, Offset(4), "cut at {cut}");
    }
    let lines = Answer::of(&Bed::new(), Body::empty()).await.rest().await;
    assert_eq!(lines, [json!({ "taken": 0 })]);
}

#[tokio::test]
async fn what_came_is_acknowledged_while_the_stream_goes_on() {
    let bed = Bed::new();
    let (send, body) = open();
    send.send(line("a") + &line("b")).unwrap();
    let mut answer = Answer::of(&bed, body).await;
    assert_eq!(answer.next().await.unwrap(), range(0, 2, 1, false));
    // The first half of an event is none.
    let (head, tail) = (line("d"), line("d").split_off(10));
    send.send(line("c") + &head[..10]).unwrap();
    assert_eq!(answer.next().await.unwrap(), range(2, 1, 3, false));
    send.send(tail).unwrap();
    assert_eq!(answer.next().await.unwrap(), range(3, 1, 4, false));
    drop(send);
    assert_eq!(answer.rest().await, [json!({ "taken": 4 })]);
}

#[tokio::test]
async fn a_refused_event_ends_the_stream_and_those_before_it_are_taken() {
    let other = || {
        let mut other = event("a", "t");
        other["data"] = json!("other");
        format!("{other}\n")
    };
    let bad = || format!("{}\n", event("e", "order placed"));
    let long = "x".repeat(2000);
    for (what, status, code, says) in [
        (bad(), 400, "event-invalid", "`type`"),
        ("{]\n".to_owned(), 400, "event-invalid", "no CloudEvent"),
        (other(), 409, "identity-conflict", "event 3: id \"a\""),
        // Both are refused when they are appended and when they are read: the first of them counts.
        (other() + &bad(), 409, "identity-conflict", "event 3: id \"a\""),
        (bad() + &other(), 400, "event-invalid", "`type`"),
        (long, 413, "too-large", "the line is larger than 1000 bytes"),
    ] {
        let limits = Limits {
            request_bytes: 1000,
            ..Limits::default()
        };
        let memory = Options {
            durability: Durability::Memory,
            ..Options::default()
        };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let bed = Bed::with(&storage, memory, limits);
        let parts = vec![line("a"), line("b") + &line("c") + &what, line("d")];
        let mut lines = Answer::of(&bed, whole(parts)).await.rest().await;
        let end = lines.pop().unwrap();
        assert_eq!(joined(&lines), [range(0, 3, 1, false)], "{what}");
        assert_eq!(
            (&end["taken"], &end["problem"]["status"]),
            (&json!(3), &json!(status))
        );
        assert_eq!(end["problem"]["code"], code, "{end}");
        assert!(end["problem"]["detail"].as_str().unwrap().contains(says), "{end}");
        assert!(!end["problem"]["hint"].as_str().unwrap().is_empty(), "{end}");
        assert_eq!(
            bed.host.log().bounds().last,
            Offset(3),
            "nothing behind it is taken: {what}"
        );
        let refused = bed.host.figures().await.unwrap().refused;
        assert_eq!(refused.get(code), Some(&1), "{refused:?}");
    }
}

#[tokio::test]
async fn of_several_events_that_are_refused_together_the_first_is_told() {
    let bed = Bed::new();
    let schema = json!({ "type": "object", "properties": { "n": { "type": "string" } } });
    let headers = [("content-type", "application/json")];
    let set = request("PUT", "/v1/schemas/strict", &headers, schema.to_string());
    bed.send(set).await.ok();
    bed.publish(&event("a", "t")).await;
    let mut other = event("a", "t");
    other["data"] = json!("other");
    let strict = event("e", "strict");
    // Schemas are looked at before identities.
    let part = line("b") + &format!("{other}\n") + &line("c") + &format!("{strict}\n");
    let mut lines = Answer::of(&bed, whole(vec![part])).await.rest().await;
    let end = lines.pop().unwrap();
    assert_eq!(joined(&lines), [range(0, 1, 3, false)]);
    assert_eq!(
        (&end["taken"], &end["problem"]["code"]),
        (&json!(1), &json!("identity-conflict"))
    );
    let part = line("c") + &format!("{strict}\n{other}\n");
    let end = Answer::of(&bed, whole(vec![part]))
        .await
        .rest()
        .await
        .pop()
        .unwrap();
    assert_eq!(
        (&end["taken"], &end["problem"]["code"]),
        (&json!(1), &json!("contract-broken"))
    );
    assert!(
        end["problem"]["detail"].as_str().unwrap().starts_with("event 1:"),
        "{end}"
    );
}

#[tokio::test]
async fn invariant_01_no_event_of_a_stream_is_acknowledged_before_it_is_durable() {
    let storage = Arc::new(Stuck::default());
    let of_log: Arc<dyn Storage> = storage.clone();
    let bed = Bed::with(&of_log, Options::default(), Limits::default());
    bed.publish(&event("before", "t")).await;
    let shut = storage.shut();
    let read = Arc::new(AtomicUsize::new(0));
    let counts = read.clone();
    let large = (0..100).map(move |n: usize| {
        counts.fetch_add(1, Ordering::Relaxed);
        let mut large = event(&n.to_string(), "t");
        large["data"] = "x".repeat(500_000).into();
        Ok::<_, Infallible>(format!("{large}\n"))
    });
    let body = Body::from_stream(futures_util::stream::iter(large));
    let mut answer = Answer::of(&bed, body).await;
    // It reads as far as it goes, which is not far: what is not acknowledged takes memory.
    for _ in 0..10 {
        assert!(futures_util::poll!(answer.body.next()).is_pending());
    }
    let parts = read.load(Ordering::Relaxed);
    assert!((2..=10).contains(&parts), "{parts} parts of half a megabyte");
    assert_eq!(bed.host.log().bounds().durable, Offset(1));
    drop(shut);
    let mut lines = answer.rest().await;
    assert_eq!(lines.pop().unwrap(), json!({ "taken": 100 }));
    assert_eq!(joined(&lines), [range(0, 100, 2, false)]);
}

#[tokio::test]
async fn a_stream_waits_where_a_request_would_be_told_to_come_again() {
    let options = HostOptions {
        log: Options {
            durability: Durability::Memory,
            ..Options::default()
        },
        source_rate: Some(SourceRate {
            per_second: 1000,
            burst: 2,
        }),
        ..HostOptions::default()
    };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let bed = Bed::on(&storage, Arc::new(MemoryStorage::default()), options).unwrap();
    let parts = (0..20).map(|n| line(&n.to_string())).collect();
    let mut lines = Answer::of(&bed, whole(parts)).await.rest().await;
    assert_eq!(lines.pop().unwrap(), json!({ "taken": 20 }));
    let status = bed.get("/v1/log").await.ok();
    assert!(status["refused_too_fast"].as_u64() > Some(0), "{status}");

    let storage = Arc::new(Stuck::default());
    let of_log: Arc<dyn Storage> = storage.clone();
    let few = Options {
        max_undurable_bytes: 1000,
        ..Options::default()
    };
    let bed = Bed::with(&of_log, few, Limits::default());
    let shut = storage.shut();
    let parts = (0..20).map(|n| line(&n.to_string())).collect();
    let mut answer = Answer::of(&bed, whole(parts)).await;
    for _ in 0..10 {
        assert!(futures_util::poll!(answer.body.next()).is_pending());
    }
    assert!(
        bed.host.sequencer().refused_busy() > 0,
        "nothing waited for the disk"
    );
    drop(shut);
    assert_eq!(answer.rest().await.pop().unwrap(), json!({ "taken": 20 }));
}

#[tokio::test]
async fn a_stream_ends_when_the_host_stops_and_waits_for_no_plugin() {
    let bed = Bed::new();
    let (send, body) = open();
    send.send(line("a")).unwrap();
    let mut answer = Answer::of(&bed, body).await;
    assert_eq!(answer.next().await.unwrap(), range(0, 1, 1, false));
    bed.host.announce_stop();
    let end = answer.rest().await.pop().unwrap();
    assert_eq!(
        (&end["taken"], &end["problem"]["code"]),
        (&json!(1), &json!("stopping"))
    );
    drop(send);

    let headers = [("content-type", LINES)];
    let asked = request("POST", "/v1/events?wait_for=p", &headers, line("a"));
    bed.send(asked).await.problem(400, "query-invalid");
    // Lines may be the data of an event as well.
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a"),
        ("ce-source", "s"),
        ("ce-type", "t"),
    ];
    let headers = [&headers[..], &[("content-type", LINES)]].concat();
    let bed = Bed::new();
    let asked = request("POST", "/v1/events", &headers, "1\n2\n");
    assert_eq!(bed.send(asked).await.ok()["offset"], 1);
}
