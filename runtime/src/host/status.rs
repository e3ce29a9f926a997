//! What the host says of its plugins and its log.

use nerve_eventlog::{Durability, Entry, Micros, Offset};

use super::{AgainStatus, RewindStatus, ScrubStatus};
use crate::delivery::breaker::Open;
use crate::delivery::probation::Probation;
use crate::delivery::retry::Setting;
use crate::log::record::{Asks, FailureClass, Hash, VersionId, WaitingVersion};
use crate::state::{MOST_SPANS, Operated, OwnState};

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
    pub retry: Vec<(&'static str, Setting)>,
    /// Its low-water mark: everything up to it is settled or waits behind a parked key.
    pub cursor: Offset,
    /// Matching events that wait, at least: those below the hot window are not counted.
    pub lag: u64,
    /// Why nothing is delivered to it, where its breaker is open.
    pub paused: Option<Open>,
    /// Parked keys.
    pub parked: Vec<ParkedStatus>,
    /// Dead letters.
    pub dead_letters: usize,
    /// How many timers are set, and when the next one fires.
    pub timers: (usize, Option<Micros>),
    /// Keys of its state.
    pub state_keys: usize,
    /// Bytes of its state.
    pub state_bytes: usize,
    /// How many deliveries may run at a time.
    pub lanes: usize,
    /// Outcomes since the log began: done, retry, dead.
    pub counters: [u64; 3],
    /// Runs that were discarded, since another lane had changed what they read.
    pub conflicts: u64,
    /// How often each limit was hit since the log began, by its setting.
    pub limits_hit: Vec<(Box<str>, u64)>,
    /// The last refusal, where nothing was deployed since.
    pub refused: Option<(Micros, String)>,
    /// Why its deliveries stopped, where they did.
    pub trouble: Option<String>,
    /// The rewind that runs.
    pub rewind: Option<RewindStatus>,
    /// What is delivered again, since state and cursor went back.
    pub again: Option<AgainStatus>,
    /// What the version that runs was granted.
    pub granted: Asks,
    /// How the version that runs is watched, where it is.
    pub probation: Option<Probation>,
    /// The state of its own that a canary has.
    pub own: Option<OwnStatus>,
    /// What operators did last, the newest first.
    pub operated: Vec<Operated>,
    /// The version that waits to be approved: its pair, since when, and what it asks for.
    pub waiting: Option<(Hash, Micros, WaitingVersion)>,
}

/// Whether a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Live,
    /// It is live, and its deliveries are paused.
    Paused,
    /// Its file is gone.
    Removed,
    /// Nothing of this name was ever live.
    Refused,
    /// Nothing runs, and a version waits to be approved.
    Waiting,
}

impl Standing {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Removed => "removed",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }
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
    pub asks: Asks,
    /// What was found of its contracts when it went live, and let through.
    pub warnings: Vec<String>,
    /// Where its events go, where it is a webhook.
    pub webhook: Option<String>,
}

/// A canary's own state.
#[derive(Debug, Clone, Copy)]
pub struct OwnStatus {
    /// Keys it has.
    pub keys: usize,
    /// Bytes of all keys and values.
    pub bytes: usize,
    /// Keys that were written into it.
    pub wrote: usize,
    /// How many keys of events, and events without one, were done on it, and how many may be.
    pub done: (usize, usize),
}

impl OwnStatus {
    pub(super) fn of(own: &OwnState) -> Self {
        Self {
            keys: own.key_values.len(),
            bytes: own.key_values.bytes(),
            wrote: own.wrote(),
            done: (own.spans(), MOST_SPANS),
        }
    }
}

/// A parked key.
#[derive(Debug, Clone)]
pub struct ParkedStatus {
    /// The key; `None` for an event without one.
    pub key: Option<String>,
    /// Its oldest unsettled event.
    pub event: Offset,
    /// Attempts so far.
    pub attempt: u32,
    /// When it is tried next; `None` while its later events are worked off.
    pub due: Option<Micros>,
    /// What went wrong last.
    pub reason: String,
}

/// A dead letter.
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
    /// When an operator last let it be delivered again, and whose token it was asked with, where that is known.
    pub retried: Option<(Micros, Option<String>)>,
    /// Its event; `None` where an older version gave up on it, and it is in the log alone.
    pub kept: Option<Entry>,
}

/// A timer that is set.
#[derive(Debug, Clone)]
pub struct TimerStatus {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub due: Micros,
    /// The type of its event.
    pub r#type: String,
    /// The key of its event.
    pub key: Option<String>,
    /// The outcome that set it.
    pub set_at: Offset,
}

/// What the start found in the log.
#[derive(Debug, Clone)]
pub struct LogStatus {
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// How often publishers were refused because too much waited for the disk.
    pub refused_busy: u64,
    /// How often publishers were refused because the disk was nearly full.
    pub refused_no_room: u64,
    /// How often publishers were refused because their source was too fast.
    pub refused_too_fast: u64,
    /// Whether publishers are refused for a full disk now.
    pub short_of_room: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// What recovery did, in words, where it did anything.
    pub recovered: Option<String>,
    /// How far the scrub is, and what it found.
    pub scrub: ScrubStatus,
}
