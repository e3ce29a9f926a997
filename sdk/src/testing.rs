//! Run a plugin natively, without wasm, by the host's rules: effects of a failed attempt are dropped, log
//! lines are kept, reads see the attempt's own writes, and only subscribed events are delivered.
//!
//! ```
//! # use nerve_sdk::prelude::*;
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(type = "user.logged_in", key = "user")]
//! # struct LoggedIn { user: String }
//! # struct Counter;
//! # #[plugin(name = "counter")]
//! # impl Counter {
//! #     #[on]
//! #     fn count(ctx: &mut Context<Self>, event: Delivered<LoggedIn>) -> Result<(), Failure> {
//! #         ctx.state().update(&event.user, |count: &mut u64| *count += 1)?;
//! #         Ok(())
//! #     }
//! # }
//! use nerve_sdk::testing::Host;
//!
//! let mut host = Host::<Counter>::new();
//! host.deliver(&LoggedIn { user: "ada".into() }).expect_done();
//! assert_eq!(host.state::<u64>("ada"), Some(1));
//! ```

pub(crate) mod fake;
mod outcome;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::http::{HttpError, Response};
use crate::payload;
use crate::plugin::{Plugin, matches};
use fake::Attempt;

pub use crate::bindings::Event as EventFields;
pub use outcome::{Emitted, Ending, Line, Outcome, TimerSet};

/// Time of the first delivery, in microseconds since 1970: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000_000;

/// A host for one plugin, with a state of its own. Offsets count from 1, times from 2026 on in seconds, and
/// random numbers repeat from run to run.
#[derive(Debug)]
pub struct Host<P> {
    state: BTreeMap<String, Vec<u8>>,
    timers: BTreeMap<String, TimerSet>,
    config: BTreeMap<String, String>,
    answers: VecDeque<Result<Response, HttpError>>,
    offset: u64,
    now: u64,
    attempt: u32,
    plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin> Default for Host<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Plugin> Host<P> {
    /// A host with an empty state and no configuration.
    pub fn new() -> Self {
        Self {
            state: BTreeMap::new(),
            timers: BTreeMap::new(),
            config: BTreeMap::new(),
            answers: VecDeque::new(),
            offset: 0,
            now: START,
            attempt: 1,
            plugin: PhantomData,
        }
    }

    /// Configure `key`, as `[config]` in `NAME.toml` does.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// What the next call of somebody outside is answered, behind the answers that were given before.
    pub fn answer(&mut self, answer: Result<Response, HttpError>) {
        self.answers.push_back(answer);
    }

    /// Count the next deliveries as attempt `attempt`; 1 is the first.
    pub fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// Set the time of the next deliveries, in microseconds since 1970.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Put `value` into the plugin's state, as an earlier delivery would have.
    ///
    /// # Panics
    /// When `value` can't be encoded.
    pub fn set_state<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        let bytes = payload::encode(value).unwrap_or_else(|error| panic!("the value of {key}: {error}"));
        self.state.insert(key.to_owned(), bytes);
    }

    /// The settled value of `key`.
    ///
    /// # Panics
    /// When the value is not a `T`.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = self.state.get(key)?;
        Some(payload::decode(bytes).unwrap_or_else(|error| panic!("the value of {key}: {error}")))
    }

    /// The keys of the plugin's state, in order.
    pub fn state_keys(&self) -> Vec<&str> {
        self.state.keys().map(String::as_str).collect()
    }

    /// The timers that are set, by name.
    pub fn timers(&self) -> &BTreeMap<String, TimerSet> {
        &self.timers
    }

    /// Let the timer `name` fire, now: deliver its event to the plugin, as a plugin that subscribes to its own
    /// timers gets it.
    ///
    /// # Panics
    /// When no such timer is set or the plugin does not subscribe to its type.
    pub fn fire(&mut self, name: &str) -> Outcome {
        let Some(timer) = self.timers.remove(name) else {
            panic!(
                "no timer is called {name:?}, only {:?}",
                self.timers.keys().collect::<Vec<_>>()
            )
        };
        self.now = self.now.max(timer.due);
        self.deliver_raw(EventFields {
            subject: timer.event.subject,
            key: timer.event.key,
            data: timer.event.data,
            source: format!("nerve:{}", P::NAME),
            ..EventFields::of(&timer.event.type_)
        })
    }

    /// Deliver an event from outside.
    ///
    /// # Panics
    /// When the event can't be encoded or the plugin does not subscribe to its type.
    pub fn deliver<E: Event>(&mut self, event: &E) -> Outcome {
        let data =
            payload::encode(event).unwrap_or_else(|error| panic!("{} can't be encoded: {error}", E::TYPE));
        self.deliver_raw(EventFields {
            key: event.key().map(Cow::into_owned),
            subject: event.subject().map(Cow::into_owned),
            data,
            ..EventFields::of(E::TYPE)
        })
    }

    /// Deliver an event of type `event_type` with any data: for patterns, and for data that does not fit.
    ///
    /// # Panics
    /// When the data can't be encoded or the plugin does not subscribe to the type.
    pub fn deliver_as<T: Serialize + ?Sized>(&mut self, event_type: &str, data: &T) -> Outcome {
        let data =
            payload::encode(data).unwrap_or_else(|error| panic!("{event_type} can't be encoded: {error}"));
        self.deliver_raw(EventFields {
            data,
            ..EventFields::of(event_type)
        })
    }

    /// Deliver `event` as it is; an empty id, an offset of 0, a time of 0 and an attempt of 0 are filled in.
    ///
    /// # Panics
    /// When the plugin does not subscribe to its type.
    pub fn deliver_raw(&mut self, mut event: EventFields) -> Outcome {
        let manifest = P::manifest();
        assert!(
            manifest
                .subscriptions
                .iter()
                .any(|pattern| matches(pattern, &event.type_)),
            "{} does not subscribe to {}, only to {:?}",
            P::NAME,
            event.type_,
            manifest.subscriptions
        );
        self.offset += 1;
        self.now += 1_000_000;
        if event.offset == 0 {
            event.offset = self.offset;
        }
        if event.id.is_empty() {
            event.id = format!("test-{}", event.offset);
        }
        if event.correlation.is_empty() {
            event.correlation.clone_from(&event.id);
        }
        if event.time == 0 {
            event.time = self.now;
        }
        if event.attempt == 0 {
            event.attempt = self.attempt;
        }
        fake::begin(Attempt::new(
            self.state.clone(),
            self.timers.clone(),
            self.config.clone(),
            std::mem::take(&mut self.answers),
            self.now,
            event.offset,
        ));
        let result = catch_unwind(AssertUnwindSafe(|| P::dispatch(event.into())));
        let attempt = fake::end();
        self.answers = attempt.answers;
        let ending = match (result, attempt.broken) {
            (Err(panic), _) => Ending::Trapped(panic_text(panic.as_ref())),
            (Ok(_), Some(limit)) => Ending::Broke(limit),
            (Ok(Err(failure)), None) => Ending::Failed(failure),
            (Ok(Ok(())), None) => Ending::Done,
        };
        let mut emitted = Vec::new();
        if ending == Ending::Done {
            (self.state, self.timers) = (attempt.state, attempt.timers);
            emitted = attempt.emitted;
        }
        Outcome {
            ending,
            emitted,
            lines: attempt.lines,
            requests: attempt.requests,
        }
    }
}

impl EventFields {
    /// An event of type `event_type` with nothing else in it: what [`Host::deliver_raw`] fills in is left to it.
    pub fn of(event_type: &str) -> Self {
        Self {
            id: String::new(),
            offset: 0,
            type_: event_type.to_owned(),
            source: "test".to_owned(),
            subject: None,
            key: None,
            time: 0,
            content_type: "application/json".to_owned(),
            data: Vec::new(),
            correlation: String::new(),
            cause: None,
            hops: 0,
            attempt: 0,
            replay: false,
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
