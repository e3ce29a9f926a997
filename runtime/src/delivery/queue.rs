//! What one lane delivers next.
//!
//! The queue lives in memory and is made anew at every start, from the cursor and the log. It keeps the order
//! per key: while a key is parked, its later events wait here behind it.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use nerve_eventlog::{Entry, Micros, Offset};

use super::cursor::{Cursor, OrderKey};

/// A delivery that may run now.
#[derive(Debug, Clone)]
pub enum Turn {
    /// The oldest event of a parked key: its retry is due.
    Retry(OrderKey),
    /// An event that waited behind a settled one of its key.
    Behind(Box<str>, Offset),
    /// An event that was not looked at before.
    Fresh(Entry),
}

/// What one lane delivers next.
#[derive(Debug, Default)]
pub struct Queue {
    /// Retries, by when they are due.
    due: BTreeSet<(Micros, OrderKey)>,
    /// Events behind parked keys, in order. A key is in here exactly while it is parked.
    waiting: HashMap<Box<str>, VecDeque<Offset>>,
    /// Parked keys whose next event may run now.
    ready: VecDeque<Box<str>>,
    /// Events taken from the log, in order.
    fresh: VecDeque<Entry>,
    /// The last offset taken from the log.
    taken: Offset,
    /// The last offset that was delivered or waits.
    passed: Offset,
    /// Whether the last turn was a fresh event's: fresh events and those behind parked keys take turns.
    fresh_last: bool,
}

impl Queue {
    /// The queue that goes on where `cursor` stands, with nothing behind its parked keys yet.
    pub fn new(cursor: &Cursor) -> Self {
        let mut queue = Self {
            taken: cursor.low,
            passed: cursor.low,
            ..Self::default()
        };
        for (key, parked) in &cursor.parked {
            if let Some(name) = key.name() {
                queue.waiting.insert(name.into(), VecDeque::new());
            }
            if let Some(head) = &parked.head {
                queue.due.insert((head.due, key.clone()));
            }
        }
        queue
    }

    /// An event of a parked key, found by reading the log again after a start.
    pub fn recover(&mut self, key: &str, offset: Offset) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.push_back(offset);
        }
    }

    /// Everything was recovered: keys without a retry go on with what waits.
    pub fn recovered(&mut self, cursor: &Cursor) {
        for (key, parked) in &cursor.parked {
            if let (Some(name), None) = (key.name(), &parked.head) {
                self.work_off(name);
            }
        }
    }

    /// The next delivery that may run at `now`.
    pub fn next(&mut self, now: Micros) -> Option<Turn> {
        if let Some((due, _)) = self.due.first()
            && *due <= now
        {
            return self.due.pop_first().map(|(_, key)| Turn::Retry(key));
        }
        if self.fresh_last
            && let Some(turn) = self.next_behind()
        {
            self.fresh_last = false;
            return Some(turn);
        }
        self.next_fresh().or_else(|| self.next_behind())
    }

    /// The next delivery for a probe, retries before they are due included: rather a `fresh` event, or rather
    /// the retry that waits longest.
    pub fn probe(&mut self, fresh: bool) -> Option<Turn> {
        if fresh && let Some(turn) = self.next_fresh() {
            return Some(turn);
        }
        let retry = self.due.pop_first().map(|(_, key)| Turn::Retry(key));
        retry.or_else(|| self.next_behind()).or_else(|| self.next_fresh())
    }

    /// When the next retry is due.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    /// From where to take events from the log, when there are none left.
    pub fn wants_from(&self) -> Option<Offset> {
        self.fresh.is_empty().then_some(self.taken)
    }

    /// Events were taken from the log, up to `taken`.
    pub fn take(&mut self, events: impl Iterator<Item = Entry>, taken: Offset) {
        self.fresh.extend(events);
        self.taken = self.taken.max(taken);
    }

    /// The event at `offset` with `key` has its turn as a fresh one: whether it may run, or waits behind its
    /// parked key. Either way the low-water mark passes it.
    pub fn pass(&mut self, key: Option<&str>, offset: Offset) -> bool {
        self.passed = offset;
        if self.waiting.is_empty() {
            return true;
        }
        match key.and_then(|key| self.waiting.get_mut(key)) {
            Some(waiting) => {
                waiting.push_back(offset);
                false
            }
            None => true,
        }
    }

    /// Every matching event up to here was delivered, or waits.
    pub fn passed(&self) -> Offset {
        self.passed
    }

    /// How many events wait behind `key`.
    pub fn behind(&self, key: Option<&str>) -> usize {
        key.and_then(|key| self.waiting.get(key)).map_or(0, VecDeque::len)
    }

    /// Whether `key` is parked.
    pub fn is_parked(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.waiting.contains_key(key))
    }

    /// A delivery of `key` is to be tried again at `due`: the key is parked.
    pub fn park(&mut self, key: OrderKey, due: Micros) {
        if let Some(name) = key.name()
            && !self.waiting.contains_key(name)
        {
            self.waiting.insert(name.into(), VecDeque::new());
        }
        self.due.insert((due, key));
    }

    /// A delivery of `key` is settled for good: what waits behind it goes on.
    pub fn settled(&mut self, key: Option<&str>) {
        if let Some(key) = key.filter(|key| self.waiting.contains_key(*key)) {
            self.work_off(key);
        }
    }

    /// Another version runs: every retry is due at `now`, and events are taken from the log again, for it may
    /// subscribe to others.
    pub fn swapped(&mut self, now: Micros) {
        self.due = std::mem::take(&mut self.due)
            .into_iter()
            .map(|(due, key)| (due.min(now), key))
            .collect();
        self.fresh.clear();
        self.taken = self.passed;
    }

    fn work_off(&mut self, key: &str) {
        if self.waiting.get(key).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(key);
        } else {
            self.ready.push_back(key.into());
        }
    }

    fn next_fresh(&mut self) -> Option<Turn> {
        let entry = self.fresh.pop_front()?;
        self.fresh_last = true;
        Some(Turn::Fresh(entry))
    }

    fn next_behind(&mut self) -> Option<Turn> {
        let key = self.ready.pop_front()?;
        let offset = self.waiting.get_mut(&key)?.pop_front()?;
        Some(Turn::Behind(key, offset))
    }
}
