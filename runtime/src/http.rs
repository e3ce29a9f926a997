//! The HTTP API: one resource per file. The only place that knows JSON.

mod backup;
mod body;
pub mod bundle;
mod cloud_event;
mod dashboard;
mod dead_letters;
mod doctor;
mod events;
mod extract;
mod follow;
mod guard;
mod health;
mod history;
mod log;
mod map;
mod metrics;
pub mod openapi;
mod plugins;
pub mod problem;
mod publish;
mod rewind;
mod schemas;
mod server;
mod state;
mod time;
mod timers;
mod trace;
mod traces;
mod versions;
mod wait;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub(crate) use self::cloud_event::shown;
use self::server::Patience;
use crate::host::Host;

/// Serve the API of `host` on `listener` until `shutdown` completes; then end the streams, and give what is under way a few seconds to finish.
///
/// # Cancel safety
/// Dropping it cuts off requests; what they appended stays.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    server::serve(router(host, address), listener, Patience::default(), shutdown).await
}

/// The routes, for a host that listens on `address`.
pub fn router(host: Host, address: SocketAddr) -> Router {
    Router::new()
        .route("/v1/events", post(publish::post).get(events::list))
        .route("/v1/events/{id}", get(events::show))
        .route("/v1/events/{id}/trace", get(trace::show))
        .route("/v1/traces", get(traces::list))
        .route("/v1/plugins", get(plugins::list))
        .route(
            "/v1/plugins/{name}",
            get(plugins::show).put(versions::deploy).delete(plugins::remove),
        )
        .route("/v1/plugins/{name}/versions", get(versions::list))
        .route("/v1/plugins/{name}/rollback", post(versions::roll_back))
        .route("/v1/plugins/{name}/promote", post(versions::promote))
        .route("/v1/plugins/{name}/pause", post(plugins::pause))
        .route("/v1/plugins/{name}/resume", post(plugins::resume))
        .route("/v1/plugins/{name}/approve", post(plugins::approve))
        .route(
            "/v1/plugins/{name}/rewind",
            post(rewind::begin).delete(rewind::stop),
        )
        .route("/v1/plugins/{name}/timers", get(timers::list))
        .route("/v1/plugins/{name}/logs", get(plugins::logs))
        .route("/v1/plugins/{name}/history", get(history::show))
        .route("/v1/plugins/{name}/contracts", post(schemas::would_break))
        .route("/v1/plugins/{name}/state", get(state::list))
        .route("/v1/plugins/{name}/state/{*key}", get(state::show))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{plugin}/retry", post(dead_letters::retry_all))
        .route(
            "/v1/dead-letters/{plugin}/{event}",
            get(dead_letters::show).delete(dead_letters::give_up),
        )
        .route("/v1/dead-letters/{plugin}/{event}/bundle", get(bundle::show))
        .route(
            "/v1/dead-letters/{plugin}/{event}/retry",
            post(dead_letters::retry),
        )
        .route("/v1/schemas", get(schemas::list))
        .route(
            "/v1/schemas/{type}",
            get(schemas::show).put(schemas::set).delete(schemas::take_back),
        )
        .route("/v1/map", get(map::show))
        .route("/v1/doctor", get(doctor::show))
        .route("/v1/log", get(log::show))
        .route("/v1/log/backup", get(backup::show))
        .route("/openapi.json", get(openapi::show))
        .route("/metrics", get(metrics::show))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(dashboard::routes())
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn_with_state(
            guard::Guard::new(address),
            guard::check,
        ))
        .with_state(host)
}
