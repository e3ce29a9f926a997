//! What is asked wrongly is answered with a problem that names the thing and the way out.

use std::sync::Arc;

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{ManualClock, Micros};
use serde_json::json;

use super::bed::{Bed, event, request};
use crate::host::HostOptions;
use crate::ingest::SourceRate;

const STRUCTURED: &str = "application/cloudevents+json";

#[tokio::test]
async fn a_source_that_is_too_fast_is_refused_by_name_with_its_whole_batch() {
    let options = HostOptions {
        source_rate: Some(SourceRate {
            per_second: 1,
            burst: 2,
        }),
        clock: Arc::new(ManualClock::new(Micros(1))),
        ..HostOptions::default()
    };
    let storage = || Arc::new(MemoryStorage::default());
    let log: Arc<dyn Storage> = storage();
    let bed = Bed::on(&log, storage(), options).unwrap();
    bed.publish(&event("a", "t")).await;
    let mut other = event("c", "t");
    other["source"] = json!("other");
    let batch = json!([other, event("d", "t"), event("e", "t")]);
    let refused = bed
        .post("application/cloudevents-batch+json", batch.to_string())
        .await;
    let problem = refused.problem(429, "too-fast");
    assert!(
        problem["detail"].as_str().unwrap().contains("\"test\""),
        "{problem}"
    );
    assert_eq!(refused.headers["retry-after"], "1");
    bed.publish(&event("d", "t")).await;
    bed.post(STRUCTURED, event("e", "t").to_string())
        .await
        .problem(429, "too-fast");
    bed.publish(&other).await;
    let status = bed.get("/v1/log").await.ok();
    assert_eq!(
        (&status["refused_too_fast"], &status["last"]),
        (&json!(2), &json!(3))
    );
}

#[tokio::test]
async fn bad_events_are_refused_with_what_is_wrong_and_what_to_write() {
    let bed = Bed::new();
    let changed = |name: &str, value: serde_json::Value| {
        let mut event = event("a", "t");
        event[name] = value;
        event.to_string().into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (STRUCTURED, b"".to_vec(), "the body is no CloudEvent"),
        (STRUCTURED, b"{".to_vec(), "the body is no CloudEvent"),
        (STRUCTURED, b"[]".to_vec(), "an object with id, source, type and specversion"),
        (STRUCTURED, b"{\"id\":\"\xff\"}".to_vec(), "the body is no CloudEvent"),
        (STRUCTURED, b"{}".to_vec(), "`specversion`"),
        (STRUCTURED, changed("specversion", json!("0.3")), "`specversion` is \"0.3\""),
        (STRUCTURED, changed("type", json!("order placed")), "`type`"),
        (STRUCTURED, changed("type", json!("")), "`type`"),
        (STRUCTURED, changed("id", json!("x".repeat(257))), "`id` is longer than 256 bytes"),
        (STRUCTURED, changed("id", json!("a\nb")), "`id` has a control character"),
        (STRUCTURED, changed("source", json!("nerve:shipping")), "reserved for plugins"),
        (STRUCTURED, changed("time", json!("1969-12-31T23:59:59Z")), "before 1970"),
        (STRUCTURED, changed("hops", json!(3)), "`hops` is set by the host alone"),
        (STRUCTURED, changed("causationid", json!("x")), "`causationid` is set by the host alone"),
        (STRUCTURED, changed("data_base64", json!("AA==")), "beside data_base64"),
        (STRUCTURED, changed("data", json!(deep_value())), "nested"),
        (STRUCTURED, b"{\"data\":18446744073709551616,\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"s\",\"type\":\"t\"}".to_vec(), "18446744073709551616"),
        (STRUCTURED, format!("{{\"data\":{deep},\"specversion\":\"1.0\"}}").into_bytes(), "recursion"),
        (STRUCTURED, b"{\"data\":\"\\ud800\",\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"s\",\"type\":\"t\"}".to_vec(), "`data` is no JSON"),
        ("application/cloudevents-batch+json", b"[]".to_vec(), "the batch has no events"),
        ("application/cloudevents-batch+json", b"{}".to_vec(), "an array"),
        ("application/cloudevents-batch+json", b"[1]".to_vec(), "event 0 of the batch"),
    ];
    for (content_type, body, says) in cases {
        let answer = bed.post(content_type, body.clone()).await;
        let problem = answer.problem(400, "event-invalid");
        let detail = problem["detail"].as_str().unwrap();
        let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        assert!(detail.contains(says), "{body}: {detail}");
        assert!(detail.len() < 1000, "{body}: {detail}");
        assert!(
            problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            "{body}: no hint"
        );
    }
    assert_eq!(bed.host.log().bounds().last.0, 0);
}

fn deep_value() -> serde_json::Value {
    (0..110).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test]
async fn bad_headers_are_refused_with_the_attribute() {
    let bed = Bed::new();
    let good = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a"),
        ("ce-source", "s"),
        ("ce-type", "t"),
    ];
    for (name, value, says) in [
        ("ce-id", "b", "`id` is there twice"),
        ("ce-subject", "%ff", "`subject` is not UTF-8"),
        ("ce-data", "x", "`data` is no name of an extension attribute"),
        (
            "ce-data_base64",
            "AA==",
            "`data_base64` is no name of an extension attribute",
        ),
        ("ce-hops", "1", "`hops` is set by the host alone"),
        ("ce-under_score", "x", "is no name of an extension attribute"),
    ] {
        let headers: Vec<_> = good.into_iter().chain([(name, value)]).collect();
        let answer = bed.send(request("POST", "/v1/events", &headers, "{}")).await;
        let detail = answer.problem(400, "event-invalid")["detail"].to_string();
        assert!(detail.contains(says), "{name}: {detail}");
    }
    let answer = bed.send(request("POST", "/v1/events", &good, "no json")).await;
    assert!(
        answer.problem(400, "event-invalid")["detail"]
            .to_string()
            .contains("`data` is no JSON")
    );
}

#[tokio::test]
async fn what_is_no_cloud_event_is_unsupported() {
    let bed = Bed::new();
    for content_type in ["application/json", "", "application/cloudevents+xml"] {
        bed.post(content_type, "{}")
            .await
            .problem(415, "content-type-unsupported");
    }
    // These formats hold whole events: ce- headers beside them change nothing.
    let headers = [
        ("content-type", "application/cloudevents+avro"),
        ("ce-id", "a"),
        ("ce-specversion", "1.0"),
    ];
    let answer = bed.send(request("POST", "/v1/events", &headers, "{}")).await;
    answer.problem(415, "content-type-unsupported");
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let bed = Bed::new();
    bed.publish(&event("a", "t")).await;
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/plugins/p/state/", 404, "not-found"),
        ("PUT", "/v1/events", 405, "method-not-allowed"),
        ("OPTIONS", "/v1/events", 405, "method-not-allowed"),
        ("POST", "/livez", 405, "method-not-allowed"),
        ("GET", "/v1/dead-letters/p/retry", 405, "method-not-allowed"),
        ("GET", "/v1/events?after=x", 400, "query-invalid"),
        ("GET", "/v1/events?after=-1", 400, "query-invalid"),
        ("GET", "/v1/events?limit=many", 400, "query-invalid"),
        ("GET", "/v1/events?afer=1", 400, "query-invalid"),
        ("GET", "/v1/events?type=a..b", 400, "query-invalid"),
        ("GET", "/v1/events/%ff", 400, "query-invalid"),
        ("GET", "/v1/events/a?sorce=x", 400, "query-invalid"),
        ("GET", "/v1/events/a/trace?sorce=x", 400, "query-invalid"),
        ("GET", "/v1/plugins/%ff", 400, "query-invalid"),
        ("GET", "/v1/plugins/p/logs?after=x", 400, "query-invalid"),
        ("GET", "/v1/plugins/p/state/k?min_offset=x", 400, "query-invalid"),
        ("GET", "/v1/plugins/p/state/%ff", 400, "query-invalid"),
        ("GET", "/v1/dead-letters?limit=x", 400, "query-invalid"),
        ("GET", "/v1/dead-letters/p/x", 400, "query-invalid"),
        ("DELETE", "/v1/dead-letters/p/x", 400, "query-invalid"),
        ("POST", "/v1/dead-letters/p/x/retry", 400, "query-invalid"),
    ] {
        let answer = bed.send(request(method, path, &[], "")).await;
        println!("{method} {path}");
        answer.problem(status, code);
        if status == 405 {
            let allowed = answer.headers["allow"].to_str().unwrap();
            assert!(
                !allowed.is_empty(),
                "{method} {path} does not say what is allowed"
            );
        }
    }
    let answer = bed
        .send(request(
            "GET",
            "/v1/events",
            &[("last-event-id", "x"), ("accept", "text/event-stream")],
            "",
        ))
        .await;
    answer.problem(400, "query-invalid");
    let head = bed.send(request("HEAD", "/v1/events", &[], "")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn requests_of_web_pages_and_for_other_hosts_are_refused() {
    let bed = Bed::new();
    let rebound = request("GET", "/v1/events", &[("host", "evil.example")], "");
    bed.send(rebound).await.problem(403, "host-refused");
    let page = request("POST", "/v1/events", &[("origin", "http://evil.example")], "");
    bed.send(page).await.problem(403, "origin-refused");
    let page = request("GET", "/nothing", &[("origin", "null")], "");
    bed.send(page).await.problem(403, "origin-refused");
    let own = request(
        "GET",
        "/v1/events",
        &[("host", "localhost:7117"), ("origin", "http://localhost:7117")],
        "",
    );
    bed.send(own).await.ok();
}

#[tokio::test]
async fn a_body_within_the_limit_of_a_request_but_not_of_an_event_is_too_large() {
    let bed = Bed::new();
    let mut large = event("a", "t");
    large["data"] = "x".repeat(2 << 20).into();
    let problem = bed
        .post(STRUCTURED, large.to_string())
        .await
        .problem(413, "too-large");
    assert!(
        problem["detail"].as_str().unwrap().contains("`data` has 209715"),
        "{problem}"
    );
    let larger = bed.post(STRUCTURED, vec![b' '; (16 << 20) + 1]).await;
    assert!(
        larger.problem(413, "too-large")["detail"]
            .to_string()
            .contains("16777216 bytes")
    );
}
