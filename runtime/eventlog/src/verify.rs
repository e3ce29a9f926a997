//! Looking at a log without opening it: reads only, and goes on behind damage.

use std::io;

use crate::frame::{self, Expected, Found};
use crate::segment::{self, Header};
use crate::storage::{Storage, read_all};
use crate::{LogId, Offset};

/// What is in a log's folder.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The log's id, where a segment tells it.
    pub id: Option<LogId>,
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// Bytes at the end that look like a write that was cut off; opening the log copies them aside and cuts them.
    pub torn: Option<Damage>,
}

/// What is in a segment.
#[derive(Debug, Clone)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// Its first offset, by its name.
    pub first: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// Whole frames, marks among them.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
}

/// A bad place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it.
    pub byte: u64,
    /// The offset that should be there.
    pub offset: Offset,
    /// What is wrong.
    pub what: String,
}

/// Look at the log in `storage`. Takes no lock: a log in use may show a torn tail that is just being written.
pub fn verify(storage: &dyn Storage) -> io::Result<Report> {
    let mut firsts: Vec<Offset> = storage
        .list()?
        .iter()
        .filter_map(|name| segment::first_of(name))
        .collect();
    firsts.sort_unstable();
    let mut report = Report::default();
    // Where the next segment should go on: its first offset and the CRC before it.
    let mut follows: Option<(Offset, u32)> = None;
    for (at, first) in firsts.iter().enumerate() {
        let bytes = read_all(&*storage.open(&segment::name(*first))?, 0)?;
        let is_last = at + 1 == firsts.len();
        follows = look_at(&mut report, *first, &bytes, follows, is_last);
    }
    Ok(report)
}

fn look_at(
    report: &mut Report,
    first: Offset,
    bytes: &[u8],
    follows: Option<(Offset, u32)>,
    is_last: bool,
) -> Option<(Offset, u32)> {
    let file = segment::name(first);
    let bad = |byte: usize, offset, what: &str| Damage {
        file: file.clone(),
        byte: byte as u64,
        offset,
        what: what.to_owned(),
    };
    let mut seen = SegmentReport {
        file: file.clone(),
        first,
        bytes: bytes.len() as u64,
        frames: 0,
        records: 0,
    };
    let Some(header) = Header::read(bytes) else {
        report
            .damage
            .push(bad(0, first, "the segment's header is damaged"));
        report.segments.push(seen);
        return None;
    };
    if *report.id.get_or_insert(header.log) != header.log {
        report
            .damage
            .push(bad(16, first, "the segment belongs to another log"));
    }
    if let Some((offset, chain)) = follows
        && (offset, chain) != (header.first, header.previous)
    {
        report
            .damage
            .push(bad(32, offset, "the segment does not follow the one before it"));
    }
    let (mut next, mut previous, mut at) = (header.first, header.previous, segment::HEADER);
    let whole = loop {
        match frame::find(
            &bytes[at..],
            Expected {
                log: header.log,
                first: next,
                previous,
            },
        ) {
            Found::Frame(frame, chain) => {
                seen.frames += 1;
                seen.records += u64::from(frame.count);
                (next, previous) = (frame.last().next(), chain);
                at += usize::try_from(frame.size()).unwrap_or(bytes.len());
            }
            Found::End => break true,
            found => {
                let what = match found {
                    Found::Bad(what) => what,
                    _ => "the file ends within a frame",
                };
                if is_last && frame::proof_of_sync(bytes, at, header.log, next).is_none() {
                    report.torn = Some(bad(at, next, what));
                } else {
                    report.damage.push(bad(at, next, what));
                }
                break false;
            }
        }
    };
    report.segments.push(seen);
    whole.then_some((next, previous))
}
