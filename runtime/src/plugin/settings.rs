//! `NAME.toml`: what the operator grants, limits and configures.

mod retry;
mod watch;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::watch::{CanaryState, Share, Watch};
use super::grants::Grants;
use super::outgoing::HttpOptions;
use super::shape::Shape;
use super::webhook::{self, Hook};
use crate::delivery::handler::MOST_LANES;
use crate::delivery::retry::RetryPolicy;
#[cfg(doc)]
use crate::delivery::settle::EFFECT_BYTES;
use crate::delivery::settle::{LARGEST_EFFECTS, LONGEST_CHAIN};
use crate::log::record::Mode;
pub(super) use retry::Retry;

/// The settings of one plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Where a new plugin starts.
    pub start: Start,
    /// Whether every event gets a fresh instance.
    pub isolation: Isolation,
    /// How many deliveries of it may run at a time, each on a thread and in an instance of its own. Default 1, at
    /// most 64. The events of one key run one after another all the same.
    pub lanes: Lanes,
    /// What it may use.
    pub limits: Limits,
    /// What happens to its failed deliveries.
    pub retry: RetryPolicy,
    /// How far it may stay behind.
    pub lag: Lag,
    /// How a new version of it is watched.
    pub probation: Watch,
    /// For which share of the keys a new version of it runs until it is promoted; all where none is given.
    pub canary: Share,
    /// Whose state such a canary has.
    pub canary_state: CanaryState,
    /// What it is configured with, as text.
    pub config: BTreeMap<String, String>,
    /// What it is granted.
    pub grants: Grants,
    /// How it may call somebody outside, where it is granted to.
    pub http: HttpOptions,
    /// What becomes of breaches of contract.
    pub contracts: ContractOptions,
    /// Where its events go, where it is a webhook and has no component.
    pub webhook: Option<Hook>,
}

/// What becomes of breaches of contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractOptions {
    /// A version that a live consumer or producer does not agree with: it is refused (`enforce`, the default), or goes
    /// live with a warning (`warn`) or without (`off`).
    pub deploy: Mode,
    /// An event that it emits and that breaks the schema it declares itself: the delivery fails (`enforce`, the default),
    /// or the event is emitted with a log line (`warn`) or without (`off`).
    pub emit: Mode,
}

/// Where a new plugin starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the events after its deployment.
    #[default]
    Now,
    /// With the first event of the log.
    Beginning,
}

/// How long an instance is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Until it fails.
    #[default]
    Reuse,
    /// For one event.
    Event,
}

/// A number of lanes, from 1 to [`MOST_LANES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Lanes(usize);

impl Default for Lanes {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<usize> for Lanes {
    type Error = BadSettings;

    fn try_from(lanes: usize) -> Result<Self, BadSettings> {
        if (1..=MOST_LANES).contains(&lanes) {
            return Ok(Self(lanes));
        }
        Err(BadSettings(format!("lanes is {lanes}: write 1 to {MOST_LANES}")))
    }
}

impl Lanes {
    /// Their number.
    pub fn get(self) -> usize {
        self.0
    }
}

/// What a plugin may use. Beyond any of it a delivery fails, and says which.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long one delivery may run, in milliseconds. Default 1000.
    pub time_ms: u64,
    /// Memory of an instance, all its memories together, in bytes. Default 64 MiB.
    pub memory_bytes: usize,
    /// Memories of an instance. Default 10.
    pub memories: usize,
    /// Tables of an instance. Default 100.
    pub tables: usize,
    /// Elements of an instance's tables, all together. Default 200,000.
    pub table_elements: usize,
    /// Handles of resources that an instance may have at a time. Default 10,000.
    pub handles: usize,
    /// Bytes of data of an event that is delivered. Default 4 MiB.
    pub event_bytes: usize,
    /// Events between an event and the first of its causal chain; beyond it is taken for a loop. Default 64.
    pub hops: u32,
    /// Events that one delivery may emit. Default 1000.
    pub emits: usize,
    /// Bytes of data that one delivery may emit. Default 512 KiB.
    pub emit_bytes: usize,
    /// Log lines of one delivery. Default 100; further ones are dropped and counted.
    pub log_lines: usize,
    /// Bytes of a log line. Default 4096; the rest is cut and counted.
    pub log_line_bytes: usize,
    /// Bytes of one value in the state. Default 240 KiB, so that one delivery can replace a value by another.
    pub state_value_bytes: usize,
    /// Bytes of all keys and values in the state. Default 256 MiB.
    pub state_bytes: usize,
    /// Timers that may be set at a time. Default 100,000.
    pub timers: usize,
    /// Bytes of the events of all timers. Default 64 MiB.
    pub timer_bytes: usize,
    /// Bytes of all that one delivery emits, sets and writes, as they are settled: what the state held before counts,
    /// and [`EFFECT_BYTES`] for each effect. Default 512 KiB, and never more than half the log's largest batch. Whoever
    /// settles behind it waits until the disk has taken it.
    pub batch_bytes: usize,
    /// Calls of host functions in one delivery. Default 100,000.
    pub host_calls: u64,
    /// Bytes that a guest may hand to the host in one call. Default 16 MiB.
    pub host_call_bytes: usize,
    /// Bytes of the component. Default 16 MiB.
    pub component_bytes: usize,
    /// How long it may take to compile, in milliseconds. Default 60,000.
    pub compile_ms: u64,
    /// Memory that compiling may take, in bytes of address space; also the most that the code may have. Default 1 GiB.
    pub compile_memory_bytes: u64,
    /// How much of everything the component may have.
    pub shape: Shape,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time_ms: 1000,
            memory_bytes: 64 << 20,
            memories: 10,
            tables: 100,
            table_elements: 200_000,
            handles: 10_000,
            event_bytes: 4 << 20,
            hops: LONGEST_CHAIN,
            emits: 1000,
            emit_bytes: LARGEST_EFFECTS,
            log_lines: 100,
            log_line_bytes: 4096,
            state_value_bytes: 240 << 10,
            state_bytes: 256 << 20,
            timers: 100_000,
            timer_bytes: 64 << 20,
            batch_bytes: LARGEST_EFFECTS,
            host_calls: 100_000,
            host_call_bytes: 16 << 20,
            component_bytes: 16 << 20,
            compile_ms: 60_000,
            compile_memory_bytes: 1 << 30,
            shape: Shape::default(),
        }
    }
}

impl Limits {
    /// The limits by the names of their settings.
    pub fn shown(&self) -> Vec<(&'static str, u64)> {
        let mut shown = vec![
            ("time_ms", self.time_ms),
            ("memory_bytes", self.memory_bytes as u64),
            ("memories", self.memories as u64),
            ("tables", self.tables as u64),
            ("table_elements", self.table_elements as u64),
            ("handles", self.handles as u64),
            ("event_bytes", self.event_bytes as u64),
            ("hops", u64::from(self.hops)),
            ("emits", self.emits as u64),
            ("emit_bytes", self.emit_bytes as u64),
            ("log_lines", self.log_lines as u64),
            ("log_line_bytes", self.log_line_bytes as u64),
            ("state_value_bytes", self.state_value_bytes as u64),
            ("state_bytes", self.state_bytes as u64),
            ("timers", self.timers as u64),
            ("timer_bytes", self.timer_bytes as u64),
            ("batch_bytes", self.batch_bytes as u64),
            ("host_calls", self.host_calls),
            ("host_call_bytes", self.host_call_bytes as u64),
            ("component_bytes", self.component_bytes as u64),
            ("compile_ms", self.compile_ms),
            ("compile_memory_bytes", self.compile_memory_bytes),
        ];
        shown.extend(self.shape.shown());
        shown
    }
}

/// How far a plugin may stay behind before retention takes events that it has not settled. Within both, retention waits
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lag {
    /// Age of the oldest event, in hours. Default 168, a week; with 0 retention never waits.
    pub hours: u64,
    /// MiB of the log behind it. Default 4096; with 0 retention never waits.
    pub mib: u64,
}

impl Default for Lag {
    fn default() -> Self {
        Self {
            hours: 168,
            mib: 4096,
        }
    }
}

impl Lag {
    /// The limits by the names of their settings.
    pub fn shown(&self) -> Vec<(&'static str, u64)> {
        vec![("lag_hours", self.hours), ("lag_mib", self.mib)]
    }
}

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(pub(super) String);

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    start: Start,
    isolation: Isolation,
    lanes: Lanes,
    limits: Limits,
    retry: Retry,
    lag: Lag,
    probation: Watch,
    canary: Share,
    canary_state: CanaryState,
    config: BTreeMap<String, toml::Value>,
    grants: BTreeMap<String, Vec<String>>,
    http: HttpOptions,
    contracts: ContractOptions,
}

impl Settings {
    /// The settings in `text`. Unknown keys are errors that suggest the nearest known one.
    pub fn parse(text: &str) -> Result<Self, BadSettings> {
        if webhook::is_one(text) {
            return webhook::settings(text);
        }
        let file: File =
            toml::from_str(text).map_err(|cause| BadSettings(with_suggestion(&cause.to_string())))?;
        let config = file
            .config
            .into_iter()
            .map(|(key, value)| Ok((key.clone(), as_text(&key, value)?)));
        if let Some(wrong) = file.http.wrong() {
            return Err(BadSettings(wrong.to_owned()));
        }
        if file.canary_state == CanaryState::Own && file.canary == Share::default() {
            let wrong = "canary_state = \"own\" is about a canary: say for which share of the keys, such as canary = \"5%\"";
            return Err(BadSettings(wrong.to_owned()));
        }
        Ok(Self {
            start: file.start,
            isolation: file.isolation,
            lanes: file.lanes,
            limits: file.limits,
            retry: file.retry.checked(RetryPolicy::default())?,
            lag: file.lag,
            probation: file.probation,
            canary: file.canary,
            canary_state: file.canary_state,
            config: config.collect::<Result<_, BadSettings>>()?,
            grants: Grants::parse(&file.grants).map_err(|bad| BadSettings(format!("grants: {bad}")))?,
            http: file.http,
            contracts: file.contracts,
            webhook: None,
        })
    }
}

fn as_text(key: &str, value: toml::Value) -> Result<String, BadSettings> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(BadSettings(format!(
            "config.{key} must be a text, a number or true or false"
        ))),
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`", with the nearest of them suggested.
pub(super) fn with_suggestion(message: &str) -> String {
    let mut quoted = message
        .split("unknown field")
        .nth(1)
        .unwrap_or_default()
        .split('`')
        .skip(1)
        .step_by(2);
    let Some(unknown) = quoted.next() else {
        return message.to_owned();
    };
    let nearest = quoted
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, known)) if likeness > 0.8 => format!("{message}\ndid you mean `{known}`?"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::retry::AtEnd;

    #[test]
    fn settings_are_read_and_the_rest_has_defaults() {
        let text = "start = \"beginning\"\n[limits]\ntime_ms = 5\n[retry]\nattempts = 2\nat_end = \"pause\"\n[lag]\nmib = 7\n[config]\nname = \"x\"\nn = 3\nb = true";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.start, Start::Beginning);
        assert_eq!((settings.limits.time_ms, settings.limits.emits), (5, 1000));
        assert_eq!((settings.lag.hours, settings.lag.mib), (168, 7));
        assert_eq!(
            (settings.retry.attempts, settings.retry.at_end),
            (2, AtEnd::Pause)
        );
        let config: Vec<_> = settings.config.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(config, ["b=true", "n=3", "name=x"]);
    }

    #[test]
    fn a_mistyped_key_is_refused_with_the_nearest_one() {
        let refused = Settings::parse("[limits]\ntime_sm = 5").unwrap_err().to_string();
        assert!(
            refused.contains("line 2") && refused.contains("did you mean `time_ms`?"),
            "{refused}"
        );
        let refused = Settings::parse("lanes = 65").unwrap_err().to_string();
        assert!(refused.contains("lanes is 65: write 1 to 64"), "{refused}");
        assert_eq!(Settings::parse("lanes = 64").unwrap().lanes.get(), 64);
        assert_eq!(Settings::parse("canary = \"2.5%\"").unwrap().canary, Share(250));
        let own = Settings::parse("canary = \"2.5%\"\ncanary_state = \"own\"").unwrap();
        assert_eq!(own.canary_state, CanaryState::Own);
        let refused = Settings::parse("canary_state = \"own\"").unwrap_err().to_string();
        assert!(refused.contains("such as canary = \"5%\""), "{refused}");
        for share in ["5", "0%", "100%", "five%", "-1%"] {
            let refused = Settings::parse(&format!("canary = {share:?}"))
                .unwrap_err()
                .to_string();
            assert!(refused.contains("such as"), "{refused}");
        }
        for wrong in ["jitter = 3", "at_end = \"stop\"", "outage_keys = 101"] {
            assert!(Settings::parse(&format!("[retry]\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
