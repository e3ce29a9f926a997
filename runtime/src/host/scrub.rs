//! The scrub: sealed segments are read again slowly in the background, so that rot is found before somebody needs what
//! is rotten. What it finds is said, and stops nobody.

use std::time::Duration;

use nerve_eventlog::{Micros, Offset, ReadError};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::Host;

/// How the scrub works.
#[derive(Debug, Clone, Copy)]
pub struct ScrubOptions {
    /// Time between two steps. Default 10 seconds.
    pub step: Duration,
    /// Bytes of a step at least; more where a pass would otherwise take longer than it should. Default 1 MiB.
    pub step_bytes: usize,
    /// How long a pass over everything may take, and how far apart two begin at least. Default one day.
    pub pass: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(10),
            step_bytes: 1 << 20,
            pass: Duration::from_hours(24),
        }
    }
}

/// Damaged places that are told one by one; more are counted.
const MOST_FOUND: usize = 100;

/// How far the scrub is, and what it found.
#[derive(Debug, Clone, Default)]
pub struct ScrubStatus {
    /// Passes over all sealed segments since the host started.
    pub passes: u64,
    /// When the last one ended.
    pub last: Option<Micros>,
    /// Up to where the present one is.
    pub through: Offset,
    /// Damaged places that the last pass and the present one found.
    pub damage: Vec<Rot>,
    /// Damaged places beyond those.
    pub more: u64,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rot {
    /// The file.
    pub file: String,
    /// Where in it; 0 where the file can't be read at all.
    pub byte: u64,
    /// The first record that can't be read for it.
    pub offset: Offset,
    /// What is wrong.
    pub what: String,
}

/// The findings of the last pass and of the present one.
#[derive(Default)]
pub(super) struct Scrub(Mutex<[ScrubStatus; 2]>);

impl Scrub {
    /// What was found in the records from `first` on.
    pub(super) fn status(&self, first: Offset) -> ScrubStatus {
        let [before, now] = &*self.0.lock();
        let mut status = now.clone();
        status.more += before.more;
        for rot in &before.damage {
            if !status.damage.contains(rot) {
                status.damage.push(rot.clone());
            }
        }
        status.damage.retain(|rot| rot.offset >= first);
        status
    }

    /// Note what was found; whether it is news.
    fn found(&self, rot: Rot) -> bool {
        let [before, now] = &mut *self.0.lock();
        let is_news = !before.damage.contains(&rot);
        if now.damage.len() < MOST_FOUND {
            now.damage.push(rot);
        } else {
            now.more += 1;
        }
        is_news
    }

    fn reached(&self, through: Offset) {
        self.0.lock()[1].through = through;
    }

    fn passed(&self, at: Micros) {
        let [before, now] = &mut *self.0.lock();
        let passes = now.passes + 1;
        *before = std::mem::take(now);
        (now.passes, now.last) = (passes, Some(at));
    }
}

/// Scrub until the host stops.
pub(super) async fn keep(host: Host, options: ScrubOptions) {
    let mut steps = tokio::time::interval(options.step);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let steps_of_pass = options
        .pass
        .as_nanos()
        .div_ceil(options.step.as_nanos().max(1))
        .max(1);
    let (mut at, mut taken) = (Some(Offset(1)), 0);
    loop {
        tokio::select! {
            () = host.inner.stop.cancelled() => return,
            _ = steps.tick() => {}
        }
        taken += 1;
        let Some(from) = at else {
            if taken >= steps_of_pass {
                (at, taken) = (Some(Offset(1)), 0);
            }
            continue;
        };
        let scrubbing = host.clone();
        let step = move || scrubbing.scrub(from, options, steps_of_pass);
        match tokio::task::spawn_blocking(step).await {
            Ok(next) => at = next,
            Err(panicked) => {
                tracing::error!("the scrub ended by a fault of the host: {panicked}");
                return;
            }
        }
    }
}

impl Host {
    /// Scrub a step from `from` on; answers where to go on.
    fn scrub(&self, from: Offset, options: ScrubOptions, steps_of_pass: u128) -> Option<Offset> {
        let (store, scrub) = (&self.inner.store, &self.inner.scrub);
        let even = u128::from(store.sealed_bytes()) / steps_of_pass;
        let bytes = usize::try_from(even)
            .unwrap_or(usize::MAX)
            .max(options.step_bytes);
        let scrubbed = store.scrub(from, bytes);
        if let Some(damage) = scrubbed.damage {
            let told = damage.to_string();
            let rot = match damage {
                ReadError::Damaged {
                    file,
                    byte,
                    offset,
                    what,
                } => Rot {
                    file,
                    byte,
                    offset,
                    what,
                },
                ReadError::Io { file, cause } => Rot {
                    file,
                    byte: 0,
                    offset: from,
                    what: cause.to_string(),
                },
                ReadError::Gone { .. } => return scrubbed.next,
            };
            if scrub.found(rot) {
                tracing::error!("the scrub found damage, which stops only who reads there: {told}");
            }
        }
        match scrubbed.next {
            Some(next) => scrub.reached(next.prev()),
            None => scrub.passed(self.inner.clock.now()),
        }
        scrubbed.next
    }
}
