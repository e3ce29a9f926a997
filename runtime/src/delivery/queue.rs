//! What the lanes of one plugin deliver next.
//!
//! The queue lives in memory and is made anew at every start, from the cursor and the log. It keeps the order
//! per key: while a key is parked, its later events wait here behind it. With several lanes a key whose event is
//! being delivered is kept in the same way, so that the rest is the same for one lane and for many.
//!
//! # The low-water mark of several lanes
//! What an outcome says of the cursor must be enough to make this queue again. For each event that was looked at
//! there are four cases:
//! - It is being delivered as a fresh one: the mark stays below it ([`Queue::low`]).
//! - It waits, and its key is parked in the fold: the mark may pass it, for `waits_from` says that it waits.
//! - It waits behind an event that is being delivered, and its key is not parked in the fold. Where that event is a
//!   fresh one, the mark is below both. Where it is a dead letter that is delivered again, it lies far behind, so
//!   the mark is held where it was when the delivery began. When either is settled the key is parked, or nothing
//!   waits behind it: this case ends with the delivery.
//! - It was taken up behind one that is being delivered, and has not begun, or was given back: it has a hold until it begins
//!   or waits, and the mark stays below it.
//!
//! While a rewind runs there is a second queue of this kind, and an event may have to wait for what the other one
//! delivers ([`Queue::set_aside`]). Nothing of its key is under way or parked here, so the mark stays below it until the
//! outcome of its own delivery says what becomes of the key.
//!
//! What was settled above the mark is a set in the cursor, and those events are passed over after a start. An
//! event of a parked key that is above the mark is found again as a fresh one, behind its key.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use nerve_eventlog::{Entry, Micros, Offset};

use super::cursor::{Cursor, OrderKey};
use super::holds::{Held, Holds};

/// How many events the lanes may pass while an older one is not settled: the offsets above the low-water mark, and
/// those that wait behind a delivery under way, are kept in memory.
const RUN_AHEAD: usize = 65_536;

/// A delivery that may run now.
#[derive(Debug, Clone)]
pub enum Turn {
    /// The oldest event of a parked key: its retry is due.
    Retry(OrderKey),
    /// An event that waited behind a settled one of its key.
    Behind(Box<str>, Offset),
    /// An event without a key that was set aside.
    Aside(Offset, Hold),
    /// An event that was not looked at before.
    Fresh(Entry),
}

/// A delivery that has its turn, where it may run.
#[derive(Debug, Clone, Copy)]
pub enum Wish<'a> {
    /// A retry.
    Retry(&'a OrderKey),
    /// The event that waits behind one of its key.
    Behind(&'a str, Offset),
    /// An event without a key that was set aside.
    Aside(Offset),
}

/// What holds the low-water mark back while a delivery is under way: where, and for which event.
pub type Hold = Option<Held>;

/// What the lanes of one plugin deliver next.
#[derive(Debug, Default)]
pub struct Queue {
    /// Retries, by when they are due.
    due: BTreeSet<(Micros, OrderKey)>,
    /// Events behind parked keys and, with several lanes, behind keys with a delivery under way. A key is in here
    /// exactly while it is one of these.
    waiting: HashMap<Box<str>, Waiting>,
    /// Parked keys whose next event may run now.
    ready: VecDeque<Box<str>>,
    /// Events taken from the log, in order.
    fresh: VecDeque<Entry>,
    /// The last offset taken from the log.
    taken: Offset,
    /// The last offset that was delivered or waits, or was taken up to be delivered.
    passed: Offset,
    /// Whether the last turn was a fresh event's: fresh events and those behind parked keys take turns.
    fresh_last: bool,
    /// Whether more than one delivery may be under way.
    several: bool,
    /// Deliveries under way.
    under_way: usize,
    /// What holds the low-water mark back.
    holds: Holds,
    /// Offsets above the low-water mark that are settled, as the start found them.
    settled_above: BTreeSet<Offset>,
    /// How many events wait behind keys that were never parked.
    crowd: usize,
    /// Events without a key that were set aside.
    aside: BTreeSet<Offset>,
}

/// What waits behind a key.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Offset>,
    /// Whether the key is, or was, parked: what waits behind it is then none of the crowd, so that a key which
    /// is in trouble holds nobody up.
    parked: bool,
    /// What holds the low-water mark back for the first of the events, which was set aside.
    hold: Hold,
}

impl Queue {
    /// The queue that goes on where `cursor` stands, for `several` lanes or for one, with nothing behind its
    /// parked keys yet.
    pub fn new(cursor: &Cursor, several: bool) -> Self {
        let mut queue = Self {
            several,
            taken: cursor.low,
            passed: cursor.low,
            settled_above: cursor.above.clone(),
            ..Self::default()
        };
        for (key, parked) in &cursor.parked {
            if let Some(name) = key.name() {
                queue.waiting.insert(name.into(), Waiting::parked());
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
            waiting.events.push_back(offset);
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

    /// The next delivery that may run at `now`, a fresh one only where `fresh` may run; what else has its turn runs
    /// where it `may`.
    pub fn next(&mut self, now: Micros, fresh: bool, may: impl Fn(Wish<'_>) -> bool) -> Option<Turn> {
        if let Some(turn) = self.next_retry(now, &may) {
            return Some(turn);
        }
        if (self.fresh_last || !fresh)
            && let Some(turn) = self.next_behind(&may)
        {
            self.fresh_last = false;
            return Some(turn);
        }
        let turn = if fresh { self.next_fresh() } else { None };
        turn.or_else(|| self.next_behind(&may))
    }

    /// The next delivery for a probe, retries before they are due included: rather a `fresh` event, which was never
    /// tried, also where it waited behind another of its key; or rather the retry that waits longest.
    pub fn probe(&mut self, fresh: bool, may: impl Fn(Wish<'_>) -> bool) -> Option<Turn> {
        if fresh && let Some(turn) = self.next_fresh().or_else(|| self.next_behind(&may)) {
            return Some(turn);
        }
        let retry = self.next_retry(Micros(u64::MAX), &may);
        retry
            .or_else(|| self.next_behind(&may))
            .or_else(|| self.next_fresh())
    }

    /// Whether there is more to deliver at `now`.
    pub fn has_more(&self, now: Micros) -> bool {
        !self.fresh.is_empty() || !self.ready.is_empty() || !self.aside.is_empty() || self.is_due(now)
    }

    /// When the next retry is due that is not due at `now`: one that is may not run yet.
    pub fn next_due(&self, now: Micros) -> Option<Micros> {
        let mut due = self.due.iter().map(|(due, _)| *due);
        due.find(|due| *due > now)
    }

    /// Whether a retry is due at `now`.
    pub fn is_due(&self, now: Micros) -> bool {
        self.due.first().is_some_and(|(due, _)| *due <= now)
    }

    /// When the last retry is due.
    pub fn last_due(&self) -> Option<Micros> {
        self.due.last().map(|(due, _)| *due)
    }

    /// The next fresh event, where nothing else waits for its turn.
    pub fn take_up(&mut self) -> Option<Entry> {
        if self.stalled() > 0 {
            return None;
        }
        self.fresh.pop_front()
    }

    /// One that was taken up and had no turn has it next.
    pub fn put_back(&mut self, entry: Entry) {
        self.fresh.push_front(entry);
    }

    /// How many events were taken from the log and had no turn yet.
    pub fn fresh(&self) -> usize {
        self.fresh.len()
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

    /// Whether a fresh event may run while so many are `settled_above` the low-water mark.
    pub fn may_run_ahead(&self, settled_above: usize) -> bool {
        self.under_way == 0 || (settled_above < RUN_AHEAD && self.crowd < RUN_AHEAD)
    }

    /// Whether the key of a fresh event matters to [`Self::pass`] and to what begins.
    pub fn minds_keys(&self) -> bool {
        self.several || !self.waiting.is_empty()
    }

    /// The event at `offset` with `key` has its turn as a fresh one: whether it may run, or waits behind its key,
    /// or was settled before the start. In any case it is passed.
    pub fn pass(&mut self, key: Option<&str>, offset: Offset) -> bool {
        self.passed = self.passed.max(offset);
        if !self.settled_above.is_empty() && self.settled_above.remove(&offset) {
            return false;
        }
        if self.waiting.is_empty() {
            return true;
        }
        match key.and_then(|key| self.waiting.get_mut(key)) {
            Some(waiting) => {
                waiting.events.push_back(offset);
                self.crowd += usize::from(!waiting.parked);
                self.holds.remove((offset, offset));
                false
            }
            None => true,
        }
    }

    /// The delivery of the fresh event at `offset` begins.
    pub fn begin_fresh(&mut self, key: Option<&str>, offset: Offset) -> Hold {
        self.begin(key, (offset, offset))
    }

    /// The delivery of the fresh event at `offset`, which was passed and may run, is to begin behind others that are under way:
    /// where there is one lane, it needs a hold for that.
    pub fn begin_ahead(&mut self, key: Option<&str>, offset: Offset) -> Hold {
        self.holds.insert((offset, offset));
        self.begin_fresh(key, offset)
    }

    /// Those of `ahead`, in order, which [`Self::begin_ahead`] was told of, do not begin: they have their turn again, before those
    /// behind them.
    pub fn give_back(
        &mut self,
        ahead: impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator,
        key: impl Fn(&Entry) -> Option<&str>,
    ) {
        self.under_way -= ahead.len();
        if self.several {
            // No two of them have one key, and others may have passed events behind them.
            ahead.for_each(|entry| self.set_aside(key(&entry), entry.offset));
            return;
        }
        // They keep their holds until they begin, or wait.
        ahead.rev().for_each(|entry| self.fresh.push_front(entry));
    }

    /// The first of those that were given back and had no other turn.
    fn first_back(&self) -> Option<Offset> {
        let first = self.fresh.front().map(|entry| entry.offset);
        first.filter(|first| *first <= self.passed)
    }

    /// The delivery of the dead letter of `event`, whose key has nothing waiting, begins.
    pub fn begin_redrive(&mut self, key: Option<&str>, event: Offset) -> Hold {
        self.begin(key, (self.passed.next(), event))
    }

    /// The delivery of an event of a parked key begins, or of one that was set aside.
    pub fn begin_parked(&mut self, key: Option<&str>) -> Hold {
        self.under_way += 1;
        key.and_then(|key| self.waiting.get_mut(key)?.hold.take())
    }

    /// The delivery of an event without a key begins that was set aside.
    pub fn begin_aside(&mut self) {
        self.under_way += 1;
    }

    /// The event at `offset` with `key`, which was passed and could run, must wait for the other queue.
    pub fn set_aside(&mut self, key: Option<&str>, offset: Offset) {
        let hold = (offset, offset);
        self.holds.insert(hold);
        let Some(key) = key else {
            self.aside.insert(offset);
            return;
        };
        let waiting = self.waiting.entry_ref(key).or_default();
        waiting.events.push_front(offset);
        waiting.hold = Some(hold);
        self.crowd += usize::from(!waiting.parked);
        self.ready.push_back(key.into());
    }

    /// Whether `is` holds of every event that was set aside or waits behind one, with its key.
    pub fn all_waiting(&self, is: impl Fn(Option<&str>, Offset) -> bool) -> bool {
        let mut keys = self.waiting.iter();
        self.aside.iter().all(|event| is(None, *event))
            && keys.all(|(key, waiting)| waiting.events.iter().all(|event| is(Some(key), *event)))
    }

    /// How many events and keys had their turn and must wait for the other queue.
    pub fn stalled(&self) -> usize {
        self.ready.len() + self.aside.len()
    }

    fn begin(&mut self, key: Option<&str>, hold: Held) -> Hold {
        self.under_way += 1;
        if !self.several {
            return self.holds.contains(hold).then_some(hold);
        }
        if let Some(key) = key {
            self.waiting.entry_ref(key).or_default();
        }
        self.holds.insert(hold);
        Some(hold)
    }

    /// A delivery is over. Its outcome says what becomes of its key: [`Self::park`] or [`Self::settled`].
    pub fn end(&mut self, hold: Hold) {
        self.under_way -= 1;
        if let Some(hold) = hold {
            self.holds.remove(hold);
        }
    }

    /// Whether more than one delivery may be under way.
    pub fn has_several(&self) -> bool {
        self.several
    }

    /// Deliveries under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether the dead letter of `event` with `key` may be delivered: not while its key is parked or has a delivery
    /// under way, and not before everything that was settled before the start is passed, or given back, since it is not known
    /// until then which of its key's events are settled.
    pub fn may_redrive(&self, key: Option<&str>, event: Offset) -> bool {
        self.settled_above.is_empty()
            && self.first_back().is_none()
            && !key.is_some_and(|key| self.waiting.contains_key(key))
            && !self.holds.are_for(event)
    }

    /// Every matching event up to here is settled, or waits behind a key that the fold knows to be parked.
    pub fn low(&self) -> Offset {
        self.holds.lowest().map_or(self.passed, Offset::prev)
    }

    /// Every matching event up to here was delivered, is being delivered, or waits.
    pub fn passed(&self) -> Offset {
        self.passed
    }

    /// Up to where nothing is left to deliver, retries of parked keys apart; `None` while anything waits behind a key
    /// or is under way.
    pub fn nothing_left(&self) -> Option<Offset> {
        let is_idle =
            self.fresh.is_empty() && self.waiting.is_empty() && self.aside.is_empty() && self.under_way == 0;
        is_idle.then_some(self.taken)
    }

    /// Whether everything that was taken had its turn; the last offset that was taken.
    pub fn all_passed(&self) -> Option<Offset> {
        self.fresh.is_empty().then_some(self.taken)
    }

    /// How many events wait behind `key`.
    pub fn behind(&self, key: Option<&str>) -> usize {
        key.and_then(|key| self.waiting.get(key))
            .map_or(0, |waiting| waiting.events.len())
    }

    /// The first offset that an event waiting behind the one at `event` with `key` has, or may have; after a start that is no less than what
    /// the cursor says of a parked key, for what was settled above the mark may not be passed yet.
    pub fn waits_from(&self, key: Option<&str>, event: Offset) -> Offset {
        let waiting = key.and_then(|key| self.waiting.get(key)?.events.front().copied());
        // Of those that were given back some may be of this key, but none before its event.
        let first_back = || self.first_back().map(|first| first.max(event.next()));
        waiting.or_else(first_back).unwrap_or(self.passed.next())
    }

    /// A delivery of `key` is to be tried again at `due`: the key is parked.
    pub fn park(&mut self, key: OrderKey, due: Micros) {
        if let Some(name) = key.name() {
            let waiting = self.waiting.entry_ref(name).or_default();
            if !waiting.parked {
                self.crowd -= waiting.events.len();
                waiting.parked = true;
            }
        }
        self.due.insert((due, key));
    }

    /// A delivery of `key` is settled for good: what waits behind it goes on.
    pub fn settled(&mut self, key: Option<&str>) {
        if let Some(key) = key.filter(|key| self.waiting.contains_key(*key)) {
            self.work_off(key);
        }
    }

    /// Another version runs, in several lanes or in one: every retry is due at `now`, and events are taken from
    /// the log again but for those that were given back. No delivery is under way.
    pub fn swapped(&mut self, now: Micros, several: bool) {
        self.due = std::mem::take(&mut self.due)
            .into_iter()
            .map(|(due, key)| (due.min(now), key))
            .collect();
        let given_back = self.fresh.partition_point(|entry| entry.offset <= self.passed);
        self.fresh.truncate(given_back);
        self.taken = self.passed;
        self.several = several;
    }

    fn work_off(&mut self, key: &str) {
        if self.behind(Some(key)) == 0 {
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

    fn next_retry(&mut self, now: Micros, may: &impl Fn(Wish<'_>) -> bool) -> Option<Turn> {
        let mut due = self.due.iter().take_while(|(due, _)| *due <= now);
        let next = due.find(|(_, key)| may(Wish::Retry(key)))?.clone();
        self.due.remove(&next);
        Some(Turn::Retry(next.1))
    }

    fn next_behind(&mut self, may: &impl Fn(Wish<'_>) -> bool) -> Option<Turn> {
        let is_next = |key: &str| {
            let first = self.waiting.get(key).and_then(|waiting| waiting.events.front());
            first.is_some_and(|offset| may(Wish::Behind(key, *offset)))
        };
        if let Some(at) = self.ready.iter().position(|key| is_next(key)) {
            let key = self.ready.remove(at)?;
            let waiting = self.waiting.get_mut(&key)?;
            let offset = waiting.events.pop_front()?;
            self.crowd -= usize::from(!waiting.parked);
            return Some(Turn::Behind(key, offset));
        }
        let aside = self.aside.iter().find(|offset| may(Wish::Aside(**offset)));
        let offset = aside.copied()?;
        self.aside.remove(&offset);
        Some(Turn::Aside(offset, Some((offset, offset))))
    }
}

impl Waiting {
    fn parked() -> Self {
        Self {
            parked: true,
            ..Self::default()
        }
    }
}
