//! What an attempt knows of its calls outside: the answers that were recorded, and what the log has of them.

use std::sync::Arc;

use nerve_eventlog::{Micros, Offset};

use crate::delivery::handler::{Delivery, Journal};
use crate::log::record::{Asked, Call, Hash, Intent, VersionId};
use crate::log::trace_context::TraceContext;

/// The calls outside of one attempt.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// Calls of an earlier run of the attempt, in order.
    recorded: Vec<Call>,
    /// The request behind them whose intent is durable already.
    asked: Option<Hash>,
    /// Where intents go; `None` where nobody may be called.
    pub(super) journal: Option<Arc<dyn Journal>>,
    /// A rewind mutes calls: one that has no recorded answer is denied.
    pub(super) muted: bool,
    /// The attempt, as its intents name it.
    attempt: Intent,
    /// How many of its calls the log has.
    logged: usize,
    /// The event's trace context, for calls.
    pub(super) context: Option<TraceContext>,
}

impl Outside {
    pub(super) fn of(delivery: &Delivery<'_>, version: VersionId) -> Self {
        Self {
            recorded: delivery.outside.calls.to_vec(),
            asked: delivery.outside.asked,
            journal: delivery.outside.journal.cloned(),
            muted: delivery.rewind.is_some_and(|of| of.mute.http),
            attempt: Intent {
                version,
                event: delivery.offset.0,
                attempt: delivery.attempt,
                replay: delivery.replay,
                generation: delivery.rewind.map_or(0, |of| of.generation.0),
                historic: delivery.historic,
                seed: delivery.seed,
                ..Intent::default()
            },
            logged: delivery.outside.logged,
            context: None,
        }
    }

    /// The answer that was recorded for call number `index`, where it was the same request. Where it was not, what
    /// was recorded behind it is the answer to other questions too.
    pub(super) fn answer_to(&mut self, asked: &Asked, index: usize) -> Option<Call> {
        let call = self.recorded.get(index)?;
        if call.asked.request == asked.request {
            return Some(call.clone());
        }
        self.recorded.truncate(index);
        self.logged = self.logged.min(index);
        self.asked = None;
        None
    }

    /// Whether nobody may be called: what has no answer that was recorded can't be answered.
    pub(super) fn calls_nobody(&self) -> bool {
        self.journal.is_none()
    }

    /// A tick finds that the attempt runs for long.
    pub(super) fn takes_long(&self) {
        if let Some(journal) = &self.journal {
            journal.takes_long();
        }
    }

    /// The trace context of a call: its event's trace, and the delivery as the span.
    pub(super) fn traceparent(&self, started: Micros) -> Option<String> {
        let (context, journal) = (self.context?, self.journal.as_ref()?);
        let mut out = String::new();
        context
            .with_span(journal.span(&self.attempt, started))
            .write(&mut out);
        Some(out)
    }

    /// See that the intent to make call number `index` is durable, where `calls` stand before it; answers its
    /// idempotency key, or why it must not be made.
    pub(super) fn intend(
        &mut self,
        started: Micros,
        index: usize,
        asked: &Asked,
        calls: &[Call],
    ) -> Result<String, String> {
        let Some(journal) = &self.journal else {
            return Err(format!(
                "this run calls nobody, and no answer is recorded for call {} ({} {})",
                index + 1,
                asked.method,
                asked.target
            ));
        };
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let is_durable = index == self.recorded.len() && self.asked == Some(asked.request);
        if !is_durable {
            let intent = Intent {
                started: started.0,
                index: number,
                asked: asked.clone(),
                calls: calls.get(self.logged..).unwrap_or_default().to_vec(),
                ..self.attempt.clone()
            };
            journal
                .intend(intent)
                .map_err(|stopped| format!("the intent to call is not durable: {stopped}"))?;
            self.logged = calls.len();
        }
        // It speaks of one call alone.
        self.asked = None;
        let (event, generation) = (Offset(self.attempt.event), self.attempt.generation);
        Ok(journal.idempotency_key(event, generation, number))
    }
}
