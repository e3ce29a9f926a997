//! `GET /v1/log`: where the log begins and ends.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::time;
use crate::host::{Host, Rot};

pub(super) async fn show(State(host): State<Host>) -> Json<Value> {
    let (bounds, status) = (host.log().bounds(), host.log_status());
    Json(json!({
        "id": host.log().id().to_string(),
        "durability": status.durability.to_string(),
        "first": bounds.first.0,
        "durable": bounds.durable.0,
        "last": bounds.durable.0,
        "hot_first": bounds.hot_first.0,
        "bytes": status.bytes,
        "segments": status.segments,
        "short_of_room": status.short_of_room,
        "refused_busy": status.refused_busy,
        "refused_too_fast": status.refused_too_fast,
        "refused_no_room": status.refused_no_room,
        "recovered": status.recovered,
        "scrub": {
            "passes": status.scrub.passes,
            "last": status.scrub.last.map(time::text),
            "through": status.scrub.through.0,
            "damage": status.scrub.damage.iter().map(rot).collect::<Vec<_>>(),
            "more": status.scrub.more,
        },
    }))
}

fn rot(rot: &Rot) -> Value {
    json!({ "file": rot.file, "byte": rot.byte, "offset": rot.offset.0, "what": rot.what })
}
