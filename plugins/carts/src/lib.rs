//! Shopping carts: `carts` keeps what somebody put in, readable under `cart/USER`, and turns a checkout into an order.

use std::collections::BTreeMap;

use nerve_sdk::prelude::*;

/// From outside: somebody wants something.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "cart.item_added", key = "user")]
struct ItemAdded {
    user: String,
    product: String,
    count: u64,
    cents: u64,
}

/// From outside: somebody buys what is in the cart, as order `order`.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "cart.checked_out", key = "user")]
struct CheckedOut {
    user: String,
    order: String,
}

/// A product, and how many of it.
#[derive(Schema, Serialize, Deserialize, Debug, PartialEq)]
struct Line {
    product: String,
    count: u64,
}

/// Somebody ordered.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.placed", key = "order")]
struct OrderPlaced {
    order: String,
    user: String,
    lines: Vec<Line>,
    #[cfg_attr(feature = "renamed", serde(rename = "amount"))]
    cents: u64,
    /// Whether it is wrapped.
    #[cfg(feature = "gift")]
    gift: Option<bool>,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
struct Cart {
    products: BTreeMap<String, u64>,
    cents: u64,
}

struct Carts;

#[plugin(emits(OrderPlaced), readable("cart/"))]
impl Carts {
    #[on]
    fn added(ctx: &mut Context<Self>, event: Delivered<ItemAdded>) -> Result<(), Failure> {
        let ItemAdded {
            user,
            product,
            count,
            cents,
        } = event.into_data();
        let mut cart: Cart = ctx.state().get(&key(&user))?.unwrap_or_default();
        let price = count
            .checked_mul(cents)
            .and_then(|price| price.checked_add(cart.cents));
        cart.cents = price.ok_or_else(|| Failure::reject("nobody can pay for so much"))?;
        let there = cart.products.entry(product).or_default();
        *there = there.saturating_add(count);
        ctx.state().set(&key(&user), &cart)?;
        Ok(())
    }

    #[on]
    fn checked_out(ctx: &mut Context<Self>, event: Delivered<CheckedOut>) -> Result<(), Failure> {
        let CheckedOut { user, order } = event.into_data();
        let cart: Cart = ctx.state().get(&key(&user))?.unwrap_or_default();
        if cart.products.is_empty() {
            return Err(Failure::reject(format!("the cart of {user} is empty")));
        }
        ctx.state().delete(&key(&user))?;
        let lines = cart.products.into_iter();
        ctx.emit(&OrderPlaced {
            order,
            user,
            lines: lines.map(|(product, count)| Line { product, count }).collect(),
            cents: cart.cents,
            #[cfg(feature = "gift")]
            gift: Some(false),
        })?;
        Ok(())
    }
}

fn key(user: &str) -> String {
    format!("cart/{user}")
}

#[cfg(test)]
mod tests;
