//! `/v1/dead-letters`: what plugins gave up on, and what to do with it.

use axum::Json;
use axum::extract::State;
use nerve_eventlog::{Entry, Offset};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_event::shown as event_shown;
use super::events::{blocking, unreadable};
use super::extract::{Path, Query};
use super::problem::Problem;
use super::time;
use crate::host::{AskError, DeadLetter, Host};
use crate::log::record;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    plugin: Option<String>,
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

pub(super) async fn list(State(host): State<Host>, Query(page): Query<Page>) -> Result<Json<Value>, Problem> {
    let letters = host.dead_letters(page.plugin.as_deref()).await?;
    let limit = page.limit.unwrap_or(100).clamp(1, 1000);
    let end = page.after.saturating_add(limit).min(letters.len());
    let next = (end < letters.len()).then_some(end);
    let part: Vec<DeadLetter> = letters.into_iter().skip(page.after).take(limit).collect();
    let shown = blocking(host, move |host| {
        part.iter()
            .map(|letter| shown(host, letter, false))
            .collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(json!({ "dead_letters": shown.await?, "next": next })))
}

pub(super) async fn show(
    State(host): State<Host>,
    Path((plugin, event)): Path<(String, u64)>,
) -> Result<Json<Value>, Problem> {
    let letters = host.dead_letters(Some(&plugin)).await?;
    let letter = letters.into_iter().find(|letter| letter.event == Offset(event));
    let letter = letter.ok_or(AskError::NoDeadLetter {
        plugin,
        event: Offset(event),
    })?;
    Ok(Json(
        blocking(host, move |host| shown(host, &letter, true)).await?,
    ))
}

pub(super) async fn retry(
    State(host): State<Host>,
    Path((plugin, event)): Path<(String, u64)>,
) -> Result<Json<Value>, Problem> {
    Ok(redriven(&host.redrive(&plugin, Some(Offset(event))).await?))
}

pub(super) async fn retry_all(
    State(host): State<Host>,
    Path(plugin): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(redriven(&host.redrive(&plugin, None).await?))
}

pub(super) async fn give_up(
    State(host): State<Host>,
    Path((plugin, event)): Path<(String, u64)>,
) -> Result<Json<Value>, Problem> {
    host.drop_dead_letter(&plugin, Offset(event)).await?;
    Ok(Json(json!({ "dropped": [event] })))
}

fn redriven(offsets: &[Offset]) -> Json<Value> {
    Json(json!({ "redriven": offsets.iter().map(|offset| offset.0).collect::<Vec<_>>() }))
}

fn shown(host: &Host, letter: &DeadLetter, whole: bool) -> Result<Value, Problem> {
    let mut entries: Vec<Entry> = letter.kept.iter().cloned().collect();
    if entries.is_empty() {
        host.log()
            .read_at(&[letter.event], &mut entries)
            .map_err(|bad| unreadable(&bad))?;
    }
    let mut out = json!({
        "plugin": letter.plugin,
        "event": letter.event.0,
        "attempts": letter.attempts,
        "class": letter.class,
        "reason": letter.reason,
        "version": letter.version.to_string(),
        "at": time::text(letter.at),
        "redriving": letter.redriving,
        "retried": letter.retried.as_ref().map(|(at, who)| json!({ "at": time::text(*at), "who": who })),
    });
    if let Some(entry) = entries.first()
        && let Ok(Some(event)) = record::event(&entry.payload)
    {
        out["id"] = event.id.into();
        out["source"] = event.source.into();
        out["type"] = event.r#type.into();
        out["key"] = event.key.into();
        if whole {
            out["data"] = event_shown(entry.time, &event);
        }
    }
    Ok(out)
}
