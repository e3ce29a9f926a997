//! Taking money: `payments` opens a payment for each order that is placed, takes the money when it is wanted, and gives
//! back what came too late.
//!
//! Who pays how much stands in `order.placed`; of that it keeps a copy of its own, so that nobody has to tell it again.
//!
//! The provider is a stand-in, since the shop of the examples has no bank: it declines what is above
//! `declines_above` cents, and does not answer while `provider = "down"`.

use nerve_sdk::prelude::*;

/// Somebody ordered: of that, what a payment needs.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed", key = "order")]
struct OrderPlaced {
    order: String,
    user: String,
    cents: u64,
}

/// It came to nothing.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.cancelled", key = "order")]
struct OrderCancelled {
    order: String,
}

/// The order is to be paid.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.wanted", key = "order")]
struct PaymentWanted {
    order: String,
}

/// A cancelled order's money goes back.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "refund.wanted", key = "order")]
struct RefundWanted {
    order: String,
}

/// The money is there.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "payment.received", key = "order")]
struct PaymentReceived {
    order: String,
}

/// The provider said no.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "payment.declined", key = "order")]
struct PaymentDeclined {
    order: String,
    reason: String,
}

/// The money went back.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "payment.refunded", key = "order")]
struct PaymentRefunded {
    order: String,
    cents: u64,
}

/// A payment that is opened.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Due {
    user: String,
    cents: u64,
}

struct Payments;

#[plugin(emits(PaymentReceived, PaymentDeclined, PaymentRefunded), readable("paid/"))]
impl Payments {
    #[on]
    fn placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        let OrderPlaced { order, user, cents } = event.into_data();
        provider(ctx)?;
        ctx.state().set(&due(&order), &Due { user, cents })?;
        Ok(())
    }

    #[on]
    fn wanted(ctx: &mut Context<Self>, event: Delivered<PaymentWanted>) -> Result<(), Failure> {
        let order = event.into_data().order;
        provider(ctx)?;
        let Some(Due { user, cents }) = ctx.state().get(&due(&order))? else {
            return Err(Failure::reject(format!("no payment is due for {order}")));
        };
        ctx.state().delete(&due(&order))?;
        if cents > limit(ctx)? {
            info!("{user} can't pay {cents} cents");
            let reason = "the card was declined".to_owned();
            ctx.emit(&PaymentDeclined { order, reason })?;
            return Ok(());
        }
        ctx.state().set(&format!("paid/{order}"), &cents)?;
        ctx.emit(&PaymentReceived { order })?;
        Ok(())
    }

    #[on]
    fn cancelled(ctx: &mut Context<Self>, event: Delivered<OrderCancelled>) -> Result<(), Failure> {
        ctx.state().delete(&due(&event.into_data().order))?;
        Ok(())
    }

    #[on]
    fn refund(ctx: &mut Context<Self>, event: Delivered<RefundWanted>) -> Result<(), Failure> {
        let order = event.into_data().order;
        let key = format!("paid/{order}");
        if let Some(cents) = ctx.state().get(&key)? {
            ctx.state().delete(&key)?;
            ctx.emit(&PaymentRefunded { order, cents })?;
        }
        Ok(())
    }
}

fn due(order: &str) -> String {
    format!("due/{order}")
}

/// Whether the provider answers.
fn provider(ctx: &Context<Payments>) -> Result<(), Failure> {
    if ctx.config("provider").as_deref() == Some("down") {
        return Err(Failure::retry("the payment provider does not answer"));
    }
    Ok(())
}

/// What the provider takes, from `[config]`. A retry, not a reject: the operator mends it, and no event is lost.
fn limit(ctx: &Context<Payments>) -> Result<u64, Failure> {
    ctx.config("declines_above").map_or(Ok(1_000_000), |text| {
        text.parse().map_err(|_| {
            Failure::retry(format!(
                "declines_above = {text:?} in [config] is not a number of cents"
            ))
        })
    })
}

#[cfg(test)]
mod tests;
