//! How long handlers ran: a histogram for each plugin, since the host started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The ends of the buckets, in microseconds. What took longer is in one of its own.
const ENDS: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000,
];

/// Counts that lanes add to, and that anybody may look at meanwhile.
#[derive(Debug, Default)]
pub struct Took {
    counts: [AtomicU64; ENDS.len() + 1],
    /// All of it, in microseconds.
    sum: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taken {
    /// The ends of the buckets in microseconds, each with how many took so long at most.
    pub at_most: Vec<(u64, u64)>,
    /// How many there are.
    pub count: u64,
    /// How long they took in all, in microseconds.
    pub sum: u64,
}

impl Took {
    /// One ran for so long.
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = ENDS.partition_point(|end| *end < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn taken(&self) -> Taken {
        let mut count = 0;
        let mut up_to = |counted: &AtomicU64| {
            count += counted.load(Ordering::Relaxed);
            count
        };
        let at_most = ENDS.into_iter().zip(self.counts.iter().map(&mut up_to)).collect();
        Taken {
            at_most,
            count: up_to(&self.counts[ENDS.len()]),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_counted_in_every_bucket_that_it_does_not_pass() {
        let took = Took::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            took.add(Duration::from_micros(micros));
        }
        let taken = took.taken();
        assert_eq!((taken.count, taken.sum), (5, 20_000_202));
        assert_eq!(taken.at_most.first(), Some(&(100, 2)));
        assert_eq!(taken.at_most[1..11].iter().map(|(_, n)| *n).max(), Some(3));
        assert_eq!(taken.at_most.last(), Some(&(10_000_000, 4)));
    }
}
