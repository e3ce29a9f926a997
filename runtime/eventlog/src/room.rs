//! Room on the disk: when it runs out, publishing ends before settling does, and both come back by themselves.
//!
//! A preallocated file holds room back. While it can't be, or little else is free, the log says that it is short
//! of room, and publishers must be refused. When a write then meets a full disk, the file is given up for it;
//! when even that is used, the write waits until somebody makes room. A write that did not fit was never
//! synced, so that it may be tried again; a failed sync never is.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::file_log::Shared;
use crate::storage::Space;

/// The name of the file that holds room back.
const RESERVE: &str = "reserve";

/// The largest part of a whole disk that is held back: on a small disk most is for records.
const LARGEST_PART: u64 = 8;

/// Bytes written between two looks at what is free, and the part of what is held back that they are at most.
const LOOK_EVERY: u64 = 1 << 20;
const LOOK_PART: u64 = 16;

/// How long to wait between two looks while there is too little.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the syncing thread knows of the room on its disk.
pub(crate) struct Room {
    /// Bytes to hold back; 0 where nobody asked for it.
    reserve: u64,
    held: Held,
    written: u64,
}

/// How room is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Not now.
    Not,
    /// By the preallocated file.
    InFile,
    /// By refusing publishers early: the file system does not preallocate.
    Counted,
}

impl Room {
    /// Hold room back, what an earlier process held back included.
    pub(crate) fn new(shared: &Shared) -> Self {
        let asked = shared.options.reserve_bytes;
        let mut room = Self {
            reserve: asked.min(space(shared).size / LARGEST_PART),
            held: Held::Not,
            written: 0,
        };
        if let Err(cause) = remove(shared) {
            tracing::warn!("{}: {RESERVE} can't be removed: {cause}", shared.storage.place());
        }
        if room.reserve < asked {
            tracing::info!(
                "{}: the disk is small: {} bytes of it are held back, and not {asked}",
                shared.storage.place(),
                room.reserve
            );
        }
        room.look(shared);
        room
    }

    /// So many bytes were written: time for a look now and then.
    pub(crate) fn wrote(&mut self, shared: &Shared, bytes: u64) {
        self.written += bytes;
        if self.written >= LOOK_EVERY.min(self.reserve / LOOK_PART)
            || shared.short_of_room.load(Ordering::Relaxed)
        {
            self.look(shared);
        }
    }

    /// Look at what is free, hold room back where it is not, and say whether there is too little.
    pub(crate) fn look(&mut self, shared: &Shared) {
        self.written = 0;
        if self.reserve == 0 {
            return;
        }
        let margin = self.reserve / 2;
        let both = self.reserve.saturating_add(margin);
        if self.held == Held::Not && space(shared).free >= both {
            self.held = match hold_back(shared, self.reserve) {
                Ok(()) => Held::InFile,
                Err(cause) if cause.kind() == io::ErrorKind::Unsupported => Held::Counted,
                Err(cause) => {
                    tracing::warn!("{}: no room can be held back: {cause}", shared.storage.place());
                    Held::Not
                }
            };
        }
        let free = space(shared).free;
        let short = match self.held {
            Held::Not => true,
            Held::InFile => free < margin,
            Held::Counted => free < both,
        };
        say(shared, short);
    }

    /// Do `work`, which writes; when the disk is full, give up what is held back and wait until it can be done.
    /// A log that ends does not wait.
    pub(crate) fn patiently(
        &mut self,
        shared: &Shared,
        mut work: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match work() {
                Err(full) if is_full(&full) && self.reserve > 0 => {
                    say(shared, true);
                    if std::mem::replace(&mut self.held, Held::Not) == Held::InFile {
                        remove(shared)?;
                        continue;
                    }
                    let mut state = shared.state.lock();
                    if state.closing || state.impatient {
                        return Err(full);
                    }
                    shared.work.wait_for(&mut state, PATIENCE);
                }
                done => return done,
            }
        }
    }

    /// How long the syncing thread may rest before it looks again.
    pub(crate) fn rest(shared: &Shared) -> Option<Duration> {
        let short = shared.short_of_room.load(Ordering::Relaxed);
        short.then_some(PATIENCE)
    }
}

/// Whether there was no room for a write.
pub(crate) fn is_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A disk that does not tell what is free is not taken for a full one.
fn space(shared: &Shared) -> Space {
    shared.storage.space().unwrap_or(Space::ENDLESS)
}

fn hold_back(shared: &Shared, bytes: u64) -> io::Result<()> {
    let storage = &shared.storage;
    let file = match storage.create(RESERVE) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => storage.open(RESERVE),
        other => other,
    }?;
    let allocated = file.allocate(bytes);
    if allocated.is_err() {
        remove(shared)?;
    }
    allocated
}

fn remove(shared: &Shared) -> io::Result<()> {
    match shared.storage.remove(RESERVE) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn say(shared: &Shared, short: bool) {
    if shared.short_of_room.swap(short, Ordering::Relaxed) == short {
        return;
    }
    let place = shared.storage.place();
    if short {
        tracing::error!(
            "{place}: the disk is nearly full; what is in is settled, and publishing is refused until there is room"
        );
    } else {
        tracing::info!("{place}: there is room on the disk again");
    }
}
