//! `GET /v1/doctor`: symptoms of a distributed monolith in the log.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::events::unreadable;
use super::extract::Query;
use super::problem::Problem;
use crate::doctor::{self, Report};
use crate::host::Host;

/// What is examined is held in memory: whoever asks meanwhile waits.
static ONE: Semaphore = Semaphore::const_new(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    records: Option<u64>,
}

pub(super) async fn show(
    State(host): State<Host>,
    Query(Part { records }): Query<Part>,
) -> Result<Json<Report>, Problem> {
    let records = records.unwrap_or(doctor::RECORDS).clamp(1, doctor::MOST_RECORDS);
    let _turn = ONE.acquire().await;
    let report = host.examine(records).await?;
    report.map(Json).map_err(|bad| unreadable(&bad))
}
