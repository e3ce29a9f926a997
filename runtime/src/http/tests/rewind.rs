//! Rewinds over the API: where history begins, what is refused, and what is shown.

use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Offset, Options};
use serde_json::{Value, json};

use super::bed::{Bed, Script, event, failed, request};
use crate::delivery::handler::{Effects, Emit, Handled};
use crate::ingest::Limits;
use crate::log::record::FailureClass;

/// Writes the event's id and whether it is a replay, and emits one `made`.
fn writes() -> Script {
    Arc::new(|delivery| {
        let value = rmp_serde::to_vec(&delivery.replay).unwrap();
        Handled {
            effects: Effects {
                timers: vec![],
                emits: vec![Emit {
                    r#type: "made".into(),
                    key: None,
                    subject: None,
                    content_type: None,
                    data: vec![0xc0],
                }],
                writes: vec![(format!("open/{}", delivery.event.id).into(), Some(value.into()))],
            },
            ..Handled::default()
        }
    })
}

async fn post(bed: &Bed, path: &str) -> super::bed::Answer {
    bed.send(request("POST", path, &[], "")).await
}

/// Wait until no rewind of `p` runs.
async fn ended(bed: &Bed) {
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        let mut seen = bed.durable(Offset(0)).await;
        while bed.get("/v1/plugins/p").await.ok()["rewind"].is_object() {
            seen = bed.durable(seen.next()).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn history_runs_again_from_an_offset_a_time_an_event_or_the_start() {
    let bed = Bed::new();
    bed.deploy("p", "t", writes());
    let offsets = [
        bed.publish(&event("a", "t")).await,
        bed.publish(&event("b", "t")).await,
    ];
    bed.settled("p", offsets[1]).await;
    let shown = bed.get(&format!("/v1/events/@{}/trace", offsets[1])).await.ok();
    let recorded = shown["root"]["recorded"].as_str().unwrap().replace(':', "%3A");
    for (to, replays) in [
        ("start", 2),
        (&*offsets[1].to_string(), 1),
        (&*recorded, 1),
        ("b", 1),
        ("event%3Aa", 2),
    ] {
        let before = replayed(&bed, &offsets).await;
        let path = format!("/v1/plugins/p/rewind?to={to}&mute=emit,http");
        let begun = post(&bed, &path).await.ok();
        if let Some(rewind) = begun["rewind"].as_object() {
            assert_eq!(
                (&rewind["mute"], &rewind["fresh"]),
                (&json!(["emit", "http"]), &json!(false))
            );
        }
        ended(&bed).await;
        assert_eq!(replayed(&bed, &offsets).await - before, replays, "to {to}");
    }
    let trace = bed.get(&format!("/v1/events/@{}/trace", offsets[0])).await.ok();
    let deliveries = trace["root"]["deliveries"].as_array().unwrap();
    let again = &deliveries[1];
    assert_eq!((&again["replay"], &again["emitted"]), (&json!(true), &json!([])));
    assert_eq!(again["rewind"]["muted"], json!([{ "emit": "made", "key": null }]));
    assert_eq!(deliveries[0]["rewind"], Value::Null);
    let state = bed.get("/v1/plugins/p/state/open/a").await.ok();
    assert_eq!(state["value"], true, "the guest was told that it is a replay");
}

/// How many deliveries of a rewind the traces of the events at `offsets` show.
async fn replayed(bed: &Bed, offsets: &[u64]) -> usize {
    let mut count = 0;
    for offset in offsets {
        let trace = bed.get(&format!("/v1/events/@{offset}/trace")).await.ok();
        let deliveries = trace["root"]["deliveries"].as_array().unwrap();
        count += deliveries.iter().filter(|one| one["rewind"].is_object()).count();
    }
    count
}

#[tokio::test]
async fn what_can_not_be_rewound_is_refused_and_says_why() {
    let bed = Bed::new();
    post(&bed, "/v1/plugins/p/rewind?to=start")
        .await
        .problem(404, "plugin-not-found");
    bed.deploy("p", "t", writes());
    let rewind = |to: &str| format!("/v1/plugins/p/rewind?to={to}");
    for to in ["start&mute=state", "start&rate=0", "start&speed=1"] {
        post(&bed, &rewind(to)).await.problem(400, "query-invalid");
    }
    post(&bed, &rewind("nobody"))
        .await
        .problem(404, "event-not-found");
    post(&bed, &rewind("1000")).await.problem(409, "no-history");
    post(&bed, &rewind("2999-01-01T00%3A00%3A00Z"))
        .await
        .problem(409, "no-history");
    bed.send(request("DELETE", "/v1/plugins/p/rewind", &[], ""))
        .await
        .problem(404, "rewind-not-found");
    for source in ["s", "r"] {
        let mut twice = event("twice", "t");
        twice["source"] = source.into();
        bed.publish(&twice).await;
    }
    post(&bed, &rewind("twice")).await.problem(409, "no-history");
}

#[tokio::test]
async fn one_rewind_runs_at_a_time_and_can_be_seen_and_stopped() {
    let bed = Bed::new();
    // Replays are tried again for ever, so that the rewind does not end.
    let script: Script = Arc::new(|delivery| {
        if delivery.replay {
            let mut again = failed(FailureClass::Retry, "not yet");
            again.failure.as_mut().unwrap().retry_after = Some(Duration::from_hours(1));
            again
        } else {
            Handled::default()
        }
    });
    bed.deploy("p", "t", script);
    let offset = bed.publish(&event("a", "t")).await;
    bed.settled("p", offset).await;
    let begun = post(&bed, "/v1/plugins/p/rewind?to=start&fresh=true&rate=100")
        .await
        .ok();
    let generation = begun["rewind"]["generation"].as_u64().unwrap();
    assert!(generation > offset);
    post(&bed, "/v1/plugins/p/rewind?to=start")
        .await
        .problem(409, "rewind-running");
    let mut seen = bed.durable(Offset(0)).await;
    let shown = loop {
        let shown = bed.get("/v1/plugins/p").await.ok();
        if shown["rewind"]["parked"] == 1 {
            break shown;
        }
        seen = bed.durable(seen.next()).await;
    };
    let rewind = &shown["rewind"];
    assert_eq!((&rewind["fresh"], &rewind["rate"]), (&json!(true), &json!(100)));
    assert_eq!(rewind["counters"], json!({ "done": 0, "retry": 1, "dead": 0 }));
    assert_eq!(
        shown["parked"],
        json!([]),
        "the plugin's own events are not held up"
    );
    let stopped = bed
        .send(request("DELETE", "/v1/plugins/p/rewind", &[], ""))
        .await
        .ok();
    assert_eq!(stopped["rewind"], Value::Null);
}

#[tokio::test]
async fn what_retention_took_is_refused_with_the_first_offset_that_can_be_had() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let log = Options {
        segment_bytes: 2048,
        ..Options::default()
    };
    let bed = Bed::with(&storage, log, Limits::default());
    bed.deploy("p", "t", writes());
    let mut last = 0;
    for n in 0..40 {
        last = bed.publish(&event(&format!("e{n}"), "t")).await;
        bed.settled("p", last).await;
    }
    let first = bed.host.log().drop_before(Offset(last)).unwrap();
    assert!(first > Offset(2));
    let refused = post(&bed, "/v1/plugins/p/rewind?to=1").await;
    let refused = refused.problem(410, "position-gone");
    assert_eq!(refused["first"], first.0);
    post(&bed, "/v1/plugins/p/rewind?to=2000-01-01T00%3A00%3A00Z")
        .await
        .problem(410, "position-gone");
    post(&bed, &format!("/v1/plugins/p/rewind?to={first}")).await.ok();
    ended(&bed).await;
}

#[tokio::test]
async fn history_that_retention_takes_ends_the_rewind_with_a_record_that_says_so() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let log = Options {
        segment_bytes: 2048,
        hot_bytes: 1024,
        ..Options::default()
    };
    let bed = Bed::with(&storage, log, Limits::default());
    bed.deploy("p", "t", writes());
    let mut last = 0;
    for n in 0..40 {
        last = bed.publish(&event(&format!("e{n}"), "t")).await;
        bed.settled("p", last).await;
    }
    // Paused, it gets nowhere, and its history is gone when it goes on.
    post(&bed, "/v1/plugins/p/pause").await.ok();
    post(&bed, "/v1/plugins/p/rewind?to=start").await.ok();
    bed.host.log().drop_before(Offset(last)).unwrap();
    post(&bed, "/v1/plugins/p/resume").await.ok();
    ended(&bed).await;
    let shown = bed.get("/v1/plugins/p").await.ok();
    assert_eq!(
        (&shown["trouble"], &shown["status"]),
        (&Value::Null, &json!("live"))
    );
    let next = bed.publish(&event("next", "t")).await;
    bed.settled("p", next).await;
    // A read ends where a segment does.
    let (mut says, mut at) = (false, Offset(last));
    while at <= bed.host.log().bounds().durable {
        let records = bed
            .host
            .log()
            .read(at, 1 << 20, nerve_eventlog::Reach::Durable)
            .unwrap();
        says |= records.iter().any(|entry| {
            let record = crate::log::record::Record::decode(&entry.payload).unwrap();
            format!("{record:?}").contains("Gap")
        });
        at = records.last().unwrap().offset.next();
    }
    assert!(says);
}
