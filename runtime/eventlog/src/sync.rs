//! The syncing thread: takes what waits, writes it as a frame, or as several where it is much, syncs once, and tells what is durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::file_log::{Durability, Shared, State};
use crate::room::{self, Room};
use crate::segment::{self, Segment};
use crate::storage::{Storage, StorageFile};
use crate::{LogId, Micros, Offset, frame};

/// Bytes after which no further batch is taken into a frame. A frame is read as a whole, so it stays small.
const FRAME_BYTES: usize = 1 << 20;

/// Bytes up to which a further frame is written before they are synced together, where more waits: a disk takes little longer for it.
const SYNC_BYTES: usize = 4 << 20;

/// Bytes that are written as zeros behind the frames, so that the next ones go where the file has room already: a sync then
/// waits for one write of the disk, and not for that of the file's new length and place too.
const PREPARED: usize = 256 << 10;

/// A frame larger than this is most of what a sync waits for, and prepares nothing.
const SMALL: usize = PREPARED / 4;

/// How often the thread looks for more before it goes to sleep: for some tens of microseconds, where nobody else wants the processor.
const LOOKS: u32 = 50;

/// Writes frames at the end of the last segment.
pub(crate) struct Writer {
    file: Arc<dyn StorageFile>,
    position: u64,
    /// Where the file ends: up to there it is prepared.
    prepared: u64,
    chain: u32,
    /// The highest offset known to be on disk.
    synced: Offset,
    next: Offset,
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(
        file: Option<Arc<dyn StorageFile>>,
        segments: &[Segment],
        chain: u32,
        synced: Offset,
        next: Offset,
    ) -> Option<Self> {
        let position = segments.last()?.bytes;
        let file = file?;
        Some(Self {
            // Where the system does not say how long it is, it is as if nothing were prepared.
            prepared: file.length().unwrap_or(position),
            file,
            position,
            chain,
            synced,
            next,
            buffer: Vec::new(),
        })
    }

    /// Write `batches` with `count` records as one frame; none make a mark.
    fn write(&mut self, shared: &Shared, count: u32, batches: &[(Bytes, usize)]) -> io::Result<()> {
        let parts = batches.iter().map(|(bytes, _)| &**bytes);
        let previous = self.chain;
        let chain = frame::write(
            &mut self.buffer,
            shared.id,
            self.next,
            count,
            self.synced,
            previous,
            parts,
        );
        self.file.write_at(self.position, &self.buffer)?;
        self.chain = chain;
        if let Some(segment) = shared.segments.lock().last_mut() {
            segment.add(self.next, self.buffer.len() as u64, previous);
        }
        self.position += self.buffer.len() as u64;
        self.next = Offset(self.next.0 + u64::from(count));
        Ok(())
    }

    /// Write zeros behind a small frame that reached the end of the file, no further than the segment is to grow. A disk
    /// without room for them does without.
    fn prepare(&mut self, shared: &Shared) -> io::Result<()> {
        if self.position <= self.prepared {
            return Ok(());
        }
        self.prepared = self.position;
        let left = shared.options.segment_bytes.saturating_sub(self.position);
        let zeros = usize::try_from(left).map_or(PREPARED, |left| left.min(PREPARED));
        if self.buffer.len() > SMALL || zeros == 0 {
            return Ok(());
        }
        match self.file.write_at(self.position, &vec![0; zeros]) {
            Ok(()) => self.prepared += zeros as u64,
            // As much of it as there was room for may be there.
            Err(full) if room::is_full(&full) => self.prepared = self.file.length()?.max(self.position),
            Err(cause) => return Err(cause),
        }
        Ok(())
    }

    /// Give back what is prepared and was not needed.
    fn trim(&mut self) -> io::Result<()> {
        if self.prepared > self.position {
            self.file.truncate(self.position)?;
            self.prepared = self.position;
        }
        Ok(())
    }

    /// Write the mark: proof that what stands before it was synced. Nobody waits for it, and a disk without room for
    /// it does without.
    fn mark(&mut self, shared: &Shared) -> io::Result<()> {
        match self.write(shared, 0, &[]) {
            Err(full) if room::is_full(&full) => Ok(()),
            other => other,
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().map_err(failed_sync)?;
        self.synced = self.next.prev();
        Ok(())
    }

    /// Begin a new segment. The old one is on disk before the new one exists, so that a segment with another behind
    /// it is whole.
    fn rotate(&mut self, shared: &Shared) -> io::Result<()> {
        self.trim()?;
        self.sync()?;
        let begun = begin_segment(
            &*shared.storage,
            shared.id,
            self.next,
            shared.clock.now(),
            self.chain,
        );
        if begun.as_ref().is_err_and(room::is_full) {
            // It may have been made before there was no room for its header.
            match shared.storage.remove(&segment::name(self.next)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        let (file, segment) = begun?;
        self.file = file;
        self.position = segment.bytes;
        self.prepared = segment.bytes;
        shared.segments.lock().push(segment);
        shared.begun.lock().iter().for_each(|told| told());
        Ok(())
    }
}

/// Make a segment that begins with `first`, durable with its name.
pub(crate) fn begin_segment(
    storage: &dyn Storage,
    log: LogId,
    first: Offset,
    made: Micros,
    previous: u32,
) -> io::Result<(Arc<dyn StorageFile>, Segment)> {
    let file = storage.create(&segment::name(first))?;
    let header = segment::Header {
        format: segment::FORMAT,
        log,
        first,
        made,
        previous,
    };
    file.write_at(0, &header.write())?;
    file.sync().map_err(failed_sync)?;
    storage.sync_folder().map_err(failed_sync)?;
    Ok((file, Segment::new(first, made)))
}

/// A failed sync, whatever its reason, is no full disk: it is never tried again.
fn failed_sync(cause: io::Error) -> io::Error {
    if room::is_full(&cause) {
        io::Error::other(format!("the sync failed: {cause}"))
    } else {
        cause
    }
}

/// Sync what is appended until the log is closed, or a write or sync fails.
pub(crate) fn run(shared: &Shared, mut writer: Writer, mut room: Room) {
    let guard = PoisonOnPanic(shared);
    if let Err(cause) = go(shared, &mut writer, &mut room) {
        shared.poison(format!("writing {} failed: {cause}", shared.storage.place()));
    }
    drop(guard);
}

fn go(shared: &Shared, writer: &mut Writer, room: &mut Room) -> io::Result<()> {
    let mut group: Vec<(Bytes, usize)> = Vec::new();
    while let Some(more) = take(shared, room, &mut group) {
        let bytes = write(shared, writer, room, &mut group, more)?;
        if shared.options.durability == Durability::Fsync {
            writer.prepare(shared)?;
            writer.sync()?;
        }
        let durable = writer.next.prev();
        let more = {
            let mut state = shared.state.lock();
            state.durable = durable;
            state.undurable_bytes -= bytes;
            state.hot.shrink(shared.options.hot_bytes, durable);
            let more = !state.pending.is_empty();
            state.busy = if more { state.busy.saturating_add(1) } else { 0 };
            more
        };
        shared.progress.notify_all();
        shared.tell(&Ok(durable));
        if shared.options.durability == Durability::Fsync {
            if !more {
                writer.mark(shared)?;
            }
        } else {
            stay_awake(shared);
        }
    }
    writer.sync()?;
    writer.mark(shared)?;
    match writer.trim() {
        // There are file systems that need room to cut a file. What is prepared harms nobody.
        Err(full) if room::is_full(&full) => {}
        other => other?,
    }
    writer.sync()
}

/// Write `group` as a frame, and further ones where `more` waits than fits into it: what is synced together. Answers how many bytes it is.
fn write(
    shared: &Shared,
    writer: &mut Writer,
    room: &mut Room,
    group: &mut Vec<(Bytes, usize)>,
    mut more: bool,
) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        let count: usize = group.iter().map(|(_, records)| records).sum();
        let count = u32::try_from(count).map_err(io::Error::other)?;
        room.patiently(shared, || {
            if writer.position >= shared.options.segment_bytes {
                writer.rotate(shared)?;
            }
            writer.write(shared, count, group)
        })?;
        room.wrote(shared, writer.buffer.len() as u64);
        bytes += group.drain(..).map(|(bytes, _)| bytes.len()).sum::<usize>();
        // What is written does not wait for the room that another frame may need.
        let may_go_on = shared.options.durability == Durability::Fsync
            && bytes <= SYNC_BYTES - FRAME_BYTES
            && !shared.short_of_room.load(Ordering::Relaxed);
        if !more || !may_go_on {
            return Ok(bytes);
        }
        more = fill(shared, &mut shared.state.lock(), group);
    }
}

/// Look a few times whether more comes before going to sleep. A write takes so little that each append of a busy lane would find the
/// thread asleep, and to wake it takes who appends longer than to append.
fn stay_awake(shared: &Shared) {
    for _ in 0..LOOKS {
        if shared.waits.load(Ordering::Relaxed) {
            return;
        }
        std::thread::yield_now();
    }
}

/// Take what waits, up to a frame's worth, and whether more waits; `None` once the log is closing and nothing waits.
fn take(shared: &Shared, room: &mut Room, group: &mut Vec<(Bytes, usize)>) -> Option<bool> {
    let mut state = shared.state.lock();
    while state.pending.is_empty() {
        if state.closing {
            return None;
        }
        state.idle = true;
        if let Some(rest) = Room::rest(shared) {
            shared.work.wait_for(&mut state, rest);
            drop(state);
            room.look(shared);
            state = shared.state.lock();
        } else {
            shared.work.wait(&mut state);
        }
        state.idle = false;
    }
    shared.linger(&mut state);
    Some(fill(shared, &mut state, group))
}

/// Take what waits in `state`, up to a frame's worth, and whether more waits.
fn fill(shared: &Shared, state: &mut State, group: &mut Vec<(Bytes, usize)>) -> bool {
    let mut bytes = 0;
    while let Some((next, _)) = state.pending.front()
        && (group.is_empty() || bytes + next.len() <= FRAME_BYTES)
    {
        bytes += next.len();
        group.extend(state.pending.pop_front());
    }
    let more = !state.pending.is_empty();
    shared.waits.store(more, Ordering::Relaxed);
    more
}

/// Poisons the log when the syncing thread panics.
struct PoisonOnPanic<'a>(&'a Shared);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the syncing thread panicked".into());
        }
    }
}
