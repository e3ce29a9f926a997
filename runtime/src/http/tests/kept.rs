//! What retention takes from the log: parked events and dead letters carry their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Offset, Options};
use serde_json::json;

use super::bed::{Bed, event, failed, request};
use crate::delivery::handler::Handled;
use crate::host::HostOptions;
use crate::log::record::FailureClass;

/// A host that reads back from disk soon, and drops in small pieces.
fn start(log: &Arc<dyn Storage>, checkpoints: &Arc<dyn Storage>) -> Bed {
    let options = HostOptions {
        log: Options {
            segment_bytes: 2048,
            hot_bytes: 2048,
            ..Options::default()
        },
        checkpoint_bytes: u64::MAX,
        ..HostOptions::default()
    };
    Bed::on(log, checkpoints.clone(), options).unwrap()
}

/// Deploy a plugin that rejects what begins with `d` and fails on what begins with `p`, until it is `healed`.
fn deploy(bed: &Bed, healed: &Arc<AtomicBool>) {
    let healed = healed.clone();
    bed.deploy(
        "p",
        "t",
        Arc::new(move |delivery| match delivery.event.id.as_bytes()[0] {
            _ if healed.load(Ordering::SeqCst) => Handled::default(),
            b'd' => failed(FailureClass::Reject, "never"),
            b'p' => failed(FailureClass::Retry, "not now"),
            _ => Handled::default(),
        }),
    );
}

#[tokio::test]
async fn invariant_06_dead_letters_and_parked_events_outlive_the_log_that_held_them() {
    let storages: [Arc<dyn Storage>; 2] = [
        Arc::new(MemoryStorage::default()),
        Arc::new(MemoryStorage::default()),
    ];
    let bed = start(&storages[0], &storages[1]);
    let healed = Arc::new(AtomicBool::new(false));
    deploy(&bed, &healed);
    let parked = bed.publish(&event("parked", "t")).await;
    let dead = bed.publish(&event("dead", "t")).await;
    let mut last = 0;
    for n in 0..100 {
        last = bed.publish(&event(&format!("a{n}"), "t")).await;
    }
    let subscriber = bed.host.subscribers().get("p").unwrap();
    while subscriber.state.lock().cursor.low < Offset(last) {
        tokio::task::yield_now().await;
    }
    bed.host.checkpoint().unwrap();
    let first = bed.host.log().drop_before(Offset(last)).unwrap();
    assert!(first > Offset(dead));
    bed.host.stop().await.unwrap();
    drop((bed, subscriber));

    let bed = start(&storages[0], &storages[1]);
    let letter = bed.get(&format!("/v1/dead-letters/p/{dead}")).await.ok();
    assert_eq!(
        (&letter["id"], &letter["data"]["id"]),
        (&json!("dead"), &json!("dead"))
    );
    bed.get(&format!("/v1/events/@{dead}"))
        .await
        .problem(410, "position-gone");
    healed.store(true, Ordering::SeqCst);
    deploy(&bed, &healed);
    bed.send(request(
        "POST",
        &format!("/v1/dead-letters/p/{dead}/retry"),
        &[],
        "",
    ))
    .await
    .ok();
    bed.settled("p", parked).await;
    loop {
        let plugin = bed.get("/v1/plugins/p").await.ok();
        assert_eq!(plugin["trouble"], json!(null));
        if plugin["dead_letters"] == 0 && plugin["parked"] == json!([]) {
            break;
        }
        tokio::task::yield_now().await;
    }
}
