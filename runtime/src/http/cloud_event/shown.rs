//! Events of the log in structured mode, as the API shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nerve_eventlog::Entry;
use serde_json::{Map, Value, json};

use super::super::time;
use crate::ingest::message_pack;
use crate::log::record::{Attribute, Event};

/// A logged event as the API shows it.
pub(in crate::http) fn logged(entry: &Entry, event: &Event<'_>) -> Value {
    json!({
        "offset": entry.offset.0,
        "recorded": time::text(entry.time),
        "event": shown(entry, event),
    })
}

/// An event in structured mode.
pub(crate) fn shown(entry: &Entry, event: &Event<'_>) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("specversion", "1.0".into());
    put("id", event.id.into());
    put("source", event.source.into());
    put("type", event.r#type.into());
    put(
        "time",
        time::text(nerve_eventlog::Micros(event.happened(entry.time))).into(),
    );
    put("datacontenttype", event.content_type.into());
    let texts = [
        ("subject", event.subject),
        ("dataschema", event.data_schema),
        ("partitionkey", event.key),
        ("correlationid", Some(event.chain())),
        ("causationid", event.cause.map(|cause| cause.id)),
        ("traceparent", event.traceparent),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, text.into());
        }
    }
    if let Some(cause) = event.cause {
        put("causationoffset", cause.offset.into());
        put("hops", cause.hops.into());
    }
    for (name, value) in &event.extensions {
        put(
            name,
            match value {
                Attribute::Bool(flag) => (*flag).into(),
                Attribute::Integer(number) => (*number).into(),
                Attribute::Text(text) => (*text).into(),
            },
        );
    }
    let (name, data) = data(event);
    put(name, data);
    Value::Object(out)
}

fn data(event: &Event<'_>) -> (&'static str, Value) {
    if message_pack::is_json(event.content_type) {
        return ("data", json_of(event.data));
    }
    match std::str::from_utf8(event.data) {
        Ok(text) if event.content_type.starts_with("text/") => ("data", text.into()),
        _ => ("data_base64", BASE64.encode(event.data).into()),
    }
}

/// MessagePack as JSON; bytes that are none as base64.
pub(in crate::http) fn json_of(bytes: &[u8]) -> Value {
    let value = message_pack::check(bytes).and_then(|()| message_pack::to_json(bytes));
    match value.ok().and_then(|json| serde_json::from_slice(&json).ok()) {
        Some(value) => value,
        None => json!({ "base64": BASE64.encode(bytes) }),
    }
}
