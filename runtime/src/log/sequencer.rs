//! Puts records into the one total order.
//!
//! Whoever appends, publishers, lanes, deployments and operators alike, goes through the [`Sequencer`]: under
//! one short lock a batch gets its offsets and its events enter the type index, in the same order; then the
//! subscribers are woken. Nothing is encoded and nobody waits for the disk in there.
//!
//! Identities are the publishers' alone. Looking them up and remembering them takes longer than appending, so publishers
//! come one after the other through a lock of their own, around that one, and no lane waits for what they do in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nerve_eventlog::{AppendError, Appended, Batch, Condition, Log, Micros, Offset, Poisoned};
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
    /// Held by a publisher while it appends: what it publishes is remembered before the next one looks. Comes before `index`.
    window: Mutex<Window>,
    /// Held by whoever appends.
    index: Mutex<TypeIndex>,
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
            window: Mutex::new(order.window),
            index: Mutex::new(order.index),
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
        let mut window = self.window.lock();
        let known = known(&window, events)?;
        let fresh = || events.iter().zip(&known).filter(|(_, known)| known.is_none());
        if known.iter().any(Option::is_some) {
            batch = batch_of(fresh().map(|(event, _)| event));
        }
        let (mut next, mut time) = (Offset(0), Micros(0));
        if !batch.is_empty() {
            // What was published before is answered all the same: its publisher could not know that it was kept.
            if self.log.short_of_room() {
                self.refused_no_room.fetch_add(1, Ordering::Relaxed);
                return Err(PublishError::NoRoom {
                    retry_after: RETRY_WHEN_FULL,
                });
            }
            let types = (0..).zip(fresh().map(|(event, _)| &*event.r#type));
            let appended = self
                .append(batch, None, types)
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
                    window.insert(event.identity, offset, time);
                    Published {
                        offset,
                        duplicate: false,
                    }
                }
            });
        }
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
        let mut index = self.index.lock();
        let appended = self.log.append(batch, condition)?;
        for (place, name) in events {
            index.push_and_ring(name, Offset(appended.first.0 + place));
        }
        if self.appends.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            index.forget_below(self.log.bounds().hot_first);
        }
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
        let window = self.window.lock();
        (window.remembered(), self.log.bounds().last)
    }

    /// Register a subscriber.
    pub fn add_subscriber(&self, bell: Bell) -> SubscriberId {
        self.index.lock().add(bell)
    }

    /// Replace what a subscriber subscribes to.
    pub fn subscribe(&self, id: SubscriberId, subscription: Subscription) {
        self.index.lock().subscribe(id, subscription);
    }

    /// The next offsets behind `after` for a subscriber.
    pub fn next(&self, id: SubscriberId, after: Offset, limit: usize) -> Next {
        self.index.lock().next(id, after, limit)
    }

    /// The newest offsets of type `name` in the hot window, at most `limit`, ascending.
    pub fn newest(&self, name: &str, limit: usize) -> Vec<Offset> {
        self.index.lock().newest(name, limit)
    }

    /// Whether the event was published before.
    pub fn is_known(&self, event: &ValidEvent) -> bool {
        matches!(seen(&self.window.lock(), event), Seen::Same(_))
    }

    /// How many offsets in the hot window lie behind `after` and match.
    pub fn count(&self, subscription: &Subscription, after: Offset) -> usize {
        self.index.lock().count(subscription, after)
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

#[cfg(test)]
mod tests {
    use nerve_eventlog::storage::MemoryStorage;
    use nerve_eventlog::{FileLog, Options, SystemClock};

    use super::super::window::WindowOptions;
    use super::*;
    use crate::ingest::{Acceptor, Limits, NewEvent};

    fn sequencer() -> Arc<Sequencer> {
        let (storage, clock) = (Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
        let (log, _) = FileLog::open(storage, Options::default(), clock, None, &mut |_| {}).unwrap();
        let order = Order {
            index: TypeIndex::default(),
            window: Window::new(WindowOptions::default()),
        };
        Sequencer::new(&(Arc::new(log) as Arc<dyn Log>), order)
    }

    fn event(id: &str) -> ValidEvent {
        let acceptor = Acceptor::new(Limits::default());
        let event = NewEvent {
            id,
            source: "tests",
            r#type: "a.b",
            content_type: "application/json",
            data: &[1],
            ..NewEvent::default()
        };
        acceptor.event(&event).unwrap()
    }

    #[test]
    fn who_appends_and_who_reads_wait_for_no_publisher() {
        let sequencer = sequencer();
        let id = sequencer.add_subscriber(Bell::default());
        let publishing = sequencer.window.lock();
        let mut batch = Batch::new();
        batch.push(b"r");
        let appended = sequencer
            .append(batch, None, std::iter::once((0, "a.b")))
            .unwrap();
        assert_eq!(appended.first, Offset(1));
        assert_eq!(sequencer.newest("a.b", 9), [Offset(1)]);
        assert_eq!(sequencer.next(id, Offset(0), 9), Next::Hot(Vec::new()));
        drop(publishing);
        assert_eq!(sequencer.publish(&[event("1")]).unwrap()[0].offset, Offset(2));
    }

    #[test]
    fn of_those_who_publish_the_same_at_once_one_is_the_first() {
        let sequencer = sequencer();
        for n in 0..200 {
            let events = [event(&format!("{n}a")), event(&format!("{n}b"))];
            let all: Vec<_> = std::thread::scope(|scope| {
                let publishers = [(); 3].map(|()| scope.spawn(|| sequencer.publish(&events).unwrap()));
                publishers.map(|one| one.join().unwrap()).into_iter().collect()
            });
            let firsts = all
                .iter()
                .filter(|one| one.iter().all(|of| !of.duplicate))
                .count();
            let again = all.iter().filter(|one| one.iter().all(|of| of.duplicate)).count();
            assert_eq!((firsts, again), (1, 2));
            let offsets = |one: &[Published]| one.iter().map(|of| of.offset).collect::<Vec<_>>();
            assert!(all.iter().all(|one| offsets(one) == offsets(&all[0])), "{all:?}");
            let (remembered, last) = sequencer.remembered();
            assert_eq!(last, all[0][1].offset);
            let bytes: usize = remembered.as_bytes().map(<[u8]>::len).sum();
            assert_eq!(bytes as u64, 40 * last.0);
        }
    }
}
