//! Timers: events that a plugin emits later.
//!
//! A timer is part of the fold. An outcome sets, replaces or cancels it by name and carries the record of its
//! event; when it is due, one batch says that it fired and holds that event, so that it fires once, whatever is
//! stopped or crashes between.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nerve_eventlog::{AppendError, Batch, Clock, Condition, Micros, Offset};
use serde::{Deserialize, Serialize};

use super::handler::SetTimer;
use super::pace::TIMERS_SHARE;
use super::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{self, Fired, Record, TimerChange};
use crate::log::sequencer::{Sequencer, stopped};

/// Timers that fire in one batch at most.
const MOST_AT_ONCE: usize = 256;

/// Bytes of their events behind which no further one fires in the same batch.
const BYTES_AT_ONCE: usize = 32 << 10;

/// How late timers may be, in microseconds, while their plugin goes on to its next event. One that sets more than fire would have
/// ever more of them set, and each is in every checkpoint.
const LATEST: u64 = 50_000;

/// How many timers of a plugin may be set at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerLimits {
    /// Their number.
    pub count: usize,
    /// Bytes of the data of their events.
    pub bytes: usize,
}

/// The timers of one plugin that are set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Box<str>, Timer>", into = "BTreeMap<Box<str>, Timer>")]
pub struct Timers {
    by_name: BTreeMap<Box<str>, Timer>,
    by_due: BTreeSet<(Micros, Box<str>)>,
    bytes: usize,
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    /// When it fires.
    pub due: Micros,
    /// The record of its event.
    pub event: Bytes,
    /// The outcome that set it.
    pub set_at: Offset,
}

impl From<Timers> for BTreeMap<Box<str>, Timer> {
    fn from(timers: Timers) -> Self {
        timers.by_name
    }
}

impl From<BTreeMap<Box<str>, Timer>> for Timers {
    fn from(by_name: BTreeMap<Box<str>, Timer>) -> Self {
        Self {
            by_due: by_name
                .iter()
                .map(|(name, timer)| (timer.due, name.clone()))
                .collect(),
            bytes: by_name.values().map(|timer| timer.event.len()).sum(),
            by_name,
        }
    }
}

impl Timers {
    /// What the outcome at `offset` does.
    pub fn apply(&mut self, offset: Offset, changes: &[TimerChange<'_>]) {
        for change in changes {
            self.remove(change.name);
            if let Some(set) = change.set {
                let due = Micros(set.due);
                self.bytes += set.event.len();
                self.by_due.insert((due, change.name.into()));
                let timer = Timer {
                    due,
                    event: Bytes::copy_from_slice(set.event),
                    set_at: offset,
                };
                self.by_name.insert(change.name.into(), timer);
            }
        }
    }

    /// The timer `name` fired, or is cancelled.
    pub fn remove(&mut self, name: &str) {
        if let Some(timer) = self.by_name.remove(name) {
            self.bytes -= timer.event.len();
            self.by_due.remove(&(timer.due, name.into()));
        }
    }

    /// Those that were set behind `offset` are cancelled.
    pub fn cancel_since(&mut self, offset: Offset) {
        let since = self.by_name.iter().filter(|(_, timer)| timer.set_at > offset);
        let since: Vec<Box<str>> = since.map(|(name, _)| name.clone()).collect();
        for name in since {
            self.remove(&name);
        }
    }

    /// When the next timer fires.
    pub fn next(&self) -> Option<Micros> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The timers by when they fire.
    pub fn by_due(&self) -> impl Iterator<Item = (&str, &Timer)> {
        self.by_due.iter().map(|(_, name)| (&**name, &self.by_name[name]))
    }

    /// The timers by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Timer)> {
        self.by_name.iter().map(|(name, timer)| (&**name, timer))
    }

    /// Why `changes` would pass `limits`, where they would.
    pub fn refuse(&self, changes: &[(Box<str>, Option<SetTimer>)], limits: TimerLimits) -> Option<String> {
        let (mut count, mut bytes) = (self.by_name.len(), self.bytes);
        for (name, set) in changes {
            if let Some(timer) = self.by_name.get(name) {
                (count, bytes) = (count - 1, bytes - timer.event.len());
            }
            if let Some(set) = set {
                (count, bytes) = (count + 1, bytes + set.emit.data.len());
            }
        }
        if count > limits.count {
            return Some(format!("limit timers: {} may be set at a time", limits.count));
        }
        (bytes > limits.bytes).then(|| {
            format!(
                "limit timer_bytes: the events of all timers may have {} bytes",
                limits.bytes
            )
        })
    }

    fn due(&self, now: Micros) -> Vec<Box<str>> {
        let mut bytes = 0;
        let due = self.by_due.iter().take_while(|(due, _)| *due <= now);
        due.take(MOST_AT_ONCE)
            .take_while(|(_, name)| {
                let fits = bytes < BYTES_AT_ONCE;
                bytes += self.by_name.get(name).map_or(0, |timer| timer.event.len());
                fits
            })
            .map(|(_, name)| name.clone())
            .collect()
    }
}

/// Let some timers of `subscriber` fire that are due at `now`, in one batch; when the next one is due, which may be
/// now: others have their turn first.
///
/// Waits while too much waits for the disk.
pub fn fire(subscriber: &Subscriber, sequencer: &Sequencer, now: Micros) -> Result<Option<Micros>, Stopped> {
    let poisoned = |poisoned: nerve_eventlog::Poisoned| Stopped::Poisoned(poisoned.to_string());
    loop {
        let log = sequencer.log();
        subscriber.pace.wait(&**log, TIMERS_SHARE).map_err(poisoned)?;
        let mut state = subscriber.state.lock();
        let names = state.timers.due(now);
        if names.is_empty() {
            return Ok(state.timers.next());
        }
        let mut batch = Batch::new();
        let mut types = Vec::with_capacity(names.len());
        for (place, name) in (0u64..).step_by(2).zip(&names) {
            let timer = &state.timers.by_name[name];
            let fired = fired(subscriber, name, timer);
            batch.push_with(|out| Record::Fired(fired).encode(out));
            batch.push(&timer.event);
            if let Ok(Some(event)) = record::event(&timer.event) {
                types.push((place + 1, event.r#type));
            }
        }
        let condition = Condition {
            writer: &subscriber.writer,
            last: state.settled_at,
        };
        let bytes = batch.size();
        let batch = batch.writer(&subscriber.writer);
        let appended = sequencer.append(batch, Some(condition), types.into_iter());
        match appended {
            Ok(appended) => {
                for (place, name) in (0..).step_by(2).zip(&names) {
                    let timer = &state.timers.by_name[name];
                    let fired = fired(subscriber, name, timer);
                    state.apply_fired(Offset(appended.first.0 + place), &fired);
                }
                subscriber.pace.appended(appended.last, bytes);
                return Ok(state.timers.next());
            }
            Err(AppendError::Full { .. }) => {
                drop(state);
                let next = sequencer.log().bounds().next_durable();
                sequencer.log().wait_durable(next).map_err(poisoned)?;
            }
            Err(refused) => return Err(stopped(&refused)),
        }
    }
}

/// Let some timers of `subscriber` fire where they are later than they may be while it goes on; whether they were.
pub(super) fn fire_late(
    subscriber: &Subscriber,
    sequencer: &Sequencer,
    clock: &dyn Clock,
) -> Result<bool, Stopped> {
    let Some(due) = subscriber.state.lock().timers.next() else {
        return Ok(false);
    };
    let now = clock.now();
    let is_late = due.0.saturating_add(LATEST) < now.0;
    if is_late {
        fire(subscriber, sequencer, now)?;
    }
    Ok(is_late)
}

fn fired<'a>(subscriber: &'a Subscriber, name: &'a str, timer: &Timer) -> Fired<'a> {
    Fired {
        plugin: &subscriber.name,
        name,
        set_at: timer.set_at.0,
    }
}
