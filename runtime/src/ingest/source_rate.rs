//! How fast a source may publish: a bucket of tokens for each, filled at a steady rate.
//!
//! A source is known by a hash, and only while its bucket is not full; sources beyond the most that are known at a
//! time share one bucket, so that a flood of invented sources costs no memory and takes nothing from those that are
//! known.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use nerve_eventlog::Micros;
use parking_lot::Mutex;

/// Sources that are known at a time at most; about 32 bytes each.
const MOST_SOURCES: usize = 16_384;

/// Microseconds between two looks for buckets that are full again, while too many sources are known.
const SWEEP_EVERY: u64 = 1_000_000;

/// How fast one source may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRate {
    /// Events per second, over time. At least 1.
    pub per_second: u32,
    /// Events that may come at once after a pause. A larger batch is taken from a full bucket, and paid for afterwards.
    pub burst: u32,
}

/// Why events were refused: their source publishes too fast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source {source_name:?} publishes faster than the {per_second} events per second that are allowed")]
pub struct TooFast {
    /// The source.
    pub source_name: String,
    /// What is allowed.
    pub per_second: u32,
    /// When it may publish this again.
    pub retry_after: Duration,
}

/// The buckets of all sources.
#[derive(Debug)]
pub struct SourceRates {
    rate: SourceRate,
    hasher: RandomState,
    buckets: Mutex<Buckets>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Buckets {
    /// Those that are not full, by the hash of their source.
    known: HashMap<u64, Bucket>,
    /// That of all sources beyond.
    others: Option<Bucket>,
    swept: Micros,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Below 0 after a batch that was larger than the burst.
    tokens: f64,
    at: Micros,
}

impl SourceRates {
    /// Full buckets.
    pub fn new(rate: SourceRate) -> Self {
        let rate = SourceRate {
            per_second: rate.per_second.max(1),
            burst: rate.burst.max(1),
        };
        Self {
            rate,
            hasher: RandomState::new(),
            buckets: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// How often publishers were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Take a token for each event at `now`, or none where one source has not enough.
    pub fn take<'a>(&self, now: Micros, sources: impl Iterator<Item = &'a str>) -> Result<(), TooFast> {
        let wanted = counted(sources);
        let mut buckets = self.buckets.lock();
        for (source, count) in &wanted {
            let bucket = buckets.find(self.hasher.hash_one(source), now, self.rate);
            let needed = f64::from((*count).min(self.rate.burst));
            let tokens = bucket.filled(now, self.rate);
            if tokens < needed {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let wait = (needed - tokens) / f64::from(self.rate.per_second);
                return Err(TooFast {
                    source_name: (*source).to_owned(),
                    per_second: self.rate.per_second,
                    retry_after: Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX),
                });
            }
        }
        for (source, count) in wanted {
            let bucket = buckets.find(self.hasher.hash_one(source), now, self.rate);
            bucket.tokens = bucket.filled(now, self.rate) - f64::from(count);
            bucket.at = now.max(bucket.at);
        }
        Ok(())
    }

    /// Give back what was taken for events that were refused afterwards.
    pub fn give_back<'a>(&self, now: Micros, sources: impl Iterator<Item = &'a str>) {
        let mut buckets = self.buckets.lock();
        for (source, count) in counted(sources) {
            let bucket = buckets.find(self.hasher.hash_one(source), now, self.rate);
            let tokens = bucket.filled(now, self.rate) + f64::from(count);
            bucket.tokens = tokens.min(f64::from(self.rate.burst));
            bucket.at = now.max(bucket.at);
        }
    }
}

fn counted<'a>(sources: impl Iterator<Item = &'a str>) -> HashMap<&'a str, u32> {
    let mut wanted = HashMap::new();
    for source in sources {
        *wanted.entry(source).or_default() += 1;
    }
    wanted
}

impl Buckets {
    fn find(&mut self, hash: u64, now: Micros, rate: SourceRate) -> &mut Bucket {
        let full = Bucket {
            tokens: f64::from(rate.burst),
            at: now,
        };
        if self.known.len() >= MOST_SOURCES && !self.known.contains_key(&hash) {
            if now.0.saturating_sub(self.swept.0) >= SWEEP_EVERY {
                self.swept = now;
                self.known
                    .retain(|_, bucket| bucket.filled(now, rate) < full.tokens);
            }
            if self.known.len() >= MOST_SOURCES {
                return self.others.get_or_insert(full);
            }
        }
        self.known.entry(hash).or_insert(full)
    }
}

impl Bucket {
    /// The tokens that are in it at `now`.
    fn filled(&self, now: Micros, rate: SourceRate) -> f64 {
        let passed = Duration::from_micros(now.0.saturating_sub(self.at.0)).as_secs_f64();
        (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SourceRate = SourceRate {
        per_second: 10,
        burst: 5,
    };

    fn take(rates: &SourceRates, now: u64, sources: &[&str]) -> Result<(), TooFast> {
        rates.take(Micros(now), sources.iter().copied())
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate_and_takes_nothing_from_others() {
        let rates = SourceRates::new(RATE);
        for _ in 0..5 {
            take(&rates, 0, &["a"]).unwrap();
        }
        let refused = take(&rates, 0, &["a"]).unwrap_err();
        assert_eq!(
            (&*refused.source_name, refused.retry_after),
            ("a", Duration::from_millis(100))
        );
        take(&rates, 0, &["b"]).unwrap();
        take(&rates, 99_999, &["a"]).unwrap_err();
        take(&rates, 100_000, &["a"]).unwrap();
        take(&rates, 50_000, &["a"]).unwrap_err();
        assert_eq!(rates.refused(), 3);
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all() {
        let rates = SourceRates::new(RATE);
        take(&rates, 0, &["a"; 4]).unwrap();
        take(&rates, 0, &["b", "a", "a"]).unwrap_err();
        take(&rates, 0, &["b"; 5]).unwrap();
        take(&rates, 0, &["a"]).unwrap();
    }

    #[test]
    fn a_batch_larger_than_the_burst_is_taken_from_a_full_bucket_and_paid_for() {
        let rates = SourceRates::new(RATE);
        take(&rates, 0, &["a"; 15]).unwrap();
        let refused = take(&rates, 0, &["a"]).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(1100));
        take(&rates, 1_100_000, &["a"]).unwrap();
    }

    #[test]
    fn a_flood_of_invented_sources_costs_no_memory_and_harms_no_known_one() {
        let rates = SourceRates::new(RATE);
        take(&rates, 0, &["honest"]).unwrap();
        let mut refused = 0;
        for n in 0..MOST_SOURCES * 2 {
            refused += usize::from(take(&rates, 0, &[&format!("invented {n}")]).is_err());
        }
        assert_eq!(rates.buckets.lock().known.len(), MOST_SOURCES);
        assert!(
            refused > MOST_SOURCES - 10,
            "those beyond share one bucket: {refused}"
        );
        take(&rates, 0, &["honest"; 4]).unwrap();
        take(&rates, SWEEP_EVERY, &["new"]).unwrap();
        assert!(
            rates.buckets.lock().known.len() < 10,
            "full buckets are forgotten"
        );
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_and_no_more_than_that() {
        let rates = SourceRates::new(SourceRate {
            per_second: 1,
            burst: 2,
        });
        let two = || ["a", "a"].into_iter();
        rates.take(Micros(0), two()).unwrap();
        rates.take(Micros(0), two()).unwrap_err();
        rates.give_back(Micros(0), two());
        rates.take(Micros(0), two()).unwrap();
        rates.give_back(Micros(0), two());
        rates.give_back(Micros(0), two());
        rates.take(Micros(0), two()).unwrap();
        rates.take(Micros(0), ["a"].into_iter()).unwrap_err();
    }
}
