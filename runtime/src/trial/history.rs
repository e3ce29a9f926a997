//! What a plugin settled, in a form that can be sent: a beginning, the state, the steps, and an end.
//!
//! The parts are MessagePack values one after another. They are for another `nerve` of the same format, and nothing is
//! kept in them.

use std::io::{self, BufRead, Write};

use bytes::Bytes;
use nerve_eventlog::{Entry, Micros, Offset};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::log::record::{Asks, LiveVersion};

/// The format of this version.
const FORMAT: u32 = 1;

/// A part of a history, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// What it is about.
    Begins(Box<Beginning>),
    /// Keys and values of the state before the first step. There may be several of these.
    State(Vec<(String, ByteBuf)>),
    /// One delivery.
    Step(Box<Step>),
    /// All steps were there.
    Ends,
}

/// What a history is about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Beginning {
    /// The format.
    pub format: u32,
    /// The plugin.
    pub plugin: String,
    /// The version that is live, or was before the plugin was removed; `None` where it was never deployed.
    pub live: Option<LiveVersion>,
    /// Whether the plugin is removed.
    pub removed: bool,
    /// Its component, where it can be read.
    pub component: Option<ByteBuf>,
    /// What an operator approved for the plugin.
    pub approved: Asks,
    /// Whether it settled anything in the range. Where not, the steps are the events it subscribes to.
    pub settled: bool,
    /// Steps there will be, about.
    pub steps: u64,
    /// The first offset of the log, where the range begins before it: what is older was dropped.
    pub cut_at: Option<u64>,
    /// The record that replaced the plugin's state as a whole, where one did: the steps are those behind it.
    #[serde(default)]
    pub replaced_at: Option<u64>,
}

/// One delivery, or an event that nobody delivered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Step {
    /// The event, where the log has it still.
    pub event: Option<Logged>,
    /// What the delivery came to; `None` where the event was not delivered to the plugin.
    pub outcome: Option<Logged>,
    /// The records of the events that it emitted.
    pub emitted: Vec<Bytes>,
}

/// A record and its place.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Logged {
    offset: u64,
    time: u64,
    record: Bytes,
}

impl From<Entry> for Logged {
    fn from(entry: Entry) -> Self {
        Self {
            offset: entry.offset.0,
            time: entry.time.0,
            record: entry.payload,
        }
    }
}

impl Logged {
    /// As the log gives it.
    pub fn entry(&self) -> Entry {
        Entry {
            offset: Offset(self.offset),
            time: Micros(self.time),
            payload: self.record.clone(),
        }
    }
}

/// Why a history can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadHistory {
    /// It ended before its end.
    #[error("the history was cut off: {0}")]
    CutOff(String),
    /// Another version wrote it.
    #[error(
        "the host sends histories of format {0}, and this nerve reads format {FORMAT}: use the host's nerve"
    )]
    Format(u32),
}

impl Part {
    /// The beginning `about`.
    pub(super) fn begins(about: Beginning) -> Self {
        Self::Begins(Box::new(Beginning {
            format: FORMAT,
            ..about
        }))
    }

    /// Write it to `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = rmp_serde::Serializer::new(out);
        self.serialize(&mut out).map_err(io::Error::other)
    }
}

/// The parts that come from `input`, up to the last one or the first failure.
pub fn parts(mut input: impl BufRead) -> impl Iterator<Item = Result<Part, BadHistory>> {
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let part = rmp_serde::from_read::<_, Part>(&mut input);
        let part = part.map_err(|cause| BadHistory::CutOff(cause.to_string()));
        let part = match part {
            Ok(Part::Begins(about)) if about.format != FORMAT => Err(BadHistory::Format(about.format)),
            part => part,
        };
        over = matches!(part, Err(_) | Ok(Part::Ends));
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_comes_out_as_it_went_in_and_a_cut_one_is_noticed() {
        let logged = Logged {
            offset: 7,
            time: 8,
            record: Bytes::from_static(b"\x01rest"),
        };
        let parts_in = [
            Part::begins(Beginning {
                plugin: "p".into(),
                component: Some(ByteBuf::from(vec![0; 300])),
                ..Beginning::default()
            }),
            Part::State(vec![("k".into(), ByteBuf::from(b"v".to_vec()))]),
            Part::Step(Box::new(Step {
                event: Some(logged.clone()),
                outcome: Some(logged),
                emitted: vec![Bytes::from_static(b"e")],
            })),
            Part::Ends,
        ];
        let mut sent = Vec::new();
        for part in &parts_in {
            part.write(&mut sent).unwrap();
        }
        let read: Vec<Part> = parts(&sent[..]).map(Result::unwrap).collect();
        assert_eq!(read, parts_in);
        let cut: Vec<_> = parts(&sent[..sent.len() - 1]).collect();
        assert!(matches!(cut.last(), Some(Err(BadHistory::CutOff(_)))));
        assert_eq!(cut.len(), 4);
    }

    #[test]
    fn a_history_of_another_format_is_refused() {
        let mut sent = Vec::new();
        let other = Beginning {
            format: 9,
            ..Beginning::default()
        };
        Part::Begins(Box::new(other)).write(&mut sent).unwrap();
        assert!(matches!(
            parts(&sent[..]).next(),
            Some(Err(BadHistory::Format(9)))
        ));
    }
}
