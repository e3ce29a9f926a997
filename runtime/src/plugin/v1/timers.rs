//! `timers`: events that are emitted later.

use std::time::Duration;

use super::nerve::plugin::{events, timers as wit};
use crate::delivery::handler::SetTimer;
use crate::plugin::guest::Guest;

/// Bytes of the longest name.
const LONGEST_NAME: usize = 256;

impl wit::Host for Guest {
    fn set(
        &mut self,
        name: String,
        when: wit::Moment,
        event: events::NewEvent,
    ) -> wasmtime::Result<Result<(), events::EmitError>> {
        self.count_call()?;
        if let Some(refused) = self.check_name(&name) {
            return Ok(Err(refused));
        }
        let due = match when {
            wit::Moment::At(micros) => nerve_eventlog::Micros(micros),
            wit::Moment::After(millis) => {
                let wait = Duration::from_millis(millis).as_micros();
                let wait = u64::try_from(wait).unwrap_or(u64::MAX);
                nerve_eventlog::Micros(self.started.0.saturating_add(wait))
            }
        };
        Ok(self.taken(event.into()).map(|emit| {
            self.timers.insert(name.into(), Some(SetTimer { due, emit }));
        }))
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<Result<(), events::EmitError>> {
        self.count_call()?;
        if let Some(refused) = self.check_name(&name) {
            return Ok(Err(refused));
        }
        self.timers.insert(name.into(), None);
        Ok(Ok(()))
    }
}

impl Guest {
    fn check_name(&mut self, name: &str) -> Option<events::EmitError> {
        if (1..=LONGEST_NAME).contains(&name.len()) {
            return None;
        }
        let reason = format!(
            "the name of a timer has {} bytes: write 1 to {LONGEST_NAME}",
            name.len()
        );
        Some(self.invalid(reason))
    }
}
