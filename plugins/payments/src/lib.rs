//! Taking money: `payments` asks the provider for each order, and gives back what came too late.
//!
//! The provider is a stand-in, since the shop of the examples has no bank: it declines what is above
//! `declines_above` cents, and does not answer while `provider = "down"`.

use nerve_sdk::prelude::*;

/// An order is to be paid.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.wanted", key = "order")]
struct PaymentWanted {
    order: String,
    user: String,
    cents: u64,
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

struct Payments;

#[plugin(emits(PaymentReceived, PaymentDeclined, PaymentRefunded), readable("paid/"))]
impl Payments {
    #[on]
    fn wanted(ctx: &mut Context<Self>, event: Delivered<PaymentWanted>) -> Result<(), Failure> {
        let PaymentWanted { order, user, cents } = event.into_data();
        if ctx.config("provider").as_deref() == Some("down") {
            return Err(Failure::retry("the payment provider does not answer"));
        }
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
