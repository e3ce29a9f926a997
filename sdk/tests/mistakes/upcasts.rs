//! A new shape of an event that can't be made of the old one.

use nerve_sdk::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed", key = "order")]
struct OrderPlacedV1 {
    order: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed.v2", key = "order", upcasts = OrderPlacedV1)]
struct OrderPlaced {
    order: String,
    amount: u64,
}

fn main() {}
