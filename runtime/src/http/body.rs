//! The body of a request, whole and within the limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use futures_util::StreamExt;

use super::problem::Problem;
use crate::host::Host;
use crate::plugin::watcher::LONGEST_FILE;

/// How long the rest of a body that is too large is read and thrown away, and how much of it: a client that
/// writes everything before it reads would find its connection reset in place of the answer.
const DRAIN: (Duration, usize) = (Duration::from_secs(2), 256 << 20);

/// A whole body.
pub(super) struct Whole(pub(super) Bytes);

impl Whole {
    /// The `body` of a request with these `headers`.
    pub(super) async fn read(host: &Host, headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let limit = host.acceptor().limits().request_bytes;
        let hint = "send smaller batches, and references instead of large data";
        whole(headers, body, limit, hint).await.map(Self)
    }
}

impl FromRequest<Host> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, host: &Host) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        Self::read(host, &parts.headers, body).await
    }
}

/// The component of a plugin.
pub(super) struct Component(pub(super) Bytes);

impl FromRequest<Host> for Component {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Host) -> Result<Self, Problem> {
        let limit = usize::try_from(LONGEST_FILE).unwrap_or(usize::MAX);
        let (parts, body) = request.into_parts();
        whole(&parts.headers, body, limit, "build it smaller, and for release")
            .await
            .map(Self)
    }
}

/// The body, of at most `limit` bytes. Refuses one that says it is too large before reading any of it.
async fn whole(headers: &HeaderMap, body: Body, limit: usize, hint: &str) -> Result<Bytes, Problem> {
    let stated = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // A client that asks first has sent nothing yet, and will not.
    let asks_first = headers.contains_key(header::EXPECT);
    let mut body = body.into_data_stream();
    if stated.is_some_and(|stated| stated > limit as u64) {
        if !asks_first {
            drain(body);
        }
        return Err(too_large("the body", limit, hint));
    }
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = next(&mut body).await? else {
        return if first.len() > limit {
            Err(too_large("the body", limit, hint))
        } else {
            Ok(first)
        };
    };
    let mut whole = BytesMut::from(first);
    let mut part = Some(second);
    while let Some(bytes) = part {
        if whole.len() + bytes.len() > limit {
            drain(body);
            return Err(too_large("the body", limit, hint));
        }
        whole.extend_from_slice(&bytes);
        part = next(&mut body).await?;
    }
    Ok(whole.freeze())
}

async fn next(body: &mut BodyDataStream) -> Result<Option<Bytes>, Problem> {
    body.next().await.transpose().map_err(|cause| broken(&cause))
}

/// The connection broke, or what came is no body.
pub(super) fn broken(cause: &axum::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body-invalid",
        format!("the body ends early: {cause}"),
    )
    .hint("send as many bytes as Content-Length says")
}

/// `problem`, for which nothing of the body of `request` is needed: a client that sends it without asking first sends all of it
/// before it reads the answer.
pub(super) fn unread(request: Request, problem: Problem) -> Problem {
    if !request.headers().contains_key(header::EXPECT) {
        drain(request.into_body().into_data_stream());
    }
    problem
}

/// Read on for a while beside the answer, and keep nothing.
pub(super) fn drain(mut body: BodyDataStream) {
    let (time, most) = DRAIN;
    tokio::spawn(tokio::time::timeout(time, async move {
        let mut left = most;
        while let Some(Ok(bytes)) = body.next().await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}

pub(super) fn too_large(what: &str, limit: usize, hint: &str) -> Problem {
    let detail = format!("{what} is larger than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).hint(hint)
}
