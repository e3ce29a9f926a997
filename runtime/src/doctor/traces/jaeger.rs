//! Spans of Jaeger JSON, as its API and the download of its pages give them: times in microseconds, services in
//! `processes`, parents in `references`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::read::BadSpan;
use super::{Kind, Span, operation};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    #[serde(default, rename = "traceID")]
    id: String,
    spans: Vec<JaegerSpan>,
    #[serde(default)]
    processes: BTreeMap<String, Process>,
}

/// A trace that stands alone, where it is one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MaybeTrace {
    #[serde(default, rename = "traceID")]
    trace_id: String,
    spans: Option<Vec<JaegerSpan>>,
    #[serde(default)]
    processes: BTreeMap<String, Process>,
}

impl MaybeTrace {
    pub(super) fn trace(self) -> Option<Trace> {
        Some(Trace {
            id: self.trace_id,
            spans: self.spans?,
            processes: self.processes,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(default)]
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JaegerSpan {
    #[serde(default, rename = "traceID")]
    trace_id: String,
    #[serde(default, rename = "spanID")]
    span_id: String,
    #[serde(default, rename = "parentSpanID")]
    parent_span_id: Option<String>,
    #[serde(default)]
    operation_name: String,
    #[serde(default)]
    references: Vec<Reference>,
    #[serde(default)]
    start_time: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default, rename = "processID")]
    process_id: String,
    process: Option<Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    ref_type: String,
    #[serde(default, rename = "traceID")]
    trace_id: String,
    #[serde(default, rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: Value,
}

pub(super) fn spans(trace: &Trace, at: &str, out: &mut Vec<Span>) -> Result<(), BadSpan> {
    for (n, span) in trace.spans.iter().enumerate() {
        let read = one(span, trace).map_err(|problem| (format!("{at}spans[{n}]"), problem))?;
        out.push(read);
    }
    Ok(())
}

fn one(span: &JaegerSpan, trace: &Trace) -> Result<Span, String> {
    let id = if span.trace_id.is_empty() {
        &trace.id
    } else {
        &span.trace_id
    };
    if id.is_empty() || span.span_id.is_empty() {
        return Err("has no traceID or no spanID".into());
    }
    let process = trace.processes.get(&span.process_id).or(span.process.as_ref());
    let Some(process) = process.filter(|process| !process.service_name.is_empty()) else {
        return Err(format!(
            "is of process {:?}, which `processes` does not name a service for",
            span.process_id
        ));
    };
    let here = |reference: &&Reference| reference.trace_id.is_empty() || reference.trace_id == *id;
    let references = || span.references.iter().filter(here);
    let child_of = references().find(|reference| reference.ref_type == "CHILD_OF");
    let follows = references().find(|reference| reference.ref_type == "FOLLOWS_FROM");
    let parent = child_of.or(follows).map(|reference| reference.span_id.clone());
    let tag = |key: &str| span.tags.iter().find(|tag| tag.key == key).map(|tag| &tag.value);
    let text = |keys: &[&str]| keys.iter().find_map(|key| tag(key)?.as_str());
    let is_store = text(&["db.system", "db.type"]).is_some();
    Ok(Span {
        trace: id.clone(),
        id: span.span_id.clone(),
        parent: parent
            .or_else(|| span.parent_span_id.clone())
            .filter(|parent| !parent.is_empty()),
        follows: child_of.is_none() && follows.is_some(),
        service: process.service_name.clone(),
        name: operation::named(&span.operation_name, text),
        kind: match text(&["span.kind"]) {
            Some("server") => Kind::Server,
            Some("client") => Kind::Client,
            Some("producer") => Kind::Producer,
            Some("consumer") => Kind::Consumer,
            _ => Kind::Internal,
        },
        start: span.start_time,
        took: span.duration,
        failed: tag("error").is_some_and(|value| value == true || value == "true"),
        peer: text(&["peer.service"]).filter(|_| !is_store).map(str::to_owned),
    })
}
