//! Probation: a version that took another one's place is watched over its first events.
//!
//! The question is not whether it fails, but whether it fails where the version before did not. So that can be known, an
//! event that the watched version fails is passed on to the version before, at once and as the next attempt of its key:
//! where that one succeeds, the watched version has fallen, and is rolled back; where it fails as well, the event is to
//! blame, or what both need, and the version before has the event until its end. Failures that ask to be tried again are
//! passed on only when the attempts are used up or events fail in a row, and count only where they are more frequent
//! than before. A reject is passed on too, and never counts. So a watched version gives nothing up, and its attempts
//! cost no event its retries; order per key is that of any retry.
//!
//! A version that is deployed as a canary runs for a share of the keys only, and the version before for the others, until
//! it is promoted; it is watched in the same way. A key changes hands with nothing of it parked: what was parked when
//! the share changed stays with the version before until its key is free.
//!
//! Nothing stays with the version before for good, for it may fail everything. When the watch is over, what was passed on
//! goes back to the version that runs, and behind a promotion a parked key as soon as the version before fails it once more.
//!
//! A canary may have a state of its own (`state::own`). The version before is then asked on that state, for the events of its keys
//! are not in the other. It may fail there for what it can't read; so where both fail several events in a row the canary
//! falls, which costs it nothing but its state.
//!
//! Probation is part of the fold: what an attempt does to it stands in its outcome.

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::breaker::Attempt;
use super::cursor::OrderKey;
use super::handler::Failure;
use super::retry::RetryPolicy;
use super::settle::Decision;
use crate::log::record::{Event, FailureClass, FailureRecord, Outcome, Terms, Verdict, VersionId, Watched};

/// Events that fail in a row before one that asks to be tried again is passed on.
const ROW: u32 = 3;

/// Successes of both versions before their times are compared.
const COMPARED: u64 = 20;

/// By how much the mean time has to be longer for a version to be much slower, in microseconds.
const MUCH_SLOWER: u64 = 5_000;

/// A version that is watched.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Probation {
    /// The version that is watched.
    pub watched: VersionId,
    /// The version before, which takes its place where it falls.
    pub before: VersionId,
    /// How it is watched.
    pub terms: Terms,
    /// When it ends, once the version has been seen.
    pub until: Option<Micros>,
    /// What the watched version did.
    pub seen: Tally,
    /// What the version before had done.
    pub known: Tally,
    /// Its failures since its last success.
    row: u32,
    /// Events that the version before has until their end.
    passed_on: BTreeMap<Offset, PassedOn>,
    /// Why it has to go.
    fallen: Option<String>,
    /// Of 10,000 keys it runs for so many, where it is a canary.
    pub share: Option<u32>,
    /// Keys that were parked when the share changed.
    held: BTreeSet<OrderKey>,
}

/// An event that the watched version failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct PassedOn {
    /// Why it failed, where that counts and nobody else has failed it.
    why: Option<(FailureClass, String)>,
    /// Whether the version before has tried it.
    tried: bool,
}

/// What a version did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Deliveries that are done.
    pub done: u64,
    /// Attempts that failed; a reject is none of them.
    pub failed: u64,
    /// How long those that are done ran, in microseconds, calls of others left out.
    pub took: u64,
}

impl Tally {
    /// Count `outcome`.
    pub fn count(&mut self, outcome: &Outcome<'_>) {
        match outcome.verdict {
            Verdict::Done => {
                self.done += 1;
                let calls: u64 = outcome.calls.iter().map(|call| call.took).sum();
                self.took += outcome.took.saturating_sub(calls);
            }
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => {
                self.failed += u64::from(counts(failure.class));
            }
        }
    }

    fn mean(self) -> u64 {
        self.took / self.done.max(1)
    }

    /// Whether it failed more than twice as often as `before`.
    fn is_worse_than(self, before: Self) -> bool {
        let (all, all_before) = (self.done + self.failed, before.done + before.failed);
        u128::from(self.failed) * u128::from(all_before) > 2 * u128::from(before.failed) * u128::from(all)
            || before.failed == 0
    }

    /// Whether it is slower than `before` by more than `factor`, and by a time that matters.
    fn is_slower_than(self, before: Self, factor: u32) -> bool {
        let (mean, mean_before) = (self.mean(), before.mean());
        factor > 0
            && self.done.min(before.done) >= COMPARED
            && mean > mean_before.saturating_mul(factor.into())
            && mean - mean_before > MUCH_SLOWER
    }
}

/// What an event without a key is told by when keys are shared out: its id, and of an emitted one's what does not name
/// the log.
pub fn own_name<'a>(event: &Event<'a>) -> &'a str {
    match event.id.split_once('-') {
        Some((_, own)) if event.cause.is_some() => own,
        _ => event.id,
    }
}

/// The place of a key among 10,000: the same for ever.
fn place(name: &str) -> u32 {
    let hash = blake3::hash(name.as_bytes());
    let (head, _) = hash.as_bytes().split_first_chunk().expect("a hash is longer");
    u32::from_le_bytes(*head) % 10_000
}

/// Whether a failure of this class says something about the version.
fn counts(class: FailureClass) -> bool {
    !matches!(class, FailureClass::Reject | FailureClass::Loop)
}

/// Whether a failure of this class asks to be tried again.
fn asks_again(class: FailureClass) -> bool {
    matches!(class, FailureClass::Retry | FailureClass::Unavailable)
}

impl Probation {
    /// `watched` took the place of `before`, which had done what is `known` and has these `parked` keys.
    pub fn new<'a>(
        watched: VersionId,
        before: VersionId,
        terms: Terms,
        known: Tally,
        parked: impl Iterator<Item = &'a OrderKey>,
    ) -> Self {
        let share = (terms.share > 0).then_some(terms.share);
        Self {
            watched,
            before,
            terms,
            known,
            share,
            held: parked.filter(|_| share.is_some()).cloned().collect(),
            ..Self::default()
        }
    }

    /// The canary runs for all keys from here on; but not yet for those `parked` ones that the version before has.
    pub fn promote<'a>(&mut self, parked: impl Iterator<Item = (&'a OrderKey, Option<&'a str>)>) {
        let befores: Vec<OrderKey> = parked
            .filter(|(key, own)| self.is_of_before(key, own.unwrap_or_default()))
            .map(|(key, _)| key.clone())
            .collect();
        self.held.extend(befores);
        self.share = None;
    }

    /// Whether the events of `key` are the version before's; `own` is the name of an event that has no key.
    pub fn is_of_before(&self, key: &OrderKey, own: &str) -> bool {
        let is_out = |share| place(key.name().unwrap_or(own)) >= share;
        self.share.is_some_and(is_out) || self.held.contains(key)
    }

    /// Whether it matters to which key an event belongs.
    pub fn minds_keys(&self) -> bool {
        self.share.is_some() || !self.held.is_empty()
    }

    /// `key` is parked no more.
    pub fn free(&mut self, key: &OrderKey) {
        self.held.remove(key);
    }

    /// Behind `outcome`, of `key` and appended at `time`: what the version before keeps no longer goes back.
    pub fn give_back(&mut self, time: Micros, key: &OrderKey, outcome: &Outcome<'_>) {
        if !self.passed_on.is_empty() && self.is_over(time) {
            self.passed_on.clear();
        }
        let failed = outcome.version == self.before && outcome.verdict != Verdict::Done;
        if self.share.is_none() && failed && !outcome.replay {
            self.held.remove(key);
        }
    }

    /// Whether it is of a canary with a state of its own.
    pub fn has_own_state(&self) -> bool {
        self.terms.own && self.share.is_some()
    }

    /// The version has to go, for this reason where there is none yet.
    pub fn fall(&mut self, why: String) {
        self.fallen.get_or_insert(why);
    }

    /// Only `parked` keys are held.
    pub fn retain_held(&mut self, is_parked: impl Fn(&OrderKey) -> bool) {
        self.held.retain(is_parked);
    }

    /// Whether the version before is needed no more at `now`.
    pub fn has_ended(&self, now: Micros) -> bool {
        !self.minds_keys() && self.is_over(now)
    }

    /// Why the version has to go, where it has to.
    pub fn fallen(&self) -> Option<&str> {
        self.fallen.as_deref()
    }

    /// Whether the next attempt at `event`, at `now`, is the version before's.
    pub fn has_passed_on(&self, event: Offset, now: Micros) -> bool {
        self.passed_on.contains_key(&event) && !self.is_over(now)
    }

    /// Whether an attempt that ended at `now` is judged no more.
    pub fn is_over(&self, now: Micros) -> bool {
        let counted = self.seen.done + self.seen.failed >= u64::from(self.terms.events);
        let open = self.passed_on.values().any(|passed| passed.why.is_some());
        self.fallen.is_none() && !open && (counted || self.until.is_some_and(|until| until <= now))
    }

    /// Whether an event was passed on that the version before has not tried yet: its answer comes first.
    pub fn is_asking(&self) -> bool {
        self.passed_on.values().any(|passed| !passed.tried)
    }

    /// The rule: what a failed `attempt` of the watched version leads to, which was number `tried` at its event.
    pub fn decide<'a>(
        &self,
        failure: &'a Failure,
        tried: u32,
        attempt: &Attempt<'_>,
        policy: &RetryPolicy,
    ) -> Decision<'a> {
        let is_patient = tried < policy.attempts && self.row + 1 < ROW && !attempt.probe;
        let (due, watched) = if asks_again(failure.class) && is_patient {
            let due = policy.after(tried, attempt.ended, failure.retry_after, attempt.dice);
            (due, Watched::Again)
        } else {
            (attempt.ended, Watched::PassedOn)
        };
        let failure = FailureRecord {
            class: failure.class,
            reason: &failure.reason,
        };
        Decision {
            verdict: Verdict::Retry { due: due.0, failure },
            free: true,
            opens: None,
            watched: Some(watched),
        }
    }

    /// What `outcome`, appended at `time`, does. `had_failed` says whether an attempt at its event had failed before that
    /// no watched version made.
    pub fn apply(&mut self, time: Micros, outcome: &Outcome<'_>, had_failed: bool) {
        if outcome.replay {
            return;
        }
        if outcome.version == self.watched {
            self.saw(time, outcome, had_failed);
        } else if outcome.version == self.before {
            self.judge(outcome);
        }
    }

    fn saw(&mut self, time: Micros, outcome: &Outcome<'_>, had_failed: bool) {
        // A canary that was watched long enough goes on.
        if self.is_over(time) {
            return;
        }
        let length = u64::from(self.terms.seconds).saturating_mul(1_000_000);
        self.until.get_or_insert(Micros(time.0.saturating_add(length)));
        self.seen.count(outcome);
        match outcome.verdict {
            Verdict::Done => {
                self.row = 0;
                if self.fallen.is_none() && self.seen.is_slower_than(self.known, self.terms.slower) {
                    self.fallen = Some(format!(
                        "it is much slower: {} µs for an event, where version {} took {} µs",
                        self.seen.mean(),
                        self.before,
                        self.known.mean()
                    ));
                }
            }
            Verdict::Retry { failure, .. } => {
                self.row += u32::from(counts(failure.class));
                if outcome.watched == Some(Watched::PassedOn) {
                    let why = (failure.class, failure.reason.to_owned());
                    let why = Some(why).filter(|_| counts(failure.class) && !had_failed);
                    let passed = PassedOn { why, tried: false };
                    self.passed_on.insert(outcome.event(), passed);
                }
            }
            Verdict::Dead { .. } => {}
        }
    }

    /// The version before made an attempt.
    fn judge(&mut self, outcome: &Outcome<'_>) {
        let (event, own) = (outcome.event(), self.has_own_state());
        let Some(passed) = self.passed_on.get_mut(&event) else {
            return;
        };
        passed.tried = true;
        let why = passed.why.take();
        if !matches!(outcome.verdict, Verdict::Retry { .. }) {
            self.passed_on.remove(&event);
        }
        let Some((class, reason)) = why.filter(|_| self.fallen.is_none()) else {
            return;
        };
        if outcome.verdict == Verdict::Done && (!asks_again(class) || self.seen.is_worse_than(self.known)) {
            self.fallen = Some(format!(
                "it failed the event at offset {event}, where version {} did not: {reason}",
                self.before
            ));
        } else if outcome.verdict != Verdict::Done && own && !asks_again(class) && self.row >= ROW {
            self.fallen = Some(format!(
                "it failed {} events in a row, the last of them at offset {event}, and version {} can't do them on the state of \
                 the canary either: {reason}",
                self.row, self.before
            ));
        }
    }
}
