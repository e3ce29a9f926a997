//! Segments from outside: how old and how large they are, and dropping the oldest.

use std::sync::atomic::Ordering;

use super::FileLog;
use crate::segment::{self, Segment};
use crate::{DropError, Micros, Offset};

/// A segment as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first offset.
    pub first: Offset,
    /// When it was begun: no record in it is older, and none in the one before is newer.
    pub made: Micros,
    /// Its bytes.
    pub bytes: u64,
}

impl FileLog {
    /// Have `begun` called by the syncing thread whenever a segment has begun. It must not block, nor own the log.
    pub fn on_segment(&self, begun: Box<dyn Fn() + Send + Sync>) {
        self.shared.begun.lock().push(begun);
    }

    /// How many segments are left.
    pub fn segment_count(&self) -> usize {
        self.shared.segments.lock().len()
    }

    /// The segments that are left, the oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.shared.segments.lock();
        let info = |segment: &Segment| SegmentInfo {
            first: segment.first,
            made: segment.made,
            bytes: segment.bytes,
        };
        segments.iter().map(info).collect()
    }

    /// Drop what lies below `offset`, in whole segments; answers the first offset that is left.
    pub(super) fn drop_segments(&self, offset: Offset) -> Result<Offset, DropError> {
        // One after the other, so that a crash leaves no hole between those that are left, and nobody waits for all.
        loop {
            let name = {
                let segments = self.shared.segments.lock();
                let mut state = self.shared.state.lock();
                let [oldest, next, ..] = &segments[..] else {
                    return Ok(state.first);
                };
                let is_held = self.shared.holds.load(Ordering::SeqCst) > 0;
                if next.first > offset || is_held {
                    return Ok(state.first);
                }
                // Readers are told first, so that none meets a file that is going.
                state.first = next.first;
                segment::name(oldest.first)
            };
            let removed = match self.shared.storage.remove(&name) {
                // Whoever dropped it meanwhile.
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
            let removed = removed.and_then(|()| self.shared.storage.sync_folder());
            let mut segments = self.shared.segments.lock();
            if segments
                .first()
                .is_some_and(|oldest| segment::name(oldest.first) == name)
            {
                segments.remove(0);
            }
            removed.map_err(|cause| DropError::Io { file: name, cause })?;
        }
    }
}
