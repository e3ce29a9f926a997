//! `GET /v1/map`: who emits and who consumes what.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::extract::Query;
use super::problem::Problem;
use crate::host::Host;
use crate::trace::map::{Map, Wanted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    r#type: Option<String>,
    plugin: Option<String>,
}

pub(super) async fn show(
    State(host): State<Host>,
    Query(Part { r#type, plugin }): Query<Part>,
) -> Result<Json<Map>, Problem> {
    let types = r#type.as_deref().map(str::parse).transpose();
    let types =
        types.map_err(|bad: crate::delivery::subscription::BadType| Problem::query(bad.to_string()))?;
    Ok(Json(host.map(Wanted { types, plugin }).await?))
}
