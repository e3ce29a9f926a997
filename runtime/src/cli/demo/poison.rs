//! A plugin traps on one user's events: that key is parked and dead-lettered, everything else goes on.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::cli::Done;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(c) A faulty version of recommendations is dropped in: it traps on Mallory's events.");
    // On probation it would be taken back at the first event, which is the next chapter.
    stage.settings("recommendations", "[probation]\nevents = 0\n")?;
    let good = stage.plugin("recommendations")?["version"].clone();
    stage.drop_plugin("recommendations", "broken/recommendations.wasm")?;
    stage.until("the faulty version is live", |stage| {
        Ok(stage.plugin("recommendations")?["version"] != good)
    })?;
    let mut letters = Vec::new();
    for n in 0..3 {
        letters.push(view(stage, "mallory", n)?);
        view(stage, "carol", n)?;
    }
    let last = view(stage, "carol", 3)?;
    let carol = |value: &Value| value["views"].as_u64();
    stage.until("Carol's views are counted", |stage| {
        let entries = stage.entries("recommendations", "recommended/carol")?;
        Ok(entries.first().and_then(|entry| carol(&entry["value"])) == Some(4))
    })?;
    let plugin = stage.plugin("recommendations")?;
    let parked = plugin["parked"]
        .as_array()
        .is_some_and(|parked| parked.iter().any(|one| one["key"] == "mallory"));
    let dead = plugin["dead_letters"].as_u64().unwrap_or_default();
    stage.claim(
        parked || dead > 0,
        "Mallory's key is parked; Carol's recommendations are there all the same",
    )?;
    let counted = stage.state("analytics", "count/product.viewed", last)?;
    stage.claim(
        counted.as_u64() == Some(7),
        "all other plugins go on untouched: analytics has counted all 7 views",
    )?;
    stage.until("Mallory's events are dead letters", |stage| {
        Ok(stage.plugin("recommendations")?["dead_letters"] == 3)
    })?;
    let letters_now = stage.api().get("/v1/dead-letters?plugin=recommendations")?;
    let first = &letters_now["dead_letters"][0];
    let why = first["reason"].as_str().unwrap_or_default().to_owned();
    stage.claim(
        first["class"] == "trap",
        &format!(
            "after {} attempts they are dead letters: {why}",
            first["attempts"]
        ),
    )?;
    stage.say("  A mended version is dropped in, and the dead letters are retried.");
    stage.drop_plugin("recommendations", "plugins/recommendations.wasm")?;
    stage.until("the mended version is live", |stage| {
        Ok(stage.plugin("recommendations")?["version"] == good)
    })?;
    let answer = stage
        .api()
        .post("/v1/dead-letters/recommendations/retry", "application/json", b"")?;
    let redriven: Vec<u64> = answer["redriven"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    stage.claim(
        redriven == letters,
        "`nerve dead retry recommendations` sends all three on their way again",
    )?;
    stage.until("they are settled", |stage| {
        Ok(stage.plugin("recommendations")?["dead_letters"] == 0)
    })?;
    let mallory = stage.state("recommendations", "recommended/mallory", last)?;
    stage.claim(
        carol(&mallory) == Some(3),
        "and every one of them is settled, once",
    )
}

fn view(stage: &Stage, user: &str, n: u32) -> anyhow::Result<u64> {
    let data = json!({ "user": user, "product": format!("product-{n}") });
    stage.publish("product.viewed", &format!("view-{user}-{n}"), user, &data)
}
