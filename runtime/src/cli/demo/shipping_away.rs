//! Shipping is away, and nobody notices; inventory is away, and people log in.

use std::time::{Duration, Instant};

use serde_json::json;

use super::registration::user;
use super::stage::Stage;
use crate::cli::Done;

/// Address changes that are timed.
const CHANGES: usize = 30;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(b) Shipping is taken away while Bob changes his address.");
    let registered = stage.publish("user.registered", "registration-of-bob", "bob", &user("bob"))?;
    let before_cost = stage.state("shipping", "cost/bob", registered)?;
    let (with, _) = change_addresses(stage, "with", "AT")?;
    stage.remove_file("shipping")?;
    let (without, last) = change_addresses(stage, "without", "NZ")?;
    stage.say(&format!(
        "  an address change is answered in {:.1} ms with shipping and {:.1} ms without it (medians of {CHANGES})",
        with.as_secs_f64() * 1e3,
        without.as_secs_f64() * 1e3
    ));
    stage.claim(
        without < with * 3 + Duration::from_millis(5),
        "without shipping, people are answered as fast as before",
    )?;
    let profile = stage.state("profiles", "profile/bob", last)?;
    stage.claim(
        profile.to_string().contains("NZ"),
        "the others went on: Bob's profile has the new address",
    )?;
    stage.drop_plugin("shipping", "plugins/shipping.wasm")?;
    stage.until("shipping is back", |stage| {
        Ok(stage.plugin("shipping")?["status"] == "live")
    })?;
    let cost = stage.state("shipping", "cost/bob", last)?;
    stage.claim(
        cost != before_cost && cost.is_object(),
        "its file comes back, and shipping catches up where it stopped",
    )?;
    let changes = stage.events("address.changed")?.len() as u64;
    let shipping = stage.plugin("shipping")?;
    let done = shipping["counters"]["done"].as_u64().unwrap_or_default();
    let registrations = stage.events("user.registered")?.len() as u64;
    stage.claim(
        done == changes + registrations,
        "it has settled every event once, none lost and none twice",
    )?;
    login(stage)
}

fn login(stage: &mut Stage) -> Done {
    stage.say("  Now inventory is taken away, and Ann logs in.");
    stage.remove_file("inventory")?;
    let offset = stage.publish("user.logged_in", "login-of-ann", "ann", &json!({ "user": "ann" }))?;
    let account = stage.state("login", "login/ann", offset)?;
    stage.claim(
        account["registered"] == true,
        "login answers from its own copy of who may log in",
    )?;
    stage.claim(account["logins"] == 1, "and has counted it")?;
    stage.drop_plugin("inventory", "plugins/inventory.wasm")?;
    stage.until("inventory is back", |stage| {
        Ok(stage.plugin("inventory")?["status"] == "live")
    })
}

/// Change Bob's address many times; answers the median time, and the last offset.
fn change_addresses(stage: &Stage, run: &str, country: &str) -> anyhow::Result<(Duration, u64)> {
    let (mut times, mut last) = (Vec::new(), 0);
    for n in 0..CHANGES {
        let address =
            json!({ "street": format!("Side street {n}"), "city": "Somewhere", "country": country });
        let begun = Instant::now();
        let data = json!({ "user": "bob", "address": address });
        last = stage.publish("address.changed", &format!("address-{run}-{n}"), "bob", &data)?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok((times[CHANGES / 2], last))
}
