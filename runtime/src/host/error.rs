//! Why the host does not do what it is asked.

use std::time::Duration;

use nerve_eventlog::Offset;

use crate::contract::BrokenContract;
use crate::ingest::TooFast;

use super::RewindError;
use crate::plugin::deploy::{ApproveError, RollBackError};
use crate::plugin::name::BadName;

/// Why events were not published. Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Too much waits for the disk.
    #[error("the host has {undurable_bytes} bytes waiting for the disk")]
    Busy {
        /// When to try again.
        retry_after: Duration,
        /// Bytes that wait.
        undurable_bytes: usize,
    },
    /// The disk is nearly full: what is left is for settling what is in.
    #[error("the disk of the host is nearly full, and what is left is for what was accepted before")]
    NoRoom {
        /// When to try again.
        retry_after: Duration,
    },
    /// A source publishes too fast.
    #[error(transparent)]
    TooFast(#[from] TooFast),
    /// An event is not what its type's schema says.
    #[error(transparent)]
    Contract(#[from] BrokenContract),
    /// The identity is taken by an event with other content.
    #[error("event {index}: id {id:?} of source {source_name:?} is taken by {} with other content", first_place(*offset))]
    Conflict {
        /// Which of the events, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// Its source.
        source_name: String,
        /// The first event with this identity; `None` where it stands in the same batch.
        offset: Option<Offset>,
    },
    /// Together they are larger than the log takes at a time.
    #[error("the events have {bytes} bytes together, and {limit} are allowed at a time")]
    Size {
        /// Their bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl PublishError {
    /// Which of the events it is about, from 0, where it is about one.
    pub fn index_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Conflict { index, .. } | Self::Contract(BrokenContract { index, .. }) => Some(index),
            _ => None,
        }
    }
}

/// The host can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was asked to stop.
    #[error("the host is stopping")]
    Stopping,
    /// A write or sync failed: nothing more can become durable.
    #[error("the log is poisoned until the host is restarted: {0}")]
    Poisoned(String),
}

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No plugin of that name was ever deployed.
    #[error("no plugin is called {0:?}")]
    NoPlugin(String),
    /// The plugin does not declare the key readable.
    #[error("plugin {plugin:?} does not declare {key:?} readable")]
    NotReadable {
        /// The plugin.
        plugin: String,
        /// The key.
        key: String,
    },
    /// The plugin has no dead letter for the event.
    #[error("plugin {plugin:?} has no dead letter for the event at offset {event}")]
    NoDeadLetter {
        /// The plugin.
        plugin: String,
        /// The event's offset.
        event: Offset,
    },
    /// It did not settle so far in time.
    #[error("plugin {plugin:?} has settled up to offset {settled}, not yet {wanted}")]
    TimedOut {
        /// The plugin.
        plugin: String,
        /// How far it is.
        settled: Offset,
        /// How far it was waited for.
        wanted: Offset,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Nothing was approved.
    #[error("plugin {plugin:?}: {cause}")]
    Approval {
        /// The plugin.
        plugin: String,
        /// Why.
        #[source]
        cause: ApproveError,
    },
    /// No rewind began or ended.
    #[error("plugin {plugin:?}: {cause}")]
    Rewind {
        /// The plugin.
        plugin: String,
        /// Why.
        #[source]
        cause: Box<RewindError>,
    },
    /// Nothing was rolled back.
    #[error("plugin {plugin:?}: {cause}")]
    RollBack {
        /// The plugin.
        plugin: String,
        /// Why.
        #[source]
        cause: RollBackError,
    },
    /// No plugin can be called so.
    #[error(transparent)]
    Name(#[from] BadName),
    /// No canary of it has a state of its own.
    #[error("no canary of plugin {0:?} has a state of its own")]
    NoCanaryState(String),
    /// The host has no data folder, and so runs no plugins.
    #[error("this host has no data folder to keep plugins in")]
    NoFolder,
    /// The file could not be removed.
    #[error("{path}: {cause}")]
    Folder {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
}

fn first_place(offset: Option<Offset>) -> String {
    offset.map_or_else(
        || "an earlier event of the batch".to_owned(),
        |offset| format!("the event at offset {offset}"),
    )
}
