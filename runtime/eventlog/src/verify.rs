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
    agreed(&mut || read(storage, known, &mut |_| {}))
}

/// What two looks agree on, where the first one finds damage in the last segment. What is prepared there may be read before a
/// frame is written, and what is behind it after that was: a hole, which the next look does not find.
fn agreed(look: &mut dyn FnMut() -> io::Result<Report>) -> io::Result<Report> {
    let mut report = look()?;
    for _ in 1..LOOKS {
        let last = report.segments.last().map(|segment| &segment.file);
        if !report.damage.iter().any(|damage| Some(&damage.file) == last) {
            break;
        }
        let before = std::mem::replace(&mut report, look()?);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How much damage is found at last, and after how many looks, where each finds as the list says, and then nothing.
    fn found(looks: &[(&str, u64)]) -> (usize, usize) {
        let mut count = 0;
        let report = agreed(&mut || {
            let damage = looks.get(count).map(|(file, byte)| Damage {
                file: (*file).into(),
                byte: *byte,
                offset: Offset(1),
                what: String::new(),
            });
            count += 1;
            let segment = |file: &str| SegmentReport {
                file: file.into(),
                first: Offset(1),
                bytes: 0,
                frames: 0,
                records: 0,
            };
            Ok(Report {
                segments: vec![segment("1"), segment("2")],
                damage: damage.into_iter().collect(),
                ..Report::default()
            })
        });
        (report.unwrap().damage.len(), count)
    }

    #[test]
    fn a_hole_that_the_next_look_does_not_find_is_no_damage() {
        assert_eq!(found(&[]), (0, 1));
        assert_eq!(found(&[("2", 64)]), (0, 2));
        assert_eq!(found(&[("2", 64), ("2", 900)]), (0, 3));
        assert_eq!(found(&[("2", 64), ("2", 64)]), (1, 2), "what stays is damage");
        assert_eq!(found(&[("1", 64)]), (1, 1), "nothing is written there any more");
    }
}
