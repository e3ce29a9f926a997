//! Large batches go to the disk one after the other.
//!
//! Appends reach the disk in their order, so whoever appends behind a large batch waits until it is written. A plugin's large
//! batch therefore waits until the large one before it, of whichever plugin, is durable: what stands before anybody's append is
//! one of them, however many plugins have some.

use nerve_eventlog::{Log, Offset, Poisoned};
use parking_lot::{Mutex, MutexGuard};

/// Bytes above which a batch waits for its turn. Smaller ones are what ordinary deliveries settle, and wait for nobody.
pub const LARGE: usize = 64 << 10;

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    /// Where the last large batch ended.
    last: Mutex<Offset>,
}

/// The turn of one large batch, until it is dropped.
pub struct Turn<'a>(MutexGuard<'a, Offset>);

impl Turns {
    /// Wait until the large batch before is durable. Blocks.
    pub fn wait(&self, log: &dyn Log) -> Result<Turn<'_>, Poisoned> {
        let last = self.last.lock();
        log.wait_durable(*last)?;
        Ok(Turn(last))
    }
}

impl Turn<'_> {
    /// The batch was appended, up to `last`.
    pub fn appended(mut self, last: Offset) {
        *self.0 = last;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nerve_eventlog::storage::MemoryStorage;
    use nerve_eventlog::{Batch, FileLog, Options, SystemClock};

    use super::*;

    #[test]
    fn a_large_batch_waits_until_the_one_before_is_durable() {
        let storage = Arc::new(MemoryStorage::default());
        let (options, clock) = (Options::default(), Arc::new(SystemClock));
        let log = FileLog::open(storage, options, clock, None, &mut |_| {})
            .unwrap()
            .0;
        let turns = Turns::default();
        let mut before = Offset(0);
        for _ in 0..200 {
            let turn = turns.wait(&log).unwrap();
            assert!(log.bounds().durable >= before, "{before} is still on its way");
            let mut batch = Batch::new();
            batch.push(&vec![0; LARGE]);
            before = log
                .append(batch, None)
                .map_err(|refused| refused.to_string())
                .unwrap()
                .last;
            turn.appended(before);
        }
    }
}
