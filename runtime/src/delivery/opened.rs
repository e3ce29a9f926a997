//! An entry of the log with the event in it, which is read once.

use nerve_eventlog::Entry;
use self_cell::self_cell;

use crate::log::record::{self, DecodeError, Event};

self_cell! {
    /// An entry and its event.
    pub(super) struct Opened {
        owner: Entry,
        #[covariant]
        dependent: Event,
    }
}

impl Opened {
    /// Read the event in `entry`; gives `entry` back where it holds none that can be read.
    pub(super) fn read(entry: Entry) -> Result<Self, Entry> {
        Self::try_new_or_recover(entry, |entry| {
            let event: Option<Event<'_>> = record::event(&entry.payload).map_err(|_: DecodeError| ())?;
            event.ok_or(())
        })
        .map_err(|(entry, ())| entry)
    }

    /// The entry.
    pub(super) fn entry(&self) -> &Entry {
        self.borrow_owner()
    }

    /// The event in it.
    pub(super) fn event(&self) -> &Event<'_> {
        self.borrow_dependent()
    }
}
