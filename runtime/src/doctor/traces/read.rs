//! Reading a file of traces, whichever of the formats it is in.
//!
//! One JSON value, several of them one behind the other (as the collector's file exporter writes them, one a line), or an array
//! of them. What can't be read is told with its line.

use serde::Deserialize;

use super::{Span, jaeger, otlp};

/// Why traces can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadTraces {
    /// It is no JSON, or not of the shape that its format has.
    #[error("line {line}, column {column}: {what}")]
    Json {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// It is JSON of something else.
    #[error(
        "the value at line {line} is neither OTLP JSON (`resourceSpans`) nor Jaeger JSON (`data`, or `traceID` and `spans`){}",
        if has.is_empty() { String::new() } else { format!("; it has {has}") }
    )]
    Format {
        /// The line at which it begins.
        line: usize,
        /// What it has instead.
        has: String,
    },
    /// A span lacks what everything hangs on.
    #[error("in the value at line {line}, {place} {problem}")]
    Span {
        /// The line at which the value begins.
        line: usize,
        /// Which span.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no span in it.
    #[error("it has no spans: export traces with OTLP JSON, or download them from Jaeger as JSON")]
    Empty,
}

/// One JSON value of a file. Members that are not known are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(alias = "resource_spans")]
    resource_spans: Option<Vec<otlp::ResourceSpans>>,
    data: Option<Vec<jaeger::Trace>>,
    #[serde(flatten)]
    trace: jaeger::MaybeTrace,
    resource_metrics: Option<serde::de::IgnoredAny>,
    resource_logs: Option<serde::de::IgnoredAny>,
}

/// A span can't be used: where it is, and why.
pub(super) type BadSpan = (String, String);

/// The spans in `text`, each once.
pub fn read(text: &str) -> Result<Vec<Span>, BadTraces> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut spans = Vec::new();
    if text.trim_start().starts_with('[') {
        let documents: Vec<Document> = serde_json::from_str(text).map_err(|bad| json(&bad))?;
        for document in documents {
            take(document, 1, &mut spans)?;
        }
    } else {
        let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Document>();
        let (mut line, mut counted) = (1, 0);
        loop {
            let rest = &text[documents.byte_offset()..];
            let begin = documents.byte_offset() + (rest.len() - rest.trim_start().len());
            let Some(document) = documents.next() else { break };
            line += text[counted..begin].matches('\n').count();
            counted = begin;
            take(document.map_err(|bad| json(&bad))?, line, &mut spans)?;
        }
    }
    let mut known = hashbrown::HashSet::new();
    // What is exported twice is there once.
    spans.retain(|span: &Span| known.insert((span.trace.clone(), span.id.clone())));
    if spans.is_empty() {
        Err(BadTraces::Empty)
    } else {
        Ok(spans)
    }
}

fn take(document: Document, line: usize, spans: &mut Vec<Span>) -> Result<(), BadTraces> {
    let bad = |(place, problem): BadSpan| BadTraces::Span { line, place, problem };
    if let Some(all) = document.resource_spans {
        return otlp::spans(all, spans).map_err(bad);
    }
    if let Some(traces) = document.data {
        for (number, trace) in traces.iter().enumerate() {
            jaeger::spans(trace, &format!("data[{number}]."), spans).map_err(bad)?;
        }
        return Ok(());
    }
    if let Some(trace) = document.trace.trace() {
        return jaeger::spans(&trace, "", spans).map_err(bad);
    }
    let has = match (document.resource_metrics, document.resource_logs) {
        (Some(_), _) => "metrics",
        (_, Some(_)) => "logs",
        _ => "",
    };
    Err(BadTraces::Format {
        line,
        has: has.to_owned(),
    })
}

fn json(bad: &serde_json::Error) -> BadTraces {
    let what = bad.to_string();
    let place = format!(" at line {} column {}", bad.line(), bad.column());
    BadTraces::Json {
        line: bad.line(),
        column: bad.column(),
        what: what.strip_suffix(&place).unwrap_or(&what).to_owned(),
    }
}
