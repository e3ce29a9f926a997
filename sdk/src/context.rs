//! What a handler can do besides returning.

use std::fmt;
use std::marker::PhantomData;

use crate::error::EmitError;
use crate::event::Event;
use crate::plugin::EmittedBy;
use crate::state::State;
use crate::{host, payload};

/// A handler's way to the host: `ctx: &mut Context<Self>`.
///
/// Nothing it does is visible to anybody before the delivery is settled.
pub struct Context<P> {
    state: State,
    plugin: PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl<P> Context<P> {
    pub(crate) fn new() -> Self {
        Self {
            state: State(()),
            plugin: PhantomData,
        }
    }

    /// Emit `event`, when this delivery is settled. The plugin must declare its type in `emits(..)`.
    pub fn emit<E>(&mut self, event: &E) -> Result<(), EmitError>
    where
        E: Event + EmittedBy<P>,
    {
        let data = payload::encode(event).map_err(EmitError::Invalid)?;
        self.emit_raw(RawEmit {
            type_: E::TYPE,
            subject: event.subject().as_deref(),
            key: event.key().as_deref(),
            content_type: None,
            data: &data,
        })
    }

    /// Emit an event whose type or content is known only at run time. Declare its type by its text:
    /// `emits("some.type")`.
    pub fn emit_raw(&mut self, event: RawEmit<'_>) -> Result<(), EmitError> {
        host::emit(&event)
    }

    /// The plugin's state.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Microseconds since 1970 at the start of this attempt; it stands still during the attempt.
    pub fn now(&self) -> u64 {
        host::now()
    }

    /// 64 random bits, recorded so that the delivery can be run again. Not for secrets.
    pub fn random_u64(&mut self) -> u64 {
        host::random_u64()
    }

    /// `len` random bytes (at most 65536), recorded so that the delivery can be run again. Not for secrets.
    pub fn random_bytes(&mut self, len: u32) -> Vec<u8> {
        host::random_bytes(len)
    }

    /// What the operator wrote under `[config]` in `NAME.toml`; numbers and booleans come as their text.
    pub fn config(&self, key: &str) -> Option<String> {
        host::config(key)
    }
}

/// An event to be emitted, in the host's words.
#[derive(Debug, Clone, Copy)]
pub struct RawEmit<'a> {
    /// The dotted type.
    pub type_: &'a str,
    /// What the event is about.
    pub subject: Option<&'a str>,
    /// What must stay in order; `None` makes the event its own key.
    pub key: Option<&'a str>,
    /// Media type of `data`; `None` means `application/json`, and then `data` is MessagePack.
    pub content_type: Option<&'a str>,
    /// The payload.
    pub data: &'a [u8],
}
