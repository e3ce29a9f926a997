//! `/v1/plugins/{name}` as something to deploy, its versions, and the way back to one of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Component;
use super::extract::{Path, Query};
use super::plugins::shown;
use super::problem::Problem;
use super::rewind::{mute, muted};
use super::time;
use crate::host::{AgainStatus, Host, KeptVersion};
use crate::log::record::{Mute, Prefer};
use crate::plugin::deploy::{Deployed, Redelivers};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct With {
    settings: Option<String>,
}

pub(super) async fn deploy(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(With { settings }): Query<With>,
    Component(component): Component,
) -> Result<Response, Problem> {
    let (deployed, status) = host.deploy_plugin(&name, component, settings).await?;
    let (code, word) = match deployed {
        Deployed::Live => (StatusCode::OK, "live"),
        Deployed::Unchanged => (StatusCode::OK, "unchanged"),
        Deployed::Waiting => (StatusCode::ACCEPTED, "waiting"),
        Deployed::Unsettled => (StatusCode::ACCEPTED, "unsettled"),
        Deployed::Refused { reason } => {
            return Err(
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "deployment-refused", reason)
                    .hint("what was live before goes on; mend it and deploy it again"),
            );
        }
        Deployed::RolledBack { version, why } => {
            let detail = format!("version {version} was rolled back, and is not tried again: {why}");
            return Err(
                Problem::new(StatusCode::CONFLICT, "version-rolled-back", detail).hint(format!(
                    "deploy another one, or insist: nerve plugin rollback {name} {version}"
                )),
            );
        }
    };
    let mut out = shown(&status);
    out["deployed"] = word.into();
    Ok((code, Json(out)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    version: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    state: bool,
    mute: Option<String>,
}

pub(super) async fn roll_back(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(to): Query<To>,
) -> Result<Json<Value>, Problem> {
    let muted = to.mute.as_deref().map(mute).transpose()?;
    let again = if to.state {
        Redelivers::Since(muted.unwrap_or(Mute::HAPPENED))
    } else {
        Redelivers::Canarys(muted)
    };
    let (_, status) = host.roll_back_plugin(&name, to.version, to.force, again).await?;
    Ok(Json(shown(&status)))
}

/// What is delivered again, since state and cursor went back.
pub(super) fn again(again: &AgainStatus) -> Value {
    let [done, retry, dead] = again.counters;
    json!({
        "generation": again.generation.0,
        "since": time::text(again.since),
        "to": again.to.0,
        "from": again.from.0,
        "at": again.at.0,
        "through": again.through.0,
        "left": again.through.0.saturating_sub(again.at.0),
        "mute": muted(again.mute),
        "counters": { "done": done, "retry": retry, "dead": dead },
        "muted": again.muted,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Insist {
    #[serde(default)]
    force: bool,
    prefer: Option<Prefer>,
}

pub(super) async fn promote(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(Insist { force, prefer }): Query<Insist>,
) -> Result<Json<Value>, Problem> {
    let (_, status) = host.promote_plugin(&name, force, prefer).await?;
    Ok(Json(shown(&status)))
}

pub(super) async fn list(State(host): State<Host>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let versions: Vec<Value> = host.versions(&name).await?.iter().map(version).collect();
    Ok(Json(json!({ "versions": versions })))
}

fn version(kept: &KeptVersion) -> Value {
    let (version, ran) = (&kept.version, &kept.ran);
    let [done, retry, dead] = ran.counters;
    json!({
        "version": version.version.to_string(),
        "component": version.component.to_string(),
        "label": version.label,
        "settings": version.settings,
        "webhook": version.webhook,
        "live": kept.is_live,
        "canary": kept.share.map(|share| f64::from(share) / 10_000.0),
        "own_state": kept.own,
        "since": time::text(ran.since),
        "until": ran.until.map(time::text),
        "at": ran.at.0,
        "left": ran.left.map(|left| left.0),
        "state": kept.state.map(|at| at.0),
        "live_ms": kept.lived / 1000,
        "by": ran.by,
        "who": ran.who,
        "before": ran.before.map(|before| before.to_string()),
        "deliveries": { "done": done, "retry": retry, "dead": dead },
        "rolled_back": ran.rolled_back.as_ref().map(|(at, by, why)| json!({
            "at": time::text(*at), "by": by, "who": ran.rolled_back_who, "why": why,
        })),
    })
}
