//! How far a plugin has settled: a low-water mark, the settled offsets above it, and the keys that are parked.
//!
//! The cursor is part of the fold: it is made from outcomes alone, and it is small: it grows with the number
//! of parked keys, not with the number of events that wait behind them. Those are found again by reading the
//! log from the oldest parked event on ([`Parked::waits`]), since every event of a parked key behind
//! `waits_from` and up to the low-water mark is unsettled. Above the mark, which only several lanes leave behind,
//! every event is unsettled that is not in the set; `delivery::queue` says where the mark may stand.

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::log::record::{FailureClass, Outcome, Verdict};

/// What must stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OrderKey {
    /// The events of one key.
    Key(Box<str>),
    /// One event without a key.
    Own(Offset),
}

impl OrderKey {
    /// The order key of the event at `offset`.
    pub fn of(key: Option<&str>, offset: Offset) -> Self {
        key.map_or(Self::Own(offset), |key| Self::Key(key.into()))
    }

    /// The key, where the event has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Own(_) => None,
        }
    }
}

/// How far a plugin has settled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Every matching event up to here is settled, or belongs to a parked key.
    pub low: Offset,
    /// The parked keys.
    pub parked: BTreeMap<OrderKey, Parked>,
    /// Events above the low-water mark that are not fresh any more: settled, or waiting for a retry.
    #[serde(default)]
    pub above: BTreeSet<Offset>,
}

/// A parked key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    /// The event that waits for a retry; `None` while the events behind a settled one are worked off.
    pub head: Option<Head>,
    /// Events of the key from here up to the low-water mark are unsettled.
    pub waits_from: Offset,
}

/// The event of a parked key that waits for its next attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its offset.
    pub event: Offset,
    /// Attempts made.
    pub attempt: u32,
    /// Those of them that cost nothing, since the breaker was open.
    pub free: u32,
    /// Not before this time.
    pub due: Micros,
    /// Whether it was an operator's redrive.
    pub replay: bool,
    /// Class of the last failure.
    pub class: FailureClass,
    /// Reason of the last failure.
    pub reason: Box<str>,
    /// The event; `None` where an older version parked it, and it is in the log alone.
    #[serde(default)]
    pub kept: Option<Kept>,
}

impl Parked {
    /// Whether the event of this key at `offset` is unsettled and waits, under the low-water mark `low`.
    pub fn waits(&self, offset: Offset, low: Offset) -> bool {
        self.waits_from <= offset
            && offset <= low
            && self.head.as_ref().is_none_or(|head| head.event != offset)
    }
}

impl Cursor {
    /// What `outcome` does to the cursor.
    pub fn apply(&mut self, outcome: &Outcome<'_>) {
        let event = outcome.event();
        self.low = self.low.max(Offset(outcome.low_water));
        let is_apart = outcome.replay && !outcome.rewind.as_ref().is_some_and(|of| of.historic);
        if event > self.low && !is_apart {
            self.above.insert(event);
        }
        while self.above.first().is_some_and(|first| *first <= self.low) {
            self.above.pop_first();
        }
        let key = OrderKey::of(outcome.key, event);
        match outcome.verdict {
            Verdict::Retry { due, failure } => {
                let parked = self.park(key, outcome);
                let before = parked.head.as_ref().filter(|head| head.event == event);
                parked.head = Some(Head {
                    event,
                    attempt: outcome.attempt,
                    free: before.map_or(0, |head| head.free) + u32::from(outcome.free),
                    due: Micros(due),
                    replay: outcome.replay,
                    class: failure.class,
                    reason: failure.reason.into(),
                    kept: None,
                });
            }
            Verdict::Done | Verdict::Dead { .. } if outcome.cleared => {
                self.parked.remove(&key);
            }
            Verdict::Done | Verdict::Dead { .. } => self.park(key, outcome).head = None,
        }
    }

    /// `key` is parked behind `outcome`.
    fn park(&mut self, key: OrderKey, outcome: &Outcome<'_>) -> &mut Parked {
        let waits_from = self.low.next();
        let parked = self.parked.entry(key).or_insert(Parked {
            head: None,
            waits_from,
        });
        match outcome.waits_from {
            Some(from) => parked.waits_from = Offset(from),
            None => parked.pass(outcome.event()),
        }
        parked
    }

    /// Everything up to `through` that is not settled will never be: go on behind it. Heads of parked keys stay that are kept.
    pub fn skip(&mut self, through: Offset) {
        self.low = self.low.max(through);
        self.above.retain(|offset| *offset > through);
        let low = self.low;
        self.parked.retain(|_, parked| {
            parked.waits_from = parked.waits_from.max(through.next());
            // One that is in the log alone is gone with it.
            parked
                .head
                .take_if(|head| head.kept.is_none() && head.event <= through);
            parked.head.is_some() || parked.waits_from <= low
        });
    }

    /// Whether the event of `key` at `offset` was taken up and came to its end, where it matches.
    pub fn has_settled(&self, key: &OrderKey, offset: Offset) -> bool {
        if offset > self.low {
            return self.above.contains(&offset) && !self.parked.contains_key(key);
        }
        self.parked.get(key).is_none_or(|parked| {
            let is_head = parked.head.as_ref().is_some_and(|head| head.event == offset);
            !is_head && (key.name().is_none() || !parked.waits(offset, self.low))
        })
    }

    /// The head of `key`, where it is the event at `event`.
    pub fn head_mut(&mut self, key: &OrderKey, event: Offset) -> Option<&mut Head> {
        let head = self.parked.get_mut(key)?.head.as_mut();
        head.filter(|head| head.event == event)
    }

    /// Nothing before this offset is needed to go on.
    pub fn needs_from(&self) -> Offset {
        let heads = self.parked.values().filter_map(|parked| parked.head.as_ref());
        let unkept = heads.filter(|head| head.kept.is_none()).map(|head| head.event);
        let oldest = unkept.chain(self.oldest_waiting()).min();
        oldest.map_or(self.low.next(), |oldest| oldest.min(self.low.next()))
    }

    /// The oldest offset that has to be read again to find what waits behind parked keys.
    pub fn oldest_waiting(&self) -> Option<Offset> {
        self.parked
            .iter()
            .filter(|(key, _)| matches!(key, OrderKey::Key(_)))
            .map(|(_, parked)| parked.waits_from)
            .min()
            .filter(|oldest| *oldest <= self.low)
    }
}

impl Parked {
    /// The event at `offset` was attempted by the only lane: what waits lies behind it.
    fn pass(&mut self, offset: Offset) {
        if offset >= self.waits_from {
            self.waits_from = offset.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::FailureRecord;

    const FAILURE: FailureRecord<'_> = FailureRecord {
        class: FailureClass::Trap,
        reason: "r",
    };

    fn outcome<'a>(
        event: u64,
        low: u64,
        verdict: Verdict<'a>,
        key: Option<&'a str>,
        cleared: bool,
    ) -> Outcome<'a> {
        Outcome {
            plugin: "p",
            event,
            attempt: 1,
            verdict,
            key,
            cleared,
            low_water: low,
            ..Outcome::default()
        }
    }

    fn retry<'a>() -> Verdict<'a> {
        Verdict::Retry {
            due: 9,
            failure: FAILURE,
        }
    }

    #[test]
    fn a_settled_event_moves_the_low_water_mark_and_parks_nothing() {
        let mut cursor = Cursor::default();
        cursor.apply(&outcome(3, 3, Verdict::Done, None, true));
        assert_eq!((cursor.low, cursor.parked.len()), (Offset(3), 0));
    }

    #[test]
    fn events_behind_a_parked_one_wait_until_the_key_is_cleared() {
        let mut cursor = Cursor::default();
        let key = OrderKey::Key("k".into());
        cursor.apply(&outcome(3, 3, retry(), Some("k"), false));
        cursor.apply(&outcome(6, 6, Verdict::Done, None, true));
        let parked = &cursor.parked[&key];
        assert!(
            !parked.waits(Offset(3), cursor.low),
            "the head itself is no waiting event"
        );
        assert!(parked.waits(Offset(4), cursor.low) && parked.waits(Offset(6), cursor.low));
        assert!(
            !parked.waits(Offset(7), cursor.low),
            "above the low-water mark it is simply fresh"
        );
        cursor.apply(&outcome(3, 6, Verdict::Done, Some("k"), false));
        assert!(cursor.parked[&key].head.is_none());
        cursor.apply(&outcome(4, 6, Verdict::Done, Some("k"), false));
        assert!(!cursor.parked[&key].waits(Offset(4), cursor.low));
        assert!(cursor.parked[&key].waits(Offset(5), cursor.low));
        cursor.apply(&outcome(5, 6, Verdict::Done, Some("k"), true));
        assert!(cursor.parked.is_empty());
    }

    #[test]
    fn a_redrive_that_fails_parks_its_key_from_the_low_water_mark_on() {
        let mut cursor = Cursor {
            low: Offset(50),
            ..Cursor::default()
        };
        cursor.apply(&outcome(3, 50, retry(), Some("k"), false));
        let parked = &cursor.parked[&OrderKey::Key("k".into())];
        assert!(
            !parked.waits(Offset(20), Offset(60)),
            "what lies between was settled long ago"
        );
        assert!(parked.waits(Offset(51), Offset(60)));
    }

    #[test]
    fn behind_a_gap_the_head_of_a_key_stays_that_is_kept_and_what_waited_for_it_does_not() {
        let mut cursor = Cursor::default();
        let key = OrderKey::Key("k".into());
        cursor.apply(&outcome(3, 3, retry(), Some("k"), false));
        let kept = Kept {
            recorded: Micros(1),
            record: bytes::Bytes::new(),
        };
        cursor.head_mut(&key, Offset(3)).unwrap().kept = Some(kept);
        cursor.apply(&outcome(4, 4, retry(), None, false));
        cursor.apply(&outcome(5, 5, retry(), Some("other"), false));
        cursor.apply(&outcome(5, 9, Verdict::Done, Some("other"), false));
        cursor.skip(Offset(20));
        assert_eq!((cursor.low, cursor.parked.len()), (Offset(20), 1));
        let parked = &cursor.parked[&key];
        assert!(parked.head.is_some() && !parked.waits(Offset(20), cursor.low));
        assert_eq!(cursor.oldest_waiting(), None);
        cursor.skip(Offset(7));
        assert_eq!(cursor.low, Offset(20), "a gap never goes back");
    }

    #[test]
    fn what_is_parked_waits_or_is_not_passed_is_not_settled() {
        let mut cursor = Cursor::default();
        cursor.apply(&outcome(3, 3, retry(), Some("k"), false));
        cursor.apply(&outcome(5, 5, retry(), None, false));
        cursor.apply(&outcome(9, 8, Verdict::Done, None, true));
        for (key, offset, is_settled) in [
            (Some("k"), 2, true),
            (Some("k"), 3, false),
            (Some("k"), 4, false),
            (Some("k"), 8, false),
            (Some("other"), 4, true),
            (None, 4, true),
            (None, 5, false),
            (None, 9, true),
            (Some("other"), 10, false),
        ] {
            let key = OrderKey::of(key, Offset(offset));
            assert_eq!(
                cursor.has_settled(&key, Offset(offset)),
                is_settled,
                "{key:?} at {offset}"
            );
        }
    }

    #[test]
    fn an_event_without_a_key_parks_only_itself() {
        let mut cursor = Cursor::default();
        cursor.apply(&outcome(3, 3, retry(), None, false));
        assert!(cursor.parked.contains_key(&OrderKey::Own(Offset(3))));
        assert_eq!(cursor.oldest_waiting(), None);
        assert_eq!(cursor.needs_from(), Offset(3), "it is in the log alone");
        cursor.apply(&outcome(3, 3, Verdict::Done, None, true));
        assert!(cursor.parked.is_empty());
    }
}
