//! When a failed delivery is tried again.

use std::time::Duration;

use nerve_eventlog::Micros;
use serde::Deserialize;

/// How often and when a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included, before the event becomes a dead letter. 1 never retries.
    pub attempts: u32,
    /// Wait before the second attempt.
    pub first: Duration,
    /// Longest wait between two attempts.
    pub longest: Duration,
    /// What each wait is multiplied by for the next one; 1 keeps it the same.
    pub factor: f64,
    /// Which share of each wait is random, from 0 (none) to 1 (all of it), so that keys that failed together
    /// do not come back together.
    pub jitter: f64,
    /// What happens when the attempts are used up.
    pub at_end: AtEnd,
    /// How many keys have to fail, with no success between, for an outage; 0 knows no outages.
    pub outage_keys: u32,
}

/// What happens to an event whose attempts are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtEnd {
    /// It becomes a dead letter, and its key goes on.
    #[default]
    DeadLetter,
    /// The plugin is paused until an operator or another version comes.
    Pause,
}

/// The value of one setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setting {
    /// A number.
    Number(f64),
    /// One of a few words.
    Word(&'static str),
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(100),
            longest: Duration::from_mins(1),
            factor: 2.0,
            jitter: 0.2,
            at_end: AtEnd::DeadLetter,
            outage_keys: 3,
        }
    }
}

impl RetryPolicy {
    /// The policy by the names of its settings.
    pub fn shown(&self) -> Vec<(&'static str, Setting)> {
        let at_end = match self.at_end {
            AtEnd::DeadLetter => "dead-letter",
            AtEnd::Pause => "pause",
        };
        let numbers = [
            ("attempts", f64::from(self.attempts)),
            ("first_ms", self.first.as_secs_f64() * 1e3),
            ("longest_ms", self.longest.as_secs_f64() * 1e3),
            ("factor", self.factor),
            ("jitter", self.jitter),
            ("outage_keys", f64::from(self.outage_keys)),
        ];
        let numbers = numbers.into_iter().map(|(name, n)| (name, Setting::Number(n)));
        numbers.chain([("at_end", Setting::Word(at_end))]).collect()
    }

    /// When the attempt after attempt number `attempt` is due, or `None` when there is none.
    ///
    /// `asked` is the shortest wait the plugin asked for, `dice` a random number in `0..1`.
    pub fn due(&self, attempt: u32, now: Micros, asked: Option<Duration>, dice: f64) -> Option<Micros> {
        (attempt < self.attempts).then(|| self.after(attempt, now, asked, dice))
    }

    /// The end of the wait after failure number `failure` in a row, from 1, however many attempts are allowed.
    pub fn after(&self, failure: u32, now: Micros, asked: Option<Duration>, dice: f64) -> Micros {
        let exponent = i32::try_from(failure.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.longest.as_secs_f64());
        let wait = full * (1.0 - self.jitter * dice);
        let wait = Duration::try_from_secs_f64(wait)
            .unwrap_or(self.longest)
            .max(asked.unwrap_or_default());
        Micros(
            now.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: RetryPolicy = RetryPolicy {
        attempts: 4,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(350),
        factor: 2.0,
        jitter: 0.0,
        at_end: AtEnd::DeadLetter,
        outage_keys: 3,
    };

    #[test]
    fn waits_grow_by_the_factor_up_to_the_longest_and_end_with_the_attempts() {
        let due = |attempt| STEADY.due(attempt, Micros(0), None, 0.5).map(|due| due.0 / 1000);
        assert_eq!(
            [due(1), due(2), due(3), due(4)],
            [Some(100), Some(200), Some(350), None]
        );
    }

    #[test]
    fn jitter_only_shortens_and_a_plugins_wish_only_lengthens() {
        let jittery = RetryPolicy {
            jitter: 0.5,
            ..STEADY
        };
        assert_eq!(jittery.due(1, Micros(0), None, 1.0), Some(Micros(50_000)));
        assert_eq!(
            jittery.due(1, Micros(0), Some(Duration::from_secs(2)), 1.0),
            Some(Micros(2_000_000))
        );
    }

    #[test]
    fn absurd_policies_do_not_overflow() {
        let absurd = RetryPolicy {
            attempts: u32::MAX,
            factor: 1e300,
            ..STEADY
        };
        assert_eq!(absurd.due(4_000_000, Micros(0), None, 0.0), Some(Micros(350_000)));
    }
}
