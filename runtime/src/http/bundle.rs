//! `GET /v1/dead-letters/{plugin}/{event}/bundle`: a failure as one JSON document, and how it is read again.
//!
//! What is run are the two records under `records`. The rest says the same for people; where it does not, the
//! document was edited and is refused, so that nobody is misled by what has no effect.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nerve_eventlog::{Entry, Micros, Offset};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cloud_event::{json_of, logged};
use super::events::{blocking, unreadable};
use super::extract::Path;
use super::problem::Problem;
use super::time;
use crate::host::{Bundle, BundleError, Host};
use crate::ingest::message_pack;
use crate::log::record::{self, Asks, Event, Hash, Outcome, Record, StateRead, Verdict, VersionId};

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

pub(super) async fn show(
    State(host): State<Host>,
    Path((plugin, event)): Path<(String, u64)>,
) -> Result<Json<Value>, Problem> {
    let bundle = blocking(host.clone(), move |host| {
        host.bundle(&plugin, Offset(event)).map_err(Problem::from)
    })
    .await?;
    host.durable(bundle.outcome.offset).await?;
    let shown = document(&bundle).map_err(|bad| Problem::gone(bad.to_string()))?;
    Ok(Json(shown))
}

impl From<BundleError> for Problem {
    fn from(refused: BundleError) -> Self {
        match refused {
            BundleError::Ask(refused) => refused.into(),
            BundleError::Read(bad) => unreadable(&bad),
            BundleError::NoVersion { .. } => Self::gone(refused.to_string()),
        }
    }
}

/// Why a document is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BadBundle {
    /// It is something else.
    #[error("it is no bundle: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it has format {0}, and this nerve reads format {FORMAT}: run it with the nerve that wrote it")]
    Format(u64),
    /// Something in it is not what it must be.
    #[error("`{0}` {1}: the file was edited or cut off; write it again with `nerve dead bundle`")]
    Wrong(&'static str, String),
}

/// The document of `bundle`.
pub fn document(bundle: &Bundle) -> Result<Value, BadBundle> {
    let (event, outcome) = (event_in(&bundle.event)?, outcome_in(&bundle.outcome)?);
    let record = |entry: &Entry| json!({ "offset": entry.offset.0, "time": entry.time.0, "base64": BASE64.encode(&entry.payload) });
    let mut out = json!({
        "format": FORMAT,
        "nerve": env!("CARGO_PKG_VERSION"),
        "plugin": bundle.plugin,
        "component": bundle.component.to_string(),
        "label": bundle.label,
        "settings": bundle.settings,
        "approved": bundle.approved,
        "records": { "event": record(&bundle.event), "outcome": record(&bundle.outcome) },
    });
    for (name, shown) in shown(&bundle.event, &event, &outcome) {
        out[name] = shown;
    }
    Ok(out)
}

/// The bundle in `text`. Both of its records can be decoded.
pub fn read(text: &str) -> Result<Bundle, BadBundle> {
    #[derive(Deserialize)]
    struct Written {
        format: u64,
    }
    #[derive(Deserialize)]
    struct File {
        nerve: String,
        plugin: String,
        component: String,
        label: String,
        settings: Option<String>,
        approved: Asks,
        records: Records,
        #[serde(flatten)]
        shown: Map<String, Value>,
    }
    #[derive(Deserialize)]
    struct Records {
        event: Coded,
        outcome: Coded,
    }
    #[derive(Deserialize)]
    struct Coded {
        offset: u64,
        time: u64,
        base64: String,
    }
    let Written { format } = serde_json::from_str(text)?;
    if format != FORMAT {
        return Err(BadBundle::Format(format));
    }
    let file: File = serde_json::from_str(text)?;
    let entry = |name: &'static str, coded: &Coded| {
        let payload = BASE64.decode(&coded.base64);
        let payload = payload.map_err(|cause| BadBundle::Wrong(name, format!("is no base64: {cause}")))?;
        Ok::<_, BadBundle>(Entry {
            offset: Offset(coded.offset),
            time: Micros(coded.time),
            payload: payload.into(),
        })
    };
    let bundle = Bundle {
        component: hash(&file.component).ok_or_else(|| BadBundle::Wrong("component", "is no hash".into()))?,
        event: entry("records.event", &file.records.event)?,
        outcome: entry("records.outcome", &file.records.outcome)?,
        plugin: file.plugin,
        label: file.label,
        settings: file.settings,
        approved: file.approved,
    };
    let (event, outcome) = (event_in(&bundle.event)?, outcome_in(&bundle.outcome)?);
    if outcome.event() != bundle.event.offset || outcome.plugin != bundle.plugin {
        let what = format!(
            "is about plugin {:?} and the event at offset {}",
            outcome.plugin, outcome.event
        );
        return Err(BadBundle::Wrong("records.outcome", what));
    }
    let settings = bundle.settings.as_deref().unwrap_or_default();
    if VersionId::of(bundle.component, settings.as_bytes()) != outcome.version {
        let what = format!("and `component` are not those of version {}", outcome.version);
        return Err(BadBundle::Wrong("settings", what));
    }
    // Another version may show the same in other words.
    if file.nerve == env!("CARGO_PKG_VERSION") {
        for (name, shown) in shown(&bundle.event, &event, &outcome) {
            // Numbers are compared as they come back from a text.
            let shown: Value = serde_json::from_str(&shown.to_string())?;
            if file.shown.get(name) != Some(&shown) {
                return Err(BadBundle::Wrong(name, "does not say what `records` say".into()));
            }
        }
    }
    drop((event, outcome));
    Ok(bundle)
}

/// Data as it is shown: JSON, or base64 where it is none.
pub fn data(content_type: Option<&str>, bytes: &[u8]) -> Value {
    if content_type.is_none_or(message_pack::is_json) {
        return json_of(bytes);
    }
    json!({ "base64": BASE64.encode(bytes) })
}

/// What the records say, for people.
fn shown(entry: &Entry, event: &Event<'_>, outcome: &Outcome<'_>) -> [(&'static str, Value); 2] {
    let failure = match outcome.verdict {
        Verdict::Done => Value::Null,
        Verdict::Retry { failure, .. } | Verdict::Dead { failure } => {
            json!({ "class": failure.class, "reason": failure.reason })
        }
    };
    let lines = outcome.lines.iter();
    let lines = lines.map(|line| json!({ "level": line.level, "text": line.text }));
    let delivery = json!({
        "version": outcome.version.to_string(),
        "attempt": outcome.attempt,
        "replay": outcome.replay || outcome.rewind.is_some(),
        "started": time::text(Micros(outcome.started)),
        "seed": outcome.seed.map(|seed| seed.to_string()),
        "failure": failure,
        "lines": lines.collect::<Vec<_>>(),
        "calls": outcome.calls.iter().map(super::trace::call).collect::<Vec<_>>(),
        "read": outcome.reads.as_ref().map(read_of_state),
    });
    [("event", logged(entry, event)), ("delivery", delivery)]
}

fn read_of_state(read: &StateRead<'_>) -> Value {
    let values = read.values.iter();
    let values = values.map(|read| (read.key.to_owned(), read.value.map_or(Value::Null, json_of)));
    let scans = read.scans.iter();
    let scans = scans.map(|scan| json!({ "prefix": scan.prefix, "after": scan.after, "limit": scan.limit }));
    json!({
        "values": values.collect::<Map<_, _>>(),
        "scans": scans.collect::<Vec<_>>(),
        "state_bytes": read.state_bytes,
        "cut": read.cut,
    })
}

fn event_in(entry: &Entry) -> Result<Event<'_>, BadBundle> {
    let wrong = |what: String| BadBundle::Wrong("records.event", what);
    record::event(&entry.payload)
        .map_err(|cause| wrong(format!("can't be read ({cause})")))?
        .ok_or_else(|| wrong("is no event".into()))
}

fn outcome_in(entry: &Entry) -> Result<Outcome<'_>, BadBundle> {
    let wrong = |what: String| BadBundle::Wrong("records.outcome", what);
    match Record::decode(&entry.payload) {
        Ok(Record::Outcome(outcome)) => Ok(outcome),
        Ok(_) => Err(wrong("is no outcome".into())),
        Err(cause) => Err(wrong(format!("can't be read ({cause})"))),
    }
}

fn hash(text: &str) -> Option<Hash> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(Hash(out))
}
