//! `GET /v1/events` and `/v1/events/{id}`: pages of the log's events, or a stream of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use nerve_eventlog::{Entry, Offset, Reach, ReadError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_event::logged;
use super::extract::{Path, Query};
use super::follow;
use super::problem::Problem;
use crate::delivery::subscription::Pattern;
use crate::host::Host;
use crate::log::record;
use crate::trace;

/// Bytes of the log that are looked at for one page.
const PAGE_BYTES: usize = 1 << 20;

/// Chunks of [`PAGE_BYTES`] that one request looks at; the next page goes on behind them.
const MOST_CHUNKS: usize = 64;

/// Events of a page at most.
const MOST_EVENTS: usize = 1000;

/// Bytes of the records on one page, after which it ends early; one event is always shown.
const MOST_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    r#type: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
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
        let select = move |entry: &Entry| event_json(entry, pattern.as_ref());
        return Ok(follow::stream(host, &headers, after, select)?.into_response());
    }
    let limit = which.limit.unwrap_or(100).clamp(1, MOST_EVENTS);
    let asked = which.after.is_some();
    let page = blocking(host, move |host| {
        loop {
            let found = page(host, pattern.as_ref(), after, limit);
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
    Ok(Json(page).into_response())
}

/// One page behind `after`.
fn page(host: &Host, pattern: Option<&Pattern>, after: Offset, limit: usize) -> Result<Value, Problem> {
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
            if let Some((_, value)) = event_json(&entry, pattern) {
                bytes += entry.payload.len();
                events.push(value);
            }
        }
    }
    Ok(json!({ "events": events, "next": next.0, "last": host.log().bounds().durable.0 }))
}

/// The event in `entry` as its type and its JSON, where it is one that is asked for.
fn event_json(entry: &Entry, pattern: Option<&Pattern>) -> Option<(String, Value)> {
    let event = record::event(&entry.payload).ok()??;
    let wanted = pattern.is_none_or(|pattern| pattern.matches(event.r#type));
    wanted.then(|| (event.r#type.to_owned(), logged(entry, &event)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSource {
    source: Option<String>,
}

pub(super) async fn show(
    State(host): State<Host>,
    Path(id): Path<String>,
    Query(OfSource { source }): Query<OfSource>,
) -> Result<Json<Value>, Problem> {
    let found = blocking(host, move |host| find(host, &id, source.as_deref())).await?;
    let events = found
        .iter()
        .filter_map(|entry| Some(logged(entry, &record::event(&entry.payload).ok()??)));
    Ok(Json(json!({ "events": events.collect::<Vec<_>>() })))
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
