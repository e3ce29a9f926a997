//! A damaged file is dropped over a good one: it is refused, and the good one goes on.

use serde_json::json;

use super::registration::user;
use super::stage::Stage;
use crate::cli::Done;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(d) Half of a file is dropped over a good plugin.");
    let good = stage.plugin("notifications")?;
    let whole = stage.built("plugins/notifications.wasm")?;
    stage.drop_bytes("notifications", &whole[..whole.len() / 2])?;
    stage.until("it is refused", |stage| {
        Ok(stage.plugin("notifications")?["refused"].is_object())
    })?;
    let now = stage.plugin("notifications")?;
    let reason = now["refused"]["reason"].as_str().unwrap_or_default().to_owned();
    stage.claim(
        !reason.is_empty(),
        &format!("it is refused, with a reason: {reason}"),
    )?;
    stage.claim(
        now["version"] == good["version"] && now["status"] == "live",
        "the good version is still the live one",
    )?;
    let before = good["counters"]["done"].as_u64().unwrap_or_default();
    stage.publish("user.registered", "registration-of-dora", "dora", &user("dora"))?;
    stage.until("it handles what comes", |stage| {
        Ok(stage.plugin("notifications")?["counters"]["done"]
            .as_u64()
            .unwrap_or_default()
            > before)
    })?;
    stage.claim(true, "and goes on handling events")?;
    stage.drop_bytes("notifications", &whole)?;
    let last = stage.publish(
        "address.changed",
        "address-of-dora",
        "dora",
        &json!({
            "user": "dora", "address": { "street": "Other street 2", "city": "Graz", "country": "AT" },
        }),
    )?;
    stage.state("profiles", "profile/dora", last).map(drop)
}
