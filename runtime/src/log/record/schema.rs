//! Schemas of event types: what plugins declare, and what an operator sets for events from outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A JSON Schema that a version declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeclaredSchema {
    /// The event type.
    pub event_type: String,
    /// Whether the version emits events of the type, or else consumes them.
    pub emits: bool,
    /// The schema as JSON text.
    pub json: String,
}

/// An operator set the schema of an event type, or took it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetSchema {
    /// The event type.
    pub event_type: String,
    /// What holds from here on; `None` takes it back.
    pub schema: Option<TypeSchema>,
    /// Whose token it was asked with, or `anonymous` where nobody is asked for one; `None` where nobody asked, and before there were tokens.
    #[serde(default)]
    pub who: Option<String>,
}

/// What an operator set for an event type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeSchema {
    /// The schema of events from outside as JSON text; `None` leaves it to the plugins that emit the type.
    pub json: Option<String>,
    /// What becomes of an event from outside that breaks the type's schema; `None` leaves it to the host's setting.
    pub mode: Option<Mode>,
}

/// What becomes of what breaks a contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is let through, counted and told.
    Warn,
    /// Nobody looks.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Off => "off",
        })
    }
}

/// A text is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write enforce, warn or off")]
pub struct BadMode;

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        [Self::Enforce, Self::Warn, Self::Off]
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or(BadMode)
    }
}
