//! What a receiver answers with: events, where `webhook.emits` lets it.
//!
//! A 2xx answer that is a `CloudEvent`, in any of the three modes, is what a plugin emits: type, subject, key, content type
//! and data of each are taken, within the limits of what one delivery emits, and settled with the delivery. Its id, source,
//! time and cause are the host's to say, as with a plugin's. It comes from outside all the same, so it is held against the
//! contract of its type as what is published is. An answer that is no `CloudEvent` says nothing more than its status; one that
//! can't be taken whole fails the delivery.

use crate::cloud_event;
use crate::contract::Holding;
use crate::delivery::handler::{Emit, Failure, LogLine};
use crate::ingest::{Acceptor, Invalid, Limits as Accepted, ValidEvent};
use crate::log::record::{self, Answer, CallFailure, FailureClass, Level};
use crate::plugin::emits::{Emitted, check_name, check_texts};
use crate::plugin::outgoing::Failed;
use crate::plugin::settings::Limits;
use crate::plugin::v1::log::escaped;

/// Log lines about what is let through, at most.
const MOST_LINES: usize = 100;

type Headers = [(String, serde_bytes::ByteBuf)];

/// How an answer holds events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form<'a> {
    One,
    Many,
    Headers,
    /// A format of whole events that is not known here.
    Unknown(&'a str),
}

/// What an answer emits.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) emits: Vec<Emit>,
    pub(super) lines: Vec<LogLine>,
    pub(super) lines_lost: u32,
}

/// Takes events from the answers of a receiver.
pub(super) struct Taker<'a> {
    /// Types that it may emit.
    pub(super) types: &'a [String],
    pub(super) limits: &'a Limits,
    pub(super) contracts: &'a Holding,
}

/// Whether an answer, whose body need not be there yet, is one of events.
pub(super) fn is_events(answer: &Answer) -> bool {
    match answer {
        Answer::Answered { status, headers, .. } => (200..300).contains(status) && form(headers).is_some(),
        Answer::Failed { .. } => false,
    }
}

fn form(headers: &Headers) -> Option<Form<'_>> {
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted);
    let content_type = header("content-type").and_then(|(_, value)| std::str::from_utf8(value).ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    match &*essence.trim().to_ascii_lowercase() {
        "application/cloudevents+json" => Some(Form::One),
        "application/cloudevents-batch+json" => Some(Form::Many),
        other if other.starts_with("application/cloudevents") => Some(Form::Unknown(essence)),
        _ => header("ce-specversion").map(|_| Form::Headers),
    }
}

impl Taker<'_> {
    /// The events in the `answer` of `target`, whose body is not whole where it is `cut`.
    pub(super) fn take(&self, answer: &Answer, cut: Option<&Failed>, target: &str) -> Result<Taken, Failure> {
        let Answer::Answered { headers, body, .. } = answer else {
            return Ok(Taken::default());
        };
        let Some(form) = form(headers) else {
            return Ok(Taken::default());
        };
        if let Some(cut) = cut {
            let class = match cut.class {
                CallFailure::Limit => FailureClass::Limit,
                _ => FailureClass::Retry,
            };
            return Err(Failure::new(class, cut.reason.clone()));
        }
        let refused = |invalid: Invalid| {
            let reason = format!(
                "the events that {target} answered with were refused: {invalid}: {}",
                invalid.hint
            );
            Failure::new(FailureClass::Contract, escaped(reason))
        };
        let limits = self.limits;
        let acceptor = Acceptor::new(Accepted {
            event_bytes: limits.emit_bytes,
            request_bytes: body.len(),
            batch_events: limits.emits,
        });
        let events = match form {
            Form::One => vec![cloud_event::structured(&acceptor, body).map_err(refused)?],
            // What happened may be nothing.
            Form::Many if is_empty(body) => Vec::new(),
            Form::Many => cloud_event::batch(&acceptor, body).map_err(refused)?,
            Form::Headers => {
                let headers = headers.iter().map(|(name, value)| (&**name, value.as_ref()));
                vec![cloud_event::binary(&acceptor, headers, body).map_err(refused)?]
            }
            Form::Unknown(essence) => {
                let reason = format!(
                    "{target} answered with {essence:?}, which is no format of events that is known here: answer with \
                     application/cloudevents+json"
                );
                return Err(Failure::new(FailureClass::Contract, escaped(reason)));
            }
        };
        let mut taken = Taken::default();
        let mut emitted = Emitted::default();
        for event in &events {
            self.one(event, target, &mut emitted, &mut taken)?;
        }
        Ok(taken)
    }

    fn one(
        &self,
        event: &ValidEvent,
        target: &str,
        emitted: &mut Emitted,
        taken: &mut Taken,
    ) -> Result<(), Failure> {
        let name = event.event_type();
        if !self.types.iter().any(|known| known == name) {
            let reason = format!(
                "{target} answered with an event of type {name:?}, which webhook.emits does not list"
            );
            return Err(Failure::new(FailureClass::Contract, reason));
        }
        let Ok(Some(event)) = record::event(event.record()) else {
            return Ok(());
        };
        let limit = |reason| Failure::new(FailureClass::Limit, reason);
        emitted.count(event.data.len(), self.limits).map_err(limit)?;
        check_name(name).map_err(limit)?;
        check_texts(name, event.key, event.subject, Some(event.content_type)).map_err(limit)?;
        match self.contracts.judge(name, event.content_type, event.data) {
            Some((broken, true)) => return Err(Failure::new(FailureClass::Contract, escaped(broken))),
            Some(_) if taken.lines.len() == MOST_LINES => taken.lines_lost += 1,
            Some((broken, false)) => taken.lines.push(LogLine {
                level: Level::Warn,
                text: escaped(broken).into(),
            }),
            None => {}
        }
        taken.emits.push(Emit {
            r#type: name.into(),
            key: event.key.map(Into::into),
            subject: event.subject.map(Into::into),
            content_type: Some(event.content_type.into()),
            data: event.data.to_vec(),
        });
        Ok(())
    }
}

fn is_empty(body: &[u8]) -> bool {
    serde_json::from_slice::<[serde::de::IgnoredAny; 0]>(body).is_ok()
}

#[cfg(test)]
mod tests;
