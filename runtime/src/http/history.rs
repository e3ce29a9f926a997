//! `GET /v1/plugins/{name}/history`: what a plugin is, and what it settled, with the state before it: for a trial of another
//! version.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc::{Sender, channel};

use super::events::unreadable;
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::delivery::subscription::Pattern;
use crate::host::Host;
use crate::trial::Against;
use crate::trial::read::HistoryError;

/// Bytes that are sent at a time.
const CHUNK: usize = 128 << 10;

/// Chunks that may wait for the client.
const WAITING: usize = 4;

/// How far the reading stands behind everybody else for the processor.
const NICE: i32 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    against: Option<String>,
    types: Option<String>,
}

pub(super) async fn show(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(Which { against, types }): Query<Which>,
) -> Result<Response, Problem> {
    let against = against.as_deref().map(str::parse::<Against>).transpose();
    let against = against.map_err(|bad| Problem::query(bad.to_string()))?;
    let types = types.unwrap_or_default();
    let types = types.split(',').filter(|text| !text.is_empty());
    let types = types.map(str::parse).collect::<Result<Vec<Pattern>, _>>();
    let types = types.map_err(|bad| Problem::query(bad.to_string()))?;
    let (sender, mut receiver) = channel(WAITING);
    let work = move || {
        // Where the system does not let it, it stands beside them.
        rustix::process::setpriority_process(None, NICE).ok();
        let mut out = io::BufWriter::with_capacity(CHUNK, Chunks(sender));
        let told = host.history(&name, against.map(|against| (against, &types[..])), &mut |part| {
            part.write(&mut out)
        });
        if let Err(refused) = told.and_then(|()| Ok(out.flush()?)) {
            // Whoever has gone needs no reason.
            out.get_ref().0.blocking_send(Err(refused)).ok();
        }
    };
    // A thread of its own, for it keeps its place behind the others.
    let thread = std::thread::Builder::new().name("history".into());
    thread.spawn(work).map_err(|cause| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            format!("no thread for it: {cause}"),
        )
    })?;
    let first = match receiver.recv().await {
        Some(first) => first?,
        None => return Err(Problem::gone("the history ended before it began")),
    };
    let rest = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let part = receiver.recv().await?;
        Some((part.map_err(io::Error::other), receiver))
    });
    let parts = futures_util::stream::once(async { Ok(first) }).chain(rest);
    Ok((
        [(header::CONTENT_TYPE, "application/vnd.nerve.history")],
        Body::from_stream(parts),
    )
        .into_response())
}

/// Hands what is written to the task that answers.
struct Chunks(Sender<Result<Bytes, HistoryError>>);

impl Write for Chunks {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(part)))
            .map_err(|_| io::Error::other("the client has gone"))?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<HistoryError> for Problem {
    fn from(refused: HistoryError) -> Self {
        match refused {
            HistoryError::Read(bad) => unreadable(&bad),
            HistoryError::Stopped(stopped) => stopped.into(),
            HistoryError::Before(cause) => {
                Problem::new(StatusCode::CONFLICT, "no-history", cause.to_string())
            }
            HistoryError::Record(_) | HistoryError::Sink(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", refused.to_string())
            }
        }
    }
}
