//! The log in files: appends go to memory at once, and to disk on the syncing thread.

mod durability;
mod options;
mod read;
mod retain;
mod scrub;
mod snapshot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

pub use self::durability::Durability;
pub use self::options::Options;
pub use self::retain::SegmentInfo;
pub use self::scrub::Scrubbed;
pub use self::snapshot::Snapshot;
use crate::batch::Entry;
use crate::hot::Hot;
use crate::linger::Linger;
use crate::recovery::{self, Known, Recovered};
use crate::room::Room;
use crate::segment::Segment;
use crate::slabs::Slabs;
use crate::storage::Storage;
use crate::sync::{self, Writer};
use crate::{
    AppendError, Appended, Batch, Bounds, Clock, Condition, DropError, Log, LogId, Micros, Offset, OpenError,
    Poisoned, Reach, ReadError,
};

pub(crate) type Watcher = Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>;

/// What the appending, reading and syncing threads share.
pub(crate) struct Shared {
    pub(crate) id: LogId,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) state: Mutex<State>,
    /// Whether something waits to be written: for a look without the lock, under which it changes.
    pub(crate) waits: AtomicBool,
    pub(crate) linger: Linger,
    /// Signalled when there is something to sync.
    pub(crate) work: Condvar,
    /// Signalled when more is durable, or never will be.
    pub(crate) progress: Condvar,
    pub(crate) segments: Mutex<Vec<Segment>>,
    pub(crate) watchers: Mutex<Vec<Watcher>>,
    /// Called when a segment has begun.
    pub(crate) begun: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    pub(crate) short_of_room: AtomicBool,
    /// Snapshots that are there: no segment is dropped meanwhile. Grows under the lock of the segments.
    holds: AtomicUsize,
}

pub(crate) struct State {
    pub(crate) hot: Hot,
    slabs: Slabs,
    /// Sealed batches that are not on disk, with the number of their records.
    pub(crate) pending: VecDeque<(Bytes, usize)>,
    pub(crate) undurable_bytes: usize,
    appended_bytes: u64,
    pub(crate) durable: Offset,
    pub(crate) closing: bool,
    /// Whether a write that finds no room fails, instead of waiting for it.
    pub(crate) impatient: bool,
    pub(crate) poisoned: Option<Poisoned>,
    /// Whether the syncing thread waits for work.
    pub(crate) idle: bool,
    /// How many of its syncs in a row left something behind them.
    pub(crate) busy: u32,
    first: Offset,
    time: Micros,
    writers: HashMap<Box<str>, Offset>,
}

/// What a log holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of the newest records, which are read from there.
    pub hot_bytes: usize,
    /// Bytes that are not on disk yet.
    pub undurable_bytes: usize,
}

/// A log in files, with its newest records in memory.
pub struct FileLog {
    shared: Arc<Shared>,
    syncing: Mutex<Option<JoinHandle<()>>>,
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

impl FileLog {
    /// Open the log in `storage`, or make one, and call `visit` with every record in it.
    ///
    /// With `known`, segments that lie before what is known are not read: `visit` begins somewhere at or before the
    /// first record behind it.
    ///
    /// A torn tail is copied aside and cut; damage to acknowledged records is an error that changes nothing.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        clock: Arc<dyn Clock>,
        known: Option<&Known>,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<(Self, Recovered), OpenError> {
        let io = |cause| OpenError::Io {
            file: storage.place(),
            cause,
        };
        let lock = storage.lock().map_err(io)?.ok_or_else(|| OpenError::InUse {
            folder: storage.place(),
        })?;
        let on_disk = options.durability != Durability::Memory;
        let mut hot = None;
        let found = if on_disk {
            recovery::recover(
                &*storage,
                options.durability,
                clock.now(),
                known,
                &mut |first, bytes, entries| {
                    let hot = hot.get_or_insert_with(|| Hot::new(first.prev()));
                    hot.push(bytes);
                    hot.shrink(options.hot_bytes, hot.last());
                    entries.iter().for_each(&mut *visit);
                },
            )?
        } else {
            recovery::empty(LogId::random().map_err(io)?)
        };
        let last = found.next.prev();
        let state = State {
            hot: hot.unwrap_or_else(|| Hot::new(last)),
            slabs: Slabs::default(),
            pending: VecDeque::new(),
            undurable_bytes: 0,
            appended_bytes: 0,
            durable: last,
            closing: false,
            impatient: false,
            poisoned: None,
            idle: false,
            busy: 0,
            first: found.segments.first().map_or(Offset(1), |segment| segment.first),
            time: found.time,
            writers: found.writers,
        };
        let writer = Writer::new(found.file, &found.segments, found.chain, found.synced, found.next);
        let shared = Arc::new(Shared {
            id: found.id,
            options,
            clock,
            storage,
            state: Mutex::new(state),
            waits: AtomicBool::new(false),
            linger: Linger::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            segments: Mutex::new(found.segments),
            watchers: Mutex::default(),
            begun: Mutex::default(),
            short_of_room: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
        });
        let syncing = match writer.filter(|_| on_disk) {
            Some(writer) => {
                let shared = shared.clone();
                let room = Room::new(&shared);
                let thread = std::thread::Builder::new().name("eventlog-sync".into());
                Some(
                    thread
                        .spawn(move || sync::run(&shared, writer, room))
                        .map_err(|cause| OpenError::Io {
                            file: "the syncing thread".into(),
                            cause,
                        })?,
                )
            }
            None => None,
        };
        Ok((
            Self {
                shared,
                syncing: Mutex::new(syncing),
                _lock: lock,
            },
            found.recovered,
        ))
    }

    /// The time of the last record.
    pub fn time(&self) -> Micros {
        self.shared.state.lock().time
    }

    /// Bytes that were appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.shared.state.lock().appended_bytes
    }

    /// What it holds in memory.
    pub fn memory(&self) -> MemoryUse {
        let state = self.shared.state.lock();
        MemoryUse {
            hot_bytes: state.hot.bytes(),
            undurable_bytes: state.undurable_bytes,
        }
    }

    /// From now on a write that finds no room on the disk fails, and poisons the log, instead of waiting for room: a
    /// host that stops can't wait.
    pub fn end_waiting(&self) {
        self.shared.state.lock().impatient = true;
        self.shared.work.notify_one();
    }

    /// Number of segments, and bytes in them.
    pub fn size(&self) -> (usize, u64) {
        let segments = self.shared.segments.lock();
        (segments.len(), segments.iter().map(|segment| segment.bytes).sum())
    }

    fn gone(&self, asked: Offset) -> Option<ReadError> {
        let first = self.shared.state.lock().first;
        (asked < first).then_some(ReadError::Gone { asked, first })
    }
}

impl Log for FileLog {
    fn id(&self) -> LogId {
        self.shared.id
    }

    fn bounds(&self) -> Bounds {
        let state = self.shared.state.lock();
        Bounds {
            first: state.first,
            durable: state.durable,
            last: state.hot.last(),
            hot_first: state.hot.first(),
        }
    }

    fn append(&self, batch: Batch, condition: Option<Condition<'_>>) -> Result<Appended, AppendError<Batch>> {
        let (records, size) = (batch.len(), batch.size());
        let limit = self.shared.options.max_batch_bytes;
        if records == 0 || size > limit {
            return Err(AppendError::Size {
                batch,
                records,
                bytes: size,
                limit,
            });
        }
        let mut state = self.shared.state.lock();
        if let Some(cause) = state.poisoned.clone() {
            return Err(AppendError::Poisoned { batch, cause });
        }
        if state.closing {
            return Err(AppendError::Closed { batch });
        }
        if state.undurable_bytes > 0 && state.undurable_bytes + size > self.shared.options.max_undurable_bytes
        {
            let undurable_bytes = state.undurable_bytes;
            return Err(AppendError::Full {
                batch,
                undurable_bytes,
            });
        }
        if let Some(condition) = condition {
            let found = state.writers.get(condition.writer).copied();
            if found != condition.last {
                let writer = condition.writer.to_owned();
                return Err(AppendError::Conflict {
                    batch,
                    writer,
                    expected: condition.last,
                    found,
                });
            }
        }
        let time = self.shared.clock.now().max(state.time);
        state.time = time;
        let first = state.hot.last().next();
        let last = Offset(first.0 + records as u64 - 1);
        if !batch.writer_name().is_empty() {
            match state.writers.get_mut(batch.writer_name()) {
                Some(ends) => *ends = last,
                None => {
                    state.writers.insert(batch.writer_name().into(), last);
                }
            }
        }
        let sealed = state.slabs.put(batch.seal(time));
        state.appended_bytes += sealed.len() as u64;
        if self.shared.options.durability == Durability::Memory {
            state.hot.push(sealed);
            state.durable = last;
            state.hot.shrink(self.shared.options.hot_bytes, last);
            state.first = state.hot.first();
            // Under the lock, so that watchers never see the durable offset go back.
            self.shared.tell(&Ok(last));
            self.shared.progress.notify_all();
        } else {
            state.hot.push(sealed.clone());
            state.undurable_bytes += sealed.len();
            state.pending.push_back((sealed, records));
            self.shared.appended(&mut state, last);
        }
        Ok(Appended { first, last, time })
    }

    fn read(&self, from: Offset, max_bytes: usize, reach: Reach) -> Result<Vec<Entry>, ReadError> {
        let from = from.max(Offset(1));
        let (to, hot) = {
            let state = self.shared.state.lock();
            if from < state.first {
                return Err(ReadError::Gone {
                    asked: from,
                    first: state.first,
                });
            }
            let to = match reach {
                Reach::Durable => state.durable,
                Reach::Appended => state.hot.last(),
            };
            if from > to {
                return Ok(Vec::new());
            }
            let is_hot = from >= state.hot.first();
            (to, is_hot.then(|| state.hot.find(from, to, max_bytes)))
        };
        if let Some(hot) = hot {
            return Ok(hot.read());
        }
        let mut entries = self
            .read_cold(from, max_bytes.max(1))
            .map_err(|cause| self.gone(from).unwrap_or(cause))?;
        // Its segment may have gone since it was found to be there.
        if entries.is_empty()
            && let Some(gone) = self.gone(from)
        {
            return Err(gone);
        }
        entries.truncate(entries.partition_point(|entry| entry.offset <= to));
        Ok(entries)
    }

    fn read_at(&self, offsets: &[Offset], out: &mut Vec<Entry>) -> Result<(), ReadError> {
        let mut cold = offsets;
        {
            let state = self.shared.state.lock();
            let split = offsets.partition_point(|offset| *offset < state.hot.first());
            if split == 0 {
                state.hot.read_at(offsets, out);
                return Ok(());
            }
            cold = &cold[..split];
        }
        // One alone is a retry, say, and what stands behind it is not asked for.
        let page_bytes = if cold.len() == 1 { 1 } else { 64 << 10 };
        let mut page: Vec<Entry> = Vec::new();
        for offset in cold {
            if page.last().is_none_or(|last| last.offset < *offset) {
                page = self.read(*offset, page_bytes, Reach::Appended)?;
            }
            let found = page.partition_point(|entry| entry.offset < *offset);
            out.extend(page.get(found).filter(|entry| entry.offset == *offset).cloned());
        }
        let hot = &offsets[cold.len()..];
        if hot.is_empty() {
            Ok(())
        } else {
            self.read_at(hot, out)
        }
    }

    fn written_by(&self, writer: &str) -> Option<Offset> {
        self.shared.state.lock().writers.get(writer).copied()
    }

    fn largest_batch(&self) -> usize {
        self.shared.options.max_batch_bytes
    }

    fn short_of_room(&self) -> bool {
        self.shared.short_of_room.load(Ordering::Relaxed)
    }

    fn hasten(&self, through: Offset) {
        self.shared.hasten(through);
    }

    fn wait_durable(&self, through: Offset) -> Result<(), Poisoned> {
        self.shared.hasten(through);
        let mut state = self.shared.state.lock();
        while state.durable < through {
            if let Some(poisoned) = &state.poisoned {
                return Err(poisoned.clone());
            }
            self.shared.progress.wait(&mut state);
        }
        Ok(())
    }

    fn on_durable(&self, watcher: Watcher) {
        self.shared.watchers.lock().push(watcher);
    }

    fn drop_before(&self, offset: Offset) -> Result<Offset, DropError> {
        self.drop_segments(offset)
    }

    fn close(&self) -> Result<(), Poisoned> {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.syncing.lock().take()
            && thread.join().is_err()
        {
            self.shared.poison("the syncing thread panicked".into());
        }
        match &self.shared.state.lock().poisoned {
            Some(poisoned) => Err(poisoned.clone()),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Nothing more becomes durable.
    pub(crate) fn poison(&self, reason: String) {
        let poisoned = Poisoned { reason };
        {
            let mut state = self.state.lock();
            if state.poisoned.is_some() {
                return;
            }
            tracing::error!("{poisoned}");
            state.poisoned = Some(poisoned.clone());
        }
        self.progress.notify_all();
        self.tell(&Err(poisoned));
    }

    pub(crate) fn tell(&self, durable: &Result<Offset, Poisoned>) {
        self.watchers
            .lock()
            .iter()
            .for_each(|watcher| watcher(durable.clone()));
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        if let Err(poisoned) = self.close() {
            tracing::warn!("the log ends without a clean stop: {poisoned}");
        }
    }
}
