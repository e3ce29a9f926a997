//! `GET /v1/events` and `/v1/events/{id}`: pages of the log's events, or a stream of them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nerve_eventlog::{Entry, Offset, Reach, ReadError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_event::{self, logged};
use super::extract::{Path, Query};
use super::follow;
use super::problem::Problem;
use crate::delivery::subscription::Pattern;
use crate::host::Host;
use crate::log::record::{self, Event};
use crate::trace;

/// The content types of the modes.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const BATCH: &str = "application/cloudevents-batch+json; charset=utf-8";

/// Bytes of the log that are looked at for one page.
const PAGE_BYTES: usize = 1 << 20;

/// Chunks of [`PAGE_BYTES`] that one request looks at; the next page goes on behind them.
const MOST_CHUNKS: usize = 64;

/// Events of a page at most.
const MOST_EVENTS: usize = 1000;

/// Bytes of the records on one page, after which it ends early; one event is always shown.
const MOST_BYTES: usize = 8 << 20;

/// How events are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Each in structured mode, with its offset and the time when it was appended.
    #[default]
    Logged,
    /// As a `CloudEvent` in structured mode.
    Structured,
    /// As a batch of these.
    Batched,
    /// As a `CloudEvent` in binary mode.
    Binary,
}

impl Mode {
    /// `entry` as one of many.
    fn show(self, entry: &Entry, event: &Event<'_>) -> Value {
        match self {
            Self::Logged => logged(entry, event),
            _ => cloud_event::shown(entry.time, event),
        }
    }

    fn among(self, known: &[Self], of: &str) -> Result<Self, Problem> {
        if known.contains(&self) {
            return Ok(self);
        }
        Err(Problem::query(format!(
            "{of} can't be read in this mode: mode=structured and mode=binary are for one event, mode=structured is also for a \
             stream, and mode=batched for a page"
        )))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    r#type: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    mode: Mode,
}

pub(super) async fn list(
    State(host): State<Host>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pattern = which.r#type.as_deref().map(str::parse::<Pattern>).transpose();
    let pattern = pattern.map_err(|bad| Problem::query(bad.to_string()))?;
    // Who names no position wants what there is, and is not told what there was.
    let mut after = which
        .after
        .map_or_else(|| host.log().bounds().first.prev(), Offset);
    if follow::is_asked_for(&headers) {
        let mode = which.mode.among(&[Mode::Logged, Mode::Structured], "a stream")?;
        let select = move |entry: &Entry| event_json(entry, pattern.as_ref(), mode);
        return Ok(follow::stream(host, &headers, after, select)?.into_response());
    }
    let mode = which.mode.among(&[Mode::Logged, Mode::Batched], "a page")?;
    let limit = which.limit.unwrap_or(100).clamp(1, MOST_EVENTS);
    let asked = which.after.is_some();
    let page = blocking(host, move |host| {
        loop {
            let found = page(host, pattern.as_ref(), after, limit, mode);
            // Retention may pass by; who named no position goes on where the log begins now.
            match found {
                Err(gone) if !asked && gone.first.is_some() => {
                    after = host.log().bounds().first.prev();
                }
                found => return found,
            }
        }
    })
    .await?;
    if mode == Mode::Logged {
        return Ok(Json(page).into_response());
    }
    let mut query = format!("mode=batched&limit={limit}&after={}", page["next"]);
    if let Some(pattern) = &which.r#type {
        // A pattern was read from it: besides names and dots it has stars and a sign that links end with.
        query = format!("type={}&{query}", pattern.replace('>', "%3E"));
    }
    let headers = [
        (header::CONTENT_TYPE, BATCH.to_owned()),
        (header::LINK, format!("</v1/events?{query}>; rel=\"next\"")),
    ];
    Ok((headers, page["events"].to_string()).into_response())
}

/// One page behind `after`.
fn page(
    host: &Host,
    pattern: Option<&Pattern>,
    after: Offset,
    limit: usize,
    mode: Mode,
) -> Result<Value, Problem> {
    let (mut events, mut next, mut bytes) = (Vec::new(), after, 0);
    'chunks: for _ in 0..MOST_CHUNKS {
        let entries = host
            .log()
            .read(next.next(), PAGE_BYTES, Reach::Durable)
            .map_err(|bad| unreadable(&bad))?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if events.len() == limit || bytes >= MOST_BYTES {
                break 'chunks;
            }
            next = entry.offset;
            if let Some((_, value)) = event_json(&entry, pattern, mode) {
                bytes += entry.payload.len();
                events.push(value);
            }
        }
    }
    Ok(json!({ "events": events, "next": next.0, "last": host.log().bounds().durable.0 }))
}

/// The event in `entry` as its type and its JSON, where it is one that is asked for.
fn event_json(entry: &Entry, pattern: Option<&Pattern>, mode: Mode) -> Option<(String, Value)> {
    let event = record::event(&entry.payload).ok()??;
    let wanted = pattern.is_none_or(|pattern| pattern.matches(event.r#type));
    wanted.then(|| (event.r#type.to_owned(), mode.show(entry, &event)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSource {
    source: Option<String>,
    #[serde(default)]
    mode: Mode,
}

pub(super) async fn show(
    State(host): State<Host>,
    Path(id): Path<String>,
    Query(OfSource { source, mode }): Query<OfSource>,
) -> Result<Response, Problem> {
    let mode = mode.among(&[Mode::Logged, Mode::Structured, Mode::Binary], "one event")?;
    let shown = id.clone();
    let found = blocking(host, move |host| find(host, &id, source.as_deref())).await?;
    if mode != Mode::Logged {
        return one(&shown, &found, mode);
    }
    let events = found
        .iter()
        .filter_map(|entry| Some(logged(entry, &record::event(&entry.payload).ok()??)));
    Ok(Json(json!({ "events": events.collect::<Vec<_>>() })).into_response())
}

/// The one event that was found, as a message.
fn one(id: &str, found: &[Entry], mode: Mode) -> Result<Response, Problem> {
    let [entry] = found else {
        return Err(Problem::query(format!(
            "events of {} sources have the id {id:?}: say which with source=",
            found.len()
        )));
    };
    let unreadable = |cause: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", cause);
    let event = record::event(&entry.payload)
        .ok()
        .flatten()
        .ok_or_else(|| unreadable("it is no event any more".into()))?;
    if mode == Mode::Structured {
        let body = cloud_event::shown(entry.time, &event).to_string();
        return Ok(([(header::CONTENT_TYPE, STRUCTURED)], body).into_response());
    }
    let (headers, body) =
        cloud_event::headers(entry.time, &event).map_err(|cause| unreadable(cause.to_string()))?;
    let mut response = Response::new(Body::from(body));
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(Problem::query(
                "an attribute of this event can't be a header: read it with mode=structured",
            ));
        };
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The events with this id, or at `@OFFSET`; at least one.
pub(super) fn find(host: &Host, id: &str, source: Option<&str>) -> Result<Vec<Entry>, Problem> {
    let none = || {
        let detail = match id.strip_prefix('@') {
            Some(offset) => format!("no event is at offset {offset}"),
            None => format!("no event has the id {id:?}"),
        };
        Problem::new(StatusCode::NOT_FOUND, "event-not-found", detail)
            .hint("`nerve events`, GET /v1/events, lists them; @17 names one by its offset")
    };
    let mut found = Vec::new();
    if let Some(number) = id.strip_prefix('@') {
        let offset = number
            .parse()
            .map_err(|_| Problem::query(format!("{id:?} is no offset: write @17")))?;
        if Offset(offset) <= host.log().bounds().durable && offset > 0 {
            host.log()
                .read_at(&[Offset(offset)], &mut found)
                .map_err(|bad| unreadable(&bad))?;
        }
        found.retain(|entry| matches!(record::event(&entry.payload), Ok(Some(_))));
    } else {
        found = trace::find(&**host.log(), id, source).map_err(|bad| unreadable(&bad))?;
    }
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Run `work`, which may read the disk, where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    host: Host,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(move || work(&host))
        .await
        .unwrap_or_else(|panicked| {
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                panicked.to_string(),
            ))
        })
}

pub(super) fn unreadable(bad: &ReadError) -> Problem {
    match bad {
        ReadError::Gone { first, .. } => Problem {
            first: Some(first.0),
            ..Problem::new(StatusCode::GONE, "position-gone", bad.to_string()).hint("go on from `first`")
        },
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log-damaged", bad.to_string())
            .hint("`nerve log verify` lists all damage"),
    }
}
