//! `/livez` and `/readyz`.

use axum::extract::State;
use axum::http::StatusCode;

use super::problem::Problem;
use crate::host::Host;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The host takes events.
pub(super) async fn ready(State(host): State<Host>) -> Result<&'static str, Problem> {
    match host.not_ready() {
        None => Ok("ok\n"),
        Some(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reason)),
    }
}
