//! What is in stock: `inventory` reserves products for orders, readable under `stock/PRODUCT`.

use nerve_sdk::prelude::*;

/// From outside: products arrived.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "stock.received", key = "product")]
struct StockReceived {
    product: String,
    count: u64,
}

/// An order needs stock. The key is the product, so that what is wanted of one product keeps its order.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "stock.wanted", key = "product")]
struct StockWanted {
    order: String,
    product: String,
    count: u64,
}

/// A cancelled order gives back what was reserved.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "stock.released", key = "product")]
struct StockReleased {
    product: String,
    count: u64,
}

/// A product, and how many of it.
#[derive(Schema, Serialize, Deserialize)]
struct Line {
    product: String,
    count: u64,
}

/// An order is paid: what was reserved leaves the shop.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.confirmed", key = "order")]
struct OrderConfirmed {
    order: String,
    lines: Vec<Line>,
}

/// The order will be served.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "stock.reserved", key = "order")]
struct StockReserved {
    order: String,
    product: String,
    count: u64,
}

/// There is too little for the order.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "stock.short", key = "order")]
struct StockShort {
    order: String,
    product: String,
    missing: u64,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
struct Stock {
    available: u64,
    reserved: u64,
}

struct Inventory;

#[plugin(emits(StockReserved, StockShort), readable("stock/"))]
impl Inventory {
    #[on]
    fn received(ctx: &mut Context<Self>, event: Delivered<StockReceived>) -> Result<(), Failure> {
        let too_much = || {
            Failure::reject(format!(
                "{} more of {} can't be counted",
                event.count, event.product
            ))
        };
        let key = key(&event.product);
        let mut stock: Stock = ctx.state().get(&key)?.unwrap_or_default();
        stock.available = stock.available.checked_add(event.count).ok_or_else(too_much)?;
        ctx.state().set(&key, &stock)?;
        Ok(())
    }

    #[on]
    fn wanted(ctx: &mut Context<Self>, event: Delivered<StockWanted>) -> Result<(), Failure> {
        let StockWanted {
            order,
            product,
            count,
        } = event.into_data();
        let key = key(&product);
        let mut stock: Stock = ctx.state().get(&key)?.unwrap_or_default();
        if let Some(left) = stock.available.checked_sub(count) {
            stock.available = left;
            stock.reserved = stock.reserved.saturating_add(count);
            ctx.state().set(&key, &stock)?;
            ctx.emit(&StockReserved {
                order,
                product,
                count,
            })?;
        } else {
            ctx.emit(&StockShort {
                order,
                product,
                missing: count - stock.available,
            })?;
        }
        Ok(())
    }

    #[on]
    fn released(ctx: &mut Context<Self>, event: Delivered<StockReleased>) -> Result<(), Failure> {
        let StockReleased { product, count } = event.into_data();
        ctx.state().update(&key(&product), |stock: &mut Stock| {
            let back = count.min(stock.reserved);
            stock.reserved -= back;
            stock.available += back;
        })?;
        Ok(())
    }

    #[on]
    fn confirmed(ctx: &mut Context<Self>, event: Delivered<OrderConfirmed>) -> Result<(), Failure> {
        for Line { product, count } in event.into_data().lines {
            ctx.state().update(&key(&product), |stock: &mut Stock| {
                stock.reserved = stock.reserved.saturating_sub(count);
            })?;
        }
        Ok(())
    }
}

fn key(product: &str) -> String {
    format!("stock/{product}")
}

#[cfg(test)]
mod tests;
