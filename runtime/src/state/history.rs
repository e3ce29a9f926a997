//! The state of a plugin as it was, recovered going backwards from what it is.
//!
//! An outcome says what the keys it writes held before. The first write of a key behind a point therefore tells what
//! the key held at that point, and a key that was not written since holds it still. So the records since are read
//! once, forwards, and what is remembered grows with the keys that were written, not with the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nerve_eventlog::{Log, Offset, Reach, ReadError};

use super::KeyValues;
use crate::log::record::{self, DecodeError, DeploymentAction, Kind, Record, RewindEnd};

/// Bytes that are read from the log at a time.
const READ_BYTES: usize = 1 << 20;

/// Why the state of a plugin as it was can't be recovered.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Retention has taken records that say what was there before.
    #[error(
        "the state of plugin {plugin:?} before offset {asked} can't be recovered, for records since then are gone: the \
         first offset that it can be had for is {first}"
    )]
    Gone {
        /// The plugin.
        plugin: String,
        /// What was asked for.
        asked: Offset,
        /// The first offset that is left.
        first: Offset,
    },
    /// Between then and now the state was given up or replaced as a whole.
    #[error(
        "the state of plugin {plugin:?} before offset {asked} can't be recovered, for the record at offset {at} {what}: \
         it can be had for offsets behind that"
    )]
    Replaced {
        /// The plugin.
        plugin: String,
        /// What was asked for.
        asked: Offset,
        /// The record that did it.
        at: Offset,
        /// What it did.
        what: &'static str,
    },
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record can't be read.
    #[error("the record at offset {0} can't be read: {1}")]
    Record(Offset, DecodeError),
}

/// The state of `plugin` as it was before the record at `before`. `now` is what it is with every record up to `through`
/// in it, and nothing behind: taken while nobody could append a record about the plugin.
///
/// Reads what lies between from `log`, also what is not durable yet. Blocks.
pub fn before(
    log: &dyn Log,
    plugin: &str,
    now: &KeyValues,
    through: Offset,
    before: Offset,
) -> Result<KeyValues, HistoryError> {
    let mut since = Since::new(plugin, before);
    since.read(log, through)?;
    Ok(since.before(now))
}

/// What the records since an offset say of what was there before it. They may be read a part at a time.
#[derive(Debug)]
pub struct Since<'a> {
    plugin: &'a str,
    from: Offset,
    /// What the keys that were written since held before.
    pub values: BTreeMap<Box<str>, Option<Bytes>>,
    /// Events before it that were settled since and are gone from the log.
    pub gone: BTreeSet<Offset>,
    /// Records that took the state back to what it was earlier, or ended a canary that had a state of its own.
    pub went_back: Vec<Offset>,
    /// Whether such a canary did something since.
    own: bool,
    next: Offset,
}

impl<'a> Since<'a> {
    /// Of `plugin` since the record at `from`; nothing is read yet.
    pub fn new(plugin: &'a str, from: Offset) -> Self {
        Self {
            plugin,
            from,
            values: BTreeMap::new(),
            gone: BTreeSet::new(),
            went_back: Vec::new(),
            own: false,
            next: from.max(Offset(1)),
        }
    }

    /// Read on, up to `through`. Blocks.
    pub fn read(&mut self, log: &dyn Log, through: Offset) -> Result<(), HistoryError> {
        while self.next <= through {
            let entries = match log.read(self.next, READ_BYTES, Reach::Appended) {
                Err(ReadError::Gone { first, .. }) => {
                    return Err(HistoryError::Gone {
                        plugin: self.plugin.to_owned(),
                        asked: self.from,
                        first,
                    });
                }
                read => read?,
            };
            let Some(last) = entries.last().map(|entry| entry.offset) else {
                break;
            };
            let first = log.bounds().first;
            for entry in entries.iter().take_while(|entry| entry.offset <= through) {
                if record::kind(&entry.payload) == Some(Kind::Event as u8) {
                    continue;
                }
                let record = Record::decode(&entry.payload);
                let record = record.map_err(|cause| HistoryError::Record(entry.offset, cause))?;
                if record.plugin() == Some(self.plugin) {
                    self.see(entry.offset, &record, first)?;
                }
            }
            self.next = last.min(through).next();
        }
        Ok(())
    }

    /// The state as it was, where it is `now` what the records that were read made of it.
    pub fn before(&self, now: &KeyValues) -> KeyValues {
        let then = now.snapshot();
        for (key, value) in &self.values {
            then.write(key, value.clone());
        }
        then
    }

    /// The record at `offset` is about the plugin; the log begins at `first`.
    fn see(&mut self, offset: Offset, record: &Record<'_>, first: Offset) -> Result<(), HistoryError> {
        match record {
            // What a rewind builds beside the state is none of it until it takes its place.
            Record::Outcome(outcome) if !outcome.rewind.as_ref().is_some_and(|of| of.fresh) => {
                let is_live = !outcome.rewind.as_ref().is_some_and(|of| of.historic);
                if is_live && outcome.event() < first {
                    self.gone.insert(outcome.event());
                }
                // What a canary wrote into a state of its own is none of this one.
                self.own |= outcome.own;
                for write in outcome.writes.iter().filter(|_| !outcome.own) {
                    self.wrote(write.key, write.previous);
                }
            }
            Record::Deployment(deployment) => match &deployment.action {
                DeploymentAction::Forgotten => {
                    return Err(self.replaced(offset, "gave it up, long after the plugin was removed"));
                }
                DeploymentAction::RolledBack(back) => {
                    for write in back.state.iter().flat_map(|state| &state.writes) {
                        self.wrote(&write.key, write.previous.as_ref().map(|value| &***value));
                    }
                    self.went_back
                        .extend((back.state.is_some() || self.own).then_some(offset));
                    self.own = false;
                }
                DeploymentAction::Merged(merged) => {
                    for write in &merged.writes {
                        self.wrote(&write.key, write.previous.as_ref().map(|value| &***value));
                    }
                    self.went_back.push(offset);
                    self.own = false;
                }
                // What a canary did before another version took its place is delivered again.
                DeploymentAction::Live(_) | DeploymentAction::Removed if self.own => {
                    self.went_back.push(offset);
                    self.own = false;
                }
                _ => {}
            },
            Record::Rewound(rewound) if rewound.end == RewindEnd::Swapped => {
                let what = "put the state in its place that a rewind built from nothing";
                return Err(self.replaced(offset, what));
            }
            _ => {}
        }
        Ok(())
    }

    fn wrote(&mut self, key: &str, previous: Option<&[u8]>) {
        if !self.values.contains_key(key) {
            let previous = previous.map(Bytes::copy_from_slice);
            self.values.insert(key.into(), previous);
        }
    }

    fn replaced(&self, at: Offset, what: &'static str) -> HistoryError {
        HistoryError::Replaced {
            plugin: self.plugin.to_owned(),
            asked: self.from,
            at,
            what,
        }
    }
}
