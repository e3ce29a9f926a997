//! A frame: what one group commit puts on disk, under a checksum of its header and one of its body.
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..4 | magic `NVF1` |
//! | 4..8 | length of the body |
//! | 8..16 | offset of the first record |
//! | 16..20 | number of records; 0 in a mark |
//! | 20..28 | `synced_through`: the highest offset known to be on disk when the frame was written |
//! | 28..44 | log id |
//! | 44..48 | CRC of the frame before |
//! | 48..52 | CRC-32C of bytes 0..48 |
//!
//! The body follows, and behind it its own CRC-32C. All integers are little-endian.

use crate::{LogId, Offset};

const MAGIC: [u8; 4] = *b"NVF1";

/// Length of a header.
pub(crate) const HEADER: usize = 52;

/// Length of the checksum behind the body.
pub(crate) const TRAILER: usize = 4;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body: u32,
    pub(crate) first: Offset,
    pub(crate) count: u32,
    pub(crate) synced_through: Offset,
    pub(crate) log: LogId,
    pub(crate) previous: u32,
    /// The header's own checksum.
    crc: u32,
}

impl Header {
    /// Read a header whose magic and checksum are right.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let crc = word(48);
        (bytes[..4] == MAGIC && crc32c::crc32c(&bytes[..48]) == crc).then(|| Self {
            body: word(4),
            first: Offset(long(8)),
            count: word(16),
            synced_through: Offset(long(20)),
            log: LogId(bytes[28..44].try_into().expect("16 bytes")),
            previous: word(44),
            crc,
        })
    }

    /// The same at a place where there may be anything.
    pub(crate) fn read_at(bytes: &[u8], at: usize) -> Option<Self> {
        let bytes = &bytes[at..];
        bytes.starts_with(&MAGIC).then(|| Self::read(bytes))?
    }

    /// Bytes of the whole frame.
    pub(crate) fn size(&self) -> u64 {
        (HEADER + TRAILER) as u64 + u64::from(self.body)
    }

    /// The last record; for a mark, the one before it.
    pub(crate) fn last(&self) -> Offset {
        // A header can be whole and say anything: an absurd place is no reason to panic.
        Offset(
            self.first
                .0
                .saturating_add(u64::from(self.count))
                .saturating_sub(1),
        )
    }
}

/// What the next frame carries as the CRC of the one before: of both checksums of this one.
pub(crate) fn chain(header: &Header, body_crc: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header.crc.to_le_bytes()), &body_crc.to_le_bytes())
}

/// Write a frame of `batches` into `out`, which is emptied first; answers the CRC for the next one.
pub(crate) fn write<'a>(
    out: &mut Vec<u8>,
    log: LogId,
    first: Offset,
    count: u32,
    synced_through: Offset,
    previous: u32,
    batches: impl Iterator<Item = &'a [u8]>,
) -> u32 {
    out.clear();
    out.resize(HEADER, 0);
    batches.for_each(|batch| out.extend_from_slice(batch));
    let body = u32::try_from(out.len() - HEADER).expect("the log refuses batches of 4 GiB");
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&body.to_le_bytes());
    out[8..16].copy_from_slice(&first.0.to_le_bytes());
    out[16..20].copy_from_slice(&count.to_le_bytes());
    out[20..28].copy_from_slice(&synced_through.0.to_le_bytes());
    out[28..44].copy_from_slice(&log.0);
    out[44..48].copy_from_slice(&previous.to_le_bytes());
    let crc = crc32c::crc32c(&out[..48]);
    out[48..52].copy_from_slice(&crc.to_le_bytes());
    let body_crc = crc32c::crc32c(&out[HEADER..]);
    out.extend_from_slice(&body_crc.to_le_bytes());
    let header = Header::read(out).expect("it was written just now");
    chain(&header, body_crc)
}

/// What stands at a place where a frame should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame, and the CRC that the next one carries.
    Frame(Header, u32),
    /// Nothing: the bytes end here, or what is left of them is prepared for frames to come, and zero.
    End,
    /// The bytes end within a frame.
    Short,
    /// Something else; the text says what.
    Bad(&'static str),
}

/// What the next frame must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) log: LogId,
    pub(crate) first: Offset,
    pub(crate) previous: u32,
}

/// Look for the `expected` frame at the beginning of `bytes`.
pub(crate) fn find(bytes: &[u8], expected: Expected) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::End;
    }
    let Some(header) = Header::read(bytes) else {
        let prefix = &bytes[..bytes.len().min(4)];
        let torn = bytes.len() < HEADER && MAGIC.starts_with(prefix);
        return if torn {
            Found::Short
        } else {
            Found::Bad("the frame's header is damaged")
        };
    };
    if header.log != expected.log {
        return Found::Bad("the frame belongs to another log");
    }
    if header.first != expected.first {
        return Found::Bad("a frame is missing, or stands in the wrong place");
    }
    if header.previous != expected.previous {
        return Found::Bad("the frame does not follow the one before it");
    }
    let end = HEADER + header.body as usize;
    let Some(trailer) = bytes.get(end..end + TRAILER) else {
        return Found::Short;
    };
    let body_crc = crc32c::crc32c(&bytes[HEADER..end]);
    if body_crc.to_le_bytes() != trailer {
        return Found::Bad("the frame's body is damaged");
    }
    Found::Frame(header, chain(&header, body_crc))
}

/// How many of `bytes` are there without what is prepared behind them. A mark ends with zeros of its own, for it has no body.
pub(crate) fn written(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// The first place at or behind `from` where a frame of this log has a whole header that says that `offset` was
/// on disk: the proof that a bad place before it holds acknowledged records.
pub(crate) fn proof_of_sync(bytes: &[u8], from: usize, log: LogId, offset: Offset) -> Option<usize> {
    (from..bytes.len().saturating_sub(HEADER - 1)).find(|at| {
        Header::read_at(bytes, *at).is_some_and(|header| header.log == log && header.synced_through >= offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_claims_the_last_offset_of_all_has_a_last_record() {
        let mut bytes = Vec::new();
        let log = LogId([7; 16]);
        write(
            &mut bytes,
            log,
            Offset(u64::MAX),
            4,
            Offset(3),
            0,
            std::iter::empty(),
        );
        let header = Header::read(&bytes).expect("a whole header");
        assert_eq!(header.last(), Offset(u64::MAX - 1));
    }
}
