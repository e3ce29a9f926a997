//! How far a plugin may run ahead of the disk.
//!
//! Appends reach the disk in their order, so whoever appends behind a flood waits until the flood is written. A plugin
//! therefore waits, between two deliveries, while more than its share of what it appended is not durable: what stands before
//! another's append is then one share, and not all that memory can hold.

use std::collections::VecDeque;

use nerve_eventlog::{Log, Offset, Poisoned};
use parking_lot::Mutex;

/// Bytes of one plugin that may wait for the disk before it appends more: a disk that takes them in a millisecond is busy,
/// and thousands of ordinary outcomes fit.
pub const SHARE: usize = 256 << 10;

/// The same for its timers that fire, which come beside what its deliveries append: a torrent of both is hardly more than one of
/// deliveries.
pub const TIMERS_SHARE: usize = SHARE / 4;

/// Bytes that are remembered under one offset.
const STEP: usize = SHARE / 16;

/// What one plugin has appended of late.
#[derive(Default)]
pub struct Pace {
    ahead: Mutex<Ahead>,
}

#[derive(Default)]
struct Ahead {
    /// Last offsets and bytes, in order.
    appended: VecDeque<(Offset, usize)>,
    bytes: usize,
}

impl Pace {
    /// The plugin appended so many bytes, up to `last`.
    pub fn appended(&self, last: Offset, bytes: usize) {
        let mut ahead = self.ahead.lock();
        ahead.bytes += bytes;
        match ahead.appended.back_mut() {
            Some((offset, step)) if *step + bytes <= STEP => (*offset, *step) = (last, *step + bytes),
            _ => ahead.appended.push_back((last, bytes)),
        }
    }

    /// Wait until no more than `share` bytes of what was appended are not durable. Blocks; must be called without any lock.
    pub fn wait(&self, log: &dyn Log, share: usize) -> Result<(), Poisoned> {
        while let Some(oldest) = self.oldest_of_too_much(log, share) {
            log.wait_durable(oldest)?;
        }
        Ok(())
    }

    /// Whether more than `share` bytes of what was appended are not durable.
    pub fn is_ahead(&self, log: &dyn Log, share: usize) -> bool {
        self.oldest_of_too_much(log, share).is_some()
    }

    fn oldest_of_too_much(&self, log: &dyn Log, share: usize) -> Option<Offset> {
        let mut ahead = self.ahead.lock();
        if ahead.bytes <= share {
            return None;
        }
        let durable = log.bounds().durable;
        while let Some((_, bytes)) = ahead.appended.pop_front_if(|(last, _)| *last <= durable) {
            ahead.bytes -= bytes;
        }
        if ahead.bytes <= share {
            return None;
        }
        ahead.appended.front().map(|(last, _)| *last)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nerve_eventlog::storage::MemoryStorage;
    use nerve_eventlog::{Batch, FileLog, Options, SystemClock};

    use super::*;

    #[test]
    fn who_is_a_share_ahead_of_the_disk_waits_for_it() {
        let storage = Arc::new(MemoryStorage::default());
        let opened = FileLog::open(
            storage,
            Options::default(),
            Arc::new(SystemClock),
            None,
            &mut |_| {},
        );
        let (log, pace) = (opened.unwrap().0, Pace::default());
        for turn in 1..=200 {
            let mut batch = Batch::new();
            batch.push(&vec![0; SHARE / 10]);
            let bytes = batch.size();
            let last = log
                .append(batch, None)
                .map_err(|refused| refused.to_string())
                .unwrap()
                .last;
            pace.appended(last, bytes);
            pace.wait(&log, SHARE).unwrap();
            let undurable = turn - log.bounds().durable.0;
            assert!(undurable <= 10, "{undurable} tenths of a share are ahead");
        }
        assert!(
            pace.ahead.lock().appended.len() < 20,
            "what is durable is forgotten"
        );
    }
}
