//! `events`: what a guest emits is checked here and nowhere else.

use super::nerve::plugin::events as wit;
use crate::delivery::handler::Emit;
use crate::ingest::message_pack;
use crate::log::record::{FailureClass, Level, Mode};
use crate::plugin::emits;
use crate::plugin::guest::Guest;

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
        if let Err(reason) = self.emitted.count(event.data.len(), &self.settings.limits) {
            self.limit_hit(reason.clone());
            return Err(wit::EmitError::Limit(reason));
        }
        let emit = checked(event, self.json).map_err(|reason| self.invalid(reason))?;
        let (broken, mode) = (self.promised.broken_by(&emit), self.promised.mode);
        match broken {
            Some(broken) if mode == Mode::Enforce => {
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
    emits::check_form(
        &event.type_,
        event.key.as_deref(),
        event.subject.as_deref(),
        event.content_type.as_deref(),
    )?;
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
