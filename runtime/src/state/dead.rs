//! Dead letters.

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::OfRewind;
use crate::delivery::kept::Kept;
use crate::log::record::{FailureClass, VersionId};

/// An event that the plugin gave up on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dead {
    /// Attempts made.
    pub attempts: u32,
    /// Class of the last failure.
    pub class: FailureClass,
    /// Reason of the last failure.
    pub reason: String,
    /// The version that failed last.
    pub version: VersionId,
    /// When it was given up.
    pub at: Micros,
    /// The outcome of the last attempt.
    #[serde(default)]
    pub outcome: Offset,
    /// The event; `None` where an older version gave up on it, and it is in the log alone.
    #[serde(default)]
    pub kept: Option<Kept>,
    /// The rewind that gave up on it, where one did.
    #[serde(default)]
    pub rewind: Option<OfRewind>,
    /// When an operator last let it be delivered again, and whose token it was asked with, where that is known.
    #[serde(default)]
    pub retried: Option<(Micros, Option<String>)>,
    /// Whether it had been given up before, and was never done, where a rewind gave up on it.
    #[serde(default)]
    pub undone: bool,
}

impl Dead {
    /// Whether its event was never done, so that it has had no effect.
    pub(super) fn was_never_done(&self) -> bool {
        self.rewind.is_none() || self.undone
    }
}
