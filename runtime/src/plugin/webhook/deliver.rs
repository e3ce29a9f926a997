//! One delivery of a webhook: one call.

use std::time::Instant;

use nerve_eventlog::{Clock, Micros, SystemClock};
use ureq::http::{HeaderName, HeaderValue};

use super::settings::{BadReference, Mode};
use super::{Webhook, answer, signature};
use crate::cloud_event;
use crate::delivery::handler::{Delivery, Failure, Handled, Handler, LogLine};
use crate::ingest::message_pack::BadData;
use crate::log::record::{Answer, Call, FailureClass, Level, VersionId};
use crate::plugin::outgoing::{Prepared, Request};
use crate::plugin::outside::Outside;

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 4096;

/// Headers of an answer that are kept.
const KEPT: [&str; 3] = ["content-type", "location", "retry-after"];

/// Sends the events of one lane.
pub(super) struct Sender {
    webhook: Webhook,
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
        Self {
            webhook: webhook.clone(),
        }
    }

    /// Send the event, unless the answer to just this request is known already.
    fn send(&self, delivery: &Delivery<'_>, handled: &mut Handled) -> Result<(), Unsent> {
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
        if let Some(known) = outside.answer_to(&asked, 0) {
            handled.calls.push(known);
            return Ok(());
        }
        if outside.muted {
            handled.lines.push(LogLine {
                level: Level::Info,
                text: "not sent: the rewind mutes calls".into(),
            });
            return Ok(());
        }
        let keys = checked.hook.keys()?;
        let own = checked.hook.own_headers()?;
        let body = request.body.clone();
        let mut prepared = match checked.outgoing.prepare(request) {
            Ok(prepared) => prepared,
            Err(refused) => {
                let answer = refused.into();
                handled.calls.push(Call {
                    asked,
                    took: 0,
                    answer,
                });
                return Ok(());
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
            .for_each(|(name, value)| prepared.set(name, value));
        let answer = self.call(&prepared, &id);
        handled.calls.push(Call {
            asked,
            took: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            answer,
        });
        Ok(())
    }

    /// Make the call. The status decides, so of the answer a little is read, and little is kept.
    fn call(&self, prepared: &Prepared, id: &str) -> Answer {
        match self.webhook.0.outgoing.tell(prepared, id, ANSWER_BYTES) {
            Answer::Answered {
                status,
                mut headers,
                mut body,
            } => {
                headers.retain(|(name, _)| KEPT.contains(&&**name));
                if (200..300).contains(&status) {
                    body.clear();
                }
                Answer::Answered {
                    status,
                    headers,
                    body,
                }
            }
            failed @ Answer::Failed { .. } => failed,
        }
    }
}

/// The request with the event, as it is signed and sent.
fn request(delivery: &Delivery<'_>, url: &str, mode: Mode) -> Result<Request, BadData> {
    let (mut headers, body) = match mode {
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
    let trace = delivery.event.traceparent;
    headers.extend(trace.map(|trace| ("traceparent".to_owned(), trace.to_owned())));
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
        let hook = &self.webhook.0.hook;
        handled.failure = match sent {
            Ok(()) => handled
                .calls
                .last()
                .and_then(|call| answer::failure(&call.answer, &hook.target, &hook.rejects, now)),
            Err(Unsent { class, reason }) => Some(Failure {
                class,
                reason,
                retry_after: None,
            }),
        };
        handled.took = begun.elapsed();
        handled
    }

    fn discard(&mut self) {}
}
