//! What it takes to run the last attempt at a dead letter again, somewhere else.
//!
//! Nothing is taken apart here: a bundle is the record of the event, the record of the last attempt's outcome, and
//! what says how to load the version that ran. The outcome has the clock, the seed, what was read of the state and
//! what the host answered.

use nerve_eventlog::{Entry, Offset, ReadError};

use super::{AskError, Host};
use crate::log::record::{Asks, Hash, LiveVersion};

/// A failure that can be run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The plugin that gave up.
    pub plugin: String,
    /// Hash of its component.
    pub component: Hash,
    /// The author's version text.
    pub label: String,
    /// Text of its `NAME.toml`, where there is one.
    pub settings: Option<String>,
    /// What an operator approved for it, beside what its settings grant.
    pub approved: Asks,
    /// The record of the event.
    pub event: Entry,
    /// The record of the last attempt's outcome.
    pub outcome: Entry,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no such dead letter, or the host is stopping.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A record can't be read any more.
    #[error("what the bundle would hold is not in the log any more: {0}")]
    Read(#[from] ReadError),
    /// The version that failed is not known any more.
    #[error(
        "the version of plugin {plugin:?} that failed is not known: its last attempt was made by another nerve"
    )]
    NoVersion {
        /// The plugin.
        plugin: String,
    },
}

impl Host {
    /// The bundle of a dead letter. What it shows is durable. Blocks: reads the log.
    pub fn bundle(&self, plugin: &str, event: Offset) -> Result<Bundle, BundleError> {
        let subscriber = self.subscriber(plugin)?;
        let (kept, outcome, version) = {
            let state = subscriber.state.lock();
            let Some(dead) = state.dead.get(&event) else {
                return Err(AskError::NoDeadLetter {
                    plugin: plugin.to_owned(),
                    event,
                }
                .into());
            };
            let kept = dead.kept.as_ref().map(|kept| kept.entry(event));
            (kept, dead.outcome, state.version(dead.version).cloned())
        };
        let unknown = || BundleError::NoVersion {
            plugin: plugin.to_owned(),
        };
        let LiveVersion {
            component,
            label,
            settings,
            approved,
            ..
        } = version.filter(|_| outcome > event).ok_or_else(unknown)?;
        let mut found: Vec<Entry> = kept.into_iter().collect();
        let missing = &[event, outcome][found.len()..];
        self.log().read_at(missing, &mut found)?;
        let [event, outcome] = <[Entry; 2]>::try_from(found).map_err(|_| unknown())?;
        Ok(Bundle {
            plugin: plugin.to_owned(),
            component,
            label,
            settings,
            approved,
            event,
            outcome,
        })
    }
}
