//! What a handler can do besides returning.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::error::EmitError;
use crate::event::Event;
use crate::event::piece::with_piece;
use crate::http::Http;
use crate::plugin::EmittedBy;
use crate::state::State;
use crate::{host, payload};

/// A handler's way to the host: `ctx: &mut Context<Self>`.
///
/// Nothing it does is visible to anybody before the delivery is settled.
pub struct Context<P> {
    state: State,
    http: Http,
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
            http: Http(()),
            plugin: PhantomData,
        }
    }

    /// Emit `event`, when this delivery is settled. The plugin must declare its type in `emits(..)`.
    pub fn emit<E>(&mut self, event: &E) -> Result<(), EmitError>
    where
        E: Event + EmittedBy<P>,
    {
        let (subject, key) = (event.subject(), event.key());
        let raw = raw(E::TYPE, subject.as_deref(), key.as_deref(), &[]);
        with_piece(&raw, |out| payload::write(event, out), host::emit).map_err(EmitError::Invalid)?
    }

    /// Emit an event whose type or content is known only at run time. Declare its type by its text:
    /// `emits("some.type")`.
    pub fn emit_raw(&mut self, event: RawEmit<'_>) -> Result<(), EmitError> {
        with_piece(&event, |_| Ok(()), host::emit).map_err(EmitError::Invalid)?
    }

    /// The timer `name` (1 to 256 bytes, unique within the plugin): emits an event later.
    ///
    /// ```no_run
    /// # use nerve_sdk::prelude::*;
    /// # use std::time::Duration;
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # #[event(type = "payment.timed_out", key = "order")]
    /// # struct PaymentTimedOut { order: String }
    /// # struct Orders;
    /// # #[plugin(name = "orders", emits(PaymentTimedOut))]
    /// # impl Orders {
    /// #     #[on("order.placed")]
    /// #     fn placed(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure> {
    /// # let order = String::new();
    /// ctx.timer("payment/42").after(Duration::from_mins(15), &PaymentTimedOut { order })?;
    /// // and in the handler of the payment:
    /// ctx.timer("payment/42").cancel()?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// ```
    pub fn timer<'a>(&'a mut self, name: &'a str) -> Timer<'a, P> {
        Timer {
            name,
            context: PhantomData,
        }
    }

    /// Calls somebody outside, where the plugin [asks](crate::plugin) for `http` and the operator grants it.
    ///
    /// ```no_run
    /// # use nerve_sdk::prelude::*;
    /// # #[derive(Serialize)] struct Charge { amount: u64 }
    /// # #[derive(Deserialize)] struct Charged { id: String }
    /// # fn f(ctx: &mut nerve_sdk::Context<()>) -> Result<(), nerve_sdk::Failure> {
    /// let answer = ctx.http().post("https://api.example.com/charges").json(&Charge { amount: 5 })?.send()?;
    /// let charged: Charged = answer.success()?.json()?;
    /// # Ok(()) }
    /// ```
    pub fn http(&mut self) -> &mut Http {
        &mut self.http
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

/// A timer by its name: see [`Context::timer`]. Like every effect, what is done to it is settled with the
/// delivery, or dropped with it.
#[derive(Debug)]
pub struct Timer<'a, P> {
    name: &'a str,
    context: PhantomData<&'a mut Context<P>>,
}

impl<P> Timer<'_, P> {
    /// Emit `event` when `wait` has passed since the start of this attempt, whole milliseconds. A timer of this
    /// name that has not fired yet is replaced. The plugin must declare the event's type in `emits(..)`.
    pub fn after<E>(self, wait: Duration, event: &E) -> Result<(), EmitError>
    where
        E: Event + EmittedBy<P>,
    {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        encoded(event, |raw| self.set_raw(Moment::After(millis), raw))
    }

    /// Emit `event` at `micros` since 1970; a time that has passed means at once. A timer of this name that has
    /// not fired yet is replaced. The plugin must declare the event's type in `emits(..)`.
    pub fn at<E>(self, micros: u64, event: &E) -> Result<(), EmitError>
    where
        E: Event + EmittedBy<P>,
    {
        encoded(event, |raw| self.set_raw(Moment::At(micros), raw))
    }

    /// Emit an event whose type or content is known only at run time.
    pub fn set_raw(self, moment: Moment, event: RawEmit<'_>) -> Result<(), EmitError> {
        host::timer_set(self.name, moment, &event)
    }

    /// Cancel the timer. Cancelling one that is not set, or has fired, is no error.
    pub fn cancel(self) -> Result<(), EmitError> {
        host::timer_cancel(self.name)
    }
}

/// When a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds since 1970.
    At(u64),
    /// Milliseconds after the start of this attempt.
    After(u64),
}

fn encoded<E: Event>(
    event: &E,
    then: impl FnOnce(RawEmit<'_>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    let data = payload::encode(event).map_err(EmitError::Invalid)?;
    let (subject, key) = (event.subject(), event.key());
    then(raw(E::TYPE, subject.as_deref(), key.as_deref(), &data))
}

fn raw<'a>(type_: &'a str, subject: Option<&'a str>, key: Option<&'a str>, data: &'a [u8]) -> RawEmit<'a> {
    RawEmit {
        type_,
        subject,
        key,
        content_type: None,
        data,
    }
}

/// An event to be emitted, in the host's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
