//! The log as an interface, with no thought of files in it.

use crate::{Batch, Entry, LogId, Micros, Offset};

/// One total order of records.
///
/// ```text
///   first          hot_first        durable            last
///     |  on disk only  |   in memory   |  not yet durable  |
/// ```
pub trait Log: Send + Sync {
    /// Its identity.
    fn id(&self) -> LogId;

    /// Where it begins and ends.
    fn bounds(&self) -> Bounds;

    /// Append `batch`, all or none. It is readable at once ([`Reach::Appended`]) and durable later.
    fn append(&self, batch: Batch, condition: Option<Condition<'_>>) -> Result<Appended, AppendError<Batch>>;

    /// Records from `from` on, ascending: about `max_bytes` of them, and at least one where there is one.
    fn read(&self, from: Offset, max_bytes: usize, reach: Reach) -> Result<Vec<Entry>, ReadError>;

    /// The records at `offsets`, which must ascend, appended to `out`. Offsets behind the last are left out.
    fn read_at(&self, offsets: &[Offset], out: &mut Vec<Entry>) -> Result<(), ReadError>;

    /// Where the last batch of `writer` ends; `None` where it has written none.
    fn written_by(&self, writer: &str) -> Option<Offset>;

    /// Bytes of the largest batch that it takes.
    fn largest_batch(&self) -> usize;

    /// Whether there is only room for what settles what is in: publishers must be refused before they append.
    fn short_of_room(&self) -> bool {
        false
    }

    /// Somebody waits until `through` is durable, in a way of its own: what was appended up to there is not held back. A log that
    /// lets appends come together before it makes them durable must know. Of what is still to be appended it may mind only the next
    /// offset that is waited for, and none while it is never out of work.
    fn hasten(&self, _through: Offset) {}

    /// Block until everything up to `through` is durable.
    fn wait_durable(&self, through: Offset) -> Result<(), Poisoned>;

    /// Call `watcher` with the highest durable offset whenever it grows, and once when the log is poisoned. It is
    /// called on the syncing thread and must not block.
    fn on_durable(&self, watcher: Box<dyn Fn(Result<Offset, Poisoned>) + Send + Sync>);

    /// Drop what lies below `offset`, in whole segments; answers the first offset that is left. Drops nothing while a
    /// copy is made.
    fn drop_before(&self, offset: Offset) -> Result<Offset, DropError>;

    /// Make everything durable and end. Later appends are refused.
    fn close(&self) -> Result<(), Poisoned>;
}

/// Where a log begins and ends. All offsets are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first record that is left; behind `last` where there is none.
    pub first: Offset,
    /// Everything up to here is durable; 0 where nothing is.
    pub durable: Offset,
    /// The last record; 0 where there was none yet.
    pub last: Offset,
    /// The first record that is in memory; behind `last` where there is none.
    pub hot_first: Offset,
}

impl Bounds {
    /// What becomes durable next, or is durable already, where nothing waits for the disk: to wait for room there.
    pub fn next_durable(&self) -> Offset {
        self.durable.next().min(self.last)
    }
}

/// How far a read may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only what is durable: for everything that leaves the host.
    Durable,
    /// Everything appended: for handlers, which may run ahead.
    Appended,
}

/// On what condition to append: that the writer's last batch ended at `last`.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// The writer's name, as in [`Batch::writer`].
    pub writer: &'a str,
    /// Offset of the last record of its last batch; `None` where it has written none.
    pub last: Option<Offset>,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its first record.
    pub first: Offset,
    /// Its last record.
    pub last: Offset,
    /// Its time.
    pub time: Micros,
}

/// Why a batch was not appended. Each gives it back.
#[derive(Debug, thiserror::Error)]
pub enum AppendError<B> {
    /// Too much waits for the disk; try again when more is durable.
    #[error("{undurable_bytes} bytes wait for the disk, which is as much as may wait")]
    Full {
        /// The batch.
        batch: B,
        /// Bytes that wait.
        undurable_bytes: usize,
    },
    /// The condition does not hold: somebody else wrote under this name.
    #[error("writer {writer:?} expected its last batch to end at {expected:?}, but it ends at {found:?}")]
    Conflict {
        /// The batch.
        batch: B,
        /// The writer.
        writer: String,
        /// What it expected.
        expected: Option<Offset>,
        /// What is so.
        found: Option<Offset>,
    },
    /// The batch has no records, or is larger than a log takes.
    #[error(
        "a batch of {records} records and {bytes} bytes can't be appended: it needs a record and at most {limit} bytes"
    )]
    Size {
        /// The batch.
        batch: B,
        /// Its records.
        records: usize,
        /// Its bytes.
        bytes: usize,
        /// The most bytes.
        limit: usize,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed {
        /// The batch.
        batch: B,
    },
    /// A write or sync failed.
    #[error("{cause}")]
    Poisoned {
        /// The batch.
        batch: B,
        /// Why.
        #[source]
        cause: Poisoned,
    },
}

/// A write or sync failed: nothing more can become durable until the process is restarted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log takes nothing more until the host is restarted, because {reason}")]
pub struct Poisoned {
    /// What failed.
    pub reason: String,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has passed the position.
    #[error("offset {asked} is gone; the first offset left is {first}")]
    Gone {
        /// What was asked for.
        asked: Offset,
        /// What is left.
        first: Offset,
    },
    /// The file does not hold what was written.
    #[error("{file}, byte {byte}: {what}; the record at offset {offset} can't be read")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        byte: u64,
        /// The offset that should be there.
        offset: Offset,
        /// What is wrong.
        what: String,
    },
    /// The system refused.
    #[error("{file}: {cause}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Why segments were not dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The system refused.
    #[error("{file}: {cause}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{folder} is in use by another process; stop that one, or choose another data folder")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// Acknowledged records are damaged. Nothing was changed.
    #[error(
        "{file}, byte {byte}: {what}; the record at offset {offset} was acknowledged and can't be read. \
         `nerve log verify` lists all damage, and `nerve log repair` says what can be kept; or restore a backup"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        byte: u64,
        /// The offset that should be there.
        offset: Offset,
        /// What is wrong.
        what: String,
    },
    /// The log ends before, or begins behind, what a checkpoint knows to have been durable.
    #[error(
        "{folder} ends at offset {last}, but a checkpoint says that {through} was on disk: records are missing. \
         `nerve log repair` says what can be kept; or restore a backup"
    )]
    Behind {
        /// The folder.
        folder: String,
        /// What the checkpoint knows.
        through: Offset,
        /// The last record that is there.
        last: Offset,
    },
    /// The files were written by another version.
    #[error(
        "{file} has log format {found}, and this version of nerve reads format {known}: use the version that wrote it"
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The system refused.
    #[error("{file}: {cause}")]
    Io {
        /// The file or folder.
        file: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_room_waits_for_nothing_that_is_not_appended() {
        let next = |durable, last| {
            let bounds = Bounds {
                first: Offset(1),
                durable: Offset(durable),
                last: Offset(last),
                hot_first: Offset(1),
            };
            bounds.next_durable()
        };
        assert_eq!(
            [next(0, 0), next(3, 7), next(7, 7)],
            [Offset(0), Offset(4), Offset(7)]
        );
    }
}
