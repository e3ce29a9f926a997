//! How often something happened, and how often in the last minute.

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

/// Microseconds of a minute.
const MINUTE: u64 = 60_000_000;

/// A count with a rate: the minute that runs, and the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// So often in all.
    pub count: u64,
    /// The last time.
    pub last: Micros,
    now: u32,
    before: u32,
}

impl Flow {
    /// It happened at `time`, which is not before the last.
    pub fn add(&mut self, time: Micros) {
        match (time.0 / MINUTE).saturating_sub(self.last.0 / MINUTE) {
            0 => {}
            1 => (self.before, self.now) = (self.now, 0),
            _ => (self.before, self.now) = (0, 0),
        }
        self.now = self.now.saturating_add(1);
        self.count += 1;
        self.last = self.last.max(time);
    }

    /// How often in the minute before `at`, as far as two counts can tell: what happened in the calendar minute before is
    /// taken to have happened evenly.
    pub fn per_minute(&self, at: Micros) -> f64 {
        let part_left = |at: Micros| 1.0 - share(at.0 % MINUTE);
        let rate = match (at.0 / MINUTE).saturating_sub(self.last.0 / MINUTE) {
            0 => f64::from(self.now) + f64::from(self.before) * part_left(at),
            1 => f64::from(self.now) * part_left(at),
            _ => 0.0,
        };
        (rate * 10.0).round() / 10.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a minute are exact")]
fn share(micros: u64) -> f64 {
    micros as f64 / MINUTE as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_minute_and_fades_when_nothing_happens() {
        let mut flow = Flow::default();
        for second in 0..120 {
            flow.add(Micros(600 * 1_000_000 + second * 1_000_000));
        }
        let at = |seconds: u64| flow.per_minute(Micros(seconds * 1_000_000)).to_string();
        assert_eq!(flow.count, 120);
        assert_eq!(
            [at(719), at(720), at(750), at(780), at(900)],
            ["61", "60", "30", "0", "0"]
        );
        flow.add(Micros(10_000 * 1_000_000));
        let now = flow.per_minute(Micros(10_000 * 1_000_000)).to_string();
        assert_eq!((&*now, flow.count), ("1", 121));
    }
}
