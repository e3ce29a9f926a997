//! The records of the log: what they say and how they are encoded.
//!
//! A record is one byte that names its kind, then the MessagePack array of its fields. Readers borrow from
//! the record's bytes, so that looking at an event copies nothing. Fields are only ever added at the end,
//! with a default; `docs/log-format.md` lists them.

mod call;
mod deployment;
mod freed;
mod gap;
mod gist;
mod outcome;
pub(crate) mod pack;
mod quick;
mod reads;
mod rewind;
mod schema;
mod state_back;
#[cfg(test)]
mod tests;

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

pub use call::{Answer, Asked, Call, CallFailure, Intent};
pub use deployment::{
    AskedBy, Asker, Asks, BadHash, Deployment, DeploymentAction, Hash, LiveVersion, Operator, OperatorAction,
    RolledBack, Terms, VersionId, WaitingVersion,
};
pub use freed::Freed;
pub use gap::Gap;
pub use gist::{EventGist, Gist, OutcomeGist};
pub use outcome::{
    FailureClass, FailureRecord, Fired, KeptEvent, Level, Line, OpenReason, Opens, Outcome, TimerChange,
    TimerSet, Verdict, Watched, Write,
};
pub use reads::{Scanned, StateRead, ValueRead};
pub use rewind::{Mute, Muted, Replay, Rewind, RewindEnd, Rewound};
pub use schema::{BadMode, DeclaredSchema, Mode, SetSchema, TypeSchema};
pub use state_back::{Merged, Prefer, StateBack, WriteBack};

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
    /// A timer fired: its event follows in the same batch.
    Fired(Fired<'a>),
    /// A plugin is about to call somebody outside.
    Intent(Box<Intent>),
    /// Events that a plugin will never see.
    Gap(Gap),
    /// An operator set the schema of an event type.
    Schema(SetSchema),
    /// A rewind ended.
    Rewound(Rewound),
    /// Keys of a plugin are parked no more.
    Freed(Freed),
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
    /// [`Fired`].
    Fired = 5,
    /// [`Gap`].
    Gap = 6,
    /// [`Intent`].
    Intent = 7,
    /// [`SetSchema`].
    Schema = 8,
    /// [`Rewound`].
    Rewound = 9,
    /// [`Freed`].
    Freed = 10,
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
    #[error("the fields of the record can't be read: {}", said(.0))]
    Fields(#[from] rmp_serde::decode::Error),
}

/// As much of what is said about bytes as a message shows: it may hold what the bytes hold.
pub(crate) fn said(cause: &rmp_serde::decode::Error) -> String {
    cause.to_string().chars().take(200).collect()
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

impl<'a> Record<'a> {
    /// Read a record from its bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, fields) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(match *kind {
            k if k == Kind::Event as u8 => Self::Event(read(fields, quick::event)?),
            k if k == Kind::Outcome as u8 => Self::Outcome(read(fields, quick::outcome)?),
            k if k == Kind::Deployment as u8 => Self::Deployment(rmp_serde::from_slice(fields)?),
            k if k == Kind::Operator as u8 => Self::Operator(rmp_serde::from_slice(fields)?),
            k if k == Kind::Fired as u8 => Self::Fired(rmp_serde::from_slice(fields)?),
            k if k == Kind::Gap as u8 => Self::Gap(rmp_serde::from_slice(fields)?),
            k if k == Kind::Intent as u8 => Self::Intent(rmp_serde::from_slice(fields)?),
            k if k == Kind::Schema as u8 => Self::Schema(rmp_serde::from_slice(fields)?),
            k if k == Kind::Rewound as u8 => Self::Rewound(rmp_serde::from_slice(fields)?),
            k if k == Kind::Freed as u8 => Self::Freed(rmp_serde::from_slice(fields)?),
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }

    /// The plugin it is about; an event and a schema are about none.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Event(_) | Self::Schema(_) => None,
            Self::Outcome(outcome) => Some(outcome.plugin),
            Self::Deployment(deployment) => Some(&deployment.plugin),
            Self::Operator(operator) => Some(&operator.plugin),
            Self::Fired(fired) => Some(fired.plugin),
            Self::Intent(intent) => Some(&intent.plugin),
            Self::Gap(gap) => Some(&gap.plugin),
            Self::Rewound(rewound) => Some(&rewound.plugin),
            Self::Freed(freed) => Some(&freed.plugin),
        }
    }

    /// Append the record's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Event(event) => Self::encode_event(event, out),
            Self::Outcome(outcome) => Self::encode_outcome(outcome, out),
            Self::Deployment(deployment) => encode(Kind::Deployment, deployment, out),
            Self::Operator(operator) => encode(Kind::Operator, operator, out),
            Self::Fired(fired) => encode(Kind::Fired, fired, out),
            Self::Intent(intent) => encode(Kind::Intent, intent, out),
            Self::Gap(gap) => encode(Kind::Gap, gap, out),
            Self::Schema(set) => encode(Kind::Schema, set, out),
            Self::Rewound(rewound) => encode(Kind::Rewound, rewound, out),
            Self::Freed(freed) => encode(Kind::Freed, freed, out),
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
        Some((kind, fields)) if *kind == Kind::Event as u8 => read(fields, quick::event).map(Some),
        Some(_) => Ok(None),
        None => Err(DecodeError::Empty),
    }
}

/// What `quick` reads, or else the library.
fn read<'a, T: Deserialize<'a>>(
    fields: &'a [u8],
    quick: fn(&'a [u8]) -> Option<T>,
) -> Result<T, DecodeError> {
    match quick(fields) {
        Some(read) => Ok(read),
        None => Ok(rmp_serde::from_slice(fields)?),
    }
}

fn encode(kind: Kind, fields: &impl Serialize, out: &mut Vec<u8>) {
    out.push(kind as u8);
    pack::write(fields, out);
}
