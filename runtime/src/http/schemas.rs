//! `/v1/schemas`: what the data of event types must look like, who says so, and who expects what.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Whole;
use super::extract::{Part, Path, Query};
use super::problem::Problem;
use crate::contract::{Difference, Found, Schema, TypeContract};
use crate::host::Host;
use crate::log::record::{DeclaredSchema, Mode, SetSchema, TypeSchema};

pub(super) async fn list(State(host): State<Host>, Query(part): Query<Part>) -> Result<Json<Value>, Problem> {
    let types = host.schemas().await?;
    let mut names: Vec<&str> = types.keys().map(|name| &**name).collect();
    names.sort_unstable();
    let (names, next) = part.of(&names, |name| name);
    let types: Vec<Value> = names.iter().map(|name| shown(name, &types[*name])).collect();
    Ok(Json(json!({ "types": types, "next": next })))
}

pub(super) async fn show(State(host): State<Host>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let types = host.schemas().await?;
    types
        .get(&*name)
        .map(|contract| Json(shown(&name, contract)))
        .ok_or_else(|| not_found(&name))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    mode: Option<Mode>,
    #[serde(default)]
    force: bool,
}

/// The body is the schema; an empty one sets the mode alone.
pub(super) async fn set(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(How { mode, force }): Query<How>,
    Whole(body): Whole,
) -> Result<Json<Value>, Problem> {
    let json = match &body[..] {
        b"" => None,
        body => {
            Some(String::from_utf8(body.to_vec()).map_err(|_| Problem::query("the schema is not UTF-8"))?)
        }
    };
    if json.is_none() && mode.is_none() {
        return Err(Problem::query(
            "the body is empty: send a JSON Schema, or ?mode=enforce, warn or off",
        ));
    }
    let set = SetSchema {
        who: None,
        event_type: name.clone(),
        schema: Some(TypeSchema { json, mode }),
    };
    changed(&host, set, force).await
}

pub(super) async fn take_back(
    State(host): State<Host>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    if host.schemas().await?.get(&*name).is_none() {
        return Err(not_found(&name));
    }
    let set = SetSchema {
        who: None,
        event_type: name,
        schema: None,
    };
    changed(&host, set, false).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    schemas: Vec<DeclaredSchema>,
    #[serde(default)]
    from_beginning: bool,
    #[serde(default)]
    mode: Mode,
}

/// What a version that declares what the body says would break.
pub(super) async fn would_break(
    State(host): State<Host>,
    Path(name): Path<String>,
    Whole(body): Whole,
) -> Result<Json<Found>, Problem> {
    let offer: Offer = serde_json::from_slice(&body)
        .map_err(|bad| Problem::query(format!("the body does not say what a version declares: {bad}")))?;
    let Offer {
        schemas,
        from_beginning,
        mode,
    } = offer;
    Ok(Json(host.would_break(name, schemas, from_beginning, mode).await?))
}

async fn changed(host: &Host, set: SetSchema, force: bool) -> Result<Json<Value>, Problem> {
    let name = set.event_type.clone();
    let unclear = host.set_schema(set, force).await?;
    let types = host.schemas().await?;
    let none = TypeContract::default();
    let mut out = shown(&name, types.get(&*name).map_or(&none, |contract| contract));
    out["warnings"] = unclear
        .iter()
        .map(|(plugin, difference)| warning(plugin, difference))
        .collect();
    Ok(Json(out))
}

fn not_found(name: &str) -> Problem {
    let detail = format!("nothing is known of events of type {name:?}");
    Problem::new(axum::http::StatusCode::NOT_FOUND, "schema-not-found", detail)
        .hint("`nerve schema list`, GET /v1/schemas, lists the types")
}

fn warning(plugin: &str, difference: &Difference) -> Value {
    json!({
        "plugin": plugin, "at": difference.at, "rule": difference.rule.to_string(), "problem": difference.problem,
        "example": difference.example,
    })
}

fn shown(name: &str, contract: &TypeContract) -> Value {
    let schema = |schema: &Schema| schema.json().clone();
    let side = |side: &[(Box<str>, Option<std::sync::Arc<Schema>>)]| -> Vec<Value> {
        let one = |(plugin, its): &(Box<str>, Option<std::sync::Arc<Schema>>)| json!({ "plugin": plugin, "schema": its.as_deref().map(schema) });
        side.iter().map(one).collect()
    };
    json!({
        "type": name,
        "mode": contract.mode,
        "set": contract.set.as_deref().map(schema),
        "producers": side(&contract.producers),
        "consumers": side(&contract.consumers),
        "refused": contract.counters.refused.load(Ordering::Relaxed),
        "warned": contract.counters.warned.load(Ordering::Relaxed),
    })
}
