//! The durable, in-memory event log of nerve.
//!
//! A [`Log`] is one total order of records. [`FileLog`] keeps the newest of them in memory and all of them in
//! segment files, and tells what is durable; `docs/log-format.md` describes every byte on disk. The crate
//! knows neither what a record means nor who writes it.
//!
//! ```
//! use std::sync::Arc;
//! use nerve_eventlog::{Batch, FileLog, Log, Offset, Options, Reach, SystemClock, storage::MemoryStorage};
//!
//! let storage = Arc::new(MemoryStorage::default());
//! let (log, _) = FileLog::open(storage, Options::default(), Arc::new(SystemClock), None, &mut |_| {})?;
//! let mut batch = Batch::new();
//! batch.push(b"a record");
//! let appended = log.append(batch, None).map_err(|refused| refused.to_string())?;
//! log.wait_durable(appended.last)?;
//! assert_eq!(&*log.read(Offset(1), 1024, Reach::Durable)?[0].payload, b"a record");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod clock;
pub mod conformance;
mod file_log;
mod frame;
mod hot;
mod ids;
mod linger;
mod log;
pub mod proof;
mod recovery;
pub mod repair;
mod room;
mod segment;
mod slabs;
pub mod storage;
mod survey;
mod sync;
pub mod verify;

pub use batch::{Batch, Entry, Mark};
pub use clock::{Clock, ManualClock, SystemClock};
pub use file_log::{Durability, FileLog, MemoryUse, Options, Scrubbed, SegmentInfo, Snapshot};
pub use ids::{LogId, Micros, Offset};
pub use log::{
    AppendError, Appended, Bounds, Condition, DropError, Log, OpenError, Poisoned, Reach, ReadError,
};
pub use recovery::{Known, Recovered, TornTail};

#[cfg(test)]
mod tests;
