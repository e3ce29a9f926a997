//! Publishing, paging, following and finding events.

use std::sync::Arc;

use axum::http::StatusCode;
use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Offset, Options};
use serde_json::{Value, json};

use super::bed::{Bed, event, request};
use super::stuck::Stuck;
use crate::ingest::Limits;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json; charset=utf-8";

#[tokio::test]
async fn publishing_again_answers_with_the_first_place_and_other_content_is_a_conflict() {
    let bed = Bed::new();
    let answer = bed.post(STRUCTURED, event("a", "t").to_string()).await;
    let first = json!({ "offset": 1, "id": "a", "source": "test", "duplicate": false });
    assert_eq!(answer.ok(), first);

    // The same event, its attributes in another order and its JSON spaced otherwise.
    let again = r#"{ "data": {"n" : 1}, "type": "t", "source": "test", "id": "a", "specversion": "1.0" }"#;
    let again = bed.post(STRUCTURED, again).await.ok();
    assert_eq!((&again["offset"], &again["duplicate"]), (&json!(1), &json!(true)));

    let mut other = event("a", "t");
    other["data"] = json!({ "n": 2 });
    let refused = bed.post(STRUCTURED, other.to_string()).await;
    let problem = refused.problem(409, "identity-conflict");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"a\"") && detail.contains("offset 1"),
        "{detail}"
    );
    // The same id of another source is another event.
    other["source"] = "elsewhere".into();
    assert_eq!(bed.publish(&other).await, 2);
}

#[tokio::test]
async fn extension_attributes_in_another_order_are_the_same_content() {
    let bed = Bed::new();
    let body = |attributes: &str| {
        format!(r#"{{"specversion":"1.0","id":"a","source":"s","type":"t",{attributes}}}"#)
    };
    bed.post(STRUCTURED, body(r#""one":"1","two":2,"three":true"#))
        .await
        .ok();
    let again = bed
        .post(STRUCTURED, body(r#""three":true,"one":"1","two":2"#))
        .await
        .ok();
    assert_eq!(again["duplicate"], true);
    let other = bed
        .post(STRUCTURED, body(r#""three":true,"one":"1","two":"2""#))
        .await;
    other.problem(409, "identity-conflict");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let bed = Bed::new();
    let batch = json!([event("a", "t"), event("b", "t"), event("a", "t")]).to_string();
    let answer = bed.post(BATCH, batch).await.ok();
    let places = json!([
        { "offset": 1, "id": "a", "source": "test", "duplicate": false },
        { "offset": 2, "id": "b", "source": "test", "duplicate": false },
        { "offset": 1, "id": "a", "source": "test", "duplicate": true },
    ]);
    assert_eq!(answer["events"], places);

    let mut bad = event("d", "order placed");
    let problem = bed.post(BATCH, json!([event("c", "t"), bad]).to_string()).await;
    let problem = problem.problem(400, "event-invalid");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("event 1 of the batch") && detail.contains("`type`"),
        "{detail}"
    );
    assert!(problem["hint"].as_str().unwrap().contains("order.placed"));

    bad = event("c", "t");
    bad["data"] = json!("other");
    let inside = bed.post(BATCH, json!([event("c", "t"), bad]).to_string()).await;
    let detail = inside.problem(409, "identity-conflict")["detail"].to_string();
    assert!(detail.contains("event 1"), "{detail}");
    assert_eq!(
        bed.host.log().bounds().last,
        Offset(2),
        "nothing of a refused batch is appended"
    );
}

#[tokio::test]
async fn binary_mode_takes_the_attributes_from_headers() {
    let bed = Bed::new();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a"),
        ("ce-source", "test"),
        ("ce-type", "t"),
        ("ce-partitionkey", "k%20%C3%BC"),
        ("content-type", "application/json"),
    ];
    let sent = request("POST", "/v1/events", &headers, r#"{"n":1}"#);
    assert_eq!(bed.send(sent).await.ok()["offset"], 1);
    let shown = bed.get("/v1/events/@1").await.ok();
    let shown = &shown["events"][0]["event"];
    assert_eq!(
        (&shown["partitionkey"], &shown["data"]),
        (&json!("k ü"), &json!({ "n": 1 }))
    );
}

#[tokio::test]
async fn pages_go_through_all_events_and_only_those_that_match() {
    let bed = Bed::new();
    for n in 0..5 {
        bed.publish(&event(&format!("a{n}"), "order.placed")).await;
        bed.publish(&event(&format!("b{n}"), "order.shipped.late")).await;
    }
    let page = bed.get("/v1/events?type=order.*&limit=2").await.ok();
    assert_eq!(offsets(&page), [1, 3]);
    assert_eq!((&page["next"], &page["last"]), (&json!(3), &json!(10)));
    let rest = bed.get("/v1/events?type=order.*&after=3&limit=100").await.ok();
    assert_eq!(offsets(&rest), [5, 7, 9]);
    assert_eq!(
        rest["next"], 10,
        "the next page begins behind all that was looked at"
    );
    assert_eq!(offsets(&bed.get("/v1/events").await.ok()).len(), 10);
    assert_eq!(
        offsets(&bed.get("/v1/events?after=18446744073709551615").await.ok()),
        [0; 0]
    );
}

#[tokio::test]
async fn a_page_of_large_events_ends_early_and_the_next_goes_on() {
    let bed = Bed::new();
    for n in 0..12 {
        let mut large = event(&n.to_string(), "t");
        large["data"] = Value::from("x".repeat(1_000_000));
        bed.publish(&large).await;
    }
    let (mut after, mut pages, mut seen) = (0, 0, 0);
    while after < 12 {
        let answer = bed.get(&format!("/v1/events?limit=1000&after={after}")).await;
        assert!(
            answer.body.len() < 12_000_000,
            "a page of {} bytes",
            answer.body.len()
        );
        let page = answer.ok();
        seen += offsets(&page).len();
        after = page["next"].as_u64().unwrap();
        pages += 1;
    }
    assert_eq!((seen, pages), (12, 2));
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_that_was_seen() {
    let bed = Bed::new();
    for id in ["a", "b", "c"] {
        bed.publish(&event(id, "t")).await;
    }
    let mut stream = bed.follow("/v1/events?after=1", &[]).await;
    let (id, name, data) = stream.next().await.unwrap();
    assert_eq!((&*id, &*name, &data["event"]["id"]), ("2", "t", &json!("b")));
    assert_eq!(data, bed.get("/v1/events/@2").await.ok()["events"][0]);
    drop(stream);

    let mut stream = bed
        .follow("/v1/events?after=1&type=t", &[("last-event-id", "2")])
        .await;
    assert_eq!(stream.next().await.unwrap().0, "3");
    bed.publish(&event("d", "other")).await;
    bed.publish(&event("e", "t")).await;
    assert_eq!(
        stream.next().await.unwrap().0,
        "5",
        "it goes on with what is published later"
    );
    bed.host.announce_stop();
    assert!(stream.next().await.is_none(), "it ends when the host stops");
}

#[tokio::test]
async fn a_position_that_retention_has_passed_is_gone_and_the_first_that_is_left_is_named() {
    let small = Options {
        segment_bytes: 1000,
        hot_bytes: 0,
        ..Options::default()
    };
    let of_log: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let bed = Bed::with(&of_log, small, Limits::default());
    for n in 0..50 {
        bed.publish(&event(&n.to_string(), "t")).await;
    }
    let first = bed.host.log().drop_before(Offset(30)).unwrap().0;
    assert!(first > 5);
    let page = bed.get("/v1/events?after=3").await;
    assert_eq!(page.problem(410, "position-gone")["first"], first);
    let mut stream = request(
        "GET",
        "/v1/events?after=3",
        &[("accept", "text/event-stream")],
        "",
    );
    assert_eq!(
        bed.send(stream).await.problem(410, "position-gone")["first"],
        first
    );
    stream = request(
        "GET",
        "/v1/events",
        &[("accept", "text/event-stream"), ("last-event-id", "3")],
        "",
    );
    assert_eq!(
        bed.send(stream).await.problem(410, "position-gone")["first"],
        first
    );
    bed.get("/v1/events/@3").await.problem(410, "position-gone");
    bed.get("/v1/events/@3/trace").await.problem(410, "position-gone");

    // Who names no position gets what is left.
    let page = bed.get("/v1/events?limit=1").await.ok();
    assert_eq!(offsets(&page), [first]);
    let mut stream = bed.follow("/v1/events", &[]).await;
    assert_eq!(stream.next().await.unwrap().0, first.to_string());
    bed.get("/v1/events/3").await.problem(404, "event-not-found");
    assert_eq!(offsets(&bed.get("/v1/events/49").await.ok()), [50]);
}

#[tokio::test]
async fn an_event_is_found_by_its_id_and_source_or_its_offset() {
    let bed = Bed::new();
    let mut other = event("a/b ü", "t");
    bed.publish(&other).await;
    other["source"] = "second".into();
    bed.publish(&other).await;
    let path = "/v1/events/a%2Fb%20%C3%BC";
    assert_eq!(offsets(&bed.get(path).await.ok()), [1, 2]);
    assert_eq!(
        offsets(&bed.get(&format!("{path}?source=second")).await.ok()),
        [2]
    );
    assert_eq!(offsets(&bed.get("/v1/events/@1").await.ok()), [1]);
    bed.get(&format!("{path}?source=third"))
        .await
        .problem(404, "event-not-found");
    bed.get("/v1/events/@3").await.problem(404, "event-not-found");
    bed.get("/v1/events/@0").await.problem(404, "event-not-found");
    bed.get("/v1/events/@x").await.problem(400, "query-invalid");
    bed.get(&format!("{path}/trace"))
        .await
        .problem(409, "id-ambiguous");
    let tree = bed.get(&format!("{path}/trace?source=second")).await.ok();
    assert_eq!(
        (&tree["root"]["offset"], &tree["truncated"]),
        (&json!(2), &json!(false))
    );
}

#[tokio::test]
async fn invariant_01_nothing_is_answered_or_shown_before_it_is_durable() {
    let storage = Arc::new(Stuck::default());
    let few = Options {
        max_undurable_bytes: 1000,
        ..Options::default()
    };
    let of_log: Arc<dyn Storage> = storage.clone();
    let bed = Arc::new(Bed::with(&of_log, few, Limits::default()));
    bed.publish(&event("a", "t")).await;
    let shut = storage.shut();
    let beside = bed.clone();
    let publishing = tokio::spawn(async move { beside.publish(&event("b", "t")).await });
    while bed.host.log().bounds().last < Offset(2) {
        tokio::task::yield_now().await;
    }
    let page = bed.get("/v1/events").await.ok();
    assert_eq!((offsets(&page), &page["last"]), (vec![1], &json!(1)));
    bed.get("/v1/events/b").await.problem(404, "event-not-found");
    bed.get("/v1/events/@2").await.problem(404, "event-not-found");
    assert_eq!(bed.get("/v1/log").await.ok()["durable"], 1);
    assert!(!publishing.is_finished());

    // More than may wait for the disk is refused, and told when to come back.
    let mut large = event("c", "t");
    large["data"] = "x".repeat(2000).into();
    let busy = bed.post(STRUCTURED, large.to_string()).await;
    busy.problem(429, "busy");
    let seconds: u64 = busy.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1);

    drop(shut);
    assert_eq!(publishing.await.unwrap(), 2);
    assert_eq!(offsets(&bed.get("/v1/events").await.ok()), [1, 2]);
    assert_eq!(bed.publish(&large).await, 3, "what was refused was not appended");
}

#[tokio::test]
async fn a_host_that_stops_says_so() {
    let bed = Bed::new();
    assert_eq!(bed.get("/livez").await.body, b"ok\n");
    assert_eq!(bed.get("/readyz").await.body, b"ok\n");
    bed.host.announce_stop();
    assert_eq!(bed.get("/livez").await.status, StatusCode::OK);
    bed.get("/readyz").await.problem(503, "not-ready");
    let refused = bed.post(STRUCTURED, event("a", "t").to_string()).await;
    refused.problem(503, "stopping");
}

fn offsets(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["offset"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_mode_that_does_not_fit_is_refused_and_so_is_one_event_of_several() {
    let bed = Bed::new();
    let mut one = event("a", "t");
    bed.publish(&one).await;
    let shown = bed.get("/v1/events/a?mode=structured").await;
    assert_eq!(shown.ok()["id"], "a");
    one["source"] = "elsewhere".into();
    bed.publish(&one).await;
    for (path, says) in [
        ("/v1/events?mode=binary", "a page can't be read in this mode"),
        ("/v1/events?mode=structured", "a page can't be read in this mode"),
        (
            "/v1/events/a?mode=batched",
            "one event can't be read in this mode",
        ),
        ("/v1/events/a?mode=binary", "events of 2 sources have the id"),
        ("/v1/events?mode=other", "unknown variant"),
    ] {
        let refused = bed.get(path).await.problem(400, "query-invalid");
        assert!(refused["detail"].as_str().unwrap().contains(says), "{refused}");
    }
    let shown = bed.get("/v1/events/a?mode=structured&source=elsewhere").await;
    assert_eq!(shown.ok()["source"], "elsewhere");
}
