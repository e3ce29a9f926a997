//! What can go wrong in a handler, and how a delivery then ends.

use std::fmt;
use std::time::Duration;

/// Why a delivery did not succeed. Its effects are dropped; its log lines are kept.
///
/// Every error of the SDK turns into a `Failure` with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may succeed later: the key is parked and the event delivered again, until the plugin's retries
    /// are used up and the event becomes a dead letter.
    Retry {
        /// What went wrong, for people.
        reason: String,
        /// Shortest wait before the next attempt; `None` leaves it to the retry policy.
        after: Option<Duration>,
    },
    /// It will never succeed: the event becomes a dead letter at once.
    Reject {
        /// What is wrong with the event, for people.
        reason: String,
    },
}

impl Failure {
    /// It may succeed later; the host chooses when to try again.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            after: None,
        }
    }

    /// It may succeed later, but not before `after` has passed.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            after: Some(after),
        }
    }

    /// This event can never be handled, however often it is tried.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject {
            reason: reason.into(),
        }
    }

    /// What went wrong, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry { reason, .. } | Self::Reject { reason } => reason,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry { .. } => "retry: ",
            Self::Reject { .. } => "reject: ",
        })?;
        f.write_str(self.reason())
    }
}

impl std::error::Error for Failure {}

/// Data that is not what its type says. The text names the field where the decoder knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(pub(crate) String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

/// Why an event was not emitted. The host fails the delivery with the same reason, whatever the handler
/// does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmitError {
    /// The type, key, content type or data is not well-formed.
    Invalid(String),
    /// A limit of the plugin would be passed.
    Limit(String),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Invalid(text) | Self::Limit(text)) = self;
        f.write_str("the event was not emitted: ")?;
        f.write_str(text)
    }
}

impl std::error::Error for EmitError {}

/// Why a value could not be read from or written to the plugin's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// The key is empty or longer than 512 bytes.
    Key(String),
    /// A limit of the plugin would be passed.
    Limit(String),
    /// The value can't be encoded, or what is stored is not of the type asked for: a version of the plugin
    /// that changes the shape of a value must read the old shape too.
    Value(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Key(text) | Self::Limit(text) | Self::Value(text)) = self;
        f.write_str("state: ")?;
        f.write_str(text)
    }
}

impl std::error::Error for StateError {}

/// The event is at fault: no later attempt can parse it.
impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self::Reject { reason: error.0 }
    }
}

/// The plugin is at fault, and a mended version may do better: so a retry.
impl From<EmitError> for Failure {
    fn from(error: EmitError) -> Self {
        Self::retry(error.to_string())
    }
}

/// The plugin is at fault, and a mended version may do better: so a retry.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::retry(error.to_string())
    }
}
