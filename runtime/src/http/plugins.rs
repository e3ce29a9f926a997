//! `/v1/plugins`: what runs, how it fares, and what it logged.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use nerve_eventlog::{Entry, Offset, Reach, ReadError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::events::{blocking, unreadable};
use super::extract::{Part, Path, Query};
use super::problem::Problem;
use super::{follow, rewind, time, versions};
use crate::delivery::retry::Setting;
use crate::host::{Host, PluginStatus};
use crate::log::record::{Asks, Outcome, Record};

/// How far a request for the last lines looks back, in records, and how many it looks at at a time.
const LOOK_BACK: u64 = 200_000;

pub(super) async fn list(State(host): State<Host>, Query(part): Query<Part>) -> Result<Json<Value>, Problem> {
    let plugins = host.plugins().await?;
    let (plugins, next) = part.of(&plugins, |plugin| &plugin.name);
    let plugins: Vec<Value> = plugins.iter().map(shown).collect();
    Ok(Json(json!({ "plugins": plugins, "next": next })))
}

pub(super) async fn show(State(host): State<Host>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&host.plugin(&name).await?)))
}

pub(super) async fn remove(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&host.remove_plugin(&name).await?)))
}

pub(super) async fn pause(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&host.pause_plugin(&name).await?)))
}

pub(super) async fn resume(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&host.resume_plugin(&name).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    pair: String,
}

pub(super) async fn approve(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(Shown { pair }): Query<Shown>,
) -> Result<Json<Value>, Problem> {
    let pair = pair
        .parse()
        .map_err(|bad| Problem::query(format!("pair: {bad}")))?;
    Ok(Json(shown(&host.approve_plugin(&name, pair).await?)))
}

fn asks(asks: &Asks) -> Vec<Value> {
    let one =
        |(capability, scope): &(String, Vec<String>)| json!({ "capability": capability, "scope": scope });
    asks.iter().map(one).collect()
}

fn setting(value: &Setting) -> Value {
    match value {
        Setting::Number(number) => json!(number),
        Setting::Word(word) => json!(word),
    }
}

pub(super) fn shown(status: &PluginStatus) -> Value {
    let parked = status.parked.iter().map(|parked| {
        json!({
            "key": parked.key, "event": parked.event.0, "attempt": parked.attempt,
            "due": parked.due.map(time::text), "reason": parked.reason,
        })
    });
    let subscriptions = status
        .subscriptions
        .iter()
        .map(|(p, from)| json!({ "pattern": p, "from": from.0 }));
    let [done, retry, dead] = status.counters;
    let mut out = json!({
        "name": status.name,
        "status": status.standing.word(),
        "subscriptions": subscriptions.collect::<Vec<_>>(),
        "limits": status.limits.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Map<_, _>>(),
        "retry": status.retry.iter().map(|(name, value)| ((*name).to_owned(), setting(value))).collect::<Map<_, _>>(),
        "cursor": status.cursor.0,
        "lag": status.lag,
        "paused": status.paused.as_ref().map(|open| json!({
            "why": open.why, "since": time::text(open.since), "next_try": open.probe.map(time::text),
            "probes": open.probes, "reason": open.reason,
        })),
        "parked": parked.collect::<Vec<_>>(),
        "dead_letters": status.dead_letters,
        "timers": { "count": status.timers.0, "next": status.timers.1.map(time::text) },
        "state": { "keys": status.state_keys, "bytes": status.state_bytes },
        "lanes": status.lanes,
        "counters": { "done": done, "retry": retry, "dead": dead, "conflicts": status.conflicts },
        "limits_hit": status.limits_hit.iter().map(|(name, times)| (name.to_string(), json!(times))).collect::<Map<_, _>>(),
        "refused": status.refused.as_ref().map(|(at, reason)| json!({ "at": time::text(*at), "reason": reason })),
        "trouble": status.trouble,
        "rewind": status.rewind.as_ref().map(rewind::shown),
        "again": status.again.as_ref().map(versions::again),
        "operated": status.operated.iter().map(|one| json!({
            "offset": one.offset.0, "at": time::text(one.time), "who": one.who, "what": one.what,
        })).collect::<Vec<_>>(),
        "granted": asks(&status.granted),
        "probation": status.probation.as_ref().map(|watch| json!({
            "before": watch.before.to_string(), "done": watch.seen.done, "failed": watch.seen.failed,
            "canary": watch.share.map(|share| f64::from(share) / 10_000.0), "events": watch.terms.events, "until": watch.until.map(time::text),
            "own_state": status.own.map(|own| json!({
                "keys": own.keys, "bytes": own.bytes, "wrote": own.wrote, "done": own.done.0, "limit": own.done.1,
            })),
        })),
        "waiting": status.waiting.as_ref().map(|(pair, since, version)| json!({
            "since": time::text(*since), "pair": pair.to_string(), "version": version.version.to_string(),
            "label": version.label, "asks": asks(&version.asks), "missing": asks(&version.missing),
        })),
    });
    if let Some(version) = &status.version {
        out["version"] = version.version.to_string().into();
        out["component"] = version.component.to_string().into();
        out["label"] = version.label.clone().into();
        out["since"] = time::text(version.since).into();
        out["emits"] = version.emits.clone().into();
        out["readable"] = version.readable.clone().into();
        out["asks"] = asks(&version.asks).into();
        out["warnings"] = version.warnings.clone().into();
        out["webhook"] = json!(version.webhook);
    }
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn logs(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    host.plugin(&name).await?;
    if follow::is_asked_for(&headers) {
        let after = Offset(page.after.unwrap_or(host.log().bounds().durable.0));
        let select = move |entry: &Entry| {
            let lines = lines_of(entry, &name);
            (!lines.is_empty()).then(|| ("lines".to_owned(), Value::Array(lines)))
        };
        return Ok(follow::stream(host, &headers, after, select)?.into_response());
    }
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let lines = blocking(host, move |host| {
        lines(host, &name, page.after.map(Offset), limit)
    })
    .await?;
    Ok(Json(lines).into_response())
}

/// Lines behind `after`, or, where it is not given, the last ones.
fn lines(host: &Host, plugin: &str, after: Option<Offset>, limit: usize) -> Result<Value, Problem> {
    let bounds = host.log().bounds();
    let back = Offset(bounds.durable.0.saturating_sub(LOOK_BACK)).max(bounds.first.prev());
    let (mut at, mut out) = (after.unwrap_or(back), Vec::new());
    loop {
        let entries = host.log().read(at.next(), 1 << 20, Reach::Durable);
        let entries = match entries {
            // Retention passed by; who named no position goes on where the log begins now.
            Err(ReadError::Gone { first, .. }) if after.is_none() => {
                at = first.prev();
                continue;
            }
            entries => entries.map_err(|bad| unreadable(&bad))?,
        };
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            break;
        };
        for entry in &entries {
            out.extend(lines_of(entry, plugin));
            at = entry.offset;
            if after.is_some() && out.len() >= limit {
                return Ok(json!({ "lines": out, "next": at.0 }));
            }
        }
        at = last;
    }
    out.drain(..out.len().saturating_sub(limit));
    Ok(json!({ "lines": out, "next": at.0 }))
}

fn lines_of(entry: &Entry, plugin: &str) -> Vec<Value> {
    match Record::decode(&entry.payload) {
        Ok(Record::Outcome(outcome)) if outcome.plugin == plugin => lines_in(entry, &outcome),
        _ => Vec::new(),
    }
}

fn lines_in(entry: &Entry, outcome: &Outcome<'_>) -> Vec<Value> {
    let line = |line: &crate::log::record::Line<'_>| {
        json!({
            "offset": entry.offset.0, "at": time::text(entry.time), "event": outcome.event, "attempt": outcome.attempt,
            "version": outcome.version.to_string(), "level": line.level, "text": line.text,
        })
    };
    outcome.lines.iter().map(line).collect()
}
