//! What a delivery came to on one side, and what the log says that it came to.

use bytes::Bytes;
use compact_str::CompactString;
use nerve_eventlog::Micros;

use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::log::record::{self, Asked, DecodeError, FailureClass, Outcome, Verdict};

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// Its effects are in.
    Done(Effects),
    /// It failed.
    Failed {
        /// How.
        class: FailureClass,
        /// For people.
        reason: String,
    },
    /// It called somebody outside, and no answer is recorded: what it comes to can't be known.
    Unanswered(Asked),
    /// The version does not subscribe to the event.
    NotSubscribed,
}

impl Came {
    /// What `handled` comes to.
    pub(super) fn of(handled: Handled) -> Self {
        match (handled.unanswered, handled.failure) {
            (Some(asked), _) => Self::Unanswered(asked),
            (None, Some(failure)) => Self::Failed {
                class: failure.class,
                reason: failure.reason,
            },
            (None, None) => Self::Done(handled.effects),
        }
    }

    /// What the log says: `outcome`, and the records of the events that it emitted.
    pub(super) fn recorded(outcome: &Outcome<'_>, emitted: &[Bytes]) -> Result<Self, DecodeError> {
        if let Verdict::Retry { failure, .. } | Verdict::Dead { failure } = outcome.verdict {
            return Ok(Self::Failed {
                class: failure.class,
                reason: failure.reason.to_owned(),
            });
        }
        let writes = outcome.writes.iter();
        let writes = writes.map(|write| (write.key.into(), write.value.map(Bytes::copy_from_slice)));
        let mut effects = Effects {
            writes: writes.collect(),
            ..Effects::default()
        };
        for bytes in emitted {
            effects.emits.extend(emit(bytes)?);
        }
        for timer in &outcome.timers {
            let set = match timer.set {
                None => None,
                Some(set) => emit(set.event)?.map(|emit| SetTimer {
                    due: Micros(set.due),
                    emit,
                }),
            };
            effects.timers.push((timer.name.into(), set));
        }
        Ok(Self::Done(effects))
    }

    /// Whether nothing follows: a version that is done with an event does not get it again.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Done(_) | Self::NotSubscribed => true,
            Self::Failed { class, .. } => matches!(class, FailureClass::Reject | FailureClass::Loop),
            Self::Unanswered(_) => false,
        }
    }
}

/// What was asked for when the event in `bytes` was emitted.
fn emit(bytes: &[u8]) -> Result<Option<Emit>, DecodeError> {
    Ok(record::event(bytes)?.map(|event| Emit {
        r#type: event.r#type.into(),
        key: event.key.map(Into::into),
        subject: event.subject.map(Into::into),
        content_type: content_type(event.content_type),
        data: event.data.to_vec(),
    }))
}

/// A content type as it is compared: JSON is the one that needs no name.
pub(super) fn content_type(text: &str) -> Option<CompactString> {
    (text != "application/json").then(|| text.into())
}
