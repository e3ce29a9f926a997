//! History that a rewind runs again, beside the plugin's live events.
//!
//! It has a queue of its own kind and order, made of the rewind's cursor, and shares the lanes with the live one. Three
//! rules keep the two apart:
//! - Two events of one key never run at once: what one queue delivers, the other waits for.
//! - An event is history when the plugin has settled it. One that is under way, or that is or waits behind a parked key,
//!   waits here too, until it is settled.
//! - Live events go first; but where there is always another one, every eighth delivery is history's.
//!
//! A rewind that builds a state of its own has caught up when everything that the plugin has settled is settled here
//! as well. The states are exchanged while nothing is under way: with several lanes the live events are held back for
//! that moment, and for retries of history that are due within a second.

use nerve_eventlog::{AppendError, Batch, Condition, Micros, Offset};

use super::cursor::{Cursor, OrderKey};
use super::queue::{Queue, Wish};
use super::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{Record, RewindEnd, Rewound};
use crate::log::sequencer::{Sequencer, stopped};

/// Every so many deliveries one is history's, where live events leave it no other.
const SHARE: u32 = 8;

/// How long live events may wait for the last retries of history, in microseconds.
const PATIENCE: u64 = 1_000_000;

/// How much of its rate history may make up for at a time, in microseconds: a lane that rests does not wake at once.
const BURST: u64 = 100_000;

/// Events of history that may wait for live ones, before no further one is looked at.
const MOST_STALLED: usize = 1024;

/// History as the lanes of one plugin deliver it again.
#[derive(Debug)]
pub(super) struct History {
    /// What is next of it.
    pub(super) queue: Queue,
    /// What is under way.
    pub(super) running: Running,
    /// Microseconds between two deliveries at least.
    pause: u64,
    /// When the next one may begin.
    next: Micros,
    /// Live deliveries since the last historic one.
    live: u32,
    /// Since when live events are held back, so that the states can be exchanged.
    draining: Option<Micros>,
    /// They are not held back before.
    rests_until: Micros,
}

/// Deliveries under way, live and historic ones.
#[derive(Debug, Default)]
pub(super) struct Running(Vec<One>);

#[derive(Debug)]
struct One {
    historic: bool,
    event: Offset,
    key: Option<Box<str>>,
}

impl Running {
    /// Whether the live delivery may run that has its turn.
    pub(super) fn lets_live(&self, wish: Wish<'_>) -> bool {
        match wish {
            Wish::Retry(key) => !self.has_key(true, key.name()),
            Wish::Behind(key, _) => !self.has_key(true, Some(key)),
            Wish::Aside(_) => true,
        }
    }

    /// Whether the dead letter of `event` with `key` may be delivered again.
    pub(super) fn lets_redrive(&self, key: Option<&str>, event: Offset) -> bool {
        !self.has_key(true, key) && !self.0.iter().any(|one| one.event == event)
    }

    /// Whether the delivery of history that stands at `history` may run that has its turn, where the plugin stands at
    /// `live`.
    pub(super) fn lets_historic(&self, wish: Wish<'_>, history: &Cursor, live: &Cursor) -> bool {
        match wish {
            // Its event may be delivered again as a dead letter meanwhile.
            Wish::Retry(key) => {
                let head = history.parked.get(key).and_then(|parked| parked.head.as_ref());
                head.is_none_or(|head| self.lets(key.name(), head.event, live))
            }
            Wish::Behind(key, event) => self.lets(Some(key), event, live),
            Wish::Aside(event) => self.lets(None, event, live),
        }
    }

    /// Whether the event at `event` with `key` is history, and nothing live of its key is under way.
    pub(super) fn lets(&self, key: Option<&str>, event: Offset, live: &Cursor) -> bool {
        let is_under_way = self.0.iter().any(|one| !one.historic && one.event == event);
        !is_under_way && !self.has_key(false, key) && live.has_settled(&OrderKey::of(key, event), event)
    }

    /// Whether a delivery of `key` is under way, a historic one or a live one.
    pub(super) fn has_key(&self, historic: bool, key: Option<&str>) -> bool {
        key.is_some_and(|key| {
            let mut running = self.0.iter();
            running.any(|one| one.historic == historic && one.key.as_deref() == Some(key))
        })
    }

    /// Whether nothing at all is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl History {
    /// History with `queue`, at most `rate` deliveries a second.
    pub(super) fn new(queue: Queue, rate: Option<u32>) -> Self {
        Self {
            queue,
            running: Running::default(),
            pause: rate.map_or(0, |rate| 1_000_000 / u64::from(rate.max(1))),
            next: Micros(0),
            live: 0,
            draining: None,
            rests_until: Micros(0),
        }
    }

    /// Whether history has its turn before a live event.
    pub(super) fn goes_first(&self) -> bool {
        self.is_draining() || self.live >= SHARE - 1
    }

    /// From when on it may deliver, where it may not at `now`.
    pub(super) fn waits_until(&self, now: Micros) -> Option<Micros> {
        (!self.is_draining() && self.next > now).then_some(self.next)
    }

    /// Whether it may look at another event that was not looked at before, while so many are settled above its mark.
    pub(super) fn may_run_ahead(&self, settled_above: usize) -> bool {
        self.queue.may_run_ahead(settled_above) && self.queue.stalled() < MOST_STALLED
    }

    /// A delivery begins at `now`.
    pub(super) fn begins(&mut self, historic: bool, event: Offset, key: Option<&str>, now: Micros) {
        self.running.0.push(One {
            historic,
            event,
            key: key.map(Into::into),
        });
        if historic {
            self.live = 0;
            let from = self.next.0.max(now.0.saturating_sub(BURST));
            self.next = Micros(from.saturating_add(self.pause));
        } else {
            self.live = self.live.saturating_add(1);
        }
    }

    /// A delivery is settled.
    pub(super) fn ends(&mut self, historic: bool, event: Offset) {
        let mut running = self.running.0.iter();
        let at = running.position(|one| (one.historic, one.event) == (historic, event));
        if let Some(at) = at {
            self.running.0.swap_remove(at);
        }
    }

    /// Whether live events are held back.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Let live events go on.
    pub(super) fn let_go(&mut self) {
        self.draining = None;
    }

    /// All of history had its turn at `now`: hold live events back, unless its retries take too long; when to look
    /// again, where nothing else says so.
    pub(super) fn drain(&mut self, now: Micros) -> Option<Micros> {
        let ends_soon = |due: Micros| due.0 <= now.0.saturating_add(PATIENCE);
        let since = *self.draining.get_or_insert(now);
        let is_over = now.0 > since.0.saturating_add(PATIENCE);
        if is_over {
            self.rests_until = Micros(now.0.saturating_add(10 * PATIENCE));
        }
        if now < self.rests_until || !self.queue.last_due().is_none_or(ends_soon) {
            self.draining = None;
        }
        let is_over = Micros(since.0.saturating_add(PATIENCE + 1));
        let looks_again = if self.is_draining() {
            is_over
        } else {
            self.rests_until
        };
        (looks_again > now).then_some(looks_again)
    }
}

/// Append the record that says how the rewind of `subscriber` ended, where one runs and nothing of it is under way.
/// Waits while too much waits for the disk.
pub fn end_rewind(subscriber: &Subscriber, sequencer: &Sequencer, end: RewindEnd) -> Result<(), Stopped> {
    let mut state = subscriber.state.lock();
    let Some(rewinding) = &state.rewinding else {
        return Ok(());
    };
    let rewound = Rewound {
        plugin: subscriber.name.to_string(),
        generation: rewinding.generation.0,
        end,
    };
    let mut batch = Batch::new();
    batch.push_with(|out| Record::Rewound(rewound.clone()).encode(out));
    let mut batch = batch.writer(&subscriber.writer);
    let condition = Condition {
        writer: &subscriber.writer,
        last: state.settled_at,
    };
    loop {
        match sequencer.append(batch, Some(condition), std::iter::empty()) {
            Ok(appended) => {
                state.apply_rewound(appended.first, &rewound);
                return Ok(());
            }
            Err(AppendError::Full { batch: back, .. }) => {
                batch = back;
                let durable = sequencer
                    .log()
                    .wait_durable(sequencer.log().bounds().next_durable());
                durable.map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))?;
            }
            Err(refused) => return Err(stopped(&refused)),
        }
    }
}
