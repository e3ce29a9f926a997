//! `GET /v1/events/{id}/trace`: the causal tree of an event.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud_event::logged;
use super::events::{blocking, find, unreadable};
use super::extract::{Path, Query};
use super::problem::Problem;
use super::time;
use crate::host::Host;
use crate::log::record::{self, Answer, Call, Muted, Record, Verdict};
use crate::trace::{self, Delivery, Node, Operated, Tree};

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
    let tree = blocking(host, move |host| {
        let found = find(host, &id, source.as_deref())?;
        if found.len() > 1 {
            let detail = format!("{} events have the id {id:?}", found.len());
            return Err(Problem::new(StatusCode::CONFLICT, "id-ambiguous", detail)
                .hint("name one with ?source=, or by @OFFSET"));
        }
        trace::tree(&**host.log(), found[0].offset).map_err(|bad| unreadable(&bad))
    });
    let tree = tree.await?;
    let root = tree.root.as_ref().map(|root| node(root, &tree));
    Ok(Json(
        json!({ "root": root, "slowest_us": tree.slowest_us, "truncated": tree.truncated }),
    ))
}

fn node(node: &Node, tree: &Tree) -> Value {
    let event = record::event(&node.entry.payload).ok().flatten();
    let mut out = event.map_or_else(|| json!({}), |event| logged(&node.entry, &event));
    let deliveries = node.deliveries.iter().map(|one| delivery(one, tree));
    out["deliveries"] = deliveries.collect::<Vec<_>>().into();
    out["operated"] = node.operated.iter().map(operated).collect::<Vec<_>>().into();
    out["slow"] = node.slow.into();
    out
}

fn operated(one: &Operated) -> Value {
    json!({
        "offset": one.offset.0, "at": time::text(one.time), "plugin": one.plugin, "what": one.what, "who": one.who,
    })
}

fn delivery(delivery: &Delivery, tree: &Tree) -> Value {
    let Ok(Record::Outcome(outcome)) = Record::decode(&delivery.entry.payload) else {
        return json!({});
    };
    let (verdict, failure, due) = match outcome.verdict {
        Verdict::Done => ("done", None, None),
        Verdict::Retry { due, failure } => ("retry", Some(failure), Some(due)),
        Verdict::Dead { failure } => ("dead", Some(failure), None),
    };
    let writes = outcome
        .writes
        .iter()
        .map(|write| json!({ "key": write.key, "size": write.value.map(<[u8]>::len) }));
    json!({
        "plugin": outcome.plugin,
        "version": outcome.version.to_string(),
        "offset": delivery.entry.offset.0,
        "attempt": outcome.attempt,
        "replay": outcome.replay,
        "rewind": outcome.rewind.as_ref().map(|of| json!({
            "generation": of.generation, "who": tree.rewound_by.get(&nerve_eventlog::Offset(of.generation)),
            "fresh": of.fresh, "muted": of.muted.iter().map(muted).collect::<Vec<_>>(),
        })),
        "verdict": verdict,
        "class": failure.map(|failure| failure.class),
        "reason": failure.map(|failure| failure.reason),
        "free": outcome.free,
        "paused": outcome.opens.map(|opens| json!({
            "why": opens.why,
            "next_try": opens.probe.map(|at| time::text(nerve_eventlog::Micros(at))),
        })),
        "due": due.map(|due| time::text(nerve_eventlog::Micros(due))),
        "started": time::text(nerve_eventlog::Micros(outcome.started)),
        "seed": outcome.seed.map(|seed| format!("{seed:016x}")),
        "waited_us": delivery.waited,
        "took_us": outcome.took,
        "writes": writes.collect::<Vec<_>>(),
        "timers": outcome.timers.iter().map(|timer| json!({
            "name": timer.name,
            "due": timer.set.map(|set| time::text(nerve_eventlog::Micros(set.due))),
        })).collect::<Vec<_>>(),
        "calls": outcome.calls.iter().map(call).collect::<Vec<_>>(),
        "lines": outcome.lines.iter().map(|line| json!({ "level": line.level, "text": line.text })).collect::<Vec<_>>(),
        "lines_lost": outcome.lines_lost,
        "emitted": delivery.emitted.iter().map(|one| node(one, tree)).collect::<Vec<_>>(),
        "slow": delivery.slow,
    })
}

/// An effect that did not happen.
fn muted(muted: &Muted<'_>) -> Value {
    let due = |due: u64| time::text(nerve_eventlog::Micros(due));
    match muted {
        Muted::Emit { r#type, key } => json!({ "emit": r#type, "key": key }),
        Muted::Set { name, due: at } => json!({ "set": name, "due": due(*at) }),
        Muted::Cancel { name } => json!({ "cancel": name }),
    }
}

/// A call without headers and bodies, which may hold secrets.
pub(super) fn call(call: &Call) -> Value {
    let (status, failed, reason) = match &call.answer {
        Answer::Answered { status, .. } => (Some(status), None, None),
        Answer::Failed { class, reason } => (None, Some(class), Some(reason)),
    };
    json!({
        "method": call.asked.method, "target": call.asked.target, "sent": call.asked.bytes,
        "status": status, "received": call.answer_bytes(), "failed": failed, "reason": reason, "took_us": call.took,
    })
}
