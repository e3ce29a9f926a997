//! What a delivery to the test host came to.

use serde::de::DeserializeOwned;

use crate::error::Failure;
use crate::event::Event;
use crate::http::Request;
use crate::log::Level;
use crate::payload;

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It succeeded and its effects are settled.
    Done,
    /// The handler returned a failure.
    Failed(Failure),
    /// The handler panicked; in wasm this is a trap. The host tries again, like after a retry.
    Trapped(String),
    /// The handler asked for something that was refused. It fails, even when the handler went on.
    Broke(String),
}

/// An event that a delivery emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The dotted type.
    pub type_: String,
    /// What the event is about.
    pub subject: Option<String>,
    /// What must stay in order.
    pub key: Option<String>,
    /// Media type of the data; `None` means `application/json`.
    pub content_type: Option<String>,
    /// The payload.
    pub data: Vec<u8>,
}

impl Emitted {
    /// Read the data as a `T`.
    ///
    /// # Panics
    /// When the data is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> T {
        payload::decode(&self.data).unwrap_or_else(|error| panic!("the data of {}: {error}", self.type_))
    }
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerSet {
    /// When it fires, in microseconds since 1970.
    pub due: u64,
    /// The event it then emits.
    pub event: Emitted,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
}

/// What a delivery came to: its ending, its log lines, and the events it emitted where it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "look at the ending: `.expect_done()`"]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The events it emitted; none unless it is done.
    pub emitted: Vec<Emitted>,
    /// Its log lines, also those of a failure.
    pub lines: Vec<Line>,
    /// What it asked outside, in order, also that of a failure.
    pub requests: Vec<Request>,
}

impl Outcome {
    /// The outcome, which must be done.
    ///
    /// # Panics
    /// When the delivery failed.
    #[track_caller]
    pub fn expect_done(&self) -> &Self {
        assert!(
            self.ending == Ending::Done,
            "the delivery is not done: {:?}",
            self.ending
        );
        self
    }

    /// The failure that the handler returned.
    ///
    /// # Panics
    /// When it returned none.
    #[track_caller]
    pub fn expect_failure(&self) -> &Failure {
        match &self.ending {
            Ending::Failed(failure) => failure,
            other => panic!("the handler returned no failure: {other:?}"),
        }
    }

    /// The emitted events of type `E`, in order.
    ///
    /// # Panics
    /// When the data of one is not an `E`.
    pub fn emitted<E: Event>(&self) -> Vec<E> {
        self.emitted
            .iter()
            .filter(|event| event.type_ == E::TYPE)
            .map(Emitted::parse)
            .collect()
    }

    /// Whether a log line contains `text`.
    pub fn logged(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.message.contains(text))
    }
}
