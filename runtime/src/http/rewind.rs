//! `/v1/plugins/{name}/rewind`: history runs again through a plugin.

use axum::Json;
use axum::extract::State;
use nerve_eventlog::{Micros, Offset};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Path, Query};
use super::problem::Problem;
use super::{plugins, time};
use crate::host::{Host, RewindOrder, RewindStatus, RewindTo};
use crate::log::record::Mute;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    to: String,
    mute: Option<String>,
    #[serde(default)]
    fresh: bool,
    rate: Option<u32>,
}

pub(super) async fn begin(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    if asked.rate == Some(0) {
        return Err(Problem::query(
            "rate: 0 deliveries a second never end; give 1 or more",
        ));
    }
    let order = RewindOrder {
        to: beginning(&asked.to),
        mute: mute(asked.mute.as_deref().unwrap_or_default())?,
        fresh: asked.fresh,
        rate: asked.rate,
    };
    Ok(Json(plugins::shown(&host.rewind_plugin(&name, order).await?)))
}

pub(super) async fn stop(State(host): State<Host>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(plugins::shown(&host.stop_rewind(&name).await?)))
}

/// `start`, an offset, a time, or the id of an event, which may stand behind `event:`.
fn beginning(text: &str) -> RewindTo {
    if text == "start" {
        RewindTo::Start
    } else if let Some(id) = text.strip_prefix("event:") {
        RewindTo::Event(id.to_owned())
    } else if let Ok(offset) = text.parse() {
        RewindTo::Offset(Offset(offset))
    } else if let Ok(micros) = time::parse(text) {
        RewindTo::Time(Micros(micros))
    } else {
        RewindTo::Event(text.to_owned())
    }
}

/// A list of what is muted.
pub(super) fn mute(text: &str) -> Result<Mute, Problem> {
    let mut mute = Mute::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "emit" => mute.emit = true,
            "http" => mute.http = true,
            other => {
                return Err(Problem::query(format!(
                    "mute: {other:?} is none of \"emit\" and \"http\""
                )));
            }
        }
    }
    Ok(mute)
}

/// What is muted, as a list.
pub(super) fn muted(mute: Mute) -> Vec<&'static str> {
    let words = [("emit", mute.emit), ("http", mute.http)];
    words
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(word, _)| word)
        .collect()
}

/// A rewind that runs.
pub(super) fn shown(rewind: &RewindStatus) -> Value {
    let [done, retry, dead] = rewind.counters;
    json!({
        "generation": rewind.generation.0,
        "since": time::text(rewind.since),
        "from": rewind.from.0,
        "at": rewind.at.0,
        "through": rewind.through.0,
        "left": rewind.through.0.saturating_sub(rewind.at.0),
        "mute": muted(rewind.mute),
        "fresh": rewind.fresh,
        "rate": rewind.rate,
        "per_second": rewind.per_second.round(),
        "counters": { "done": done, "retry": retry, "dead": dead },
        "muted": rewind.muted,
        "parked": rewind.parked,
        "paused": rewind.paused.as_ref().map(|open| json!({
            "why": open.why, "since": time::text(open.since), "next_try": open.probe.map(time::text),
            "probes": open.probes, "reason": open.reason,
        })),
    })
}
