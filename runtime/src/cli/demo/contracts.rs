//! A change of an event type that breaks a live consumer is refused; one that breaks nobody passes without touching anyone.

use serde_json::{Value, json};

use super::stage::{Stage, publish};
use crate::cli::Done;
use crate::cli::api::ApiError;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(i) A new version of carts calls the `cents` of order.placed `amount`.");
    let good = versions(stage)?;
    stage.drop_plugin("carts", "renamed/carts.wasm")?;
    stage.until("it is refused", |stage| {
        Ok(!stage.plugin("carts")?["refused"].is_null())
    })?;
    let plugin = stage.plugin("carts")?;
    let refused = plugin["refused"]["reason"].as_str().unwrap_or_default();
    stage.say(&format!("  {refused}"));
    stage.claim(
        ["payments", "orders"].iter().all(|needs| {
            refused.contains(&format!("plugin {needs} does not accept its \"order.placed\": /cents"))
        }),
        "it is refused at the door, since payments and orders need the field; the refusal names them, and an example",
    )?;
    stage.claim(versions(stage)? == good, "what was live goes on, in every plugin")?;
    check_out(stage, "refused")?;
    stage.claim(true, "and an order that is placed meanwhile is confirmed as ever")?;

    stage.say("  Another version adds an optional field to it.");
    stage.drop_plugin("carts", "gift/carts.wasm")?;
    stage.until("it is live", |stage| {
        Ok(stage.plugin("carts")?["version"] != good[0])
    })?;
    check_out(stage, "gift")?;
    let placed = stage.events("order.placed")?;
    let last = placed
        .last()
        .map(|one| one["event"]["data"].clone())
        .unwrap_or_default();
    stage.claim(
        last["gift"] == false && versions(stage)?[1..] == good[1..],
        "it passes: orders carry the new field, and nobody else was touched",
    )?;

    stage.say("  An operator sets a schema for cart.checked_out, which comes from outside.");
    let schema = json!({ "type": "object", "properties": { "user": { "type": "string" }, "order": { "type": "string" } },
        "required": ["user", "order"] });
    let api = stage.api();
    api.put(
        "/v1/schemas/cart.checked_out",
        "application/schema+json",
        schema.to_string().as_bytes(),
    )?;
    let bad = publish(
        &api,
        "cart.checked_out",
        "bad-1",
        "gus",
        &json!({ "user": "gus", "order": 7 }),
    );
    let said = match bad {
        Err(ApiError::Refused(problem)) if problem.code == "contract-broken" => problem.detail,
        other => format!("{other:?}"),
    };
    stage.claim(
        said.contains("at /order"),
        &format!("data that breaks it is refused when it is published: {said}"),
    )
}

/// Versions of the plugins that an order goes through, carts first.
fn versions(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    [
        "carts",
        "orders",
        "inventory",
        "payments",
        "shipping",
        "notifications",
    ]
    .map(|name| Ok(stage.plugin(name)?["version"].clone()))
    .into_iter()
    .collect()
}

/// Somebody buys a desk, and waits until the order is confirmed.
fn check_out(stage: &mut Stage, order: &str) -> Done {
    let item = json!({ "user": order, "product": "desk", "count": 1, "cents": 9900 });
    stage.publish("cart.item_added", &format!("add-{order}"), order, &item)?;
    let bought = json!({ "user": order, "order": order });
    stage.publish("cart.checked_out", &format!("buy-{order}"), order, &bought)?;
    stage.until("the order is confirmed", |stage| {
        Ok(stage.state("orders", &format!("order/{order}"), 0)?["step"] == "confirmed")
    })
}
