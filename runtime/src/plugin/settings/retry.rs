//! `[retry]` in `NAME.toml`.

use std::time::Duration;

use serde::Deserialize;

use super::BadSettings;
use crate::delivery::breaker::MOST_FAILING;
use crate::delivery::retry::{AtEnd, RetryPolicy};

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::plugin) struct Retry {
    attempts: Option<u32>,
    first_ms: Option<u64>,
    longest_ms: Option<u64>,
    factor: Option<f64>,
    jitter: Option<f64>,
    at_end: AtEnd,
    outage_keys: Option<u32>,
}

impl Retry {
    /// The policy that it makes of `default`.
    pub(in crate::plugin) fn checked(&self, default: RetryPolicy) -> Result<RetryPolicy, BadSettings> {
        let policy = RetryPolicy {
            attempts: self.attempts.unwrap_or(default.attempts),
            first: self.first_ms.map_or(default.first, Duration::from_millis),
            longest: self.longest_ms.map_or(default.longest, Duration::from_millis),
            factor: self.factor.unwrap_or(default.factor),
            jitter: self.jitter.unwrap_or(default.jitter),
            at_end: self.at_end,
            outage_keys: self.outage_keys.unwrap_or(default.outage_keys),
        };
        let wrong = [
            (
                policy.attempts == 0,
                "retry.attempts is 0: the least is 1, which never retries",
            ),
            (
                !(1.0..=100.0).contains(&policy.factor),
                "retry.factor must lie between 1 and 100",
            ),
            (
                !(0.0..=1.0).contains(&policy.jitter),
                "retry.jitter must lie between 0 and 1",
            ),
            (
                policy.outage_keys as usize > MOST_FAILING,
                "retry.outage_keys is more than 100: the fewer keys it takes, the sooner an outage is seen",
            ),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err(BadSettings((*what).to_owned())),
            None => Ok(policy),
        }
    }
}
