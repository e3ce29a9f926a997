//! Publishers that wait for plugins.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::http::StatusCode;
use nerve_eventlog::storage::Storage;
use nerve_eventlog::{Offset, Options};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::bed::{Answer, Bed, Script, event, failed, request};
use super::stuck::Stuck;
use crate::delivery::handler::{Effects, Emit, Failure, Handled};
use crate::ingest::Limits;
use crate::log::record::FailureClass;

/// Emits one event of this type for each delivery.
fn emits(name: &'static str) -> Script {
    Arc::new(move |_| Handled {
        effects: Effects {
            emits: vec![Emit {
                r#type: name.into(),
                key: None,
                subject: None,
                content_type: None,
                data: vec![0xc0],
            }],
            ..Effects::default()
        },
        ..Handled::default()
    })
}

fn well() -> Script {
    Arc::new(|_| Handled::default())
}

fn fails(class: FailureClass, reason: &'static str) -> Script {
    Arc::new(move |_| failed(class, reason))
}

/// Fails and comes back after an hour.
fn comes_back_later() -> Script {
    Arc::new(|_| Handled {
        failure: Some(Failure {
            class: FailureClass::Retry,
            reason: "not now".into(),
            retry_after: Some(Duration::from_hours(1)),
        }),
        ..Handled::default()
    })
}

/// A door that handlers wait at.
#[derive(Default)]
struct Door {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn open(&self) {
        *self.is_open.lock() = true;
        self.opened.notify_all();
    }

    fn behind(self: &Arc<Self>) -> Script {
        let door = self.clone();
        Arc::new(move |_| {
            let mut is_open = door.is_open.lock();
            while !*is_open {
                door.opened.wait(&mut is_open);
            }
            Handled::default()
        })
    }
}

const LONG: &str = "timeout_ms=60000";
const SHORT: &str = "timeout_ms=1";

async fn publish(bed: &Bed, body: &Value, plugins: &str, time: &str) -> Answer {
    let kind = if body.is_array() {
        "application/cloudevents-batch+json"
    } else {
        "application/cloudevents+json"
    };
    let path = format!("/v1/events?wait_for={plugins}&{time}");
    bed.send(request(
        "POST",
        &path,
        &[("content-type", kind)],
        body.to_string(),
    ))
    .await
}

/// What was answered to who waited in vain; the event is in all the same.
fn unsettled(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["settled"], false);
    assert!(body["offset"].is_u64() || body["events"].is_array(), "{body}");
    body
}

/// Ask until `plugin` is held up.
async fn until_it_fails(bed: &Bed, plugin: &str) {
    while bed.host.plugin(plugin).await.unwrap().counters[1] == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_answer_waits_for_what_the_event_caused_through_plugins_that_were_not_named() {
    let bed = Bed::new();
    bed.deploy_emitting("first", "t", &["made"], emits("made"));
    bed.deploy_emitting("second", "made", &["done"], emits("done"));
    bed.deploy("third", "done", well());
    let answer = publish(&bed, &event("a", "t"), "third", LONG).await.ok();
    assert_eq!((&answer["settled"], &answer["id"]), (&json!(true), &json!("a")));
    assert_eq!((&answer["failed"], &answer["behind"]), (&json!([]), &json!([])));
    assert_eq!(bed.host.plugin("third").await.unwrap().counters, [1, 0, 0]);

    let batch = json!([
        event("b", "t"),
        event("a", "t"),
        event("c", "done"),
        event("d", "other")
    ]);
    let answer = publish(&bed, &batch, "first,third", LONG).await.ok();
    assert_eq!(
        (&answer["settled"], answer["events"].as_array().unwrap().len()),
        (&json!(true), 4)
    );
    assert_eq!(bed.host.plugin("third").await.unwrap().counters, [3, 0, 0]);
    assert_eq!(bed.host.waiting().0, 0);
}

#[tokio::test]
async fn who_publishes_it_again_waits_on() {
    let bed = Bed::new();
    let door = Arc::new(Door::default());
    bed.deploy("slow", "t", door.behind());
    let body = unsettled(&publish(&bed, &event("a", "t"), "slow", SHORT).await);
    let behind = body["behind"][0].clone();
    for n in 0..5000 {
        bed.publish(&event(&format!("b{n}"), "u")).await;
    }
    door.open();
    let again = publish(&bed, &event("a", "t"), "slow", LONG).await.ok();
    // Looked at when the door is open: behind a closed one a failure would wait for ever.
    assert_eq!(behind["plugin"], "slow");
    // Where the time was over before the record was read, the host says just that, and names no event.
    let is_known = behind["why"] == "lag" && behind["event"] == body["offset"];
    assert!(is_known || behind["why"] == "unknown", "{body}");
    assert_eq!(
        (&again["settled"], &again["duplicate"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test]
async fn who_is_behind_is_named_with_the_reason_and_the_next_try() {
    let bed = Bed::new();
    bed.deploy_emitting("paused", "t", &["made"], emits("made"));
    bed.deploy("parked", "u", comes_back_later());
    bed.deploy("waits", "made", well());
    bed.deploy("idle", "v", well());
    bed.deploy("gone", "t", well());
    bed.remove("gone");
    bed.host.pause_plugin("paused").await.unwrap();
    bed.publish(&event("u0", "u")).await;
    until_it_fails(&bed, "parked").await;
    let mut keyed = event("u1", "u");
    keyed["partitionkey"] = "k".into();
    bed.publish(&keyed).await;

    for (id, name, plugins, why, detail, has_next) in [
        ("t1", "t", "paused", "paused", "operator", false),
        ("t2", "t", "waits", "paused", "operator", false),
        ("u0", "u", "parked", "parked", "not now", true),
        ("t1", "t", "idle", "not-subscribed", "v from offset", false),
        ("t1", "t", "gone", "removed", "file is gone", false),
        (
            "t1",
            "t",
            "nobody",
            "no-such-plugin",
            "no plugin of this name",
            false,
        ),
    ] {
        let body = loop {
            let body = unsettled(&publish(&bed, &event(id, name), plugins, "timeout_ms=20").await);
            // A busy machine may not have read the record in this time.
            if body["behind"][0]["why"] != "unknown" {
                break body;
            }
        };
        let behind = &body["behind"][0];
        assert_eq!(
            (&behind["why"], body["behind"].as_array().unwrap().len()),
            (&json!(why), 1),
            "{body}"
        );
        assert!(behind["detail"].as_str().unwrap().contains(detail), "{body}");
        assert_eq!(behind["next_try"].is_string(), has_next, "{body}");
    }
}

#[tokio::test]
async fn a_dead_letter_answers_as_failed_and_the_event_is_in() {
    let bed = Bed::new();
    bed.deploy_emitting("first", "t", &["made"], emits("made"));
    bed.deploy("second", "made", fails(FailureClass::Reject, "no such street"));
    let body = unsettled(&publish(&bed, &event("a", "t"), "second", LONG).await);
    let failed = &body["failed"][0];
    assert_eq!(body["behind"], json!([]));
    assert_eq!(
        (&failed["plugin"], &failed["class"]),
        (&json!("second"), &json!("reject"))
    );
    assert_eq!(failed["reason"], "no such street");
    let letters = bed.get("/v1/dead-letters").await.ok();
    assert_eq!(letters["dead_letters"][0]["event"], failed["event"]);
}

#[tokio::test]
async fn a_wait_that_makes_no_sense_is_refused_and_nothing_is_published() {
    let bed = Bed::new();
    for query in [
        "wait_for=",
        "wait_for=a,,b",
        "wait_for=Big",
        "timeout_ms=5",
        "wait_for=a&timeout_ms=x",
        "wait=a",
    ] {
        let path = format!("/v1/events?{query}");
        let headers = [("content-type", "application/cloudevents+json")];
        let sent = request("POST", &path, &headers, event("a", "t").to_string());
        bed.send(sent).await.problem(400, "query-invalid");
    }
    assert_eq!(bed.host.log().bounds().last, Offset(0));
}

#[tokio::test]
async fn a_preference_says_how_long_and_is_said_to_be_applied() {
    let bed = Bed::new();
    bed.deploy("p", "t", well());
    let headers = [
        ("content-type", "application/cloudevents+json"),
        ("prefer", "wait=50"),
    ];
    let sent = request(
        "POST",
        "/v1/events?wait_for=p",
        &headers,
        event("a", "t").to_string(),
    );
    let answer = bed.send(sent).await;
    assert_eq!(answer.headers["preference-applied"], "wait=50");
    assert_eq!(answer.ok()["settled"], true);
}

#[tokio::test]
async fn hundreds_who_wait_share_one_reading_of_the_log_and_leave_nothing_behind() {
    let bed = Arc::new(Bed::new());
    let door = Arc::new(Door::default());
    bed.deploy("slow", "t", door.behind());
    let waiting: Vec<_> = (0..300)
        .map(|n| {
            let bed = bed.clone();
            tokio::spawn(async move {
                publish(&bed, &event(&format!("a{n}"), "t"), "slow", LONG)
                    .await
                    .ok()
            })
        })
        .collect();
    while bed.host.waiting().0 < 300 {
        tokio::task::yield_now().await;
    }
    door.open();
    for one in waiting {
        assert_eq!(one.await.unwrap()["settled"], true);
    }
    let (left, read) = bed.host.waiting();
    let appended = bed.host.log().bounds().last.0;
    assert_eq!((left, appended), (0, 601));
    // Whoever comes while the log is read on may make it read some records twice.
    assert!(read < 3 * appended, "{read} records read of {appended}");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_what_it_took() {
    let bed = Bed::new();
    bed.deploy("later", "t", comes_back_later());
    let (body, other) = (event("a", "t"), event("b", "t"));
    let mut gone = Box::pin(publish(&bed, &body, "later", LONG));
    std::future::poll_fn(|context| {
        assert!(gone.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    let mut gone_too = Box::pin(publish(&bed, &other, "later", LONG));
    let both = std::future::poll_fn(|context| {
        assert!(gone.as_mut().poll(context).is_pending() && gone_too.as_mut().poll(context).is_pending());
        context.waker().wake_by_ref();
        let read = bed.host.waiting();
        if read.0 == 2 && read.1 > 2 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    both.await;
    drop((gone, gone_too));
    assert_eq!(bed.host.waiting().0, 0);
    // Nobody waits, so that nothing is read any more.
    let read = bed.host.waiting().1;
    bed.publish(&event("c", "u")).await;
    assert!(bed.host.waiting().1 <= read + 4);
}

#[tokio::test]
async fn who_waits_when_the_host_stops_is_told_so() {
    let bed = Bed::new();
    bed.deploy("later", "t", comes_back_later());
    let body = event("a", "t");
    let stops = async {
        until_it_fails(&bed, "later").await;
        bed.host.announce_stop();
    };
    let (answer, ()) = tokio::join!(publish(&bed, &body, "later", LONG), stops);
    let body = unsettled(&answer);
    let behind = &body["behind"][0];
    // What was known when it stopped, or that it stopped.
    assert!(
        ["parked", "unknown"].contains(&behind["why"].as_str().unwrap()),
        "{body}"
    );
}

#[tokio::test]
async fn invariant_01_who_waits_is_answered_when_the_outcomes_are_durable() {
    let storage = Arc::new(Stuck::default());
    let of_log: Arc<dyn Storage> = storage.clone();
    let bed = Arc::new(Bed::with(&of_log, Options::default(), Limits::default()));
    let door = Arc::new(Door::default());
    bed.deploy("p", "t", door.behind());
    let beside = bed.clone();
    let waiting = tokio::spawn(async move { publish(&beside, &event("a", "t"), "p", LONG).await });
    while bed.host.log().bounds().durable < Offset(2) {
        tokio::task::yield_now().await;
    }
    let shut = storage.shut();
    door.open();
    let p = bed.host.subscribers().get("p").unwrap();
    while p.state.lock().counters == [0; 3] {
        tokio::task::yield_now().await;
    }
    // Others come, so that the log is read: up to where it is durable, and no further.
    let mut others = Vec::new();
    for _ in 0..2 {
        let (beside, read) = (bed.clone(), bed.host.waiting().1);
        others.push(tokio::spawn(async move {
            publish(&beside, &event("a", "t"), "p", LONG).await
        }));
        while bed.host.waiting().1 == read {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((bed.host.waiting().0, waiting.is_finished()), (3, false));
    drop(shut);
    for one in others.into_iter().chain([waiting]) {
        assert_eq!(one.await.unwrap().ok()["settled"], true);
    }
}
