//! The records of the log: what they say and how they are encoded.
//!
//! A record is one byte that names its kind, then the MessagePack array of its fields. Readers borrow from
//! the record's bytes, so that looking at an event copies nothing. Fields are only ever added at the end,
//! with a default; `docs/log-format.md` lists them.

use std::fmt;

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

/// One record, borrowed from its encoding.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// An immutable fact.
    Event(Event<'a>),
    /// What one delivery came to.
    Outcome(Outcome<'a>),
    /// What became of a request to deploy or remove a plugin.
    Deployment(Deployment),
    /// What an operator did.
    Operator(Operator),
}

/// The kind of a record: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Event`].
    Event = 1,
    /// [`Outcome`].
    Outcome = 2,
    /// [`Deployment`].
    Deployment = 3,
    /// [`Operator`].
    Operator = 4,
}

/// Why the bytes of a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first byte names no kind that this version knows.
    #[error("a record of kind {0} was written by another version of nerve")]
    UnknownKind(u8),
    /// The record has no bytes.
    #[error("the record is empty")]
    Empty,
    /// The fields are not what the kind says.
    #[error("the fields of the record can't be read: {0}")]
    Fields(#[from] rmp_serde::decode::Error),
}

/// An event as the log keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Unique within `source`.
    pub id: &'a str,
    /// Who stated the fact.
    pub source: &'a str,
    /// Dotted type.
    pub r#type: &'a str,
    /// What must stay in order.
    pub key: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// The publisher's time, where it gave one; else the record's time counts.
    pub time: Option<u64>,
    /// Media type of the data.
    pub content_type: &'a str,
    /// MessagePack where `content_type` is JSON, else the publisher's bytes.
    #[serde(with = "serde_bytes")]
    pub data: &'a [u8],
    /// Id of the first event of the causal chain; `None` where it is this one.
    pub correlation: Option<&'a str>,
    /// The event whose handling emitted this one.
    #[serde(borrow)]
    pub cause: Option<Cause<'a>>,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// `CloudEvents` `dataschema`.
    pub data_schema: Option<&'a str>,
    /// `CloudEvents` extension attributes that nerve has no field for.
    #[serde(borrow)]
    pub extensions: Vec<(&'a str, Attribute<'a>)>,
}

/// Where an emitted event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cause<'a> {
    /// Id of the causing event.
    pub id: &'a str,
    /// Its offset.
    pub offset: u64,
    /// Events between this one and the first of the chain.
    pub hops: u32,
    /// Which of the delivery's events this is, from 0.
    pub index: u32,
}

/// The value of a `CloudEvents` extension attribute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute<'a> {
    /// A boolean.
    Bool(bool),
    /// A 32-bit integer.
    Integer(i32),
    /// A string, a URI, a time or base64.
    Text(&'a str),
}

/// What one delivery came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The version that ran.
    pub version: VersionId,
    /// The event that was delivered.
    pub event: u64,
    /// From 1.
    pub attempt: u32,
    /// Whether an operator's redrive asked for this delivery.
    pub replay: bool,
    /// What it came to.
    #[serde(borrow)]
    pub verdict: Verdict<'a>,
    /// The event's key, where the key is parked by this outcome or was parked before it.
    pub key: Option<&'a str>,
    /// Whether no event of `key` waits any more: the key is then parked no longer.
    pub cleared: bool,
    /// Every matching event up to this offset is settled, or waits behind a parked key.
    pub low_water: u64,
    /// Wall-clock start of the attempt, in microseconds; also what the plugin's clock said.
    pub started: u64,
    /// How long the handler ran, in microseconds.
    pub took: u64,
    /// Seed of the plugin's randomness, where it used any.
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
}

/// The three ends of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict<'a> {
    /// Its effects are in.
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

/// What became of a request to deploy or remove a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The plugin.
    pub plugin: String,
    /// Hash of the pair of component and `.toml` that was asked for; the removed plugin's has none.
    pub pair: Option<Hash>,
    /// What became of it.
    pub action: DeploymentAction,
}

/// What became of a request to deploy or remove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentAction {
    /// It is live from this record on.
    Live(Box<LiveVersion>),
    /// It was refused; what was live before goes on.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The file is gone: the plugin stops, its cursor and state stay.
    Removed,
}

/// A version that went live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveVersion {
    /// Hash of component and configuration.
    pub version: VersionId,
    /// Hash of the component's bytes, under which they are kept.
    pub component: Hash,
    /// The author's version text.
    pub label: String,
    /// Text of the `NAME.toml` it runs with, where there is one. Secrets stand in it by reference only.
    pub settings: Option<String>,
    /// Patterns it subscribes to.
    pub subscriptions: Vec<String>,
    /// Types it declares to emit.
    pub emits: Vec<String>,
    /// Prefixes of state keys that applications may read.
    pub readable: Vec<String>,
    /// What it asks for: capability and scope.
    pub asks: Vec<(String, Vec<String>)>,
    /// Whether a new plugin starts at the first event of the log, instead of here.
    pub from_beginning: bool,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// The plugin it was done to.
    pub plugin: String,
    /// What was done.
    pub action: OperatorAction,
}

/// What an operator can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorAction {
    /// Deliver dead letters again: offsets of their events.
    Redrive(Vec<u64>),
    /// Give dead letters up: offsets of their events.
    Drop(Vec<u64>),
    /// Deliver nothing until told to go on.
    Pause,
    /// Go on: where the plugin was paused for its failures, with one event.
    Resume,
}

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A version of a plugin: the first 8 bytes of the hash of its component and its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId(#[serde(with = "serde_bytes")] pub [u8; 8]);

impl VersionId {
    /// The version that a component and its configuration make.
    pub fn of(component: Hash, configuration: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&component.0).update(configuration);
        let mut id = [0; 8];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(id)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> Event<'a> {
    /// When it happened: the publisher's time, else that of its record.
    pub fn happened(&self, recorded: Micros) -> u64 {
        self.time.unwrap_or(recorded.0)
    }

    /// How many events lie between this one and the first of its chain.
    pub fn hops(&self) -> u32 {
        self.cause.map_or(0, |cause| cause.hops)
    }

    /// The id of the first event of its chain.
    pub fn chain(&self) -> &'a str {
        self.correlation.unwrap_or(self.id)
    }
}

impl Outcome<'_> {
    /// The event that was delivered.
    pub fn event(&self) -> Offset {
        Offset(self.event)
    }
}

impl<'a> Record<'a> {
    /// Read a record from its bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, fields) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(match *kind {
            k if k == Kind::Event as u8 => Self::Event(rmp_serde::from_slice(fields)?),
            k if k == Kind::Outcome as u8 => Self::Outcome(rmp_serde::from_slice(fields)?),
            k if k == Kind::Deployment as u8 => Self::Deployment(rmp_serde::from_slice(fields)?),
            k if k == Kind::Operator as u8 => Self::Operator(rmp_serde::from_slice(fields)?),
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }

    /// Append the record's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Event(event) => Self::encode_event(event, out),
            Self::Outcome(outcome) => Self::encode_outcome(outcome, out),
            Self::Deployment(deployment) => encode(Kind::Deployment, deployment, out),
            Self::Operator(operator) => encode(Kind::Operator, operator, out),
        }
    }

    /// Append the bytes of an event's record to `out`.
    pub fn encode_event(event: &Event<'_>, out: &mut Vec<u8>) {
        encode(Kind::Event, event, out);
    }

    /// Append the bytes of an outcome's record to `out`.
    pub fn encode_outcome(outcome: &Outcome<'_>, out: &mut Vec<u8>) {
        encode(Kind::Outcome, outcome, out);
    }
}

/// The kind of the record in `bytes`, without reading its fields.
pub fn kind(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// The event in `bytes`, or `None` where the record is of another kind.
pub fn event(bytes: &[u8]) -> Result<Option<Event<'_>>, DecodeError> {
    match bytes.split_first() {
        Some((kind, fields)) if *kind == Kind::Event as u8 => Ok(Some(rmp_serde::from_slice(fields)?)),
        Some(_) => Ok(None),
        None => Err(DecodeError::Empty),
    }
}

fn encode(kind: Kind, fields: &impl Serialize, out: &mut Vec<u8>) {
    out.push(kind as u8);
    rmp_serde::encode::write(out, fields).expect("writing plain fields into memory can't fail");
}
