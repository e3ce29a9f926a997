//! The host: what one process owns, and what everything outside the way may ask of it.
//!
//! HTTP, the command line and library users talk to a [`Host`]; it is a handle and cheap to clone. Whatever it
//! answers was durable before the answer: a question looks at the live fold and then waits until everything it
//! could have seen is on disk.

mod ask;
mod at_rest;
mod backup;
mod bundle;
mod checkpoint;
mod doctor;
mod error;
mod figures;
mod history;
mod inspect;
mod map;
mod open;
mod operate;
mod otlp;
mod repair;
mod retention;
mod rewind;
mod schemas;
mod scrub;
mod status;
mod versions;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;

use nerve_eventlog::{Clock, Durability, Log, Offset};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::checkpoint::Checkpoints;
use crate::contract::Contracts;
use crate::delivery::subscribers::Subscribers;
use crate::ingest::{Acceptor, SourceRates, ValidEvent};
use crate::log::record::{AskedBy, Asker};
use crate::log::sequencer::Sequencer;
use crate::plugin::deploy::Deployer;
use crate::plugin::watcher::Watcher;
use crate::trace::map::Observed;

pub use at_rest::AtRest;
pub use backup::{BackupError, Check, RestoreError, check, restore};
pub use bundle::{Bundle, BundleError};
pub use checkpoint::CheckpointError;
pub use error::{AskError, PublishError, Stopped};
pub use figures::{Figures, PluginFigures};
pub use inspect::{CheckpointReport, Inspection, inspect};
pub use open::{HostOptions, OpenError};
pub use otlp::OtlpFigures;
pub use repair::Repair;
pub use retention::{Keep, RetainError, Retention};
pub use rewind::{RewindError, RewindOrder, RewindStatus, RewindTo};
pub use schemas::SetSchemaError;
pub use scrub::{Rot, ScrubOptions, ScrubStatus};
pub use status::{
    DeadLetter, LogStatus, OwnStatus, ParkedStatus, PluginStatus, Standing, TimerStatus, VersionStatus,
};
pub use versions::{AgainStatus, KeptVersion};
pub use wait::{Behind, Settling, Waited, Why};

/// A handle to a running host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
    /// Whose token what is asked of this handle is asked with.
    who: Option<Arc<str>>,
}

struct Inner {
    acceptor: Acceptor,
    contracts: Arc<Contracts>,
    sequencer: Arc<Sequencer>,
    subscribers: Arc<Subscribers>,
    deployer: Option<Arc<Deployer>>,
    plugins: Option<PathBuf>,
    recovered: Option<String>,
    durability: Durability,
    store: Arc<nerve_eventlog::FileLog>,
    checkpoints: Checkpoints,
    scrub: scrub::Scrub,
    retention: Retention,
    /// Held while retention looks at what goes, and while a cursor goes back.
    retaining: Mutex<()>,
    source_rates: Option<SourceRates>,
    publishing: figures::Publishing,
    clock: Arc<dyn Clock>,
    watcher: Mutex<Option<Watcher>>,
    waits: wait::Waits,
    observed: Arc<Mutex<Observed>>,
    exported: otlp::Counts,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where one published event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its offset, or that of the first event with the same identity.
    pub offset: Offset,
    /// Whether the identity was published before.
    pub duplicate: bool,
}

impl Host {
    /// A handle to the same host for somebody of this name, which the records of what they ask for will say.
    #[must_use]
    pub fn asked_by(&self, who: &str) -> Self {
        Self {
            inner: self.inner.clone(),
            who: Some(who.into()),
        }
    }

    fn who(&self) -> Option<String> {
        self.who.as_deref().map(str::to_owned)
    }

    fn asker(&self, by: AskedBy) -> Asker {
        Asker { by, who: self.who() }
    }

    /// What makes valid events for this host.
    pub fn acceptor(&self) -> &Acceptor {
        &self.inner.acceptor
    }

    /// Append `events`, all or none, and answer where they are, before they are durable: wait with
    /// [`Self::durable`] before telling anybody.
    pub fn publish(&self, events: &[ValidEvent]) -> Result<Vec<Published>, PublishError> {
        if self.inner.stop.is_cancelled() {
            return Err(Stopped::Stopping.into());
        }
        self.inner.contracts.check_published(events)?;
        if let Some(rates) = &self.inner.source_rates {
            rates.take(self.inner.clock.now(), events.iter().map(ValidEvent::source))?;
        }
        let published = self.inner.sequencer.publish(events).inspect_err(|_| {
            if let Some(rates) = &self.inner.source_rates {
                rates.give_back(self.inner.clock.now(), events.iter().map(ValidEvent::source));
            }
        })?;
        self.inner.publishing.took(&published);
        Ok(published)
    }

    /// Wait until everything up to `through` is durable. Answers the last durable offset; an error once the log is poisoned.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub async fn durable(&self, through: Offset) -> Result<Offset, Stopped> {
        self.log().hasten(through);
        self.inner.sequencer.durable().reached(through).await
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        self.inner.sequencer.log()
    }

    /// Why events can't be taken now, or `None`.
    pub fn not_ready(&self) -> Option<String> {
        if self.inner.stop.is_cancelled() {
            return Some(Stopped::Stopping.to_string());
        }
        if let Err(stopped) = self.inner.sequencer.durable().now() {
            return Some(stopped.to_string());
        }
        let short = self.log().short_of_room();
        short.then(|| "the disk is nearly full: events are refused until there is room".to_owned())
    }

    /// Completes when the host is asked to stop: streams end then.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub async fn stopping(&self) {
        self.inner.stop.cancelled().await;
    }

    /// Take no more events from now on, and end the streams: the first half of [`Self::stop`]. What waits for room on
    /// a full disk waits no longer.
    pub fn announce_stop(&self) {
        self.inner.stop.cancel();
        self.inner.store.end_waiting();
    }

    /// Completes when the log is poisoned: nothing can be done then but to end.
    ///
    /// # Cancel safety
    /// May be cancelled at any time.
    pub async fn poisoned(&self) {
        self.durable(Offset(u64::MAX)).await.ok();
    }

    /// Take no more events, settle what is being handled, make everything durable and end.
    pub async fn stop(&self) -> Result<(), Stopped> {
        self.announce_stop();
        drop(self.inner.watcher.lock().take());
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.subscribers.stop().await;
        let host = self.clone();
        let closed = tokio::task::spawn_blocking(move || {
            if host.inner.durability != Durability::Memory
                && let Err(refused) = host.checkpoint()
            {
                tracing::warn!("no checkpoint, so that the next start reads more of the log: {refused}");
            }
            host.log().close()
        });
        closed
            .await
            .map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?
            .map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))
    }

    /// Its plugins, so that a test can put a function in the place of a guest.
    #[cfg(test)]
    pub(crate) fn subscribers(&self) -> &Arc<Subscribers> {
        &self.inner.subscribers
    }

    /// Its contracts, for the same.
    #[cfg(test)]
    pub(crate) fn contracts(&self) -> &Arc<Contracts> {
        &self.inner.contracts
    }

    /// Its order, for the same.
    #[cfg(test)]
    pub(crate) fn sequencer(&self) -> &Arc<Sequencer> {
        &self.inner.sequencer
    }

    /// Wait until everything that a question could have seen is durable.
    async fn durable_now(&self) -> Result<(), Stopped> {
        self.durable(self.log().bounds().last).await.map(drop)
    }
}
