//! Streams of records as server-sent events. A stream reads the log as its client reads the stream, so that a slow
//! client makes the host keep nothing.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::{HeaderMap, header};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use nerve_eventlog::{Entry, Offset, Reach, ReadError};
use serde_json::Value;

use super::events::unreadable;
use super::problem::Problem;
use crate::host::Host;

/// Bytes of the log that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// What of an entry goes into the stream: the name of the event and its data.
pub(super) type Selected = Option<(String, Value)>;

struct Follow<F> {
    host: Host,
    at: Offset,
    ready: VecDeque<Event>,
    select: F,
}

/// Whether the client asks for a stream.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(header::ACCEPT).iter();
    accepts.any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.contains("text/event-stream"))
    })
}

/// What `select` takes of every durable entry behind `after`, or behind the client's `Last-Event-ID`, until the
/// host stops.
pub(super) fn stream<F>(
    host: Host,
    headers: &HeaderMap,
    after: Offset,
    select: F,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<F>>, Problem>
where
    F: Fn(&Entry) -> Selected + Send + Sync + 'static,
{
    let after = last_seen(headers)?.unwrap_or(after);
    let first = host.log().bounds().first;
    if after.next() < first {
        let asked = after.next();
        return Err(unreadable(&ReadError::Gone { asked, first }));
    }
    let start = Follow {
        host,
        at: after,
        ready: VecDeque::new(),
        select,
    };
    let events = futures_util::stream::unfold(start, |mut follow| async move {
        loop {
            if let Some(event) = follow.ready.pop_front() {
                return Some((Ok(event), follow));
            }
            follow = follow.more().await?;
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Where a client that was cut off goes on.
fn last_seen(headers: &HeaderMap) -> Result<Option<Offset>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let bad = || {
        Problem::query(format!("`Last-Event-ID` {value:?} is no offset"))
            .hint("send the `id` of the last event you saw")
    };
    number.map(|number| Some(Offset(number))).ok_or_else(bad)
}

impl<F: Fn(&Entry) -> Selected + Send + Sync + 'static> Follow<F> {
    /// Wait for durable records behind `at` and read some; `None` when the host stops or they can't be read.
    async fn more(self) -> Option<Self> {
        tokio::select! {
            () = self.host.stopping() => return None,
            grown = self.host.durable(self.at.next()) => grown.ok()?,
        };
        tokio::task::spawn_blocking(move || {
            let mut follow = self;
            let entries = follow
                .host
                .log()
                .read(follow.at.next(), CHUNK_BYTES, Reach::Durable)
                .ok()?;
            for entry in entries {
                follow.at = entry.offset;
                if let Some((name, data)) = (follow.select)(&entry) {
                    let event = Event::default().id(entry.offset.to_string()).event(name);
                    follow.ready.push_back(event.json_data(data).ok()?);
                }
            }
            Some(follow)
        })
        .await
        .ok()?
    }
}
