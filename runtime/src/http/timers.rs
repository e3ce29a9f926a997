//! `/v1/plugins/{name}/timers`: what a plugin will emit later.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Path, Query};
use super::problem::Problem;
use super::time;
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let (timers, more) = host.timers(&name, page.after, limit).await?;
    let next = more.then(|| page.after + timers.len());
    let shown = timers.iter().map(|timer| {
        json!({
            "name": timer.name,
            "due": time::text(timer.due),
            "type": timer.r#type,
            "key": timer.key,
            "set_at": timer.set_at.0,
        })
    });
    Ok(Json(json!({ "timers": shown.collect::<Vec<_>>(), "next": next })))
}
