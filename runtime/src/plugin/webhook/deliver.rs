//! One delivery of a webhook: one call, and what it is answered with.

use std::time::Instant;

use nerve_eventlog::{Clock, Micros, SystemClock};
use ureq::http::{HeaderName, HeaderValue};

use super::emitted::{self, Taker};
use super::settings::{BadReference, Mode};
use super::{Webhook, answer, signature};
use crate::cloud_event;
use crate::delivery::handler::{Delivery, Failure, Handled, Handler, LogLine};
use crate::ingest::message_pack::BadData;
use crate::log::record::{Answer, Attribute, Call, FailureClass, Level, VersionId};
use crate::log::trace_context::TraceContext;
use crate::plugin::outgoing::{Failed, HostHeaders, Outgoing, Prepared, Request, Told};
use crate::plugin::outside::Outside;

/// Bytes that are read of an answer that holds no events.
const ANSWER_BYTES: usize = 4096;

/// Headers of an answer that are kept.
const KEPT: [&str; 3] = ["content-type", "location", "retry-after"];

/// Sends the events of one lane.
pub(super) struct Sender {
    webhook: Webhook,
    /// Keeps the lane's connection.
    outgoing: Outgoing,
}

/// What failed before anybody was called.
struct Unsent {
    class: FailureClass,
    reason: String,
}

impl Unsent {
    fn new(class: FailureClass, reason: &impl ToString) -> Self {
        let reason = reason.to_string();
        Self { class, reason }
    }
}

impl From<BadReference> for Unsent {
    fn from(bad: BadReference) -> Self {
        Self::new(FailureClass::Unavailable, &bad)
    }
}

impl Sender {
    pub(super) fn of(webhook: &Webhook) -> Self {
        let settings = &webhook.0.settings;
        Self {
            outgoing: Outgoing::keeping(settings.grants.clone(), settings.http.clone()),
            webhook: webhook.clone(),
        }
    }

    /// Send the event, unless the answer to just this request is known already. Answers why the body of the answer is not
    /// whole, where it is not.
    fn send(&self, delivery: &Delivery<'_>, handled: &mut Handled) -> Result<Option<Failed>, Unsent> {
        let checked = &*self.webhook.0;
        let (bytes, limit) = (delivery.event.data.len(), checked.settings.limits.event_bytes);
        if bytes > limit {
            return Err(Unsent::new(
                FailureClass::Limit,
                &format!("limit event_bytes: the event has {bytes} bytes of data, and {limit} are allowed"),
            ));
        }
        let request = request(delivery, &checked.hook.url, checked.hook.mode)
            .map_err(|bad| Unsent::new(FailureClass::Host, &bad))?;
        let asked = request.asked();
        let mut outside = Outside::of(delivery, checked.version);
        outside.context = delivery.event.traceparent.and_then(TraceContext::parse);
        if let Some(known) = outside.answer_to(&asked, 0) {
            handled.calls.push(known);
            return Ok(None);
        }
        if outside.muted {
            handled.lines.push(LogLine {
                level: Level::Info,
                text: "not sent: the rewind mutes calls".into(),
            });
            return Ok(None);
        }
        let keys = checked.hook.keys()?;
        let own = checked.hook.own_headers()?;
        let body = request.body.clone();
        let mut prepared = match self.outgoing.prepare(request) {
            Ok(prepared) => prepared,
            Err(refused) => {
                let answer = refused.into();
                handled.calls.push(Call {
                    asked,
                    took: 0,
                    answer,
                });
                return Ok(None);
            }
        };
        let id = match outside.intend(delivery.started, 0, &asked, &[]) {
            Ok(id) => id,
            Err(reason) => {
                handled.unanswered = outside.calls_nobody().then_some(asked);
                return Err(Unsent::new(FailureClass::Host, &reason));
            }
        };
        let begun = Instant::now();
        let timestamp = SystemClock.now().0 / 1_000_000;
        let signatures = signature::signatures(&keys, &id, timestamp, &body);
        let headers = [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures),
            ("nerve-attempt", delivery.attempt.to_string()),
            ("nerve-replay", delivery.is_replay().to_string()),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_str(&value).ok()?;
            Some((HeaderName::from_static(name), value))
        });
        headers
            .chain(own)
            .chain(state_of_trace(delivery))
            .for_each(|(name, value)| prepared.set(name, value));
        let host = HostHeaders {
            idempotency_key: id,
            traceparent: outside.traceparent(delivery.started),
        };
        let Told { answer, cut } = self.call(&prepared, &host);
        handled.calls.push(Call {
            asked,
            took: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            answer,
        });
        Ok(cut)
    }

    /// Make the call. Where it is not answered with events, the status decides, so of the answer a little is read, and little
    /// is kept.
    fn call(&self, prepared: &Prepared, host: &HostHeaders) -> Told {
        let is_events = |answer: &Answer| self.takes_events() && emitted::is_events(answer);
        let most = self.outgoing.options().answer_bytes;
        let wanted = |answer: &Answer| if is_events(answer) { most } else { ANSWER_BYTES };
        let mut told = self.outgoing.tell(prepared, host, wanted);
        let keeps_all = is_events(&told.answer);
        if let Answer::Answered {
            status,
            headers,
            body,
        } = &mut told.answer
        {
            headers.retain(|(name, _)| KEPT.contains(&&**name) || (keeps_all && name.starts_with("ce-")));
            if (200..300).contains(status) && !keeps_all {
                body.clear();
            }
        }
        told
    }

    fn takes_events(&self) -> bool {
        !self.webhook.0.hook.emits.is_empty()
    }

    /// What the last call came to: a failure, or the events that it was answered with.
    fn take(&self, handled: &mut Handled, cut: Option<&Failed>, now: Micros) -> Option<Failure> {
        let checked = &*self.webhook.0;
        let (hook, call) = (&checked.hook, handled.calls.last_mut()?);
        if let Some(failure) = answer::failure(&call.answer, &hook.target, &hook.rejects, now) {
            return Some(failure);
        }
        if !self.takes_events() {
            return None;
        }
        let taker = Taker {
            types: &hook.emits,
            limits: &checked.settings.limits,
            contracts: &checked.contracts,
        };
        match taker.take(&call.answer, cut, &hook.target) {
            Ok(events) => {
                handled.effects.emits = events.emits;
                handled.lines.extend(events.lines);
                handled.lines_lost += events.lines_lost;
                None
            }
            Err(failure) => {
                if let Answer::Answered { body, .. } = &mut call.answer {
                    body.truncate(ANSWER_BYTES);
                }
                Some(failure)
            }
        }
    }
}

/// What else the event's trace says, for the next in it.
fn state_of_trace(delivery: &Delivery<'_>) -> Option<(HeaderName, HeaderValue)> {
    let mut all = delivery.event.extensions.iter();
    let state = all.find_map(|(name, value)| match value {
        Attribute::Text(text) if *name == "tracestate" => Some(*text),
        _ => None,
    })?;
    let value = HeaderValue::from_str(state).ok()?;
    Some((HeaderName::from_static("tracestate"), value))
}

/// The request with the event, as it is signed and sent.
fn request(delivery: &Delivery<'_>, url: &str, mode: Mode) -> Result<Request, BadData> {
    let (headers, body) = match mode {
        Mode::Structured => {
            let event = cloud_event::shown(delivery.recorded, delivery.event).to_string();
            let content_type = "application/cloudevents+json; charset=utf-8".to_owned();
            (
                vec![("content-type".to_owned(), content_type)],
                event.into_bytes(),
            )
        }
        Mode::Binary => cloud_event::headers(delivery.recorded, delivery.event)?,
    };
    Ok(Request {
        method: "POST".into(),
        url: url.to_owned(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect(),
        body,
        timeout: None,
    })
}

impl Handler for Sender {
    fn version(&self) -> VersionId {
        self.webhook.0.version
    }

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        let begun = Instant::now();
        let mut handled = Handled::default();
        let sent = self.send(delivery, &mut handled);
        let now: Micros = SystemClock.now();
        handled.failure = match sent {
            Ok(cut) => self.take(&mut handled, cut.as_ref(), now),
            Err(Unsent { class, reason }) => Some(Failure::new(class, reason)),
        };
        handled.took = begun.elapsed();
        handled
    }

    fn discard(&mut self) {}
}
