//! The state that a rollback takes back: what its record has to say, read from the log.
//!
//! Most of the log is read while the live version runs on, and the rest between two events.

use nerve_eventlog::{Log, Offset};
use serde_bytes::ByteBuf;

use crate::delivery::subscription::{Pattern, Subscription};
use crate::log::record::{Mute, StateBack, VersionId, WriteBack};
use crate::state::history::{HistoryError, Since};
use crate::state::{Left, MOST_AGAIN, PluginState};

/// Records that may be read while nothing is delivered.
const LITTLE: u64 = 10_000;

/// Why state and cursor don't go back. What was live goes on, as it was.
#[derive(Debug, thiserror::Error)]
pub enum StateBackError {
    /// It is not known where the version left.
    #[error(
        "it is not kept where version {0} left: of 16 versions at most it is, of fewer where many dead letters or parked keys \
         are kept with it, and of none that left before nerve kept it"
    )]
    NotKept(VersionId),
    /// A rewind runs.
    #[error(
        "its rewind that began at offset {0} runs: wait for its end, or stop it with `nerve plugin rewind --stop`"
    )]
    Rewinding(Offset),
    /// A rewind ran when the version left.
    #[error(
        "version {version} left at offset {left} while the rewind that began at offset {generation} wrote into the state, which \
         can't go on from there"
    )]
    WasRewinding {
        /// The version.
        version: VersionId,
        /// Where it left.
        left: Offset,
        /// The rewind.
        generation: Offset,
    },
    /// Too many versions went live since.
    #[error("versions went live {0} times since: it is kept no longer how far each came")]
    Again(usize),
    /// Retention has taken what is needed.
    #[error(
        "version {version} left at offset {left}, and {what} gone: the log begins at offset {first}, and the state goes back to \
         versions that left there or later"
    )]
    Gone {
        /// The version.
        version: VersionId,
        /// Where it left.
        left: Offset,
        /// What is gone, in words.
        what: String,
        /// The first offset that is left.
        first: Offset,
    },
    /// It would be too large a record.
    #[error(
        "what {keys} keys of the state held at offset {left} and hold now has {bytes} bytes, and a batch of the log may have {limit}"
    )]
    Large {
        /// Where the version left.
        left: Offset,
        /// Keys that hold something else.
        keys: usize,
        /// What the record would have.
        bytes: usize,
        /// What a batch may have.
        limit: usize,
    },
    /// The state as it was can't be recovered.
    #[error(transparent)]
    History(HistoryError),
}

/// State and cursor that are about to go back to where a version left.
pub(super) struct Back<'a> {
    version: VersionId,
    mute: Mute,
    left: Offset,
    since: Since<'a>,
}

impl<'a> Back<'a> {
    /// To where `version` of `plugin` left, as its `state` says. Most of what is needed is not read yet.
    pub(super) fn new(
        plugin: &'a str,
        state: &PluginState,
        version: VersionId,
        mute: Mute,
    ) -> Result<Self, StateBackError> {
        let left = may_go_back(state, version)?.at;
        Ok(Self {
            version,
            mute,
            left,
            since: Since::new(plugin, left),
        })
    }

    /// Read what is in the log by now. Blocks.
    pub(super) fn read(&mut self, log: &dyn Log) -> Result<(), StateBackError> {
        let through = log.bounds().last;
        let read = self.since.read(log, through);
        read.map_err(|refused| match refused {
            HistoryError::Gone { first, .. } => self.gone("records since then are".to_owned(), first),
            refused => StateBackError::History(refused),
        })
    }

    /// Read what is in the log by now, until little is left that came meanwhile. Blocks.
    pub(super) fn read_ahead(&mut self, log: &dyn Log) -> Result<(), StateBackError> {
        loop {
            let through = log.bounds().last;
            self.read(log)?;
            if log.bounds().last.0 - through.0 <= LITTLE {
                return Ok(());
            }
        }
    }

    /// Between two events, with all of the log read: what the rollback's record says.
    pub(super) fn finish(self, log: &dyn Log, state: &PluginState) -> Result<StateBack, StateBackError> {
        let left = may_go_back(state, self.version)?;
        if let Some(event) = self.since.gone.iter().find(|event| !left.keeps(**event)) {
            let what =
                format!("event {event}, which it had not settled by then and another one did since, is");
            return Err(self.gone(what, log.bounds().first));
        }
        let (first, needs) = (log.bounds().first, left.cursor.needs_from());
        if needs < first && !covers(&state.subscription, &left.subscription) {
            let what = format!(
                "events from offset {needs} on, which it had not settled by then and another one does not subscribe to, may be"
            );
            return Err(self.gone(what, first));
        }
        let then = self.since.values.into_iter().map(|(key, value)| {
            let previous = state.key_values.get(&key);
            (key, value, previous)
        });
        let writes: Vec<WriteBack> = then
            .filter(|(_, value, previous)| value != previous)
            .map(|(key, value, previous)| WriteBack {
                key: key.into(),
                value: value.map(|value| ByteBuf::from(value.to_vec())),
                previous: previous.map(|value| ByteBuf::from(value.to_vec())),
            })
            .collect();
        Ok(StateBack {
            to: self.left.0,
            mute: self.mute,
            writes,
        })
    }

    fn gone(&self, what: String, first: Offset) -> StateBackError {
        StateBackError::Gone {
            version: self.version,
            left: self.left,
            what,
            first,
        }
    }
}

/// Where `version` left, where state and cursor may go back to it.
fn may_go_back(state: &PluginState, version: VersionId) -> Result<&Left, StateBackError> {
    if let Some(rewinding) = &state.rewinding {
        return Err(StateBackError::Rewinding(rewinding.generation));
    }
    let left = state
        .lefts
        .get(&version)
        .ok_or(StateBackError::NotKept(version))?;
    if let Some(generation) = left.rewinding {
        return Err(StateBackError::WasRewinding {
            version,
            left: left.at,
            generation,
        });
    }
    match left.depth() {
        depth if depth >= MOST_AGAIN => Err(StateBackError::Again(depth)),
        _ => Ok(left),
    }
}

/// Whether `now` has every pattern that `then` has, from the same offset on: retention has left what it wants.
fn covers(now: &Subscription, then: &Subscription) -> bool {
    let has = |(pattern, from): &(Pattern, Offset)| {
        let mut patterns = now.patterns().iter();
        patterns.any(|(other, since)| other == pattern && since <= from)
    };
    then.patterns().iter().all(has)
}
