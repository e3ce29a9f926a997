//! Verifying sealed segments a little at a time, so that rot is found before somebody needs what is rotten.

use super::FileLog;
use crate::{Offset, ReadError};

/// What a part of a scrub came to.
#[derive(Debug)]
pub struct Scrubbed {
    /// Where to go on; `None` behind the last sealed segment.
    pub next: Option<Offset>,
    /// Why it stopped early: the rest of the segment is then left out.
    pub damage: Option<ReadError>,
}

impl FileLog {
    /// Verify about `max_bytes` of the records in sealed segments, from `from` on.
    pub fn scrub(&self, from: Offset, max_bytes: usize) -> Scrubbed {
        let done = |next, damage| Scrubbed { next, damage };
        let first = self.shared.state.lock().first;
        let from = from.max(first);
        let next_segment = {
            let segments = self.shared.segments.lock();
            let behind = segments.partition_point(|segment| segment.first <= from);
            match segments.get(behind) {
                Some(next) => next.first,
                None => return done(None, None),
            }
        };
        match self.read_cold(from, max_bytes.max(1)) {
            Ok(entries) => done(entries.last().map(|last| last.offset.next()), None),
            // Retention dropped it meanwhile.
            Err(_) if self.gone(from).is_some() => done(Some(from), None),
            Err(damage) => done(Some(next_segment), Some(damage)),
        }
    }

    /// Bytes of the sealed segments.
    pub fn sealed_bytes(&self) -> u64 {
        let segments = self.shared.segments.lock();
        let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
        sealed.iter().map(|segment| segment.bytes).sum()
    }
}
