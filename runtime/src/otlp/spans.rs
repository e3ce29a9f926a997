//! The spans of records: one of each delivery, and one of each event that begins a trace.
//!
//! Its parent is the context of the event that was delivered, which is the delivery that emitted it, or a span outside. An
//! attempt that follows another has a link to it. Ids follow from the records alone ([`DeliverySpan`]).

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use nerve_eventlog::{Entry, Log, Offset};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Sampler;
use crate::log::record::{Event, FailureClass, Kind, Outcome, Record, Verdict, kind};
use crate::log::trace_context::{DeliverySpan, TraceContext};

/// Makes spans of the records of one log.
#[derive(Debug, Clone)]
pub struct Spans {
    log: u32,
    sampler: Sampler,
    scope: InstrumentationScope,
}

/// What was made of some records.
#[derive(Debug, Default)]
pub struct Made {
    /// The spans.
    pub spans: Vec<SpanData>,
    /// Deliveries that have none, since their event could not be read.
    pub missed: u64,
}

impl Spans {
    /// For records of the log with this short id.
    pub fn new(log: u32, sampler: Sampler) -> Self {
        let scope = InstrumentationScope::builder("nerve")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self { log, sampler, scope }
    }

    /// The spans of these `entries` of `log`. Blocks where an event has to be read from the disk.
    pub fn of(&self, log: &dyn Log, entries: &[Entry]) -> Made {
        let is = |entry: &&Entry, wanted: Kind| kind(&entry.payload) == Some(wanted as u8);
        let mut events: HashMap<Offset, Entry> = entries
            .iter()
            .filter(|entry| is(entry, Kind::Event))
            .map(|entry| (entry.offset, entry.clone()))
            .collect();
        let mut made = Made::default();
        let begin = entries
            .iter()
            .filter_map(|entry| self.root(events.get(&entry.offset)?));
        made.spans.extend(begin);
        let outcomes: Vec<Outcome<'_>> = entries
            .iter()
            .filter(|entry| is(entry, Kind::Outcome))
            .filter_map(|entry| match Record::decode(&entry.payload) {
                Ok(Record::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .collect();
        let mut older: Vec<Offset> = outcomes.iter().map(Outcome::event).collect();
        older.retain(|offset| !events.contains_key(offset));
        older.sort_unstable();
        older.dedup();
        let mut read = Vec::new();
        // What is gone, or damaged, is passed over one by one.
        if !older.is_empty() && log.read_at(&older, &mut read).is_err() {
            for offset in &older {
                log.read_at(&[*offset], &mut read).ok();
            }
        }
        events.extend(read.into_iter().map(|entry| (entry.offset, entry)));
        for outcome in &outcomes {
            let event = events.get(&outcome.event());
            match event.and_then(|entry| Some((event_of(entry)?, entry))) {
                Some((event, entry)) => made.spans.extend(self.delivery(outcome, &event, entry)),
                None => made.missed += 1,
            }
        }
        made
    }

    /// The span of an event that begins a trace.
    fn root(&self, entry: &Entry) -> Option<SpanData> {
        let event = event_of(entry)?;
        let context = TraceContext::parse(event.traceparent?)?;
        if !context.is_root() || event.cause.is_some() || !self.sampler.takes(&context) {
            return None;
        }
        let at = time(entry.time.0);
        Some(SpanData {
            span_context: in_their_words(&context),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Producer,
            name: format!("publish {}", event.r#type).into(),
            start_time: at,
            end_time: at,
            attributes: vec![
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("nerve.source", event.source.to_owned()),
            ]
            .into_iter()
            .chain(of_the_event(&event, entry))
            .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        })
    }

    /// The span of a delivery; `None` where its trace is not exported.
    fn delivery(&self, outcome: &Outcome<'_>, event: &Event<'_>, entry: &Entry) -> Option<SpanData> {
        let parent = TraceContext::parse(event.traceparent?)?;
        if !self.sampler.takes(&parent) {
            return None;
        }
        let attempt = DeliverySpan {
            log: self.log,
            event: outcome.event,
            plugin: outcome.plugin,
            attempt: outcome.attempt,
            generation: outcome.rewind.as_ref().map(|of| of.generation),
            redriven: outcome.replay.then_some(outcome.started),
        };
        let own = parent.with_span(attempt.id());
        let mut links = SpanLinks::default();
        // When a redrive before this one started is not known here.
        if outcome.attempt > 1 && !outcome.replay {
            let before = DeliverySpan {
                attempt: outcome.attempt - 1,
                ..attempt
            };
            let before = parent.with_span(before.id());
            links.links.push(Link::with_context(in_their_words(&before)));
        }
        let (verdict, failure) = match outcome.verdict {
            Verdict::Done => ("done", None),
            Verdict::Retry { failure, .. } => ("retry", Some(failure)),
            Verdict::Dead { failure } => ("dead", Some(failure)),
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("messaging.operation.name", "deliver"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.consumer.group.name", outcome.plugin.to_owned()),
            KeyValue::new("nerve.version", outcome.version.to_string()),
            KeyValue::new("nerve.attempt", i64::from(outcome.attempt)),
            KeyValue::new("nerve.verdict", verdict),
            KeyValue::new("nerve.emitted", i64::from(outcome.emitted)),
            KeyValue::new(
                "nerve.waited_us",
                whole(outcome.started.saturating_sub(entry.time.0)),
            ),
        ];
        if outcome.replay || outcome.rewind.is_some() {
            attributes.push(KeyValue::new("nerve.replay", true));
        }
        if let Some(failure) = &failure {
            attributes.push(KeyValue::new("error.type", class(failure.class)));
        }
        attributes.extend(of_the_event(event, entry));
        Some(SpanData {
            span_context: in_their_words(&own),
            parent_span_id: SpanId::from_bytes(parent.span.to_be_bytes()),
            parent_span_is_remote: true,
            span_kind: SpanKind::Consumer,
            name: format!("{} {}", outcome.plugin, event.r#type).into(),
            start_time: time(outcome.started),
            end_time: time(outcome.started.saturating_add(outcome.took)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: failure.map_or(Status::Unset, |failure| Status::error(failure.reason.to_owned())),
            instrumentation_scope: self.scope.clone(),
        })
    }
}

fn event_of(entry: &Entry) -> Option<Event<'_>> {
    crate::log::record::event(&entry.payload).ok().flatten()
}

fn of_the_event(event: &Event<'_>, entry: &Entry) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "nerve"),
        KeyValue::new("messaging.destination.name", event.r#type.to_owned()),
        KeyValue::new("messaging.message.id", event.id.to_owned()),
        KeyValue::new("nerve.offset", i64::try_from(entry.offset.0).unwrap_or(i64::MAX)),
    ];
    if let Some(key) = event.key {
        attributes.push(KeyValue::new("nerve.key", key.to_owned()));
    }
    attributes
}

fn in_their_words(context: &TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace.to_be_bytes()),
        SpanId::from_bytes(context.span.to_be_bytes()),
        TraceFlags::new(context.flags),
        false,
        TraceState::default(),
    )
}

fn time(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

fn class(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Retry => "retry",
        FailureClass::Reject => "reject",
        FailureClass::Trap => "trap",
        FailureClass::Time => "time",
        FailureClass::Memory => "memory",
        FailureClass::Limit => "limit",
        FailureClass::Loop => "loop",
        FailureClass::Host => "host",
        FailureClass::Contract => "contract",
        FailureClass::Unavailable => "unavailable",
    }
}

#[cfg(test)]
mod tests;
