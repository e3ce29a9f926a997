//! A canary's state that is kept apart.
//!
//! A canary whose settings say `canary_state = "own"` begins with a copy of the plugin's state as it then is. The state goes
//! with the key: what is delivered of a key of the canary's share reads and writes the copy, whichever version makes the
//! attempt, and everything else the plugin's own state, which the version before goes on with. Neither sees the other's writes.
//!
//! When the canary is promoted, the record says what of its writes the plugin's state takes over. When another version takes
//! its place, the copy goes: what was done on it is then unsettled, and is delivered again, as what a rollback of the state
//! delivers again is, on a state that knows nothing of it. For that the fold keeps of each key the first and the last event
//! that was done on the copy, so it grows with the keys of the share and the events without one, up to [`MOST_SPANS`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Again, Dead, KeyValues, PluginState};
use crate::delivery::cursor::{Head, OrderKey, Parked};
use crate::log::record::{self, FailureClass, Merged, Mute, Outcome, Prefer, Verdict, VersionId, WriteBack};

/// Keys, and events without a key, that a canary may have on a state of its own; with more of them it is taken back.
pub const MOST_SPANS: usize = 100_000;

/// The state of a canary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnState {
    /// The record with which the canary went live.
    pub began: Offset,
    /// What the keys hold.
    #[serde(with = "super::key_values::shared")]
    pub key_values: Arc<KeyValues>,
    /// Keys that were written here since.
    wrote: BTreeSet<Box<str>>,
    /// Keys that were written into the plugin's state since.
    wrote_beside: BTreeSet<Box<str>>,
    /// What was done here.
    spans: BTreeMap<OrderKey, Span>,
    /// Events of keys that were attempted here above the low-water mark.
    above: BTreeMap<Offset, Box<str>>,
    /// Dead letters from before that were delivered again, and are done here.
    letters: BTreeMap<Offset, Dead>,
    /// Timers that were set here last, and are set, each with the event for which.
    #[serde(default)]
    timers: BTreeMap<Box<str>, Offset>,
    /// Dead letters that an operator gave up since.
    #[serde(default)]
    dropped: BTreeSet<Offset>,
}

/// The events of a key that were done on a canary's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: Offset,
    last: Offset,
}

impl OwnState {
    fn new(began: Offset, beside: &KeyValues) -> Self {
        Self {
            began,
            key_values: Arc::new(beside.snapshot()),
            wrote: BTreeSet::new(),
            wrote_beside: BTreeSet::new(),
            spans: BTreeMap::new(),
            above: BTreeMap::new(),
            letters: BTreeMap::new(),
            timers: BTreeMap::new(),
            dropped: BTreeSet::new(),
        }
    }

    /// A copy of its own.
    pub(super) fn snapshot(&self) -> Self {
        Self {
            key_values: Arc::new(self.key_values.snapshot()),
            ..self.clone()
        }
    }

    /// The same, with nothing to deliver again.
    pub(super) fn with_nothing_done(mut self) -> Self {
        self.spans.clear();
        self.letters.clear();
        self
    }

    /// An operator gives up the dead letter of `event`, which has had no effect.
    pub(super) fn drops(&mut self, event: Offset) {
        self.dropped.insert(event);
    }

    /// The timer `name` fired.
    pub(super) fn fired(&mut self, name: &str) {
        self.timers.remove(name);
    }

    /// How many keys and events without one were done here.
    pub fn spans(&self) -> usize {
        self.spans.len()
    }

    /// Keys that were written here.
    pub fn wrote(&self) -> usize {
        self.wrote.len()
    }

    /// The first event that is to be delivered again where the canary is taken back.
    pub fn needs_from(&self) -> Option<Offset> {
        self.spans.values().map(|span| span.from).min()
    }

    /// Whether the event at `offset` is among those.
    pub fn needs(&self, key: Option<&str>, offset: Offset) -> bool {
        let span = self.spans.get(&OrderKey::of(key, offset));
        span.is_some_and(|span| (span.from..=span.last).contains(&offset))
    }

    /// Whether all of the key's events from `offset` on were the canary's.
    fn covers(&self, key: &OrderKey, offset: Offset) -> bool {
        self.spans.get(key).is_some_and(|span| span.from <= offset)
    }

    /// Nothing up to `through` can be delivered again.
    pub(super) fn skip(&mut self, through: Offset) {
        self.spans.retain(|_, span| {
            span.from = span.from.max(through.next());
            span.from <= span.last
        });
        self.above.retain(|offset, _| *offset > through);
        self.timers.retain(|_, event| *event > through);
    }

    /// What the plugin's state, which holds `beside`, takes over where the canary `version` is promoted; where both wrote a
    /// key of the state and it holds different values, what is `preferred`. Else these keys are the answer.
    pub fn merge(
        &self,
        beside: &KeyValues,
        version: VersionId,
        preferred: Option<Prefer>,
    ) -> Result<Merged, Vec<Box<str>>> {
        let buf = |value: &Option<Bytes>| value.as_ref().map(|value| ByteBuf::from(value.to_vec()));
        let (mut writes, mut both) = (Vec::new(), Vec::new());
        for key in &self.wrote {
            let (value, previous) = (self.key_values.get(key), beside.get(key));
            if value == previous {
                continue;
            }
            if self.wrote_beside.contains(key) {
                both.push(key.clone());
                if preferred != Some(Prefer::Canary) {
                    continue;
                }
            }
            writes.push(WriteBack {
                key: key.to_string(),
                value: buf(&value),
                previous: buf(&previous),
            });
        }
        if preferred.is_none() && !both.is_empty() {
            return Err(both);
        }
        Ok(Merged {
            version,
            prefer: preferred.filter(|_| !both.is_empty()),
            both: both.len() as u64,
            writes,
        })
    }
}

impl PluginState {
    /// The live version is a canary with a state of its own, with the record at `offset`.
    pub(super) fn keeps_apart(&mut self, offset: Offset) {
        self.own = Some(Box::new(OwnState::new(offset, &self.key_values)));
    }

    /// What `outcome` of `key` says of a canary's own state, before it takes effect and behind what it does to the cursor.
    pub(super) fn follow_own(&mut self, key: &OrderKey, outcome: &Outcome<'_>) {
        let Some(own) = &mut self.own else { return };
        let wrote = if outcome.own {
            &mut own.wrote
        } else {
            &mut own.wrote_beside
        };
        for write in &outcome.writes {
            if !wrote.contains(write.key) {
                wrote.insert(write.key.into());
            }
        }
        for timer in &outcome.timers {
            if outcome.own && timer.set.is_some() {
                own.timers.insert(timer.name.into(), outcome.event());
            } else {
                own.timers.remove(timer.name);
            }
        }
        if !outcome.own {
            return;
        }
        let (event, low) = (outcome.event(), self.cursor.low);
        while own
            .above
            .first_key_value()
            .is_some_and(|(first, _)| *first <= low)
        {
            own.above.pop_first();
        }
        if let Some(name) = key.name().filter(|_| event > low) {
            own.above.insert(event, name.into());
        }
        if outcome.verdict != Verdict::Done {
            return;
        }
        if !outcome.replay {
            let span = own.spans.entry(key.clone()).or_insert(Span {
                from: event,
                last: event,
            });
            span.last = span.last.max(event);
        } else if !own.covers(key, event)
            && let Some(dead) = self.dead.get(&event)
        {
            own.letters.insert(event, dead.clone());
        }
        if own.spans.len() + own.letters.len() > MOST_SPANS
            && let Some(probation) = &mut self.probation
        {
            probation.fall(format!(
                "it has had {MOST_SPANS} keys and events without a key, and of no more it is kept what to deliver again: a \
                 canary with a state of its own is for a shorter time, or a smaller share"
            ));
        }
    }

    /// The canary's own state goes with the record at `offset`, appended at `time`: what was done on it is unsettled, and what
    /// has happened of it does not happen again where it is to be `mute`.
    pub(super) fn give_up_own(&mut self, offset: Offset, time: Micros, mute: Mute) {
        let Some(mut own) = self.own.take() else { return };
        // Where it left, it left with a state that is gone.
        if let Some(live) = &self.live {
            self.lefts.remove(&live.version.version);
        }
        if own.spans.is_empty() && own.letters.is_empty() {
            return;
        }
        let from = own.needs_from().unwrap_or(own.began);
        let again = Again::of_canary(self, (offset, time), (own.began, from), &own.dropped, mute);
        if !mute.emit {
            // They are set again.
            own.timers.keys().for_each(|name| self.timers.remove(name));
        }
        for (event, mut dead) in std::mem::take(&mut own.letters) {
            let key = key_of(&dead, event);
            if !key.is_some_and(|key| own.covers(&key, event)) {
                (dead.rewind, dead.undone) = (Some(again.name()), false);
                self.dead.insert(event, dead);
            }
        }
        // What was given up among those had no effect: it has its turn again.
        self.dead.retain(|event, dead| {
            let key = key_of(dead, *event).filter(|key| key.name().is_some());
            !key.is_some_and(|key| own.covers(&key, *event))
        });
        let dead = &self.dead;
        self.redrive.retain(|event| dead.contains_key(event));
        for (key, span) in &own.spans {
            self.unsettle(key, *span, time);
        }
        for (event, name) in &own.above {
            if own.covers(&OrderKey::Key(name.clone()), *event) {
                self.cursor.above.remove(event);
            }
        }
        for parked in self.cursor.parked.values_mut() {
            if let Some(head) = &mut parked.head {
                head.due = head.due.min(time);
            }
        }
        self.again = Some(Box::new(again));
        self.follow_again();
    }

    /// The events of `key` in `span`, and those behind them, are not settled.
    fn unsettle(&mut self, key: &OrderKey, span: Span, time: Micros) {
        let low = self.cursor.low;
        let OrderKey::Own(event) = *key else {
            let parked = self.cursor.parked.get_mut(key);
            if let Some(parked) = parked {
                let head = parked.head.take_if(|head| head.event >= span.from);
                self.attempts
                    .retain(|event, _| head.as_ref().is_none_or(|head| head.event != *event));
                parked.waits_from = parked.waits_from.min(span.from);
                if parked.head.is_none() && span.from > low {
                    self.cursor.parked.remove(key);
                }
            } else if span.from <= low {
                let parked = Parked {
                    head: None,
                    waits_from: span.from,
                };
                self.cursor.parked.insert(key.clone(), parked);
            }
            return;
        };
        let head = Head {
            event,
            attempt: 0,
            free: 0,
            due: time,
            replay: false,
            class: FailureClass::Retry,
            reason: "the canary that had done it was taken back".into(),
            kept: None,
        };
        let parked = Parked {
            head: Some(head),
            waits_from: low.next(),
        };
        self.cursor.parked.insert(key.clone(), parked);
    }

    /// The canary runs for all keys, and the plugin's state takes over what it wrote.
    pub(super) fn merge_own(&mut self, merged: &Merged, warnings: &[String]) {
        for write in &merged.writes {
            let value = write.value.as_ref().map(|value| Bytes::copy_from_slice(value));
            self.key_values.write(&write.key, value);
        }
        self.own = None;
        self.promote(merged.version, warnings);
    }
}

/// The key of the event that is a dead letter, where the event is kept.
fn key_of(dead: &Dead, event: Offset) -> Option<OrderKey> {
    let kept = dead.kept.as_ref()?;
    let record = record::event(&kept.record).ok().flatten()?;
    Some(OrderKey::of(record.key, event))
}
