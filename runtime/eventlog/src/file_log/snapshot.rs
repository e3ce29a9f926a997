//! A copy of a log that goes on: its segments as they are at a moment, the last one up to the end of a frame.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::read::read_frame;
use super::{FileLog, Shared};
use crate::frame::{self, Expected, Found};
use crate::segment::{self, Header, Segment};
use crate::{Log, Offset, Poisoned, ReadError};

/// What a log held at a moment, all of it durable. As long as it is there no segment is dropped.
pub struct Snapshot {
    shared: Arc<Shared>,
    segments: Vec<Segment>,
}

impl FileLog {
    /// What the log holds now; blocks until it is durable.
    pub fn snapshot(&self) -> Result<Snapshot, Poisoned> {
        let snapshot = {
            let segments = self.shared.segments.lock();
            self.shared.holds.fetch_add(1, Ordering::SeqCst);
            // One that is being dropped is still listed.
            let first = self.shared.state.lock().first;
            Snapshot {
                shared: self.shared.clone(),
                segments: segments
                    .iter()
                    .filter(|segment| segment.first >= first)
                    .cloned()
                    .collect(),
            }
        };
        // Frames count from when they are written; what is appended by now includes them all.
        self.wait_durable(self.bounds().last)?;
        Ok(snapshot)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.shared.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Snapshot {
    /// The files of its segments, and their bytes.
    pub fn files(&self) -> Vec<(String, u64)> {
        let segments = self.segments.iter();
        segments
            .map(|segment| (segment::name(segment.first), segment.bytes))
            .collect()
    }

    /// Hand the bytes of the file with this number among [`Self::files`] to `out`, part by part, each checked before;
    /// answers the last record in it.
    pub fn copy(
        &self,
        number: usize,
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Offset, ReadError> {
        let segment = &self.segments[number];
        let name = segment::name(segment.first);
        let io = |cause| ReadError::Io {
            file: name.clone(),
            cause,
        };
        let damaged = |byte, offset, what: &str| ReadError::Damaged {
            file: name.clone(),
            byte,
            offset,
            what: what.to_owned(),
        };
        let file = self.shared.storage.open(&name).map_err(io)?;
        let mut header = [0; segment::HEADER];
        file.read_at(0, &mut header).map_err(io)?;
        let read = Header::read(&header)
            .filter(|header| header.log == self.shared.id && header.first == segment.first);
        let Some(read) = read else {
            return Err(damaged(0, segment.first, "the segment's header is damaged"));
        };
        out(&header).map_err(io)?;
        let (mut at, mut first, mut previous) = (segment::HEADER as u64, read.first, read.previous);
        let mut buffer = Vec::new();
        while at < segment.bytes {
            read_frame(&*file, at, &mut buffer).map_err(io)?;
            let expected = Expected {
                log: self.shared.id,
                first,
                previous,
            };
            match frame::find(&buffer, expected) {
                Found::Frame(frame, chain) => {
                    out(&buffer).map_err(io)?;
                    (at, first, previous) = (at + frame.size(), frame.last().next(), chain);
                }
                Found::Bad(what) => return Err(damaged(at, first, what)),
                Found::End | Found::Short => return Err(damaged(at, first, "the file ends early")),
            }
        }
        Ok(first.prev())
    }
}
