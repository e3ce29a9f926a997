//! What a delivery came to, and what follows from it.

use std::borrow::Cow;

use nerve_eventlog::Offset;
use serde::{Deserialize, Serialize};

use super::{Call, Replay, StateRead, VersionId};

/// What one delivery came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something else of the delivery"
)]
pub struct Outcome<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The version that ran.
    pub version: VersionId,
    /// The event that was delivered.
    pub event: u64,
    /// From 1.
    pub attempt: u32,
    /// Whether an operator's redrive or rewind asked for this delivery.
    pub replay: bool,
    /// What it came to.
    #[serde(borrow)]
    pub verdict: Verdict<'a>,
    /// The event's key, where the key is parked by this outcome or was parked before it.
    pub key: Option<&'a str>,
    /// Whether no event of `key` waits any more: the key is then parked no longer.
    pub cleared: bool,
    /// Every matching event up to this offset is settled, or waits behind a parked key; of a historic delivery in its
    /// rewind.
    pub low_water: u64,
    /// Wall-clock start of the attempt, in microseconds; also what the plugin's clock said.
    pub started: u64,
    /// How long the handler ran, in microseconds.
    pub took: u64,
    /// Seed of the plugin's randomness, where it used any, or gave up on the event.
    pub seed: Option<u64>,
    /// Events emitted: the records that follow in the same batch.
    pub emitted: u32,
    /// State writes, in the order of their keys.
    #[serde(borrow)]
    pub writes: Vec<Write<'a>>,
    /// Log lines.
    #[serde(borrow)]
    pub lines: Vec<Line<'a>>,
    /// Log lines that were dropped or cut at a limit.
    pub lines_lost: u32,
    /// Whether this attempt cost the event none of its retries, since the breaker was open.
    #[serde(default)]
    pub free: bool,
    /// What this failed attempt makes of the breaker, where it opens it or leaves it open.
    #[serde(default)]
    pub opens: Option<Opens>,
    /// Timers set and cancelled, in the order of their names.
    #[serde(borrow, default)]
    pub timers: Vec<TimerChange<'a>>,
    /// Outgoing calls with what they were answered, in order; kept also when the attempt failed.
    #[serde(default)]
    pub calls: Cow<'a, [Call]>,
    /// Where the key is parked behind this outcome: its events from this offset up to the low-water mark wait.
    #[serde(default)]
    pub waits_from: Option<u64>,
    /// Runs before this one that were discarded, since another lane had changed what they read.
    #[serde(default)]
    pub conflicts: u32,
    /// What the attempt read of the state, where the plugin gave up on the event with it.
    #[serde(borrow, default)]
    pub reads: Option<StateRead<'a>>,
    /// The event, where this outcome parks it or gives up on it and the fold does not keep it yet: retention may take
    /// it from the log.
    #[serde(borrow, default)]
    pub kept: Option<KeptEvent<'a>>,
    /// Whether a watched version made this failed attempt, or nobody, and who makes the next one. It costs the event none of
    /// its retries, and says nothing to the breaker.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// Of which rewind the delivery was.
    #[serde(borrow, default)]
    pub rewind: Option<Replay<'a>>,
    /// Whether it read and wrote a canary's own state. The key is then always said.
    #[serde(default)]
    pub own: bool,
}

/// What follows a failed attempt of a version that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watched {
    /// It tries the event again.
    Again,
    /// The version before has the event from here on.
    PassedOn,
    /// Nobody made the attempt: the version before has the key, and does not load.
    Waits,
}

/// An event that the fold keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeptEvent<'a> {
    /// When it was appended, in microseconds.
    pub recorded: u64,
    /// Its record.
    #[serde(with = "serde_bytes")]
    pub record: &'a [u8],
}

/// A timer is set or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimerChange<'a> {
    /// Its name, unique within the plugin.
    pub name: &'a str,
    /// What it is set to; `None` cancels it.
    #[serde(borrow)]
    pub set: Option<TimerSet<'a>>,
}

/// What a timer is set to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimerSet<'a> {
    /// When it fires, in microseconds.
    pub due: u64,
    /// The record of the event that it then emits.
    #[serde(with = "serde_bytes")]
    pub event: &'a [u8],
}

/// A timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fired<'a> {
    /// The plugin that set it.
    pub plugin: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The outcome that set it.
    pub set_at: u64,
}

/// The breaker is open behind a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opens {
    /// Why.
    pub why: OpenReason,
    /// When one event is tried, in microseconds; `None` where an operator or another version has to come.
    pub probe: Option<u64>,
}

/// Why deliveries to a plugin are paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenReason {
    /// It failed across keys, with no success between.
    Outage,
    /// An event's attempts are used up, and its settings say to pause then.
    Exhausted,
    /// An operator asked for it.
    Operator,
    /// It was too far behind, and retention has taken events that it had not settled.
    Gap,
}

/// The three ends of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict<'a> {
    /// Its effects are in.
    #[default]
    Done,
    /// It is tried again.
    Retry {
        /// Not before this time, in microseconds.
        due: u64,
        /// What went wrong.
        #[serde(borrow)]
        failure: FailureRecord<'a>,
    },
    /// The plugin gave up on it.
    Dead {
        /// What went wrong last.
        #[serde(borrow)]
        failure: FailureRecord<'a>,
    },
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FailureRecord<'a> {
    /// Its class.
    pub class: FailureClass,
    /// For people.
    pub reason: &'a str,
}

impl<'a> FailureRecord<'a> {
    /// The setting of the limit that was hit, where one was: reasons of limits begin with `limit NAME:`.
    pub fn limit(&self) -> Option<&'a str> {
        use FailureClass::{Limit, Loop, Memory, Time};
        if !matches!(self.class, Limit | Loop | Memory | Time) {
            return None;
        }
        let (name, _) = self.reason.strip_prefix("limit ")?.split_once(':')?;
        let is_name =
            !name.is_empty() && name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_name.then_some(name)
    }
}

/// The classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// The plugin asked to be tried again.
    Retry,
    /// The plugin said that it will never succeed.
    Reject,
    /// The guest trapped.
    Trap,
    /// The time limit was hit.
    Time,
    /// The memory limit was hit.
    Memory,
    /// Another limit was hit; the reason names it.
    Limit,
    /// The causal chain is longer than the hop limit.
    Loop,
    /// The host could not run it.
    Host,
    /// It emitted an event that breaks the schema it declares.
    Contract,
    /// Whom it calls is not to be had: that says nothing about the event.
    Unavailable,
}

/// One state write.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Write<'a> {
    /// The key.
    pub key: &'a str,
    /// The new value; `None` removes the key.
    #[serde(with = "serde_bytes")]
    pub value: Option<&'a [u8]>,
    /// What was there before, so that state can be recovered going backwards.
    #[serde(with = "serde_bytes")]
    pub previous: Option<&'a [u8]>,
}

/// One log line of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: &'a str,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For following single steps.
    Trace,
    /// For finding faults.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected, but handled.
    Warn,
    /// Something failed.
    Error,
}

impl Outcome<'_> {
    /// The event that was delivered.
    pub fn event(&self) -> Offset {
        Offset(self.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_by_the_host_alone() {
        let limit = |class, reason| FailureRecord { class, reason }.limit();
        assert_eq!(limit(FailureClass::Limit, "limit emits: 5"), Some("emits"));
        assert_eq!(limit(FailureClass::Loop, "limit hops: long"), Some("hops"));
        for (class, reason) in [
            (FailureClass::Reject, "limit emits: 5"),
            (FailureClass::Retry, "limit emits: 5"),
            (FailureClass::Trap, "limit emits: 5"),
            (FailureClass::Limit, "limit two words: 5"),
            (FailureClass::Limit, "an emitted event was refused: limit: 5"),
        ] {
            assert_eq!(limit(class, reason), None, "{reason}");
        }
    }
}
