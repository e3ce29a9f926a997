//! A batch: what one writer appends, all or none, in the layout it has on disk.
//!
//! `count u32 | bytes u32 | time u64 | writer length u8`, then `count` records of `length u32 | payload`
//! (`bytes` in all), then the writer's name. All integers are little-endian.

use std::ops::Range;

use bytes::Bytes;

use crate::{Micros, Offset};

/// Length of a batch's header.
pub(crate) const HEADER: usize = 17;

/// Bytes of memory that a batch keeps when it is cleared.
const LITTLE: usize = 64 << 10;

/// One record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub offset: Offset,
    /// When its batch was appended; never earlier than the record before.
    pub time: Micros,
    /// What was appended. From the hot window it shares the batch's memory.
    pub payload: Bytes,
}

/// Records to be appended together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    writer: Box<str>,
}

/// A place between two records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    at: usize,
    count: u32,
}

impl Mark {
    /// How many bytes lie between it and `other`, a later one.
    pub fn bytes_to(self, other: Self) -> usize {
        other.at - self.at
    }

    /// How many records lie between it and `other`, a later one.
    pub fn records_to(self, other: Self) -> u32 {
        other.count - self.count
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// A batch without records.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// A batch with room for `bytes` bytes of records, 4 bytes of length each included.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut all = Vec::with_capacity(HEADER + bytes + 32);
        all.resize(HEADER, 0);
        Self {
            bytes: all,
            count: 0,
            writer: Box::default(),
        }
    }

    /// Add a record.
    pub fn push(&mut self, record: &[u8]) {
        self.push_with(|out| out.extend_from_slice(record));
    }

    /// Add a record that `write` appends to the buffer it gets, touching nothing before it.
    ///
    /// # Panics
    /// When a record is 4 GiB or longer.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - at - 4).expect("a record is shorter than 4 GiB");
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Make room for `bytes` more bytes of records.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Where the next record will stand.
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.bytes.len(),
            count: self.count,
        }
    }

    /// Add the records of `other` between two marks of it, as they are.
    ///
    /// # Panics
    /// When they are no marks of it, or not in their order.
    pub fn append(&mut self, other: &Self, part: Range<Mark>) {
        self.bytes
            .extend_from_slice(&other.bytes[part.start.at..part.end.at]);
        self.count += part.end.count - part.start.count;
    }

    /// Forget its records, and keep the memory that they took, where that is little.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        self.bytes.shrink_to(LITTLE);
        self.count = 0;
    }

    /// Name the writer, so that a later append can be made on the condition that this is its last batch. At
    /// most 255 bytes count.
    #[must_use]
    pub fn writer(mut self, name: &str) -> Self {
        self.writer = name[..name.floor_char_boundary(255)].into();
        self
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes it takes on disk, frame apart.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.writer.len()
    }

    pub(crate) fn writer_name(&self) -> &str {
        &self.writer
    }

    /// The bytes for disk and memory, with `time` filled in.
    pub(crate) fn seal(self, time: Micros) -> Vec<u8> {
        let mut bytes = self.bytes;
        let records = u32::try_from(bytes.len() - HEADER).expect("the log refuses batches of 4 GiB");
        bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        bytes[4..8].copy_from_slice(&records.to_le_bytes());
        bytes[8..16].copy_from_slice(&time.0.to_le_bytes());
        bytes[16] = u8::try_from(self.writer.len()).expect("the name was cut to 255 bytes");
        bytes.extend_from_slice(self.writer.as_bytes());
        bytes
    }
}

/// A batch as it is read: its parts, checked to lie inside the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed<'a> {
    pub(crate) count: u32,
    pub(crate) time: Micros,
    /// Bytes of the records.
    pub(crate) records: usize,
    pub(crate) writer: &'a [u8],
    /// Bytes of the whole batch.
    pub(crate) size: usize,
}

/// Read the header of the batch that `bytes` begins with; `None` where it is not well-formed.
pub(crate) fn open(bytes: &[u8]) -> Option<Sealed<'_>> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (count, records) = (word(0)?, word(4)? as usize);
    let time = Micros(u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?));
    let writer_length = usize::from(*bytes.get(16)?);
    let end = HEADER.checked_add(records)?;
    let writer = bytes.get(end..end.checked_add(writer_length)?)?;
    (count > 0).then_some(Sealed {
        count,
        time,
        records,
        writer,
        size: end + writer_length,
    })
}

/// Where the record that begins at `at` ends, and where its payload begins; `None` where it does not fit.
pub(crate) fn record(bytes: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let length = u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize;
    let stop = at.checked_add(4)?.checked_add(length)?;
    (stop <= end).then_some((at + 4, stop))
}
