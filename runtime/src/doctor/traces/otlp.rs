//! Spans of OTLP JSON: ids in hexadecimal, kinds as numbers or names, times as texts or numbers of nanoseconds.

use serde::Deserialize;
use serde_json::Value;

use super::read::BadSpan;
use super::{Kind, Span, operation};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceSpans {
    resource: Option<Resource>,
    // As it was called until 2022.
    #[serde(default, alias = "instrumentationLibrarySpans", alias = "scope_spans")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<OtlpSpan>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan {
    #[serde(default, alias = "trace_id")]
    trace_id: String,
    #[serde(default, alias = "span_id")]
    span_id: String,
    #[serde(default, alias = "parent_span_id")]
    parent_span_id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Value,
    #[serde(default, alias = "start_time_unix_nano")]
    start_time_unix_nano: Value,
    #[serde(default, alias = "end_time_unix_nano")]
    end_time_unix_nano: Value,
    #[serde(default)]
    attributes: Vec<Attribute>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: Value,
}

/// The text of the attribute `key`.
fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value["stringValue"].as_str()
}

pub(super) fn spans(all: Vec<ResourceSpans>, out: &mut Vec<Span>) -> Result<(), BadSpan> {
    for (r, of_resource) in all.into_iter().enumerate() {
        let resource = of_resource
            .resource
            .map(|resource| resource.attributes)
            .unwrap_or_default();
        let service = text(&resource, "service.name").unwrap_or("unknown");
        for (s, of_scope) in of_resource.scope_spans.into_iter().enumerate() {
            for (n, span) in of_scope.spans.into_iter().enumerate() {
                let place = || format!("resourceSpans[{r}].scopeSpans[{s}].spans[{n}]");
                let read = one(&span, service).map_err(|problem| (place(), problem))?;
                out.push(read);
            }
        }
    }
    Ok(())
}

fn one(span: &OtlpSpan, service: &str) -> Result<Span, String> {
    let trace = id("traceId", &span.trace_id)?;
    let parent = span
        .parent_span_id
        .as_deref()
        .filter(|parent| !parent.bytes().all(|b| b == b'0'));
    let (start, end) = (
        nanos("startTimeUnixNano", &span.start_time_unix_nano)?,
        nanos("endTimeUnixNano", &span.end_time_unix_nano)?,
    );
    let attribute = |keys: &[&str]| keys.iter().find_map(|key| text(&span.attributes, key));
    let kind = kind(&span.kind)?;
    let is_store = attribute(&["db.system", "db.system.name"]).is_some();
    Ok(Span {
        trace,
        id: id("spanId", &span.span_id)?,
        parent: parent.map(|parent| id("parentSpanId", parent)).transpose()?,
        follows: false,
        service: service.to_owned(),
        name: operation::named(&span.name, attribute),
        kind,
        start: start / 1000,
        took: end.saturating_sub(start) / 1000,
        failed: span
            .status
            .as_ref()
            .is_some_and(|status| status.code == 2 || status.code == "STATUS_CODE_ERROR"),
        peer: attribute(&["peer.service"])
            .filter(|_| !is_store)
            .map(str::to_owned),
    })
}

fn id(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("has {what} {text:?}, and ids are hexadecimal"));
    }
    Ok(text.to_ascii_lowercase())
}

fn nanos(what: &str, value: &Value) -> Result<u64, String> {
    match value {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    }
    .ok_or_else(|| format!("has {what} {value}, and times are nanoseconds since 1970"))
}

fn kind(value: &Value) -> Result<Kind, String> {
    let name = value
        .as_str()
        .map(|name| name.strip_prefix("SPAN_KIND_").unwrap_or(name));
    Ok(match (value.as_u64(), name) {
        (Some(0 | 1), _) | (_, Some("UNSPECIFIED" | "INTERNAL")) => Kind::Internal,
        (Some(2), _) | (_, Some("SERVER")) => Kind::Server,
        (Some(3), _) | (_, Some("CLIENT")) => Kind::Client,
        (Some(4), _) | (_, Some("PRODUCER")) => Kind::Producer,
        (Some(5), _) | (_, Some("CONSUMER")) => Kind::Consumer,
        _ if value.is_null() => Kind::Internal,
        _ => return Err(format!("has kind {value}, which is none")),
    })
}
