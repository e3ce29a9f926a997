//! `POST /v1/events`: accept, append, and answer once it is durable, or once plugins have settled it.

mod stream;

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nerve_eventlog::Offset;
use serde::Serialize;

use super::body::{Whole, unread};
use super::cloud_event;
use super::extract::Query;
use super::problem::Problem;
use super::routes::{Admitted, lacking};
use super::wait::Asked;
use crate::access::Caller;
use crate::host::{Host, Published};
use crate::ingest::ValidEvent;

/// How long a publisher waits for the disk at most.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn post(
    State(host): State<Host>,
    caller: Caller,
    Extension(admitted): Extension<Admitted>,
    asked: Result<Query<Asked>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let answered = match asked {
        Err(problem) => Err(unread(request, problem)),
        Ok(Query(asked)) if stream::is_asked_for(request.headers()) => {
            stream::begin(&host, caller, admitted.access, asked, request).await
        }
        Ok(Query(asked)) => publish(&host, &caller, asked, request).await,
    };
    if let Err(problem) = &answered {
        host.count_refused(&problem.code);
    }
    answered
}

async fn publish(host: &Host, caller: &Caller, asked: Asked, request: Request) -> Result<Response, Problem> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let Whole(body) = Whole::read(host, &headers, body).await?;
    let wait = asked.wait(&headers)?;
    let acceptor = host.acceptor();
    let (content_type, essence) = content_type(&headers);
    let (events, is_batch) = match &*essence {
        "application/cloudevents+json" => (vec![cloud_event::structured(acceptor, &body)?], false),
        "application/cloudevents-batch+json" => (cloud_event::batch(acceptor, &body)?, true),
        // The specification keeps these for formats of whole events, which are not known here.
        _ if essence.starts_with("application/cloudevents") => return Err(unsupported(content_type)),
        _ if is_binary(&headers) => {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()));
            (vec![cloud_event::binary(acceptor, headers, &body)?], false)
        }
        _ => return Err(unsupported(content_type)),
    };
    events.iter().try_for_each(|event| may_publish(caller, event))?;
    let published = host.publish(&events)?;
    // Before the events are durable, so that they need not be read again.
    let settling = wait.map(|wait| {
        let events = published.iter().map(|published| published.offset).collect();
        (host.watch_settling(events, wait.plugins.clone()), wait)
    });
    if let Some(last) = published.iter().map(|published| published.offset).max() {
        let durable = tokio::time::timeout(LONGEST_WAIT, host.durable(last)).await;
        durable.map_err(|_| unknown(last))??;
    }
    let mut shown = events.iter().zip(&published).map(Acknowledged::of);
    let shown = match shown.next() {
        Some(one) if !is_batch => Shown::One(one),
        first => Shown::Batch {
            events: first.into_iter().chain(shown).collect(),
        },
    };
    Ok(match settling {
        None => axum::Json(shown).into_response(),
        Some((settling, wait)) => wait.answer(&shown, &settling.within(wait.longest).await),
    })
}

/// The content type, and it without parameters.
fn content_type(headers: &HeaderMap) -> (&str, String) {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default();
    (text, essence.trim().to_ascii_lowercase())
}

/// Whether the attributes of an event are in the headers.
fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-id") || headers.contains_key("ce-specversion")
}

fn may_publish(caller: &Caller, event: &ValidEvent) -> Result<(), Problem> {
    let event_type = event.event_type();
    if caller.may_publish(event_type) {
        return Ok(());
    }
    Err(lacking(caller, &format!("publish:{event_type}")))
}

/// The events are in the log, and not on disk yet.
fn unknown(last: Offset) -> Problem {
    let detail = format!(
        "the events up to offset {last} are appended, and were not on disk after {} s",
        LONGEST_WAIT.as_secs()
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-durable-yet", detail).hint(
        "whether they will be kept is unknown: see to the host's disk, and publish them again with the same ids",
    )
}

/// What a publisher is told.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    One(Acknowledged<'a>),
    Batch { events: Vec<Acknowledged<'a>> },
}

/// An event that is on disk.
#[derive(Serialize)]
struct Acknowledged<'a> {
    offset: u64,
    id: &'a str,
    source: &'a str,
    duplicate: bool,
}

impl<'a> Acknowledged<'a> {
    fn of((event, published): (&'a ValidEvent, &Published)) -> Self {
        Self {
            offset: published.offset.0,
            id: event.id(),
            source: event.source(),
            duplicate: published.duplicate,
        }
    }
}

fn unsupported(content_type: &str) -> Problem {
    let detail =
        format!("content type {content_type:?} without ce- headers is no CloudEvent that is known here");
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type-unsupported",
        detail,
    )
    .hint(
        "send application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson with an event a line, or \
         ce- headers",
    )
}
