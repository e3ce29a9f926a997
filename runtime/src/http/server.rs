//! Connections: accepting them, bounding what each may hold, and ending them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Tls;
use crate::allotment::Allotment;

/// How long the host waits for clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the whole head of a request.
    pub(super) head: Duration,
    /// For what is under way when the host stops.
    pub(super) stop: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            stop: Duration::from_secs(5),
        }
    }
}

/// Serve `router` on `listener` until `shutdown` completes. Then accept nobody, end idle connections, and give requests
/// that are under way a while to finish.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<Tls>,
    patience: Patience,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let tls = tls.as_ref().map(Tls::acceptor);
    let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(Allotment::now().connections));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted?,
        };
        let connection = Connection {
            http: http.clone(),
            router: router.clone(),
            patience,
            stop: stop.clone(),
        };
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => connection.serve_over(tls, stream).await,
            }
            drop(place);
        });
    }
    drop(listener);
    stop.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

/// One connection, and what it needs.
struct Connection {
    http: http1::Builder,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
}

impl Connection {
    /// Serve it over TLS, where its client shakes hands in time.
    async fn serve_over(self, tls: TlsAcceptor, stream: TcpStream) {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(self.patience.head, tls.accept(stream)) => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(cause)) => tracing::debug!("a client did not come to terms over TLS: {cause}"),
            Err(_) => tracing::debug!("a client did not come to terms over TLS in time"),
        }
    }

    /// Serve it until it ends, or the host does.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router);
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(self.patience.stop, connection).await.ok()
            }
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(cause)) => tracing::debug!("a connection ended: {cause}"),
            None => tracing::info!("a client that did not finish its request was cut off"),
        }
    }
}

/// # Cancel safety
/// May be cancelled at any time: no connection is lost.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are whole when they are written: holding them back helps nobody.
                stream.set_nodelay(true).ok();
                return Ok((stream, place));
            }
            Err(cause) if is_the_clients(&cause) => {}
            Err(cause) => {
                tracing::warn!("no connection can be accepted: {cause}");
                pause().await;
            }
        }
    }
}

/// Whether only the one connection failed.
fn is_the_clients(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Out of descriptors or memory: trying again at once would only burn the processor.
#[expect(
    clippy::disallowed_methods,
    reason = "the system's shortage has no event to wait for, and no record depends on it"
)]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
