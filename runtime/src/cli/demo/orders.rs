//! The saga of orders: payments are down and no order is lost; one that is not paid in time is taken back.

use serde_json::{Value, json};

use super::stage::{Stage, event};
use crate::cli::Done;

/// Orders while payments are down.
const FEW: usize = 20;

/// Orders of the burst.
const MANY: usize = 10 * FEW;

/// Desks that are there.
const DESKS: u64 = 10_000;

pub(super) fn tell(stage: &mut Stage) -> Done {
    stage.chapter("(g) Orders are placed without one synchronous call.");
    let received = json!({ "product": "desk", "count": DESKS });
    stage.publish("stock.received", "desks", "desk", &received)?;
    order(stage, "first", 1)?;
    confirmed(stage, 1)?;
    stage.claim(
        step(stage, "first-0")? == "confirmed" && stage.events("parcel.sent")?.len() == 1,
        "a cart is checked out, stock reserved, the order paid and its parcel sent",
    )?;

    stage.say(&format!(
        "  The payment provider stops answering, and {FEW} people order."
    ));
    stage.configure("payments", "provider = \"down\"")?;
    order(stage, "waiting", FEW)?;
    stage.until("payments is paused", |stage| {
        Ok(stage.plugin("payments")?["paused"]["why"] == "outage")
    })?;
    stage.until("every order waits for its payment", |stage| {
        Ok(stage.events("payment.wanted")?.len() == 1 + FEW)
    })?;
    let payments = stage.plugin("payments")?;
    stage.claim(
        payments["dead_letters"] == 0,
        &format!(
            "the host tells the outage from bad events: payments is paused ({}), and no payment is given up",
            payments["paused"]["reason"].as_str().unwrap_or_default()
        ),
    )?;
    let login = stage.publish(
        "user.logged_in",
        "login-in-outage",
        "ann",
        &json!({ "user": "ann" }),
    )?;
    let account = stage.state("login", "login/ann", login)?;
    stage.claim(account["logins"] == 2, "meanwhile people log in as ever")?;
    stage.say(&format!(
        "  The provider is back, and {MANY} more people order at once."
    ));
    stage.configure("payments", "provider = \"up\"")?;
    order(stage, "burst", MANY)?;
    confirmed(stage, 1 + FEW + MANY)?;
    let stock = stock(stage)?;
    let sold = (1 + FEW + MANY) as u64;
    stage.claim(
        stock == (DESKS - sold, 0),
        &format!("all {sold} orders are confirmed, each once: so many desks have left, and none is reserved"),
    )
}

/// Payments is away for longer than a payment may take.
pub(super) fn tell_late(stage: &mut Stage) -> Done {
    let before = stock(stage)?;
    stage.say("  Payments is taken away altogether, and a payment may take 200 ms.");
    stage.configure("orders", "payment_ms = 200")?;
    stage.remove_file("payments")?;
    order(stage, "late", 1)?;
    stage.until("the order is cancelled", |stage| {
        Ok(step(stage, "late-0")? == "cancelled" && stock(stage)? == before)
    })?;
    stage.claim(
        true,
        "a timer cancels the order that is not paid in time, and its desk is in stock again",
    )?;
    stage.drop_plugin("payments", "plugins/payments.wasm")?;
    stage.until(
        "payments is back, and gives back the money that came too late",
        |stage| Ok(stage.events("payment.refunded")?.len() == 1),
    )?;
    stage.claim(true, "payments comes back, takes the money, and gives it back")
}

/// Somebody puts a desk into the cart and buys it, so many times.
fn order(stage: &Stage, run: &str, count: usize) -> Done {
    let events: Vec<Value> = (0..count)
        .flat_map(|n| {
            let (user, order) = (format!("{run}-user-{n}"), format!("{run}-{n}"));
            let item = json!({ "user": user, "product": "desk", "count": 1, "cents": 9900 });
            let bought = json!({ "user": user, "order": order });
            [
                event("cart.item_added", &format!("add-{order}"), &user, &item),
                event("cart.checked_out", &format!("buy-{order}"), &user, &bought),
            ]
        })
        .collect();
    stage.publish_all(&events)?;
    Ok(())
}

/// Wait until so many orders are confirmed, and inventory has seen it.
fn confirmed(stage: &mut Stage, count: usize) -> Done {
    stage.until(&format!("{count} orders are confirmed and sent"), |stage| {
        Ok(stage.events("order.confirmed")?.len() == count
            && stage.events("parcel.sent")?.len() == count
            && stock(stage)?.1 == 0)
    })
}

fn step(stage: &Stage, order: &str) -> anyhow::Result<String> {
    let order = stage.state("orders", &format!("order/{order}"), 0)?;
    Ok(order["step"].as_str().unwrap_or_default().to_owned())
}

/// Desks that are available, and reserved.
fn stock(stage: &Stage) -> anyhow::Result<(u64, u64)> {
    let stock = stage.state("inventory", "stock/desk", 0)?;
    let count = |what: &str| stock[what].as_u64().unwrap_or_default();
    Ok((count("available"), count("reserved")))
}
