//! `events`: what a guest emits is checked here and nowhere else.

use super::nerve::plugin::events as wit;
use crate::delivery::handler::Emit;
use crate::delivery::subscription::check_type;
use crate::ingest::message_pack;
use crate::log::record::{FailureClass, Level, Mode};
use crate::plugin::guest::Guest;

/// Bytes of the longest key, subject and content type.
const LONGEST_TEXT: usize = 256;

impl wit::Host for Guest {
    fn emit(&mut self, event: wit::NewEvent) -> wasmtime::Result<Result<(), wit::EmitError>> {
        self.count_call()?;
        Ok(self
            .taken(event)
            .map(|emit| self.handled.effects.emits.push(emit)))
    }
}

impl Guest {
    /// An event that is emitted now or by a timer, checked against limits and form. A refusal fails the delivery.
    pub(super) fn taken(&mut self, event: wit::NewEvent) -> Result<Emit, wit::EmitError> {
        let limits = &self.settings.limits;
        (self.emitted, self.emitted_bytes) = (self.emitted + 1, self.emitted_bytes + event.data.len());
        let passed = if self.emitted > limits.emits {
            Some(format!(
                "limit emits: one delivery may emit {} events",
                limits.emits
            ))
        } else if self.emitted_bytes > limits.emit_bytes {
            Some(format!(
                "limit emit_bytes: one delivery may emit {} bytes",
                limits.emit_bytes
            ))
        } else {
            None
        };
        if let Some(reason) = passed {
            self.limit_hit(reason.clone());
            return Err(wit::EmitError::Limit(reason));
        }
        let emit = checked(event, self.json).map_err(|reason| self.invalid(reason))?;
        match self.promised.clone().broken_by(&emit) {
            Some(broken) if self.promised.mode == Mode::Enforce => {
                self.hit_as(FailureClass::Contract, broken.clone());
                Err(wit::EmitError::Invalid(broken))
            }
            Some(broken) => {
                self.log_line(Level::Warn, broken);
                Ok(emit)
            }
            None => Ok(emit),
        }
    }

    /// What is not well-formed fails the delivery.
    pub(super) fn invalid(&mut self, reason: String) -> wit::EmitError {
        self.limit_hit(reason.clone());
        wit::EmitError::Invalid(reason)
    }
}

fn checked(event: wit::NewEvent, json: bool) -> Result<Emit, String> {
    check_type(&event.type_).map_err(|bad| format!("an emitted event was refused: {bad}"))?;
    let texts = [
        ("key", &event.key),
        ("subject", &event.subject),
        ("content type", &event.content_type),
    ];
    for (what, text) in texts {
        if text
            .as_ref()
            .is_some_and(|text| text.len() > LONGEST_TEXT || text.is_empty())
        {
            return Err(format!(
                "the {what} of an emitted {} must have 1 to {LONGEST_TEXT} bytes",
                event.type_
            ));
        }
    }
    let is_json = event.content_type.as_deref().is_none_or(message_pack::is_json);
    let data = if !is_json {
        event.data
    } else if json {
        message_pack::from_json(&event.data)
            .map_err(|cause| format!("the data of an emitted {} is no JSON: {cause}", event.type_))?
    } else {
        message_pack::check(&event.data).map_err(|cause| {
            format!(
                "the data of an emitted {} is no MessagePack: {cause}",
                event.type_
            )
        })?;
        event.data
    };
    Ok(Emit {
        r#type: event.type_.into(),
        key: event.key.map(Into::into),
        subject: event.subject.map(Into::into),
        content_type: event.content_type.map(Into::into),
        data,
    })
}
