//! What a token is good for. No scope stands for another: who deploys need not read what customers ordered.

use std::fmt;
use std::str::FromStr;

use crate::delivery::subscription::{BadType, Pattern};

const PUBLISH: &str = "publish";

/// One thing that a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// To see everything: events, traces, plugins, their state and logs, backups, figures.
    Read,
    /// To deploy, pause, rewind, roll back and remove, to see to dead letters and to schemas.
    Operate,
    /// To publish events whose type matches; `publish` alone is of any type.
    Publish(Option<Pattern>),
}

/// A text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// It is none of the words.
    #[error("{0:?} is no scope: write read, operate, publish, or publish:PATTERN such as publish:order.*")]
    Word(String),
    /// The types to publish are no pattern.
    #[error("publish: {0}")]
    Pattern(#[from] BadType),
}

impl Scope {
    /// Whether events of this type may be published with it.
    pub fn publishes(&self, event_type: &str) -> bool {
        match self {
            Self::Publish(Some(pattern)) => pattern.matches(event_type),
            Self::Publish(None) => true,
            Self::Read | Self::Operate => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Operate => f.write_str("operate"),
            Self::Publish(None) => f.write_str(PUBLISH),
            Self::Publish(Some(pattern)) => write!(f, "{PUBLISH}:{pattern}"),
        }
    }
}

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        match text.split_once(':') {
            None if text == "read" => Ok(Self::Read),
            None if text == "operate" => Ok(Self::Operate),
            None if text == PUBLISH => Ok(Self::Publish(None)),
            Some((PUBLISH, pattern)) => Ok(Self::Publish(Some(pattern.parse()?))),
            _ => Err(BadScope::Word(text.to_owned())),
        }
    }
}
