//! Rot in a sealed segment under a running host.

use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::Options;
use nerve_eventlog::storage::{MemoryStorage, Storage};
use serde_json::{Value, json};

use super::bed::{Bed, event};
use crate::host::{HostOptions, ScrubOptions};

#[tokio::test]
async fn invariant_07_the_scrub_finds_rot_in_a_sealed_segment_and_publishing_goes_on() {
    let disk = MemoryStorage::default();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let options = HostOptions {
        log: Options {
            segment_bytes: 2000,
            hot_bytes: 0,
            ..Options::default()
        },
        scrub: ScrubOptions {
            step: Duration::from_millis(1),
            step_bytes: 500,
            pass: Duration::from_millis(1),
        },
        ..HostOptions::default()
    };
    let bed = Bed::on(&storage, Arc::new(MemoryStorage::default()), options).unwrap();
    for n in 0..40 {
        bed.publish(&event(&format!("e{n}"), "t")).await;
    }
    let passes = async |passes| shown_when(&bed, |shown| shown["passes"].as_u64() >= Some(passes)).await;
    assert_eq!(
        passes(2).await["damage"],
        json!([]),
        "nothing is said of sound segments"
    );

    let name = storage.list().unwrap().into_iter().min().unwrap();
    let mut bytes = disk.content(&name).unwrap();
    bytes[300] ^= 1;
    disk.put(&name, bytes);
    let shown = shown_when(&bed, |shown| shown["damage"] != json!([])).await;
    let found = &shown["damage"][0];
    assert_eq!(found["file"], name);
    let offset = found["offset"].as_u64().unwrap();
    let refused = bed.get(&format!("/v1/events/@{offset}")).await;
    let refused: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(refused["code"], "log-damaged");
    bed.publish(&event("after", "t")).await;
    let later = passes(shown["passes"].as_u64().unwrap() + 2).await;
    assert_eq!(
        later["damage"].as_array().unwrap().len(),
        1,
        "it is told once: {later}"
    );
}

/// What the host says of its scrub once that `holds`.
async fn shown_when(bed: &Bed, holds: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let shown = bed.get("/v1/log").await.ok()["scrub"].clone();
            if holds(&shown) {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), looked)
        .await
        .expect("it comes true")
}
