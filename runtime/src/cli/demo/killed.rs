//! The process is killed in the middle of 10,000 publishes.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::stage::{Stage, publish};
use crate::cli::Done;
use crate::cli::api::Api;

/// Events in all.
const EVENTS: usize = 10_000;

/// Publishers at a time.
const PUBLISHERS: usize = 16;

/// After how many acknowledgements the process is killed.
const KILL_AFTER: usize = 3000;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(e) The host is killed (SIGKILL) in the middle of 10,000 publishes.");
    let views_before = stage.events("product.viewed")?.len();
    let acknowledged = Mutex::new(HashSet::new());
    let next = AtomicUsize::new(0);
    publish_until_killed(stage, &acknowledged, &next)?;
    let kept: HashSet<String> = acknowledged
        .lock()
        .map_err(|_| anyhow::anyhow!("a publisher panicked"))?
        .clone();
    stage.say(&format!(
        "  {} of {EVENTS} were acknowledged when it was killed; it starts again.",
        kept.len()
    ));
    stage.claim(
        kept.len() >= KILL_AFTER && kept.len() < EVENTS,
        "it was killed in the middle",
    )?;
    stage.start()?;
    let found: Vec<String> = ids(&stage.events("product.viewed")?);
    let once: HashSet<&String> = found.iter().collect();
    stage.claim(once.len() == found.len(), "no event is there twice")?;
    stage.claim(
        kept.iter().all(|id| once.contains(id)),
        "no acknowledged event is missing",
    )?;
    stage.say("  Everybody publishes again what was not acknowledged, with the same ids.");
    for n in 0..EVENTS {
        if !kept.contains(&id(n)) {
            publish_one(&stage.api(), n)?;
        }
    }
    let events = stage.events("product.viewed")?;
    stage.claim(
        events.len() == EVENTS + views_before,
        "all 10,000 are there, each once",
    )?;
    let last = events
        .last()
        .and_then(|event| event["offset"].as_u64())
        .unwrap_or_default();
    let counted = stage.state("analytics", "count/product.viewed", last)?;
    stage.claim(
        counted.as_u64() == Some(events.len() as u64),
        "analytics has counted each of them exactly once",
    )?;
    stage.state("recommendations", "recommended/user-0", last)?;
    let recommended = stage.entries("recommendations", "recommended/")?;
    let views: u64 = recommended
        .iter()
        .filter_map(|entry| entry["value"]["views"].as_u64())
        .sum();
    stage.claim(
        views == events.len() as u64,
        "and so has recommendations, over all its users",
    )
}

/// Publish from many threads; kill the host once enough is acknowledged.
fn publish_until_killed(
    stage: &mut Stage,
    acknowledged: &Mutex<HashSet<String>>,
    next: &AtomicUsize,
) -> anyhow::Result<()> {
    let apis: Vec<Api> = (0..PUBLISHERS).map(|_| stage.api()).collect();
    std::thread::scope(|scope| {
        for api in &apis {
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    // An error is what the killed host gives: what it did with this event is unknown.
                    if n >= EVENTS || publish_one(api, n).is_err() {
                        return;
                    }
                    if let Ok(mut acknowledged) = acknowledged.lock() {
                        acknowledged.insert(id(n));
                    }
                }
            });
        }
        stage.until("enough is acknowledged", |_| {
            Ok(acknowledged
                .lock()
                .is_ok_and(|acknowledged| acknowledged.len() >= KILL_AFTER))
        })?;
        stage.kill()
    })
}

fn publish_one(api: &Api, n: usize) -> Result<Value, crate::cli::api::ApiError> {
    let user = format!("user-{}", n % 200);
    let data = json!({ "user": user, "product": format!("product-{}", n % 17) });
    publish(api, "product.viewed", &id(n), &user, &data)
}

fn id(n: usize) -> String {
    format!("killed-{n}")
}

fn ids(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| Some(event["event"]["id"].as_str()?.to_owned()))
        .collect()
}
