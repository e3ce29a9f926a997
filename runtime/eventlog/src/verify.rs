//! Looking at a log without opening it: reads only, takes no lock, and goes on behind damage.

use std::io;

use crate::storage::Storage;
use crate::survey::survey;
use crate::{Entry, LogId, Offset, segment};

/// What is in a log's folder.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The log's id, where a segment tells it.
    pub id: Option<LogId>,
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// The first offset by the names of the segments.
    pub first: Offset,
    /// The highest offset that anything speaks of.
    pub last: Offset,
    /// Offsets from `first` to `last` that can't be read: the first and the last of each range.
    pub unreadable: Vec<(Offset, Offset)>,
    /// Bytes at the end that look like a write that was cut off; opening the log copies them aside and cuts them.
    pub torn: Option<Damage>,
    /// A segment of another format, and its format: another version of nerve wrote it.
    pub format: Option<(String, u32)>,
}

impl Report {
    /// Whether a log that a checkpoint knows up to `known` opens as it is: damage before what is then read stops only
    /// those who read it.
    pub fn opens_from(&self, known: Offset) -> bool {
        let read = |segment: &&SegmentReport| segment.first <= known.next();
        let begins = self.segments.iter().rfind(read);
        let counts = |bad: &Damage| {
            let is_header = bad.byte < segment::HEADER as u64;
            is_header || begins.is_none_or(|begins| bad.file >= begins.file)
        };
        !self.damage.iter().any(counts) && self.first <= known.next()
    }
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

/// How often a log in use is looked at until two looks agree.
const LOOKS: usize = 10;

/// Look at the log in `storage`, of which checkpoints say that it reached the `known` offsets. A log in use may show a
/// torn tail that is just being written.
pub fn verify(storage: &dyn Storage, known: &[(LogId, Offset)]) -> io::Result<Report> {
    let mut report = read(storage, known, &mut |_| {})?;
    for _ in 1..LOOKS {
        // What is prepared in the last segment may be read before a frame is written there, and what is behind it after
        // that was: a hole, which the next look does not find.
        let last = report.segments.last().map(|segment| &segment.file);
        if !report.damage.iter().any(|damage| Some(&damage.file) == last) {
            break;
        }
        let before = std::mem::replace(&mut report, read(storage, known, &mut |_| {})?);
        if report.damage == before.damage {
            break;
        }
    }
    Ok(report)
}

/// The same, and call `each` with every record that can be read. The log must not be in use.
pub fn read(
    storage: &dyn Storage,
    known: &[(LogId, Offset)],
    each: &mut dyn FnMut(&Entry),
) -> io::Result<Report> {
    Ok(survey(storage, known, each)?.report)
}
