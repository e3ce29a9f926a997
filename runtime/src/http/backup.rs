//! `GET /v1/log/backup`: everything a host needs to go on elsewhere, as one tar file that is made while it is sent.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};

use super::problem::Problem;
use crate::host::{BackupError, Host};

/// Bytes that are sent at a time.
const CHUNK: usize = 256 << 10;

/// Chunks that may wait for the client.
const WAITING: usize = 8;

/// How long the client may take nothing. Retention waits for it.
const STALL: Duration = Duration::from_mins(1);

pub(super) async fn show(State(host): State<Host>) -> Result<Response, Problem> {
    let (sender, mut receiver) = channel(WAITING);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let sink = Sink { runtime, sender };
        let mut out = io::BufWriter::with_capacity(CHUNK, sink);
        if let Err(refused) = host.backup(&mut out) {
            tracing::warn!("a backup was not made to its end: {refused}");
            let (sink, _) = out.into_parts();
            // Whoever has gone needs no reason.
            sink.send(Err(refused)).ok();
        }
    });
    let first = match receiver.recv().await {
        Some(Err(refused)) => return Err(refused.into()),
        Some(Ok(first)) => first,
        None => return Err(Problem::from(BackupError::Io(io::ErrorKind::BrokenPipe.into()))),
    };
    let rest = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let part = receiver.recv().await?;
        Some((part.map_err(io::Error::other), receiver))
    });
    let parts = futures_util::stream::once(async { Ok(first) }).chain(rest);
    Ok((
        [(header::CONTENT_TYPE, "application/x-tar")],
        Body::from_stream(parts),
    )
        .into_response())
}

/// Hands what is written to the task that answers.
struct Sink {
    runtime: Handle,
    sender: Sender<Result<Bytes, BackupError>>,
}

impl Sink {
    fn send(&self, part: Result<Bytes, BackupError>) -> io::Result<()> {
        let sent = self
            .runtime
            .block_on(tokio::time::timeout(STALL, self.sender.send(part)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("the client has gone")),
            Err(_) => Err(io::Error::other("the client takes nothing")),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.send(Ok(Bytes::copy_from_slice(part)))?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<BackupError> for Problem {
    fn from(refused: BackupError) -> Self {
        let detail = refused.to_string();
        match refused {
            BackupError::Stopped(stopped) => stopped.into(),
            BackupError::Memory => Self::new(StatusCode::CONFLICT, "nothing-on-disk", detail)
                .hint("run the host with --durability fsync"),
            BackupError::Log(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "log-damaged", detail)
                .hint("`nerve log verify` lists all damage"),
            BackupError::Component(_) | BackupError::Io(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
                    .hint("see to the disk of the host, and ask again")
            }
        }
    }
}
