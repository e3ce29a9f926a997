//! The changes that make a damaged log one that opens, in an order that a crash may cut off anywhere.

use std::io;

use super::Kept;
use crate::segment::{self, Header};
use crate::storage::{Storage, StorageFile};
use crate::survey::{Place, Survey};
use crate::{Micros, Offset};

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// The name under which a segment is written before it gets its own.
const BESIDE: &str = "repairing";

/// One change of the folder, durable when it is taken.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Remove a segment.
    Remove(Offset),
    /// Cut a segment to so many bytes.
    Cut(Offset, u64),
    /// Write the header of a segment anew.
    Mend(Header),
    /// Begin the log with a segment of this header, and with what stands behind the place.
    Begin(Header, Option<Place>),
}

/// What makes the log hold what is `kept` and nothing else.
///
/// First the end: segments behind the run go from the last one backwards, so that the damage stays in front of a gap
/// until its own segment is cut. Then the beginning: where it lies within a segment, the rest of that is written under
/// a name of its own, and is whole before it has the name. The segments before go last, from the first one on.
pub(super) fn plan(survey: &Survey, kept: &Kept) -> Vec<Step> {
    let segments: Vec<(Offset, u64)> = survey
        .report
        .segments
        .iter()
        .map(|segment| (segment.first, segment.bytes))
        .collect();
    let mut steps = Vec::new();
    // Another segment may stand where the run's first offset begins again.
    let own = segments.iter().any(|(first, _)| *first == kept.first);
    let begins = kept.run.map(|run| match run.begins {
        place if place.byte == segment::HEADER as u64 => place,
        _ if own && run.ends.segment >= kept.first && run.begins.segment < kept.first => Place {
            segment: kept.first,
            byte: segment::HEADER as u64,
        },
        place => place,
    });
    let last = kept.run.map_or(kept.first.prev(), |run| run.ends.segment);
    let behind = segments.iter().rev().filter(|(first, _)| {
        *first > last && kept.run.is_some() || *first > kept.first && kept.run.is_none()
    });
    steps.extend(behind.map(|(first, _)| Step::Remove(*first)));
    if let Some(run) = kept.run {
        let length = segments
            .iter()
            .find(|(first, _)| *first == last)
            .map(|(_, bytes)| *bytes);
        if length.is_some_and(|length| length > run.ends.byte) {
            steps.push(Step::Cut(last, run.ends.byte));
        }
    }
    let within = |first: Offset| begins.is_some_and(|begins| first >= begins.segment && first <= last);
    let mended = survey.headers.iter().filter(|header| within(header.first));
    steps.extend(mended.map(|header| Step::Mend(*header)));
    let header = |previous| {
        survey.report.id.map(|log| Header {
            format: segment::FORMAT,
            log,
            first: kept.first,
            made: Micros(0),
            previous,
        })
    };
    match (begins, kept.run) {
        (Some(begins), Some(run)) if begins.byte > segment::HEADER as u64 => {
            steps.extend(header(run.previous).map(|header| Step::Begin(header, Some(begins))));
        }
        (None, None) if kept.base.is_some() => {
            steps.extend(header(0).map(|header| Step::Begin(header, None)));
        }
        _ => {}
    }
    let all = kept.run.is_none() && kept.base.is_none();
    let before = segments.iter().filter(|(first, _)| *first < kept.first || all);
    for (first, _) in before {
        let gone = |step: &Step| matches!(step, Step::Remove(other) if other == first);
        if !steps.iter().any(gone) {
            steps.push(Step::Remove(*first));
        }
    }
    steps
}

/// Bytes of the `touched` files that the steps leave nowhere.
pub(super) fn lost_bytes(steps: &[Step], touched: &[(Offset, u64)]) -> u64 {
    let mut bytes: u64 = touched.iter().map(|(_, bytes)| bytes).sum();
    let length = |first: &Offset| {
        touched
            .iter()
            .find(|(other, _)| other == first)
            .map_or(0, |(_, bytes)| *bytes)
    };
    let removed = |first: &Offset| {
        steps
            .iter()
            .any(|step| matches!(step, Step::Remove(other) if other == first))
    };
    for (first, _) in touched {
        let cut = steps.iter().find_map(|step| match step {
            Step::Cut(other, at) if other == first => Some(*at),
            _ => None,
        });
        let end = cut.unwrap_or(length(first));
        let moved = steps.iter().find_map(|step| match step {
            Step::Begin(_, Some(place)) if place.segment == *first => Some(place.byte),
            _ => None,
        });
        let kept = match moved {
            Some(from) => end.saturating_sub(from),
            None if removed(first) => 0,
            None => end,
        };
        bytes = bytes.saturating_sub(kept);
    }
    bytes
}

impl Step {
    /// Whether it changes or removes the segment that begins with `first`, or takes its bytes elsewhere.
    pub(super) fn changes(&self, first: Offset) -> bool {
        match self {
            Self::Remove(other) | Self::Cut(other, _) => *other == first,
            Self::Mend(header) => header.first == first,
            Self::Begin(header, from) => {
                header.first == first || from.is_some_and(|place| place.segment == first)
            }
        }
    }

    /// Take it.
    pub(super) fn take(&self, storage: &dyn Storage) -> io::Result<()> {
        match self {
            Self::Remove(first) => {
                storage.remove(&segment::name(*first))?;
                storage.sync_folder()
            }
            Self::Cut(first, byte) => {
                let file = storage.open(&segment::name(*first))?;
                file.truncate(*byte)?;
                file.sync()
            }
            Self::Mend(header) => {
                let file = storage.open(&segment::name(header.first))?;
                file.write_at(0, &header.write())?;
                file.sync()
            }
            Self::Begin(header, from) => {
                if storage.list()?.iter().any(|name| name == BESIDE) {
                    storage.remove(BESIDE)?;
                }
                let beside = storage.create(BESIDE)?;
                beside.write_at(0, &header.write())?;
                if let Some(place) = from {
                    let file = storage.open(&segment::name(place.segment))?;
                    copy(&*file, place.byte, &*beside, segment::HEADER as u64)?;
                }
                beside.sync()?;
                storage.rename(BESIDE, &segment::name(header.first))?;
                storage.sync_folder()
            }
        }
    }
}

/// Copy what stands in `from` behind `at` to `to`, behind `behind`, durable when this answers.
pub(super) fn copy(
    from: &dyn StorageFile,
    mut at: u64,
    to: &dyn StorageFile,
    mut behind: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read_at(at, &mut buffer)?;
        if read == 0 {
            return to.sync();
        }
        to.write_at(behind, &buffer[..read])?;
        (at, behind) = (at + read as u64, behind + read as u64);
    }
}
