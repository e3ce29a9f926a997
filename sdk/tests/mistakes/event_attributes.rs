//! Mistakes in `#[derive(Event)]`.

use nerve_sdk::prelude::*;

#[derive(Event, Serialize, Deserialize)]
struct NoType {
    user: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user registered", key = "usr")]
struct BadTypeAndKey {
    user: String,
    email: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered", partition = "user")]
struct UnknownArgument {
    user: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "user.registered")]
enum NoStruct {
    One,
}

fn main() {}
