//! State and cursor that go back with a version, and what is delivered again since.
//!
//! When a version stops to be live, the fold keeps where it left: the cursor, the subscription and the dead letters, as they
//! are between two events. A rollback that takes the state back puts them in place again, with what the keys of the
//! state held, which its record carries. What was settled since is then unsettled: it is delivered again by the plugin's own
//! lanes, in the order of the log and of each key, parked as any event is, and before what comes later of its key.
//!
//! What was *done* since has happened: its events were emitted, somebody outside was called. So the fold also keeps how far
//! the plugin was, and an event that was done is delivered as one of the rollback, its effects muted as ordered. What
//! was given up, waited or had not had its turn has had no effect yet, and is delivered as any other.
//!
//! A timer is an event that is emitted later. Those that are set stay so where emitting is muted, for they have happened; else those
//! that were set since are cancelled, for they are set again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::{Dead, OfRewind, PluginState};
use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::kept::Kept;
use crate::delivery::subscription::Subscription;
use crate::log::record::{Event, Mute, Outcome, RolledBack, StateBack, Verdict, VersionId};

/// Versions of a plugin of which it is kept where they left, at most.
const MOST_LEFT: usize = 16;

/// What is kept of them in bytes; of the last one it is kept in any case.
const MOST_LEFT_BYTES: usize = 4 << 20;

/// What an entry counts beside the event that it keeps.
const ENTRY_BYTES: usize = 128;

/// How often the plugin may go on from where a version left, to somewhere else, before that is kept no more.
pub const MOST_AGAIN: usize = 64;

/// Where a version left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// The record with which it stopped to be live.
    pub at: Offset,
    /// How far the plugin had settled.
    pub cursor: Cursor,
    /// What it subscribed to.
    pub subscription: Subscription,
    /// The rewind that ran and wrote into the state.
    pub rewinding: Option<Offset>,
    dead: BTreeMap<Offset, Dead>,
    redrive: BTreeSet<Offset>,
    /// Dead letters that an operator gave up since.
    dropped: BTreeSet<Offset>,
    /// How far the plugin was whenever a version left since, and what was done before and not delivered again by then.
    done: Vec<Done>,
    /// Dead letters whose event was done since, by whatever delivery.
    #[serde(default)]
    cured: BTreeSet<Offset>,
}

/// What is delivered again since state and cursor went back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// The rollback's record.
    pub generation: Offset,
    /// When that was.
    pub since: Micros,
    /// The record before which state and cursor are what they were.
    pub to: Offset,
    /// Where the cursor went back to.
    pub from: Offset,
    /// The last event that was settled by then.
    pub through: Offset,
    /// What does not happen again.
    pub mute: Mute,
    /// Outcomes of what is delivered again: done, retry, dead.
    pub counters: [u64; 3],
    /// Effects that did not happen.
    pub muted: u64,
    /// What was done by then, under whichever version since the one that it went back to left.
    done: Vec<Done>,
}

/// How far a plugin was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Done {
    cursor: Cursor,
    subscription: Subscription,
    /// Events that were given up.
    given_up: BTreeSet<Offset>,
}

impl Left {
    fn of(state: &PluginState, at: Offset) -> Self {
        let rewinding = state.rewinding.as_deref();
        Self {
            at,
            cursor: state.cursor.clone(),
            subscription: state.subscription.clone(),
            rewinding: rewinding.and_then(|one| (!one.order.fresh).then_some(one.generation)),
            dead: state.dead.clone(),
            redrive: state.redrive.clone(),
            dropped: BTreeSet::new(),
            done: state
                .again
                .as_ref()
                .map(|again| again.done.clone())
                .unwrap_or_default(),
            cured: BTreeSet::new(),
        }
    }

    /// How often the plugin went on from it, to somewhere else.
    pub fn depth(&self) -> usize {
        self.done.len()
    }

    /// Whether it keeps the event at `event`, wherever that is in the log.
    pub fn keeps(&self, event: Offset) -> bool {
        let heads = self
            .cursor
            .parked
            .values()
            .filter_map(|parked| parked.head.as_ref());
        let mut kept = heads.filter(|head| head.kept.is_some());
        kept.any(|head| head.event == event) || self.dead.contains_key(&event)
    }

    fn bytes(&self) -> usize {
        let heads = self
            .cursor
            .parked
            .values()
            .map(|parked| parked.head.as_ref()?.kept.as_ref());
        let letters = self.dead.values().map(|dead| dead.kept.as_ref());
        let kept = heads.chain(letters);
        let kept = kept.map(|kept: Option<&Kept>| ENTRY_BYTES + kept.map_or(0, |kept| kept.record.len()));
        kept.sum::<usize>() + self.cursor.above.len() * size_of::<Offset>()
    }
}

impl Done {
    /// How far `state` is, where these events are `given_up` besides its dead letters.
    fn of(state: &PluginState, given_up: &BTreeSet<Offset>) -> Self {
        let mut cursor = state.cursor.clone();
        let heads = cursor
            .parked
            .values_mut()
            .filter_map(|parked| parked.head.as_mut());
        heads.for_each(|head| head.kept = None);
        // A dead letter of a rewind, or of a rollback before, was done once where it was not one already.
        let letters = state.dead.iter().filter(|(_, dead)| dead.was_never_done());
        let letters = letters.map(|(event, _)| *event);
        Self {
            cursor,
            subscription: state.subscription.clone(),
            given_up: letters.chain(given_up.iter().copied()).collect(),
        }
    }

    fn has(&self, event: &Event<'_>, offset: Offset) -> bool {
        self.subscription.wants(event.r#type, offset)
            && !self.given_up.contains(&offset)
            && self.has_settled(&OrderKey::of(event.key, offset), offset)
    }

    /// Above the mark is what was attempted: of a parked key all but its head is settled.
    fn has_settled(&self, key: &OrderKey, offset: Offset) -> bool {
        if offset <= self.cursor.low {
            return self.cursor.has_settled(key, offset);
        }
        let head = self
            .cursor
            .parked
            .get(key)
            .and_then(|parked| parked.head.as_ref());
        self.cursor.above.contains(&offset) && head.is_none_or(|head| head.event != offset)
    }

    fn through(&self) -> Offset {
        let above = self.cursor.above.last();
        above.map_or(self.cursor.low, |last| self.cursor.low.max(*last))
    }
}

impl Again {
    /// Of which rollback the delivery of `event` at `offset` is, where it was done before.
    pub fn of(&self, offset: Offset, event: &Event<'_>) -> Option<OfRewind> {
        let was_done = offset <= self.through && self.done.iter().any(|done| done.has(event, offset));
        was_done.then(|| self.name())
    }

    /// What a canary did that began at `began`, from the event at `from` on, is delivered again, since the record at
    /// `offset` and `time`. These dead letters were `dropped` meanwhile.
    pub(super) fn of_canary(
        state: &PluginState,
        (offset, time): (Offset, Micros),
        (began, from): (Offset, Offset),
        dropped: &BTreeSet<Offset>,
        mute: Mute,
    ) -> Self {
        let before = state.again.as_ref();
        let mut done = before.map(|again| again.done.clone()).unwrap_or_default();
        done.push(Done::of(state, dropped));
        Self {
            generation: offset,
            since: time,
            to: began,
            from,
            through: done.iter().map(Done::through).max().unwrap_or_default(),
            mute,
            counters: [0; 3],
            muted: 0,
            done,
        }
    }

    pub(super) fn name(&self) -> OfRewind {
        OfRewind {
            generation: self.generation,
            mute: self.mute,
        }
    }

    /// Whether all of it is settled where a plugin stands at `cursor`, and has `looked` at everything up to there.
    pub fn is_over(&self, cursor: &Cursor, looked: Offset) -> bool {
        let is_before = |offset: Offset| offset <= self.through;
        cursor.low.max(looked) >= self.through
            && !cursor.parked.iter().any(|(key, parked)| {
                let head = parked.head.as_ref().filter(|head| !head.replay);
                head.is_some_and(|head| is_before(head.event))
                    || (key.name().is_some() && is_before(parked.waits_from))
            })
    }
}

impl PluginState {
    /// The live version stops to be so with the record at `at`: keep where it leaves.
    pub(super) fn leaves(&mut self, at: Offset) {
        let Some(live) = self.live.as_ref().filter(|_| !self.removed) else {
            return;
        };
        let id = live.version.version;
        let mut lefts = std::mem::take(&mut self.lefts);
        for left in lefts.values_mut() {
            left.done.push(Done::of(self, &left.dropped));
        }
        lefts.retain(|_, left| left.done.len() < MOST_AGAIN);
        lefts.insert(id, Left::of(self, at));
        self.lefts = lefts;
        let mut newest: Vec<(Offset, VersionId)> =
            self.lefts.iter().map(|(id, left)| (left.at, *id)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (place, (_, id)) in newest.into_iter().enumerate() {
            bytes += self.lefts[&id].bytes();
            if place > 0 && (place >= MOST_LEFT || bytes > MOST_LEFT_BYTES) {
                self.lefts.remove(&id);
            }
        }
    }

    /// An operator gives up the dead letter of `event`: it has had no effect, unless it was done once and delivered again.
    pub(super) fn gives_up(&mut self, event: Offset) {
        if !self.dead.get(&event).is_some_and(Dead::was_never_done) {
            return;
        }
        for left in self.lefts.values_mut() {
            let cursor = &left.cursor;
            // What it had settled for good does not come back.
            if left.dead.contains_key(&event) || event > cursor.low || !cursor.parked.is_empty() {
                left.dropped.insert(event);
            }
        }
        if let Some(own) = &mut self.own {
            own.drops(event);
        }
    }

    /// The event at `event` is done: its effects have happened, also where it comes back as a dead letter.
    pub(super) fn cures(&mut self, event: Offset) {
        for left in self.lefts.values_mut() {
            if left.dead.contains_key(&event) {
                left.cured.insert(event);
            }
        }
    }

    /// Before a rollback is applied: where state and cursor go back to with it, and how far the plugin is.
    pub(super) fn goes_back<'a>(&self, back: &'a RolledBack) -> Option<GoingBack<'a>> {
        let order = back.state.as_deref()?;
        let left = self.lefts.get(&back.version.version)?.clone();
        let done = Done::of(self, &left.dropped);
        Some(GoingBack { order, left, done })
    }

    /// Behind it, with the rollback's record at `offset` and `time`.
    pub(super) fn go_back(&mut self, offset: Offset, time: Micros, going: GoingBack<'_>) {
        let GoingBack { order, left, done } = going;
        let mut again = Again {
            generation: offset,
            since: time,
            to: left.at,
            from: left.cursor.low,
            through: Offset(0),
            mute: order.mute,
            counters: [0; 3],
            muted: 0,
            done: left.done,
        };
        again.done.push(done);
        again.through = again.done.iter().map(Done::through).max().unwrap_or_default();
        for write in &order.writes {
            let value = write.value.as_ref().map(|value| Bytes::copy_from_slice(value));
            self.key_values.write(&write.key, value);
        }
        if !order.mute.emit {
            self.timers.cancel_since(left.at);
        }
        let letters = left.dead.into_iter().map(|(event, mut dead)| {
            if left.cured.contains(&event) {
                (dead.rewind, dead.undone) = (Some(again.name()), false);
            }
            (event, dead)
        });
        self.dead = letters.collect();
        // One that was on its way is asked for still, and not beside a retry of it that is parked again.
        self.redrive.extend(left.redrive);
        self.redrive.extend(redriven(&self.cursor));
        let parked: BTreeSet<Offset> = redriven(&left.cursor).collect();
        let dead = &self.dead;
        self.redrive
            .retain(|event| dead.contains_key(event) && !parked.contains(event));
        (self.cursor, self.subscription) = (left.cursor, left.subscription);
        let heads = self
            .cursor
            .parked
            .values_mut()
            .filter_map(|parked| parked.head.as_mut());
        heads.for_each(|head| head.due = head.due.min(time));
        self.again = Some(Box::new(again));
        self.follow_again();
    }

    /// What `outcome` of an event that is delivered again does to that.
    pub(super) fn count_again(&mut self, outcome: &Outcome<'_>) {
        if let Some(again) = &mut self.again
            && let Some(of) = &outcome.rewind
            && of.generation == again.generation.0
        {
            let at = match outcome.verdict {
                Verdict::Done => 0,
                Verdict::Retry { .. } => 1,
                Verdict::Dead { .. } => 2,
            };
            again.counters[at] += 1;
            again.muted += of.muted.len() as u64;
        }
        self.follow_again();
    }

    /// Of which rollback an event is that `outcome` gives up.
    pub(super) fn again_of(&self, outcome: &Outcome<'_>) -> Option<OfRewind> {
        let (again, of) = (self.again.as_ref()?, outcome.rewind.as_ref()?);
        (of.generation == again.generation.0).then(|| again.name())
    }

    /// Nothing is delivered again any more, where all of it is settled.
    pub(super) fn follow_again(&mut self) {
        if self
            .again
            .as_ref()
            .is_some_and(|again| again.is_over(&self.cursor, Offset(0)))
        {
            self.again = None;
        }
    }
}

/// Dead letters that are delivered again and wait for a retry.
fn redriven(cursor: &Cursor) -> impl Iterator<Item = Offset> {
    let heads = cursor.parked.values().filter_map(|parked| parked.head.as_ref());
    heads.filter(|head| head.replay).map(|head| head.event)
}

/// State and cursor are about to go back.
pub(super) struct GoingBack<'a> {
    order: &'a StateBack,
    left: Left,
    done: Done,
}
