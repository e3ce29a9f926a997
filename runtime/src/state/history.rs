//! The state of a plugin as it was, recovered going backwards from what it is.
//!
//! An outcome says what the keys it writes held before. The first write of a key behind a point therefore tells what
//! the key held at that point, and a key that was not written since holds it still. So the records since are read
//! once, forwards, and what is remembered grows with the keys that were written, not with the records.

use std::collections::BTreeMap;

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
    let then = now.snapshot();
    for (key, value) in first_values(log, plugin, before, through)? {
        then.write(&key, value);
    }
    Ok(then)
}

/// What the keys that were written from `from` up to `through` held before.
fn first_values(
    log: &dyn Log,
    plugin: &str,
    from: Offset,
    through: Offset,
) -> Result<BTreeMap<Box<str>, Option<Bytes>>, HistoryError> {
    let mut first: BTreeMap<Box<str>, Option<Bytes>> = BTreeMap::new();
    let mut at = from.max(Offset(1));
    while at <= through {
        let entries = match log.read(at, READ_BYTES, Reach::Appended) {
            Err(ReadError::Gone { first, .. }) => {
                return Err(HistoryError::Gone {
                    plugin: plugin.to_owned(),
                    asked: from,
                    first,
                });
            }
            read => read?,
        };
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            break;
        };
        for entry in entries.iter().take_while(|entry| entry.offset <= through) {
            if record::kind(&entry.payload) == Some(Kind::Event as u8) {
                continue;
            }
            let record = Record::decode(&entry.payload);
            match record.map_err(|cause| HistoryError::Record(entry.offset, cause))? {
                // What a rewind builds beside the state is none of it until it takes its place.
                Record::Outcome(outcome)
                    if outcome.plugin == plugin && !outcome.rewind.as_ref().is_some_and(|of| of.fresh) =>
                {
                    for write in &outcome.writes {
                        if !first.contains_key(write.key) {
                            first.insert(write.key.into(), write.previous.map(Bytes::copy_from_slice));
                        }
                    }
                }
                Record::Deployment(deployment)
                    if deployment.plugin == plugin && deployment.action == DeploymentAction::Forgotten =>
                {
                    return Err(HistoryError::Replaced {
                        plugin: plugin.to_owned(),
                        asked: from,
                        at: entry.offset,
                        what: "gave it up, long after the plugin was removed",
                    });
                }
                Record::Rewound(rewound) if rewound.plugin == plugin && rewound.end == RewindEnd::Swapped => {
                    return Err(HistoryError::Replaced {
                        plugin: plugin.to_owned(),
                        asked: from,
                        at: entry.offset,
                        what: "put the state in its place that a rewind built from nothing",
                    });
                }
                _ => {}
            }
        }
        at = last.next();
    }
    Ok(first)
}
