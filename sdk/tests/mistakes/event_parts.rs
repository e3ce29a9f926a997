//! Types that events can't be made of.

use nerve_sdk::prelude::*;

#[derive(Serialize, Deserialize)]
struct Address {
    city: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "address.changed", key = "weight")]
struct AddressChanged {
    address: Address,
    weight: f64,
}

fn main() {}
