//! `/v1/plugins/{name}/state`: what a plugin lets applications read.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use nerve_eventlog::Offset;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_event::json_of;
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    min_offset: Option<u64>,
    timeout_ms: Option<u64>,
    /// The state of its own that a canary has, and not that of the version before.
    #[serde(default)]
    canary: bool,
}

pub(super) async fn show(
    State(host): State<Host>,
    Path((name, key)): Path<(String, String)>,
    Query(when): Query<When>,
) -> Result<Json<Value>, Problem> {
    if let Some(offset) = when.min_offset {
        let timeout = Duration::from_millis(when.timeout_ms.unwrap_or(5000).min(60_000));
        host.settled(&name, Offset(offset), timeout).await?;
    }
    let (value, offset) = host.state(&name, &key, when.canary).await?;
    if let Some(value) = value {
        Ok(Json(
            json!({ "key": key, "value": json_of(&value), "offset": offset.0, "canary": when.canary }),
        ))
    } else {
        let detail = format!("plugin {name:?} has nothing at {key:?}");
        Err(Problem::new(StatusCode::NOT_FOUND, "state-key-not-found", detail)
            .hint("a plugin that has just been published to may not be there yet: ask with min_offset"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    canary: bool,
}

pub(super) async fn list(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let (entries, offset) = host
        .scan_state(&name, &page.prefix, page.after.as_deref(), limit, page.canary)
        .await?;
    let next = (entries.len() == limit)
        .then(|| entries.last().map(|(key, _)| key.to_string()))
        .flatten();
    let entries = entries
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": json_of(value) }));
    Ok(Json(
        json!({ "entries": entries.collect::<Vec<_>>(), "next": next, "offset": offset.0, "canary": page.canary }),
    ))
}
