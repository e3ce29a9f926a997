//! The plugin `service-3d-service`: what the service `3d-service` did when `PlaceOrder` of `shop` called it.

use nerve_sdk::prelude::*;

/// An event that this plugin emits: add what others need to know.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "3d.charged", key = "id")]
struct E3dCharged {
    id: String,
}

/// An event that this plugin consumes: declare the members of its data that it needs.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed", key = "id")]
struct OrderPlaced {
    id: String,
}

/// An event that this plugin emits: add what others need to know.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "receipt.sent", key = "id")]
struct ReceiptSent {
    id: String,
}

struct Service3dServicePlugin;

#[plugin(emits(E3dCharged, ReceiptSent))]
impl Service3dServicePlugin {
    #[on]
    fn on_order_placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        if event.id.is_empty() {
            return Err(Failure::reject("an event without an id"));
        }
        let id = event.into_data().id;
        // What `Charge` did goes here; what it asked others for, keep in `ctx.state()`.
        ctx.emit(&E3dCharged { id: id.clone() })?;
        // What `3d/Send_Receipt` did goes here; what it asked others for, keep in `ctx.state()`.
        ctx.emit(&ReceiptSent { id })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nerve_sdk::testing::Host;

    use super::*;

    #[test]
    fn on_order_placed_is_reacted_to() {
        let mut host = Host::<Service3dServicePlugin>::new();
        let outcome = host.deliver(&OrderPlaced { id: "a".into() });
        outcome.expect_done();
        assert_eq!(outcome.emitted::<E3dCharged>(), [E3dCharged { id: "a".into() }]);
        assert_eq!(outcome.emitted::<ReceiptSent>(), [ReceiptSent { id: "a".into() }]);
    }

    #[test]
    fn on_order_placed_without_an_id_is_rejected() {
        let mut host = Host::<Service3dServicePlugin>::new();
        let outcome = host.deliver(&OrderPlaced { id: String::new() });
        outcome.expect_failure();
    }
}
