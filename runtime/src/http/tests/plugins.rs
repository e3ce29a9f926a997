//! Plugins: their status, state, log lines, dead letters, and their part of a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::bed::{Bed, Script, event, failed, request};
use crate::delivery::handler::{Effects, Emit, Handled, LogLine};
use crate::log::record::{FailureClass, Level};

/// Writes the event's id under `open/` and `shut/`, logs it, and emits one `made` for each `t`.
fn writes() -> Script {
    Arc::new(|delivery| {
        let id = delivery.event.id;
        let value = rmp_serde::to_vec(id).unwrap();
        let emit = Emit {
            r#type: "made".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        };
        Handled {
            effects: Effects {
                timers: vec![],
                emits: if delivery.event.r#type == "t" {
                    vec![emit]
                } else {
                    vec![]
                },
                writes: vec![
                    (format!("open/{id}").into(), Some(value.clone().into())),
                    (format!("shut/{id}").into(), Some(value.into())),
                ],
            },
            lines: vec![LogLine {
                level: Level::Info,
                text: format!("saw {id}").into(),
            }],
            ..Handled::default()
        }
    })
}

#[tokio::test]
async fn only_what_a_plugin_declares_readable_can_be_read() {
    let bed = Bed::new();
    bed.deploy("p", "t", writes());
    let offset = bed.publish(&event("a", "t")).await;
    let read = bed
        .get(&format!("/v1/plugins/p/state/open/a?min_offset={offset}"))
        .await
        .ok();
    assert_eq!((&read["key"], &read["value"]), (&json!("open/a"), &json!("a")));
    assert!(read["offset"].as_u64().unwrap() >= offset);
    bed.get("/v1/plugins/p/state/shut/a")
        .await
        .problem(403, "not-readable");
    bed.get("/v1/plugins/p/state").await.problem(403, "not-readable");
    bed.get("/v1/plugins/p/state?prefix=shut/")
        .await
        .problem(403, "not-readable");
    bed.get("/v1/plugins/p/state/open/b")
        .await
        .problem(404, "state-key-not-found");
    bed.get("/v1/plugins/q/state/open/a")
        .await
        .problem(404, "plugin-not-found");

    for id in ["b", "c"] {
        bed.settled("p", bed.publish(&event(id, "t")).await).await;
    }
    let page = bed.get("/v1/plugins/p/state?prefix=open/&limit=2").await.ok();
    let entries = json!([{ "key": "open/a", "value": "a" }, { "key": "open/b", "value": "b" }]);
    assert_eq!((&page["entries"], &page["next"]), (&entries, &json!("open/b")));
    let rest = bed
        .get("/v1/plugins/p/state?prefix=open/&limit=2&after=open%2Fb")
        .await
        .ok();
    let entries = json!([{ "key": "open/c", "value": "c" }]);
    assert_eq!((&rest["entries"], &rest["next"]), (&entries, &Value::Null));
}

#[tokio::test]
async fn a_wait_for_an_offset_ends_when_its_time_is_up() {
    let bed = Bed::new();
    let stuck = Arc::new(AtomicBool::new(true));
    let held = stuck.clone();
    bed.deploy(
        "p",
        "t",
        Arc::new(move |_| {
            if held.load(Ordering::Relaxed) {
                failed(FailureClass::Retry, "not yet")
            } else {
                Handled::default()
            }
        }),
    );
    let offset = bed.publish(&event("a", "t")).await;
    let path = format!("/v1/plugins/p/state/open/a?min_offset={offset}&timeout_ms=");
    let problem = bed.get(&format!("{path}20")).await.problem(504, "wait-timed-out");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("not yet {offset}")),
        "{problem}"
    );
    stuck.store(false, Ordering::Relaxed);
    bed.get(&format!("{path}60000"))
        .await
        .problem(404, "state-key-not-found");
}

#[tokio::test]
async fn a_plugin_is_shown_with_its_version_its_cursor_and_its_trouble() {
    let bed = Bed::new();
    bed.deploy("p", "t", writes());
    let offset = bed.publish(&event("a", "t")).await;
    bed.settled("p", offset).await;
    let shown = bed.get("/v1/plugins/p").await.ok();
    assert_eq!(
        (&shown["name"], &shown["status"], &shown["label"], &shown["lag"]),
        (&json!("p"), &json!("live"), &json!("1.2.3"), &json!(0))
    );
    assert_eq!(shown["subscriptions"], json!([{ "pattern": "t", "from": 2 }]));
    assert_eq!(
        shown["counters"],
        json!({ "done": 1, "retry": 0, "dead": 0, "conflicts": 0 })
    );
    assert_eq!(
        (&shown["readable"], &shown["limits"]),
        (&json!(["open/"]), &json!({ "time_ms": 1000 }))
    );
    assert_eq!(shown["state"]["keys"], 2);
    assert_eq!(bed.get("/v1/plugins").await.ok()["plugins"], json!([shown]));
    bed.get("/v1/plugins/q").await.problem(404, "plugin-not-found");
    bed.send(request("DELETE", "/v1/plugins/q", &[], ""))
        .await
        .problem(404, "plugin-not-found");
}

#[tokio::test]
async fn log_lines_are_paged_and_followed() {
    let bed = Bed::new();
    bed.deploy("p", "t", writes());
    bed.deploy("q", "t", writes());
    for id in ["a", "b", "c"] {
        bed.settled("p", bed.publish(&event(id, "t")).await).await;
    }
    let texts = |page: &Value| -> Vec<String> {
        let lines = page["lines"].as_array().unwrap();
        lines
            .iter()
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let last = bed.get("/v1/plugins/p/logs?limit=2").await.ok();
    assert_eq!(texts(&last), ["saw b", "saw c"]);
    let first = bed.get("/v1/plugins/p/logs?after=0&limit=1").await.ok();
    assert_eq!(texts(&first), ["saw a"]);
    let line = &first["lines"][0];
    assert_eq!((&line["level"], &line["attempt"]), (&json!("info"), &json!(1)));
    let rest = bed
        .get(&format!("/v1/plugins/p/logs?after={}", first["next"]))
        .await
        .ok();
    assert_eq!(texts(&rest), ["saw b", "saw c"]);
    bed.get("/v1/plugins/r/logs")
        .await
        .problem(404, "plugin-not-found");

    let mut stream = bed.follow("/v1/plugins/p/logs?after=0", &[]).await;
    let (id, name, data) = stream.next().await.unwrap();
    assert_eq!((&*name, &data[0]["text"]), ("lines", &json!("saw a")));
    let mut stream = bed
        .follow("/v1/plugins/p/logs?after=0", &[("last-event-id", &id)])
        .await;
    assert_eq!(stream.next().await.unwrap().2[0]["text"], "saw b");
}

#[tokio::test]
async fn dead_letters_are_listed_shown_retried_and_dropped() {
    let bed = Bed::new();
    let mended = Arc::new(AtomicBool::new(false));
    let good = mended.clone();
    let script: Script = Arc::new(move |_| {
        if good.load(Ordering::Relaxed) {
            Handled::default()
        } else {
            failed(FailureClass::Reject, "no such user")
        }
    });
    bed.deploy("p", "t", script.clone());
    bed.deploy("q", "t", script);
    let mut offsets = Vec::new();
    for id in ["a", "b", "c"] {
        let offset = bed.publish(&event(id, "t")).await;
        bed.settled("p", offset).await;
        bed.settled("q", offset).await;
        offsets.push(offset);
    }
    let [a, b, c] = offsets[..] else { unreachable!() };
    let all = bed.get("/v1/dead-letters").await.ok();
    assert_eq!(all["dead_letters"].as_array().unwrap().len(), 6);
    let page = bed.get("/v1/dead-letters?plugin=p&limit=2").await.ok();
    let letter = &page["dead_letters"][0];
    assert_eq!(
        (
            &letter["plugin"],
            &letter["event"],
            &letter["id"],
            &letter["class"],
            &letter["reason"]
        ),
        (
            &json!("p"),
            &json!(a),
            &json!("a"),
            &json!("reject"),
            &json!("no such user")
        )
    );
    let rest = bed
        .get(&format!(
            "/v1/dead-letters?plugin=p&limit=2&after={}",
            page["next"]
        ))
        .await
        .ok();
    assert_eq!(
        (&rest["dead_letters"][0]["event"], &rest["next"]),
        (&json!(c), &Value::Null)
    );
    let whole = bed.get(&format!("/v1/dead-letters/p/{b}")).await.ok();
    assert_eq!(whole["data"]["data"], json!({ "n": 1 }));

    let none = bed.get("/v1/dead-letters/p/99").await;
    none.problem(404, "dead-letter-not-found");
    bed.get("/v1/dead-letters?plugin=r")
        .await
        .problem(404, "plugin-not-found");
    for (method, path) in [
        ("POST", "/v1/dead-letters/p/99/retry"),
        ("DELETE", "/v1/dead-letters/p/99"),
    ] {
        bed.send(request(method, path, &[], ""))
            .await
            .problem(404, "dead-letter-not-found");
    }
    let all = bed
        .send(request("POST", "/v1/dead-letters/r/retry", &[], ""))
        .await;
    all.problem(404, "plugin-not-found");

    mended.store(true, Ordering::Relaxed);
    let dropped = bed
        .send(request("DELETE", &format!("/v1/dead-letters/p/{a}"), &[], ""))
        .await;
    assert_eq!(dropped.ok(), json!({ "dropped": [a] }));
    let one = bed
        .send(request("POST", &format!("/v1/dead-letters/p/{b}/retry"), &[], ""))
        .await;
    assert_eq!(one.ok(), json!({ "redriven": [b] }));
    let all = bed
        .send(request("POST", "/v1/dead-letters/q/retry", &[], ""))
        .await;
    assert_eq!(all.ok(), json!({ "redriven": [a, b, c] }));
    let left = async |plugin: &str| {
        let page = bed.get(&format!("/v1/dead-letters?plugin={plugin}")).await.ok();
        page["dead_letters"].as_array().unwrap().len()
    };
    while left("p").await > 1 || left("q").await > 0 {
        tokio::task::yield_now().await;
    }
    let page = bed.get("/v1/dead-letters?plugin=p").await.ok();
    assert_eq!(page["dead_letters"][0]["event"], c);
}

#[tokio::test]
async fn a_trace_shows_every_attempt_and_every_event_it_led_to() {
    let bed = Bed::new();
    bed.deploy("first", "t", writes());
    bed.deploy("second", "made", writes());
    let failing: Script = Arc::new(|delivery| match delivery.attempt {
        1 => failed(FailureClass::Trap, "unreachable"),
        _ => Handled::default(),
    });
    bed.deploy("third", "t", failing);
    bed.publish(&event("before", "t")).await;
    let offset = bed.publish(&event("root", "t")).await;
    bed.publish(&event("after", "t")).await;
    bed.settled("first", offset).await;
    bed.settled("third", offset).await;
    let made = bed.host.log().bounds().last;
    bed.settled("second", made.0).await;

    let answer = bed.get("/v1/events/root/trace").await;
    assert_eq!(answer.status, StatusCode::OK);
    let root = &answer.json()["root"];
    assert_eq!(root["event"]["id"], "root");
    let deliveries = root["deliveries"].as_array().unwrap();
    let mut seen: Vec<String> = deliveries
        .iter()
        .map(|d| format!("{} {} {}", d["plugin"], d["attempt"], d["verdict"]).replace('"', ""))
        .collect();
    seen.sort();
    assert_eq!(seen, ["first 1 done", "third 1 retry", "third 2 done"]);
    let first = deliveries.iter().find(|d| d["plugin"] == "first").unwrap();
    assert_eq!(first["lines"], json!([{ "level": "info", "text": "saw root" }]));
    assert_eq!(first["writes"].as_array().unwrap().len(), 2);
    let emitted = &first["emitted"][0];
    assert_eq!(
        (
            &emitted["event"]["type"],
            &emitted["event"]["causationid"],
            &emitted["event"]["causationoffset"]
        ),
        (&json!("made"), &json!("root"), &json!(offset))
    );
    assert_eq!(
        (&emitted["event"]["correlationid"], &emitted["event"]["hops"]),
        (&json!("root"), &json!(1))
    );
    assert_eq!(emitted["deliveries"][0]["plugin"], "second");
    let retried = deliveries.iter().find(|d| d["verdict"] == "retry").unwrap();
    assert_eq!(
        (&retried["class"], &retried["reason"]),
        (&json!("trap"), &json!("unreachable"))
    );
    assert!(retried["due"].is_string());
}

#[tokio::test]
async fn a_plugin_is_paused_and_goes_on_where_it_stopped() {
    let bed = Bed::new();
    bed.deploy("p", "t", writes());
    let ask = |what: &str| request("POST", &format!("/v1/plugins/p/{what}"), &[], "");
    let paused = bed.send(ask("pause")).await.ok();
    assert_eq!(
        (
            &paused["status"],
            &paused["paused"]["why"],
            &paused["paused"]["next_try"]
        ),
        (&json!("paused"), &json!("operator"), &Value::Null)
    );
    let offset = bed.publish(&event("a", "t")).await;
    bed.get(&format!(
        "/v1/plugins/p/state/open/a?min_offset={offset}&timeout_ms=1"
    ))
    .await
    .problem(504, "wait-timed-out");
    let resumed = bed.send(ask("resume")).await.ok();
    assert_eq!(
        (&resumed["status"], &resumed["paused"]),
        (&json!("live"), &Value::Null)
    );
    bed.settled("p", offset).await;
    bed.send(request("POST", "/v1/plugins/q/pause", &[], ""))
        .await
        .problem(404, "plugin-not-found");
}

#[tokio::test]
async fn an_outage_is_shown_with_its_reason_and_its_next_try() {
    let bed = Bed::new();
    bed.deploy(
        "p",
        "t",
        Arc::new(|_| failed(FailureClass::Retry, "the mail server is away")),
    );
    for id in ["a", "b", "c"] {
        bed.publish(&event(id, "t")).await;
    }
    let subscriber = bed.host.subscribers().get("p").unwrap();
    while subscriber.state.lock().breaker.open().is_none() {
        tokio::task::yield_now().await;
    }
    let shown = bed.get("/v1/plugins/p").await.ok();
    assert_eq!(
        (
            &shown["status"],
            &shown["paused"]["why"],
            &shown["paused"]["reason"]
        ),
        (
            &json!("paused"),
            &json!("outage"),
            &json!("the mail server is away")
        )
    );
    assert!(shown["paused"]["next_try"].is_string());
    assert_eq!(shown["dead_letters"], 0);
}
