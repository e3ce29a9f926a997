//! The HTTP API: one resource per file. The only place that knows JSON, beside what an event is outside.

mod backup;
mod body;
pub mod bundle;
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
mod routes;
mod schemas;
mod server;
mod session;
mod state;
mod timers;
mod tls;
mod trace;
mod traces;
mod versions;
mod wait;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use tokio::net::TcpListener;

use self::routes::{Routes, get, post};
use self::server::Patience;
pub use self::tls::{Tls, TlsError};
use crate::access::Access;
use crate::access::Needs::{Nothing, Operate, Publish, Read, Somebody};
use crate::cloud_event::{self, time};
use crate::host::Host;

/// Who gets in, and how.
pub struct Entrance {
    /// Whom the host lets in.
    pub access: Access,
    /// What it shows who connects; without, it takes plain connections.
    pub tls: Option<Tls>,
}

/// Serve the API of `host` on `listener` to those whom `entrance` lets in, until `shutdown` completes; then end the streams, and
/// give what is under way a few seconds to finish.
///
/// # Cancel safety
/// Dropping it cuts off requests; what they appended stays.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    entrance: Entrance,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = router(host, address, Arc::new(entrance.access));
    server::serve(router, listener, entrance.tls, Patience::default(), shutdown).await
}

/// Serve `router` in the way of the API, to everybody.
pub(crate) async fn serve_router(
    router: Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    server::serve(router, listener, None, Patience::default(), shutdown).await
}

/// The routes, for a host that listens on `address`. Beside each method stands what it needs.
pub fn router(host: Host, address: SocketAddr, access: Arc<Access>) -> Router {
    Routes::new()
        .route("/v1/events", post(Publish, publish::post).get(Read, events::list))
        .route("/v1/events/{id}", get(Read, events::show))
        .route("/v1/events/{id}/trace", get(Read, trace::show))
        .route("/v1/traces", get(Read, traces::list))
        .route("/v1/plugins", get(Read, plugins::list))
        .route(
            "/v1/plugins/{name}",
            get(Read, plugins::show)
                .put(Operate, versions::deploy)
                .delete(Operate, plugins::remove),
        )
        .route("/v1/plugins/{name}/versions", get(Read, versions::list))
        .route("/v1/plugins/{name}/rollback", post(Operate, versions::roll_back))
        .route("/v1/plugins/{name}/promote", post(Operate, versions::promote))
        .route("/v1/plugins/{name}/pause", post(Operate, plugins::pause))
        .route("/v1/plugins/{name}/resume", post(Operate, plugins::resume))
        .route("/v1/plugins/{name}/approve", post(Operate, plugins::approve))
        .route(
            "/v1/plugins/{name}/rewind",
            post(Operate, rewind::begin).delete(Operate, rewind::stop),
        )
        .route("/v1/plugins/{name}/timers", get(Read, timers::list))
        .route("/v1/plugins/{name}/logs", get(Read, plugins::logs))
        .route("/v1/plugins/{name}/history", get(Read, history::show))
        .route("/v1/plugins/{name}/contracts", post(Read, schemas::would_break))
        .route("/v1/plugins/{name}/state", get(Read, state::list))
        .route("/v1/plugins/{name}/state/{*key}", get(Read, state::show))
        .route("/v1/dead-letters", get(Read, dead_letters::list))
        .route(
            "/v1/dead-letters/{plugin}/retry",
            post(Operate, dead_letters::retry_all),
        )
        .route(
            "/v1/dead-letters/{plugin}/{event}",
            get(Read, dead_letters::show).delete(Operate, dead_letters::give_up),
        )
        .route(
            "/v1/dead-letters/{plugin}/{event}/bundle",
            get(Read, bundle::show),
        )
        .route(
            "/v1/dead-letters/{plugin}/{event}/retry",
            post(Operate, dead_letters::retry),
        )
        .route("/v1/schemas", get(Read, schemas::list))
        .route(
            "/v1/schemas/{type}",
            get(Read, schemas::show)
                .put(Operate, schemas::set)
                .delete(Operate, schemas::take_back),
        )
        .route("/v1/map", get(Read, map::show))
        .route("/v1/doctor", get(Read, doctor::show))
        .route("/v1/log", get(Read, log::show))
        .route("/v1/log/backup", get(Read, backup::show))
        .route(
            "/v1/session",
            get(Somebody, session::show)
                .post(Somebody, session::open)
                .delete(Somebody, session::close),
        )
        .route("/openapi.json", get(Nothing, openapi::show))
        .route("/metrics", get(Read, metrics::show))
        .route("/livez", get(Nothing, health::live))
        .route("/readyz", get(Nothing, health::ready))
        .merge(dashboard::routes())
        .into_router()
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn_with_state(
            guard::Guard::new(address, access),
            guard::check,
        ))
        .layer(middleware::from_fn_with_state(host.clone(), guard::count))
        .with_state(host)
}
