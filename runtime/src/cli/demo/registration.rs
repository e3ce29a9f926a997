//! A user registers, and everybody who cares hears of it exactly once.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::cli::Done;
use crate::cli::trace::render;

/// The plugins that subscribe to a registration.
const SUBSCRIBERS: [&str; 5] = ["analytics", "login", "notifications", "profiles", "shipping"];

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(a) Ann registers. Nobody calls profiles, notifications or analytics: they subscribe.");
    let offset = stage.publish("user.registered", "registration-of-ann", "ann", &user("ann"))?;
    for plugin in SUBSCRIBERS {
        stage.until(&format!("{plugin} settles the registration"), |stage| {
            let deliveries = stage.deliveries(offset)?;
            Ok(deliveries
                .iter()
                .any(|delivery| delivery["plugin"] == plugin && delivery["verdict"] == "done"))
        })?;
    }
    let deliveries = stage.deliveries(offset)?;
    for plugin in SUBSCRIBERS {
        let times = deliveries
            .iter()
            .filter(|delivery| delivery["plugin"] == plugin)
            .count();
        stage.claim(times == 1, &format!("{plugin} settled it exactly once"))?;
    }
    let profile = stage.state("profiles", "profile/ann", offset)?;
    stage.claim(
        profile.is_object(),
        "applications read Ann's profile from the plugin that keeps it",
    )?;
    let again = stage.publish("user.registered", "registration-of-ann", "ann", &user("ann"))?;
    stage.claim(
        again == offset,
        "publishing the registration again makes no second event",
    )
}

pub(super) fn tell_its_way(stage: &mut Stage) -> Done {
    stage.chapter(
        "(f) One command shows the way of Ann's registration through all plugins, from the log alone:",
    );
    let tree = stage.api().get("/v1/events/registration-of-ann/trace")?;
    stage.say(&format!("\n$ nerve trace registration-of-ann\n{}", render(&tree)));
    let seen: Vec<&str> = tree["root"]["deliveries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["plugin"].as_str())
        .collect();
    let all = SUBSCRIBERS.iter().all(|plugin| seen.contains(plugin));
    stage.claim(all, "the tree names every plugin that handled it")?;
    let emitted = tree["root"]["deliveries"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one["emitted"].as_array().into_iter().flatten())
        .any(|event| {
            event["deliveries"]
                .as_array()
                .is_some_and(|below| !below.is_empty())
        });
    stage.claim(emitted, "and what they emitted, and who handled that")
}

/// What a registration says.
pub(super) fn user(name: &str) -> Value {
    json!({
        "user": name, "email": format!("{name}@shop.example"), "name": name,
        "address": { "street": "Main street 1", "city": "Vienna", "country": "AT" },
    })
}
