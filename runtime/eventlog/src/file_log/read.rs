//! Reading records back from the segments, behind the hot window.

use bytes::Bytes;

use super::FileLog;
use crate::batch::Entry;
use crate::storage::StorageFile;
use crate::{Offset, ReadError, frame, recovery, segment};

impl FileLog {
    /// Read records from disk, from `from` on, which is there, verifying every checksum.
    pub(super) fn read_cold(&self, from: Offset, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let (segment, place, next) = {
            let segments = self.shared.segments.lock();
            let behind = segments.partition_point(|segment| segment.first <= from);
            let Some(segment) = behind.checked_sub(1).map(|at| &segments[at]) else {
                return Ok(Vec::new());
            };
            let Some(place) = segment.place(from) else {
                return Ok(Vec::new());
            };
            (
                segment.clone(),
                place,
                segments.get(behind).map(|next| next.first),
            )
        };
        let name = segment::name(segment.first);
        let io = |cause| ReadError::Io {
            file: name.clone(),
            cause,
        };
        let file = self.shared.storage.open(&name).map_err(io)?;
        let (mut first, mut at, mut previous) = place;
        let (mut out, mut bytes) = (Vec::new(), 0);
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        while at < segment.bytes && bytes < max_bytes && next.is_none_or(|next| first < next) {
            let damaged = |what: &str, offset| ReadError::Damaged {
                file: name.clone(),
                byte: at,
                offset,
                what: what.to_owned(),
            };
            read_frame(&*file, at, &mut buffer).map_err(io)?;
            let expected = frame::Expected {
                log: self.shared.id,
                first,
                previous,
            };
            let (header, chain) = match frame::find(&buffer, expected) {
                frame::Found::Frame(header, chain) => (header, chain),
                frame::Found::Bad(what) => return Err(damaged(what, first)),
                frame::Found::End | frame::Found::Short => return Err(damaged("the file ends early", first)),
            };
            let body = Bytes::copy_from_slice(&buffer[frame::HEADER..frame::HEADER + header.body as usize]);
            recovery::batches(&body, first, &mut |_, _, entries| {
                for entry in entries.into_iter().filter(|entry| entry.offset >= from) {
                    bytes += entry.payload.len() + 1;
                    out.push(entry);
                }
            })
            .ok_or_else(|| damaged("the frame's batches are not well-formed", first))?;
            places.push((first, at, previous));
            (first, at, previous) = (header.last().next(), at + header.size(), chain);
        }
        if out.is_empty() && next.is_some_and(|next| from < next) {
            return Err(ReadError::Damaged {
                file: name,
                byte: at,
                offset: first,
                what: "the segment ends before the next one begins".to_owned(),
            });
        }
        if segment.is_unread() {
            let mut segments = self.shared.segments.lock();
            let known = segments.iter_mut().find(|known| known.first == segment.first);
            if let Some(known) = known {
                for (first, at, previous) in places {
                    known.learn(first, at, previous);
                }
            }
        }
        // It was asked for what is in the log: a file that ends between two frames has lost it.
        if out.is_empty() {
            return Err(ReadError::Damaged {
                file: name.clone(),
                byte: at,
                offset: from,
                what: "the file ends early".to_owned(),
            });
        }
        Ok(out)
    }
}

/// Read the frame at `at` into `buffer`, as far as there is one.
pub(super) fn read_frame(file: &dyn StorageFile, at: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.clear();
    buffer.resize(frame::HEADER, 0);
    let read = file.read_at(at, buffer)?;
    buffer.truncate(read);
    if let Some(header) = frame::Header::read(buffer) {
        // A length that is wrong must not cost memory: nothing is longer than what is left of the file.
        let left = file.length()?.saturating_sub(at);
        let size = usize::try_from(header.size().min(left)).map_err(std::io::Error::other)?;
        buffer.resize(size, 0);
        let read = file.read_at(at + frame::HEADER as u64, &mut buffer[frame::HEADER..])?;
        buffer.truncate(frame::HEADER + read);
    }
    Ok(())
}
