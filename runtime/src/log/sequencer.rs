//! Puts records into the one total order.
//!
//! Whoever appends, publishers, lanes, deployments and operators alike, goes through the [`Sequencer`]: under
//! one short lock a batch gets its offsets, its identities enter the window and its events the type index, in
//! the same order; then the subscribers are woken. Nothing is encoded and nobody waits for the disk in there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nerve_eventlog::{AppendError, Appended, Batch, Condition, Log, Offset, Poisoned};
use parking_lot::Mutex;

use super::durable::Durable;
use super::index::{Bell, Next, SubscriberId, TypeIndex};
use super::turns::{LARGE, Turns};
use super::window::{Remembered, Seen, Window};
use crate::delivery::subscription::Subscription;
use crate::host::{PublishError, Published, Stopped};
use crate::ingest::ValidEvent;

/// After how many appended batches offsets that left the hot window are forgotten.
const FORGET_EVERY: u64 = 4096;

/// When a publisher that met a full log is told to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When a publisher that met a full disk is told to try again.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(10);

/// The one place where records enter the log.
pub struct Sequencer {
    log: Arc<dyn Log>,
    order: Mutex<Order>,
    turns: Turns,
    durable: Arc<Durable>,
    appends: AtomicU64,
    refused_busy: AtomicU64,
    refused_no_room: AtomicU64,
}

/// What has to agree with the order of the log.
#[derive(Debug)]
pub struct Order {
    /// Offsets by type, and who subscribes.
    pub index: TypeIndex,
    /// Identities published lately.
    pub window: Window,
}

impl Sequencer {
    /// Sequence appends to `log`, whose content `order` was made from.
    pub fn new(log: &Arc<dyn Log>, order: Order) -> Arc<Self> {
        let durable = Arc::new(Durable::new(log.bounds().durable));
        let sequencer = Arc::new(Self {
            log: log.clone(),
            order: Mutex::new(order),
            turns: Turns::default(),
            durable: durable.clone(),
            appends: AtomicU64::new(0),
            refused_busy: AtomicU64::new(0),
            refused_no_room: AtomicU64::new(0),
        });
        // Not the sequencer: it has the log, whose last owner must not be its own syncing thread.
        log.on_durable(Box::new(move |state| {
            durable.tell(state.map_err(|poisoned| Stopped::Poisoned(poisoned.to_string())));
        }));
        sequencer
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Whose turn it is to append a large batch.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What is durable, and a way to wait for more.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// How often publishers were refused because too much waited for the disk.
    pub fn refused_busy(&self) -> u64 {
        self.refused_busy.load(Ordering::Relaxed)
    }

    /// How often publishers were refused because the disk was nearly full.
    pub fn refused_no_room(&self) -> u64 {
        self.refused_no_room.load(Ordering::Relaxed)
    }

    /// Append events from outside, all or none. What was published before is not appended again, and answers
    /// with the first one's offset.
    pub fn publish(&self, events: &[ValidEvent]) -> Result<Vec<Published>, PublishError> {
        let mut batch = batch_of(events.iter());
        let mut order = self.order.lock();
        let known = known(&order.window, events)?;
        if known.iter().any(Option::is_some) {
            batch = batch_of(
                events
                    .iter()
                    .zip(&known)
                    .filter(|(_, known)| known.is_none())
                    .map(|(e, _)| e),
            );
        }
        let mut next = Offset(0);
        let mut time = nerve_eventlog::Micros(0);
        if !batch.is_empty() {
            // What was published before is answered all the same: its publisher could not know that it was kept.
            if self.log.short_of_room() {
                self.refused_no_room.fetch_add(1, Ordering::Relaxed);
                return Err(PublishError::NoRoom {
                    retry_after: RETRY_WHEN_FULL,
                });
            }
            let appended = self
                .log
                .append(batch, None)
                .map_err(|refused| self.publish_error(refused))?;
            (next, time) = (appended.first, appended.time);
        }
        let mut published: Vec<Published> = Vec::with_capacity(events.len());
        for (event, known) in events.iter().zip(known) {
            published.push(match known {
                Some(Known::At(offset)) => Published {
                    offset,
                    duplicate: true,
                },
                Some(Known::InBatch(first)) => Published {
                    offset: published[first].offset,
                    duplicate: true,
                },
                None => {
                    let offset = next;
                    next = next.next();
                    order.window.insert(event.identity, offset, time);
                    order.index.push_and_ring(&event.r#type, offset);
                    Published {
                        offset,
                        duplicate: false,
                    }
                }
            });
        }
        self.forget_now_and_then(&mut order);
        Ok(published)
    }

    /// Append a batch of the host's own records. `events` names the types of those that are events, each with
    /// its place in the batch.
    pub fn append<'a>(
        &self,
        batch: Batch,
        condition: Option<Condition<'_>>,
        events: impl Iterator<Item = (u64, &'a str)>,
    ) -> Result<Appended, AppendError<Batch>> {
        let mut order = self.order.lock();
        let appended = self.log.append(batch, condition)?;
        for (place, name) in events {
            order.index.push_and_ring(name, Offset(appended.first.0 + place));
        }
        self.forget_now_and_then(&mut order);
        Ok(appended)
    }

    /// Append a batch of the host's own that holds no event, a large one in its turn. Waits while too much waits for the
    /// disk.
    pub fn append_in_turn(&self, mut batch: Batch) -> Result<Appended, Stopped> {
        let poisoned = |poisoned: Poisoned| Stopped::Poisoned(poisoned.to_string());
        let is_large = batch.size() > LARGE;
        let turn = is_large.then(|| self.turns.wait(&*self.log)).transpose();
        let turn = turn.map_err(poisoned)?;
        loop {
            match self.append(batch, None, std::iter::empty()) {
                Ok(appended) => {
                    if let Some(turn) = turn {
                        turn.appended(appended.last);
                    }
                    return Ok(appended);
                }
                Err(AppendError::Full { batch: back, .. }) => {
                    batch = back;
                    let next = self.log.bounds().next_durable();
                    self.log.wait_durable(next).map_err(poisoned)?;
                }
                Err(refused) => return Err(stopped(&refused)),
            }
        }
    }

    /// The identities that are remembered, and the last record when they were looked at.
    pub fn remembered(&self) -> (Remembered, Offset) {
        let order = self.order.lock();
        (order.window.remembered(), self.log.bounds().last)
    }

    /// Register a subscriber.
    pub fn add_subscriber(&self, bell: Bell) -> SubscriberId {
        self.order.lock().index.add(bell)
    }

    /// Replace what a subscriber subscribes to.
    pub fn subscribe(&self, id: SubscriberId, subscription: Subscription) {
        self.order.lock().index.subscribe(id, subscription);
    }

    /// The next offsets behind `after` for a subscriber.
    pub fn next(&self, id: SubscriberId, after: Offset, limit: usize) -> Next {
        self.order.lock().index.next(id, after, limit)
    }

    /// The newest offsets of type `name` in the hot window, at most `limit`, ascending.
    pub fn newest(&self, name: &str, limit: usize) -> Vec<Offset> {
        self.order.lock().index.newest(name, limit)
    }

    /// Whether the event was published before.
    pub fn is_known(&self, event: &ValidEvent) -> bool {
        matches!(seen(&self.order.lock().window, event), Seen::Same(_))
    }

    /// How many offsets in the hot window lie behind `after` and match.
    pub fn count(&self, subscription: &Subscription, after: Offset) -> usize {
        self.order.lock().index.count(subscription, after)
    }

    fn publish_error(&self, refused: AppendError<Batch>) -> PublishError {
        match refused {
            AppendError::Full { undurable_bytes, .. } => {
                self.refused_busy.fetch_add(1, Ordering::Relaxed);
                PublishError::Busy {
                    retry_after: RETRY_AFTER,
                    undurable_bytes,
                }
            }
            AppendError::Size { bytes, limit, .. } => PublishError::Size { bytes, limit },
            other => PublishError::Stopped(stopped(&other)),
        }
    }

    fn forget_now_and_then(&self, order: &mut Order) {
        if self.appends.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            order.index.forget_below(self.log.bounds().hot_first);
        }
    }
}

/// What a refusal to append means for the host.
pub fn stopped<B>(refused: &AppendError<B>) -> Stopped {
    match refused {
        AppendError::Closed { .. } => Stopped::Stopping,
        other => Stopped::Poisoned(other.to_string()),
    }
}

enum Known {
    /// Appended before, at this offset.
    At(Offset),
    /// Stands in this batch before, at this index.
    InBatch(usize),
}

/// What is known of `event`. One that is published as it is shown is the one that is shown, though it states a time then.
fn seen(window: &Window, event: &ValidEvent) -> Seen {
    let Seen::Other(offset) = window.look_up(event.identity) else {
        return window.look_up(event.identity);
    };
    let shown = window.recorded(offset).and_then(|at| event.as_shown(at));
    shown.map_or(Seen::Other(offset), |identity| window.look_up(identity))
}

/// Which of `events` are duplicates, of the log or of each other.
fn known(window: &Window, events: &[ValidEvent]) -> Result<Vec<Option<Known>>, PublishError> {
    let conflict = |index: usize, offset| PublishError::Conflict {
        index,
        id: events[index].id.to_string(),
        source_name: events[index].source.to_string(),
        offset,
    };
    let mut here = hashbrown::HashMap::with_capacity(events.len());
    let mut out = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        out.push(match seen(window, event) {
            Seen::Same(offset) => Some(Known::At(offset)),
            Seen::Other(offset) => return Err(conflict(index, Some(offset))),
            Seen::Never if events.len() == 1 => None,
            Seen::Never => match here.insert(event.identity.name, index) {
                None => None,
                Some(first) if events[first].identity == event.identity => {
                    here.insert(event.identity.name, first);
                    Some(Known::InBatch(first))
                }
                Some(_) => return Err(conflict(index, None)),
            },
        });
    }
    Ok(out)
}

fn batch_of<'a>(events: impl Iterator<Item = &'a ValidEvent> + Clone) -> Batch {
    let mut batch = Batch::with_capacity(events.clone().map(|event| event.record.len() + 8).sum());
    events.for_each(|event| batch.push(&event.record));
    batch
}
