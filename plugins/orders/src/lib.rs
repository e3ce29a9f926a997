//! The saga of an order: `orders` has stock reserved, has it paid in time, and confirms it; or takes everything back.
//!
//! Nobody is called and nobody is waited for: each step is an event that somebody answers when they can, and a timer
//! says when an answer did not come. What an order has come to is readable under `order/ORDER`.

use std::collections::BTreeSet;
use std::time::Duration;

use nerve_sdk::prelude::*;

/// How long a payment may take, unless `[config]` says otherwise.
const PAYMENT_MS: u64 = 15 * 60 * 1000;

/// A product, and how many of it.
#[derive(Schema, Serialize, Deserialize, Debug, Clone, PartialEq)]
struct Line {
    product: String,
    count: u64,
}

/// Somebody ordered.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed", key = "order")]
struct OrderPlaced {
    order: String,
    user: String,
    lines: Vec<Line>,
    cents: u64,
}

/// Stock is to be reserved. The key is the product, so that what is wanted of one product keeps its order.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "stock.wanted", key = "product")]
struct StockWanted {
    order: String,
    product: String,
    count: u64,
}

/// It is reserved.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "stock.reserved", key = "order")]
struct StockReserved {
    order: String,
    product: String,
}

/// There is too little.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "stock.short", key = "order")]
struct StockShort {
    order: String,
    product: String,
}

/// What was reserved is given back.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "stock.released", key = "product")]
struct StockReleased {
    order: String,
    product: String,
    count: u64,
}

/// The order is to be paid: by whom, and how much, `order.placed` says.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "payment.wanted", key = "order")]
struct PaymentWanted {
    order: String,
}

/// The money is there.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.received", key = "order")]
struct PaymentReceived {
    order: String,
}

/// The provider said no.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.declined", key = "order")]
struct PaymentDeclined {
    order: String,
    reason: String,
}

/// The payment took too long. Emitted by a timer.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "payment.timed_out", key = "order")]
struct PaymentTimedOut {
    order: String,
}

/// The money of a cancelled order goes back.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "refund.wanted", key = "order")]
struct RefundWanted {
    order: String,
}

/// It is paid, and can be sent.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.confirmed", key = "order")]
struct OrderConfirmed {
    order: String,
    user: String,
    lines: Vec<Line>,
}

/// It came to nothing.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.cancelled", key = "order")]
struct OrderCancelled {
    order: String,
    user: String,
    reason: String,
}

/// How far an order has come.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Step {
    Reserving,
    Paying,
    Confirmed,
    Cancelled,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Order {
    step: Step,
    user: String,
    cents: u64,
    lines: Vec<Line>,
    /// Products that are reserved.
    reserved: Vec<String>,
}

struct Orders;

#[plugin(
    emits(
        StockWanted,
        StockReleased,
        PaymentWanted,
        PaymentTimedOut,
        RefundWanted,
        OrderConfirmed,
        OrderCancelled
    ),
    readable("order/")
)]
impl Orders {
    #[on]
    fn placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        let OrderPlaced {
            order,
            user,
            lines,
            cents,
        } = event.into_data();
        if ctx.state().get::<Order>(&key(&order))?.is_some() {
            return Err(Failure::reject(format!("{order} was placed before")));
        }
        let products: BTreeSet<&str> = lines.iter().map(|line| &*line.product).collect();
        if lines.is_empty() || products.len() != lines.len() {
            return Err(Failure::reject(format!(
                "{order} needs lines, each of another product"
            )));
        }
        for Line { product, count } in lines.clone() {
            let order = order.clone();
            ctx.emit(&StockWanted {
                order,
                product,
                count,
            })?;
        }
        let placed = Order {
            step: Step::Reserving,
            user,
            cents,
            lines,
            reserved: Vec::new(),
        };
        ctx.state().set(&key(&order), &placed)?;
        Ok(())
    }

    #[on]
    fn reserved(ctx: &mut Context<Self>, event: Delivered<StockReserved>) -> Result<(), Failure> {
        let StockReserved { order: id, product } = event.into_data();
        let Some(mut order) = known(ctx, &id)? else {
            return Ok(());
        };
        order.reserved.push(product.clone());
        if order.step == Step::Cancelled {
            // Another product was short meanwhile: this one goes back.
            release(ctx, &id, &order, &product)?;
        } else if order.reserved.len() == order.lines.len() {
            order.step = Step::Paying;
            let wait = Duration::from_millis(payment_ms(ctx)?);
            ctx.timer(&timer(&id))
                .after(wait, &PaymentTimedOut { order: id.clone() })?;
            ctx.emit(&PaymentWanted { order: id.clone() })?;
        }
        ctx.state().set(&key(&id), &order)?;
        Ok(())
    }

    #[on]
    fn short(ctx: &mut Context<Self>, event: Delivered<StockShort>) -> Result<(), Failure> {
        let StockShort { order, product } = event.into_data();
        cancel(
            ctx,
            order,
            Step::Reserving,
            format!("there is too little of {product}"),
        )
    }

    #[on]
    fn paid(ctx: &mut Context<Self>, event: Delivered<PaymentReceived>) -> Result<(), Failure> {
        let id = event.into_data().order;
        let Some(mut order) = known(ctx, &id)? else {
            return Ok(());
        };
        match order.step {
            Step::Paying => {
                ctx.timer(&timer(&id)).cancel()?;
                order.step = Step::Confirmed;
                ctx.state().set(&key(&id), &order)?;
                ctx.emit(&OrderConfirmed {
                    order: id,
                    user: order.user,
                    lines: order.lines,
                })?;
            }
            // It came too late.
            Step::Cancelled => ctx.emit(&RefundWanted { order: id })?,
            Step::Reserving | Step::Confirmed => {}
        }
        Ok(())
    }

    #[on]
    fn declined(ctx: &mut Context<Self>, event: Delivered<PaymentDeclined>) -> Result<(), Failure> {
        let PaymentDeclined { order, reason } = event.into_data();
        ctx.timer(&timer(&order)).cancel()?;
        cancel(ctx, order, Step::Paying, reason)
    }

    #[on]
    fn timed_out(ctx: &mut Context<Self>, event: Delivered<PaymentTimedOut>) -> Result<(), Failure> {
        let order = event.into_data().order;
        cancel(ctx, order, Step::Paying, "the payment took too long".into())
    }
}

/// The order called `id`. An answer about one that this plugin does not know is somebody else's.
fn known(ctx: &mut Context<Orders>, id: &str) -> Result<Option<Order>, Failure> {
    let order = ctx.state().get(&key(id))?;
    if order.is_none() {
        warn!("{id} is not known here");
    }
    Ok(order)
}

/// Take everything back, where the order is still at `step`.
fn cancel(ctx: &mut Context<Orders>, id: String, step: Step, reason: String) -> Result<(), Failure> {
    let Some(mut order) = known(ctx, &id)?.filter(|order| order.step == step) else {
        return Ok(());
    };
    for product in &order.reserved {
        release(ctx, &id, &order, product)?;
    }
    order.step = Step::Cancelled;
    ctx.state().set(&key(&id), &order)?;
    ctx.emit(&OrderCancelled {
        order: id,
        user: order.user,
        reason,
    })?;
    Ok(())
}

fn release(ctx: &mut Context<Orders>, id: &str, order: &Order, product: &str) -> Result<(), Failure> {
    let lines = order.lines.iter().filter(|line| line.product == product);
    ctx.emit(&StockReleased {
        order: id.to_owned(),
        product: product.to_owned(),
        count: lines.map(|line| line.count).sum(),
    })?;
    Ok(())
}

/// How long a payment may take. A retry, not a reject: the operator mends it, and no event is lost.
fn payment_ms(ctx: &Context<Orders>) -> Result<u64, Failure> {
    ctx.config("payment_ms").map_or(Ok(PAYMENT_MS), |text| {
        text.parse().map_err(|_| {
            Failure::retry(format!(
                "payment_ms = {text:?} in [config] is not a number of milliseconds"
            ))
        })
    })
}

fn key(order: &str) -> String {
    format!("order/{order}")
}

fn timer(order: &str) -> String {
    format!("payment/{order}")
}

#[cfg(test)]
mod tests;
