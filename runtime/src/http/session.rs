//! `/v1/session`: who one is to this host.

use axum::Json;
use serde_json::{Value, json};

use crate::access::{Caller, Scope};

pub(super) async fn show(caller: Caller) -> Json<Value> {
    Json(shown(&caller))
}

fn shown(caller: &Caller) -> Value {
    let scopes = caller
        .scopes()
        .map(|scopes| scopes.iter().map(Scope::to_string).collect::<Vec<_>>());
    json!({ "name": caller.name(), "scopes": scopes })
}
