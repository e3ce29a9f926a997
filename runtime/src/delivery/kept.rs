//! Events that the fold keeps: those of parked keys' heads and of dead letters, since retention may take them from
//! the log.

use bytes::Bytes;
use nerve_eventlog::{Entry, Micros, Offset};
use serde::{Deserialize, Serialize};

use crate::log::record::KeptEvent;

/// An event with the time of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When it was appended.
    pub recorded: Micros,
    /// Its record.
    pub record: Bytes,
}

impl From<KeptEvent<'_>> for Kept {
    fn from(event: KeptEvent<'_>) -> Self {
        Self {
            recorded: Micros(event.recorded),
            record: Bytes::copy_from_slice(event.record),
        }
    }
}

impl Kept {
    /// As the log had it at `offset`.
    pub fn entry(&self, offset: Offset) -> Entry {
        Entry {
            offset,
            time: self.recorded,
            payload: self.record.clone(),
        }
    }
}
