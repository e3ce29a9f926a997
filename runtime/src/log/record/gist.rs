//! The gist of a record: who did what, for those who follow the whole log and count. Texts that nobody asks for are passed over.

use super::{DecodeError, Event, Kind, Outcome, Record, Verdict, quick};

/// What a record says, in short.
#[derive(Debug, Clone, PartialEq)]
pub enum Gist<'a> {
    /// An event.
    Event(EventGist<'a>),
    /// What a delivery came to.
    Outcome(OutcomeGist<'a>),
    /// Whatever is rare.
    Other(Box<Record<'a>>),
}

/// An event in short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventGist<'a> {
    /// Who stated it.
    pub source: &'a str,
    /// Its type.
    pub r#type: &'a str,
    /// The offset of its cause, and the events between the first of its chain and itself.
    pub cause: Option<(u64, u32)>,
}

/// An outcome in short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutcomeGist<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The offset of the event that was delivered.
    pub event: u64,
    /// How long the handler ran, in microseconds.
    pub took: u64,
    /// Whether it is tried again.
    pub retry: bool,
    /// Whether it is a dead letter.
    pub dead: bool,
    /// Whether history ran again.
    pub historic: bool,
}

impl<'a> Gist<'a> {
    /// What the record in `bytes` says. Of a usual event or outcome nothing is checked that is not asked for.
    pub fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let quick = match bytes.split_first() {
            Some((kind, fields)) if *kind == Kind::Event as u8 => quick::event_gist(fields).map(Self::Event),
            Some((kind, fields)) if *kind == Kind::Outcome as u8 => {
                quick::outcome_gist(fields).map(Self::Outcome)
            }
            _ => None,
        };
        if let Some(gist) = quick {
            return Ok(gist);
        }
        Ok(match Record::decode(bytes)? {
            Record::Event(event) => Self::Event((&event).into()),
            Record::Outcome(outcome) => Self::Outcome((&outcome).into()),
            other => Self::Other(other.into()),
        })
    }
}

impl<'a> From<&Event<'a>> for EventGist<'a> {
    fn from(event: &Event<'a>) -> Self {
        Self {
            source: event.source,
            r#type: event.r#type,
            cause: event.cause.map(|cause| (cause.offset, cause.hops)),
        }
    }
}

impl<'a> From<&Outcome<'a>> for OutcomeGist<'a> {
    fn from(outcome: &Outcome<'a>) -> Self {
        Self {
            plugin: outcome.plugin,
            event: outcome.event,
            took: outcome.took,
            retry: matches!(outcome.verdict, Verdict::Retry { .. }),
            dead: matches!(outcome.verdict, Verdict::Dead { .. }),
            historic: outcome.rewind.as_ref().is_some_and(|of| of.historic),
        }
    }
}
