//! When checkpoints are made: after so many bytes of the log, and at a clean stop.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use nerve_eventlog::Offset;
use nerve_eventlog::storage::Storage;
use parking_lot::Mutex;

use super::{Host, Stopped};
use crate::state::checkpoint::Checkpoint;

/// Records behind which the size of the log is looked at.
const LOOK_EVERY: u64 = 1000;

/// Where checkpoints are, and what the last one holds.
pub(super) struct Checkpoints {
    storage: Arc<dyn Storage>,
    every_bytes: u64,
    /// Held while one is made.
    through: Mutex<Offset>,
}

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The host is stopping, or its log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The system refused.
    #[error("{folder}: {cause}")]
    Io {
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl Checkpoints {
    pub(super) fn new(storage: Arc<dyn Storage>, every_bytes: u64, through: Offset) -> Self {
        Self {
            storage,
            every_bytes,
            through: Mutex::new(through),
        }
    }

    /// Where they are.
    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// The offset of the last checkpoint; 0 where there is none.
    pub(super) fn through(&self) -> Offset {
        *self.through.lock()
    }
}

impl Host {
    /// Make a checkpoint; answers its offset. Blocks until everything in it is durable and it is on disk itself.
    pub fn checkpoint(&self) -> Result<Offset, CheckpointError> {
        let inner = &self.inner;
        let mut last = inner.checkpoints.through.lock();
        // What came before this is in every plugin that is looked at from here on.
        let through = self.log().bounds().last;
        if through == *last {
            return Ok(through);
        }
        let time = inner.store.time();
        let (remembered, window_through) = inner.sequencer.remembered();
        let mut plugins = std::collections::BTreeMap::new();
        for subscriber in inner.subscribers.all() {
            let state = subscriber.state.lock();
            let folded = self.log().bounds().last;
            plugins.insert(subscriber.name.to_string(), state.snapshot(folded));
        }
        let checkpoint = Checkpoint {
            log: self.log().id(),
            through,
            time,
            key: inner.acceptor.identity_key(),
            window: remembered.as_bytes().map(Cow::Borrowed).collect(),
            window_through,
            plugins,
            schemas: inner.contracts.holding().set(),
            observed: inner.observed.lock().clone(),
        };
        self.log()
            .wait_durable(self.log().bounds().last)
            .map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))?;
        let storage = &*inner.checkpoints.storage;
        checkpoint.write(storage).map_err(|cause| CheckpointError::Io {
            folder: storage.place(),
            cause,
        })?;
        *last = through;
        Ok(through)
    }
}

/// Make a checkpoint whenever the log has grown by so much, until the host stops.
pub(super) async fn keep(host: Host) {
    let inner = &host.inner;
    let mut looked_at = inner.checkpoints.through();
    let mut grown_from = inner.store.appended_bytes();
    loop {
        let reached = tokio::select! {
            () = inner.stop.cancelled() => return,
            reached = host.durable(Offset(looked_at.0 + LOOK_EVERY)) => reached,
        };
        let Ok(offset) = reached else { return };
        looked_at = offset;
        let appended = inner.store.appended_bytes();
        if appended - grown_from >= inner.checkpoints.every_bytes {
            grown_from = appended;
            let making = host.clone();
            match tokio::task::spawn_blocking(move || making.checkpoint()).await {
                Ok(Ok(through)) => tracing::debug!("a checkpoint at offset {through} is made"),
                Ok(Err(CheckpointError::Stopped(_))) => return,
                Ok(Err(refused)) => tracing::warn!(
                    "no checkpoint could be made, so that the next start reads more of the log: {refused}"
                ),
                Err(panicked) => tracing::error!("a checkpoint failed by a fault of the host: {panicked}"),
            }
        }
    }
}
