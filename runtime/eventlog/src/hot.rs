//! The hot window: the newest batches, in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::batch::{self, Entry};
use crate::{Micros, Offset};

/// Bytes of a record that is a small one.
const LITTLE: usize = 64;

/// What a batch costs beside its bytes.
const OVERHEAD: usize = 96;

/// The newest batches of the log.
#[derive(Debug)]
pub(crate) struct Hot {
    batches: VecDeque<HotBatch>,
    bytes: usize,
    /// The next offset to be appended.
    next: Offset,
}

#[derive(Debug, Clone)]
struct HotBatch {
    first: Offset,
    count: u32,
    time: Micros,
    /// End of the records in `bytes`.
    end: usize,
    bytes: Bytes,
}

impl HotBatch {
    fn last(&self) -> Offset {
        Offset(self.first.0 + u64::from(self.count) - 1)
    }

    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// Calls `each` with the records from `from` on, until it answers false; whether it never did.
    fn entries(&self, mut each: impl FnMut(Offset, usize, usize) -> bool) -> bool {
        let (mut at, mut offset) = (batch::HEADER, self.first);
        while let Some((start, stop)) = batch::record(&self.bytes, at, self.end) {
            if !each(offset, start, stop) {
                return false;
            }
            (at, offset) = (stop, offset.next());
        }
        true
    }

    fn entry(&self, offset: Offset, start: usize, stop: usize) -> Entry {
        Entry {
            offset,
            time: self.time,
            payload: self.bytes.slice(start..stop),
        }
    }
}

impl Hot {
    /// An empty window behind `last`.
    pub(crate) fn new(last: Offset) -> Self {
        Self {
            batches: VecDeque::new(),
            bytes: 0,
            next: last.next(),
        }
    }

    /// The first record in memory; behind the last where there is none.
    pub(crate) fn first(&self) -> Offset {
        self.batches.front().map_or(self.next, |batch| batch.first)
    }

    /// The last record.
    pub(crate) fn last(&self) -> Offset {
        self.next.prev()
    }

    /// Add a sealed batch; answers its last offset.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Option<Offset> {
        let sealed = batch::open(&bytes)?;
        let (count, time, end) = (sealed.count, sealed.time, batch::HEADER + sealed.records);
        let batch = HotBatch {
            first: self.next,
            count,
            time,
            end,
            bytes,
        };
        let last = batch.last();
        self.bytes += batch.cost();
        self.next = last.next();
        self.batches.push_back(batch);
        Some(last)
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forget the oldest batches up to `durable` while the window is larger than `budget` bytes.
    pub(crate) fn shrink(&mut self, budget: usize, durable: Offset) {
        while self.bytes > budget
            && let Some(oldest) = self.batches.front().filter(|batch| batch.last() <= durable)
        {
            self.bytes -= oldest.cost();
            self.batches.pop_front();
        }
    }

    /// What [`Found::read`] reads: the batches with the records from `from`, which is in memory, up to `to`, about `max_bytes` of them.
    pub(crate) fn find(&self, from: Offset, to: Offset, max_bytes: usize) -> Found {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for batch in self.batches.iter().skip(self.position(from)) {
            if batch.first > to || (bytes >= max_bytes && !batches.is_empty()) {
                break;
            }
            // The first may end with what is asked for.
            if !batches.is_empty() {
                bytes += batch.end;
            }
            batches.push(batch.clone());
        }
        Found {
            batches,
            from,
            to,
            max_bytes,
        }
    }

    /// The records at `offsets`, ascending, all in memory.
    pub(crate) fn read_at(&self, offsets: &[Offset], out: &mut Vec<Entry>) {
        let Some(first) = offsets.first() else { return };
        let mut wanted = offsets.iter().copied().peekable();
        let mut at = self.position(*first);
        while let (Some(offset), Some(batch)) = (wanted.peek().copied(), self.batches.get(at)) {
            if offset > batch.last() {
                // Neighbours are mostly next to each other: look one further before searching.
                at = if self.batches.get(at + 1).is_some_and(|next| offset <= next.last()) {
                    at + 1
                } else {
                    self.position(offset)
                };
                continue;
            }
            batch.entries(|here, start, stop| {
                if wanted.peek() == Some(&here) {
                    out.push(batch.entry(here, start, stop));
                    wanted.next();
                }
                wanted.peek().is_some_and(|next| *next <= batch.last())
            });
        }
    }

    /// The place of the batch that holds `offset`.
    fn position(&self, offset: Offset) -> usize {
        self.batches.partition_point(|batch| batch.last() < offset)
    }
}

/// Batches that were found, and which of their records are wanted. To take them apart takes longer than to find them, and nobody
/// need wait for it.
#[derive(Debug)]
pub(crate) struct Found {
    batches: Vec<HotBatch>,
    from: Offset,
    to: Offset,
    max_bytes: usize,
}

impl Found {
    /// The records: about `max_bytes`, at least one.
    pub(crate) fn read(&self) -> Vec<Entry> {
        let records: usize = self.batches.iter().map(|batch| batch.count as usize).sum();
        let (mut out, mut bytes) = (Vec::with_capacity(records.min(self.max_bytes / LITTLE + 1)), 0);
        for batch in &self.batches {
            let go_on = batch.entries(|offset, start, stop| {
                if offset < self.from {
                    return true;
                }
                if offset > self.to || (bytes >= self.max_bytes && !out.is_empty()) {
                    return false;
                }
                bytes += stop - start;
                out.push(batch.entry(offset, start, stop));
                true
            });
            if !go_on {
                break;
            }
        }
        out
    }
}
