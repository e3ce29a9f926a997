//! `GET /v1/traces`: causal trees by what is said of their events, such as a key or an order's number.

use axum::Json;
use axum::extract::{RawQuery, State};
use memchr::memmem::Finder;
use nerve_eventlog::{Entry, Offset, Reach};
use serde_json::{Value, json};

use super::cloud_event::logged;
use super::events::{blocking, unreadable};
use super::problem::Problem;
use crate::host::Host;
use crate::log::record::{self, Event};
use crate::trace;

/// Records that one request looks through.
const LOOK_BACK: u64 = 200_000;

/// Trees of an answer at most.
const MOST: usize = 100;

/// What must hold of an event: `NAME=VALUE`, where a name is an attribute, `key`, or a place in its data.
struct Condition {
    /// As a pointer into the event as it is shown.
    at: String,
    value: String,
    /// The value's bytes, which a text that holds has in its record: most records are passed over without being read.
    text: Option<Finder<'static>>,
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |what: &str| {
            Problem::query(format!(
                "`where` is {text:?}, and {what}: write where=key=o-7, or where=data.order=o-7"
            ))
        };
        let (name, value) = text.split_once('=').ok_or_else(|| bad("has no value"))?;
        let parts: Vec<&str> = name.split('.').collect();
        let at = match &parts[..] {
            ["key"] => "/partitionkey".to_owned(),
            ["data", rest @ ..] if !rest.is_empty() => format!("/data/{}", rest.join("/")),
            [attribute] if !attribute.is_empty() && *attribute != "data" => format!("/{attribute}"),
            _ => return Err(bad("names neither an attribute nor a place in the data")),
        };
        let is_text = value.parse::<f64>().is_err() && !["true", "false", "null"].contains(&value);
        // Bytes that are shown as base64 are not in the record as they are shown, and neither are times.
        let text = (is_text && !["/time", "/data_base64", "/specversion"].contains(&&*at))
            .then(|| Finder::new(value).into_owned());
        Ok(Self {
            at,
            value: value.to_owned(),
            text,
        })
    }

    fn may_hold(&self, entry: &Entry) -> bool {
        self.text
            .as_ref()
            .is_none_or(|text| text.find(&entry.payload).is_some())
    }

    fn holds(&self, shown: &Value) -> bool {
        match shown.pointer(&self.at) {
            Some(Value::String(text)) => *text == self.value,
            Some(other) => self.value == format!("{other}"),
            None => false,
        }
    }
}

/// What is asked for: conditions, of which all must hold, where to begin, and how many.
struct Asked {
    conditions: Vec<Condition>,
    before: Option<u64>,
    limit: usize,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut asked = Self {
            conditions: Vec::new(),
            before: None,
            limit: 10,
        };
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|bad| Problem::query(bad.to_string()))?;
        for (name, value) in pairs {
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| Problem::query(format!("`{name}` is {value:?}, which is no number")))
            };
            match name.as_str() {
                "where" => asked.conditions.push(Condition::parse(&value)?),
                "before" => asked.before = Some(number()?),
                "limit" => asked.limit = usize::try_from(number()?).unwrap_or(MOST).clamp(1, MOST),
                _ => {
                    return Err(Problem::query(format!(
                        "unknown field `{name}`, expected one of `where`, `before`, `limit`"
                    )));
                }
            }
        }
        if asked.conditions.is_empty() {
            return Err(Problem::query(
                "`where` is missing: write where=key=o-7, or where=data.order=o-7".to_owned(),
            ));
        }
        Ok(asked)
    }
}

pub(super) async fn list(
    State(host): State<Host>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let Asked {
        conditions,
        before,
        limit,
    } = Asked::parse(query.as_deref().unwrap_or_default())?;
    let answer = blocking(host, move |host| {
        let log = &**host.log();
        let durable = log.bounds().durable;
        let newest = before.map_or(durable, |before| Offset(before).prev().min(durable));
        let is = |entry: &Entry, event: &Event<'_>| {
            conditions.iter().all(|one| one.may_hold(entry)) && {
                let shown = &logged(entry, event)["event"];
                conditions.iter().all(|one| one.holds(shown))
            }
        };
        let found = trace::roots(log, newest, LOOK_BACK, limit, is).map_err(|bad| unreadable(&bad))?;
        let mut traces = Vec::new();
        for (root, events) in found.roots.iter().rev().take(limit) {
            let entries = log
                .read(*root, 1, Reach::Durable)
                .map_err(|bad| unreadable(&bad))?;
            if let Some(entry) = entries.first()
                && let Ok(Some(event)) = record::event(&entry.payload)
            {
                traces.push(json!({ "root": logged(entry, &event), "found": events }));
            }
        }
        let more = found.through > log.bounds().first;
        Ok(json!({ "traces": traces, "next": more.then_some(found.through.0) }))
    });
    Ok(Json(answer.await?))
}
