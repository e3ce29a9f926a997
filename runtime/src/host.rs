//! The host: what one process owns, and what everything outside the way may ask of it.
//!
//! HTTP, the command line and library users talk to a [`Host`]; it is a handle and cheap to clone. Whatever it
//! answers was durable before the answer: reads look at the live fold and then wait until everything they
//! could have seen is on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nerve_eventlog::{Log, Micros, Offset};

use crate::ingest::ValidEvent;
use crate::log::record::{FailureClass, Hash, VersionId};

/// A handle to a running host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner;

/// Where one published event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its offset, or that of the first event with the same identity.
    pub offset: Offset,
    /// Whether the identity was published before.
    pub duplicate: bool,
}

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
    /// The identity is taken by an event with other content.
    #[error(
        "event {index}: id {id:?} of source {source_name:?} was published at offset {offset} with other content"
    )]
    Conflict {
        /// Which of the events, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// Its source.
        source_name: String,
        /// The first event with this identity.
        offset: Offset,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The host can't go on.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// The file could not be removed.
    #[error("{path}: {cause}")]
    Folder {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
}

/// What `GET /v1/plugins/{name}` shows.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub standing: Standing,
    /// The version that is live, or was live last.
    pub version: Option<VersionStatus>,
    /// Patterns, each with the first offset it holds for.
    pub subscriptions: Vec<(String, Offset)>,
    /// Limits that hold for it, by their setting's name and unit (`time_ms`, `memory_bytes`).
    pub limits: Vec<(&'static str, u64)>,
    /// Its retry policy, by setting's name.
    pub retry: Vec<(&'static str, f64)>,
    /// Its low-water mark: everything up to it is settled or waits behind a parked key.
    pub cursor: Offset,
    /// Matching events that wait.
    pub lag: u64,
    /// Parked keys.
    pub parked: Vec<ParkedStatus>,
    /// Dead letters.
    pub dead_letters: usize,
    /// Keys of its state.
    pub state_keys: usize,
    /// Bytes of its state.
    pub state_bytes: usize,
    /// Outcomes since the log began: done, retry, dead.
    pub counters: [u64; 3],
    /// The last refusal, where nothing was deployed since.
    pub refused: Option<(Micros, String)>,
}

/// Whether a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Live,
    /// Its file is gone.
    Removed,
    /// Nothing of this name was ever live.
    Refused,
}

/// What is known of a version.
#[derive(Debug, Clone)]
pub struct VersionStatus {
    /// Its id.
    pub version: VersionId,
    /// Hash of its component.
    pub component: Hash,
    /// The author's version text.
    pub label: String,
    /// When it went live.
    pub since: Micros,
    /// What it declares to emit.
    pub emits: Vec<String>,
    /// Prefixes of state keys that applications may read.
    pub readable: Vec<String>,
    /// What it asks for: capability and scope.
    pub asks: Vec<(String, Vec<String>)>,
}

/// A parked key.
#[derive(Debug, Clone)]
pub struct ParkedStatus {
    /// The key; `None` for an event without one.
    pub key: Option<String>,
    /// Its oldest event.
    pub event: Offset,
    /// Attempts so far.
    pub attempt: u32,
    /// When it is tried next; `None` while its later events are worked off.
    pub due: Option<Micros>,
    /// Events that wait behind it.
    pub waiting: usize,
    /// What went wrong last.
    pub reason: String,
}

/// A dead letter. Its event is in the log at `event`.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The plugin that gave up.
    pub plugin: String,
    /// The event's offset.
    pub event: Offset,
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
    /// Whether it is being delivered again.
    pub redriving: bool,
}

/// What the start found in the log.
#[derive(Debug, Clone)]
pub struct LogStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// What recovery did, in words, where it did anything.
    pub recovered: Option<String>,
}

impl Host {
    /// Append `events`, all or none, and answer where they are, before they are durable.
    pub fn publish(&self, events: Vec<ValidEvent>) -> Result<Vec<Published>, PublishError> {
        let _ = (&self.inner, events);
        unimplemented!("lead")
    }

    /// Wait until everything up to `through` is durable.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub async fn durable(&self, through: Offset) -> Result<(), Stopped> {
        let _ = through;
        unimplemented!("lead")
    }

    /// The highest durable offset, and a way to wait for the next one.
    pub fn watch_durable(&self) -> tokio::sync::watch::Receiver<Offset> {
        unimplemented!("lead")
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        unimplemented!("lead")
    }

    /// Sizes of the log, and what recovery found.
    pub fn log_status(&self) -> LogStatus {
        unimplemented!("lead")
    }

    /// Why events can't be taken now, or `None`.
    pub fn not_ready(&self) -> Option<String> {
        unimplemented!("lead")
    }

    /// Completes when the host is asked to stop: streams end then.
    pub async fn stopping(&self) {
        unimplemented!("lead")
    }

    /// All plugins that were ever asked for, by name.
    pub async fn plugins(&self) -> Result<Vec<PluginStatus>, AskError> {
        unimplemented!("lead")
    }

    /// One plugin.
    pub async fn plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let _ = name;
        unimplemented!("lead")
    }

    /// Remove the plugin's file from the folder, and wait until the plugin has stopped.
    pub async fn remove_plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let _ = name;
        unimplemented!("lead")
    }

    /// Wait, at most `timeout`, until the plugin has settled everything up to `offset`.
    pub async fn settled(&self, plugin: &str, offset: Offset, timeout: Duration) -> Result<Offset, AskError> {
        let _ = (plugin, offset, timeout);
        unimplemented!("lead")
    }

    /// The value of a readable key, and the plugin's cursor when it was read.
    pub async fn state(&self, plugin: &str, key: &str) -> Result<(Option<Bytes>, Offset), AskError> {
        let _ = (plugin, key);
        unimplemented!("lead")
    }

    /// Entries of readable keys that start with `prefix`, behind `after`, at most `limit`.
    pub async fn scan_state(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(Box<str>, Bytes)>, Offset), AskError> {
        let _ = (plugin, prefix, after, limit);
        unimplemented!("lead")
    }

    /// Dead letters of one plugin or of all, by plugin and offset.
    pub async fn dead_letters(&self, plugin: Option<&str>) -> Result<Vec<DeadLetter>, AskError> {
        let _ = plugin;
        unimplemented!("lead")
    }

    /// Deliver dead letters of `plugin` again: one, or all where `event` is `None`. Answers their offsets
    /// once the operator's record is durable.
    pub async fn redrive(&self, plugin: &str, event: Option<Offset>) -> Result<Vec<Offset>, AskError> {
        let _ = (plugin, event);
        unimplemented!("lead")
    }

    /// Give a dead letter up.
    pub async fn drop_dead_letter(&self, plugin: &str, event: Offset) -> Result<(), AskError> {
        let _ = (plugin, event);
        unimplemented!("lead")
    }
}
