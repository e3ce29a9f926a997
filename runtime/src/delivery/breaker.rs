//! The breaker: stops deliveries to a plugin that fails across keys, and probes it.
//!
//! An outage is not a poison event. A key that fails alone is parked and in the end dead-lettered; when several
//! keys fail with no success between, the fault is taken to lie with the plugin or with what it needs: its
//! deliveries are paused, and one event at a time is tried with growing waits, in turn a fresh one and one that
//! failed before, until one succeeds. What is tried while the breaker is open costs no event its retries. An
//! event without a key counts as a key of its own. A reject or a loop says something about the event alone and
//! counts for neither side; that somebody is not to be had says nothing about the event, is an outage at once, and
//! costs the event no attempt.
//!
//! The breaker is part of the fold: what an outcome does to it stands in the outcome.

use std::time::Duration;

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::cursor::OrderKey;
use super::retry::{AtEnd, RetryPolicy};
use crate::log::record::{FailureClass, Gap, OpenReason, Opens, Outcome, Verdict, Watched};

/// Failing keys that are remembered, and so the most that an outage can be said to take.
pub const MOST_FAILING: usize = 100;

/// Whether deliveries to a plugin are stopped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Breaker {
    /// Keys that failed since the last success, each once.
    failing: Vec<OrderKey>,
    /// Why nothing is delivered, where that is so.
    open: Option<Open>,
    /// The first offset of the gaps that opened it last, and how many events they took.
    #[serde(default)]
    lost: Option<(u64, u64)>,
}

/// An open breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Why.
    pub why: OpenReason,
    /// Since when.
    pub since: Micros,
    /// Probes that failed.
    pub probes: u32,
    /// When one event is tried; `None` where an operator or another version has to come.
    pub probe: Option<Micros>,
    /// Reason of the last failure.
    pub reason: Box<str>,
}

/// Whether a lane may deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Whatever is next.
    Deliver,
    /// One event, as a probe.
    Probe {
        /// Rather a fresh one than one that failed before.
        fresh: bool,
    },
    /// Nothing, until this time where one is given.
    Wait(Option<Micros>),
}

/// What to do about an attempt that failed and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It is tried again, not before this time.
    Retry {
        /// When.
        due: Micros,
        /// Whether the attempt cost nothing.
        free: bool,
        /// What it makes of the breaker.
        opens: Option<Opens>,
    },
    /// Its attempts are used up.
    Exhausted,
}

/// An attempt as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The event's key.
    pub key: Option<&'a str>,
    /// The event's offset.
    pub event: Offset,
    /// Attempts spent on the event, this one included; those that cost nothing don't count.
    pub spent: u32,
    /// Whether it was made to probe the open breaker.
    pub probe: bool,
    /// When it ended.
    pub ended: Micros,
    /// A random number in `0..1`, for the jitter.
    pub dice: f64,
}

/// What the plugin said of its failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    /// The shortest wait that it asked for.
    pub after: Option<Duration>,
    /// Whether it says nothing about the event.
    pub unavailable: bool,
}

impl Breaker {
    /// Why nothing is delivered, where that is so.
    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Whether a lane may deliver at `now`.
    pub fn leave(&self, now: Micros) -> Leave {
        match &self.open {
            None => Leave::Deliver,
            Some(open) if open.probe.is_some_and(|probe| probe <= now) => Leave::Probe {
                fresh: open.why == OpenReason::Outage && open.probes.is_multiple_of(2),
            },
            Some(open) => Leave::Wait(open.probe),
        }
    }

    /// The rules: what an attempt that failed and counts leads to under `policy`.
    pub fn failed(&self, attempt: &Attempt<'_>, said: Said, policy: &RetryPolicy) -> Failed {
        let after = |failure| policy.after(failure, attempt.ended, said.after, attempt.dice);
        if self.open.is_some() && !attempt.probe {
            // It began before: it says nothing new, and costs the event nothing.
            return Failed::Retry {
                due: after(attempt.spent),
                free: true,
                opens: None,
            };
        }
        if let Some(open) = &self.open {
            let due = after(open.probes.saturating_add(2));
            let (why, probe) = (open.why, (open.why == OpenReason::Outage).then_some(due.0));
            return Failed::Retry {
                due,
                free: true,
                opens: (!self.waits_for_an_operator()).then_some(Opens { why, probe }),
            };
        }
        let key = OrderKey::of(attempt.key, attempt.event);
        let failing = self.failing.len() + usize::from(!self.failing.contains(&key));
        if policy.outage_keys > 0 && (said.unavailable || failing >= policy.outage_keys as usize) {
            let due = after(1);
            return Failed::Retry {
                due,
                free: said.unavailable,
                opens: Some(Opens {
                    why: OpenReason::Outage,
                    probe: Some(due.0),
                }),
            };
        }
        match (attempt.spent < policy.attempts, policy.at_end) {
            (true, _) => Failed::Retry {
                due: after(attempt.spent),
                free: false,
                opens: None,
            },
            (false, AtEnd::DeadLetter) => Failed::Exhausted,
            (false, AtEnd::Pause) => Failed::Retry {
                due: attempt.ended,
                free: false,
                opens: Some(Opens {
                    why: OpenReason::Exhausted,
                    probe: None,
                }),
            },
        }
    }

    /// What `outcome`, appended at `time`, does.
    pub fn apply(&mut self, time: Micros, outcome: &Outcome<'_>) {
        let failure = match outcome.verdict {
            Verdict::Done => {
                self.failing.clear();
                if !self.waits_for_an_operator() {
                    self.open = None;
                }
                return;
            }
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => failure,
        };
        let waits = outcome.watched == Some(Watched::Waits);
        if matches!(failure.class, FailureClass::Reject | FailureClass::Loop)
            || (outcome.watched.is_some() && !waits)
            || (waits && self.waits_for_an_operator())
        {
            return;
        }
        let key = OrderKey::of(outcome.key, outcome.event());
        if !waits && self.failing.len() < MOST_FAILING && !self.failing.contains(&key) {
            self.failing.push(key);
        }
        let Some(opens) = outcome.opens else { return };
        let (since, probes) = match &self.open {
            Some(open) => (open.since, open.probes.saturating_add(1)),
            None => (time, 0),
        };
        // What waits says nothing of an outage that it did not make.
        let before = self.open.take().filter(|_| waits);
        let reason = before.map_or_else(|| failure.reason.into(), |open| open.reason);
        self.open = Some(Open {
            why: opens.why,
            since,
            probes,
            probe: opens.probe.map(Micros),
            reason,
        });
    }

    /// Retention took events at `time` that the plugin had not settled: an operator has to know.
    pub fn gap(&mut self, time: Micros, gap: &Gap) {
        let before = self.open.take().filter(|open| open.why == OpenReason::Gap);
        let lost = match (self.lost, &before) {
            (Some((from, events)), Some(_)) => (from, events.saturating_add(gap.events)),
            _ => (gap.from, gap.events),
        };
        let reason = format!(
            "{} events from offset {} to {} were never settled and are gone: {}",
            lost.1, lost.0, gap.through, gap.why
        );
        self.lost = Some(lost);
        self.open = Some(Open {
            why: OpenReason::Gap,
            since: before.map_or(time, |open| open.since),
            probes: 0,
            probe: None,
            reason: reason.into(),
        });
    }

    /// An operator asked for a pause at `time`.
    pub fn pause(&mut self, time: Micros, who: Option<&str>) {
        self.open = Some(Open {
            why: OpenReason::Operator,
            since: time,
            probes: 0,
            probe: None,
            reason: format!("{} paused it", who.unwrap_or("an operator")).into(),
        });
    }

    /// An operator said at `time` to go on.
    pub fn resume(&mut self, time: Micros) {
        if self.waits_for_an_operator() {
            self.open = None;
        }
        self.half_open(time);
    }

    /// Another version came at `time`: what failed before says little of it. A pause that an operator asked for, or
    /// has to know of, stays.
    pub fn half_open(&mut self, time: Micros) {
        self.failing.clear();
        if self.waits_for_an_operator() {
            return;
        }
        if let Some(open) = &mut self.open {
            (open.probe, open.probes) = (Some(time), 0);
        }
    }

    /// Whether neither a probe nor another version ends the pause.
    fn waits_for_an_operator(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| matches!(open.why, OpenReason::Operator | OpenReason::Gap))
    }
}
