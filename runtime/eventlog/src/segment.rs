//! A segment: a file of frames, named after its first offset, with a checked header of 64 bytes.
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..8 | magic `NERVELOG` |
//! | 8..12 | format version |
//! | 16..32 | log id |
//! | 32..40 | offset of the first record |
//! | 40..48 | when it was made, in microseconds |
//! | 48..52 | CRC of the last frame of the segment before |
//! | 60..64 | CRC-32C of bytes 0..60 |

use crate::{LogId, Micros, Offset};

const MAGIC: [u8; 8] = *b"NERVELOG";

/// The format that this version writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// Length of a header.
pub(crate) const HEADER: usize = 64;

/// How far apart two places of the sparse index are at least, in bytes.
const INDEX_STEP: u64 = 64 << 10;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: u32,
    pub(crate) log: LogId,
    pub(crate) first: Offset,
    pub(crate) made: Micros,
    pub(crate) previous: u32,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.format.to_le_bytes());
        out[16..32].copy_from_slice(&self.log.0);
        out[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.made.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.previous.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Read a header whose magic and checksum are right.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        (bytes[..8] == MAGIC && crc32c::crc32c(&bytes[..60]) == word(60)).then(|| Self {
            format: word(8),
            log: LogId(bytes[16..32].try_into().expect("16 bytes")),
            first: Offset(long(32)),
            made: Micros(long(40)),
            previous: word(48),
        })
    }
}

/// The file name of the segment whose first offset is `first`.
pub(crate) fn name(first: Offset) -> String {
    format!("{:020}.log", first.0)
}

/// The first offset of the segment called `name`; `None` where it is no segment's name.
pub(crate) fn first_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Offset))?
}

/// What is known of a segment without opening it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) first: Offset,
    /// When it was begun: its records are not older.
    pub(crate) made: Micros,
    pub(crate) bytes: u64,
    /// Places of frames, ascending: first offset, position in the file, and the CRC of the frame before. Grows as
    /// the segment is written or read.
    index: Vec<(Offset, u64, u32)>,
    unread: bool,
}

impl Segment {
    pub(crate) fn new(first: Offset, made: Micros) -> Self {
        Self {
            first,
            made,
            bytes: HEADER as u64,
            index: Vec::new(),
            unread: false,
        }
    }

    /// A segment of `bytes` with this header, whose frames were not read.
    pub(crate) fn unread(header: &Header, bytes: u64) -> Self {
        Self {
            first: header.first,
            made: header.made,
            bytes,
            index: vec![(header.first, HEADER as u64, header.previous)],
            unread: true,
        }
    }

    /// Whether its frames were not read when the log was opened.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// A frame of `size` bytes was added at the end.
    pub(crate) fn add(&mut self, first: Offset, size: u64, previous: u32) {
        self.learn(first, self.bytes, previous);
        self.bytes += size;
    }

    /// A frame that begins with `first` stands at `at`, behind one whose CRC is `previous`.
    pub(crate) fn learn(&mut self, first: Offset, at: u64, previous: u32) {
        if self
            .index
            .last()
            .is_none_or(|(_, last, _)| last + INDEX_STEP <= at)
        {
            self.index.push((first, at, previous));
        }
    }

    /// The last known place of a frame that begins at or before `offset`.
    pub(crate) fn place(&self, offset: Offset) -> Option<(Offset, u64, u32)> {
        let behind = self.index.partition_point(|(first, _, _)| *first <= offset);
        behind.checked_sub(1).map(|at| self.index[at])
    }
}
