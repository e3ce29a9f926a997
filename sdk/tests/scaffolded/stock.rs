//! The plugin `stock`: what the service `stock` did when `POST /orders` of `checkout` called it.

use nerve_sdk::prelude::*;

/// An event that this plugin emits: add what others need to know.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "item.reserved", key = "id")]
struct ItemReserved {
    id: String,
}

/// An event that this plugin consumes: declare the members of its data that it needs.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.created", key = "id")]
struct OrderCreated {
    id: String,
}

struct StockPlugin;

#[plugin(emits(ItemReserved))]
impl StockPlugin {
    #[on]
    fn on_order_created(ctx: &mut Context<Self>, event: Delivered<OrderCreated>) -> Result<(), Failure> {
        if event.id.is_empty() {
            return Err(Failure::reject("an event without an id"));
        }
        let id = event.into_data().id;
        // What `shop.Stock/ReserveItems` did goes here; what it asked others for, keep in `ctx.state()`.
        ctx.emit(&ItemReserved { id })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nerve_sdk::testing::Host;

    use super::*;

    #[test]
    fn on_order_created_is_reacted_to() {
        let mut host = Host::<StockPlugin>::new();
        let outcome = host.deliver(&OrderCreated { id: "a".into() });
        outcome.expect_done();
        assert_eq!(outcome.emitted::<ItemReserved>(), [ItemReserved { id: "a".into() }]);
    }

    #[test]
    fn on_order_created_without_an_id_is_rejected() {
        let mut host = Host::<StockPlugin>::new();
        let outcome = host.deliver(&OrderCreated { id: String::new() });
        outcome.expect_failure();
    }
}
