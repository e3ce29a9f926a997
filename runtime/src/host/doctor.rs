//! The doctor's look at a log: its last records, and what the fold knows of the plugins.

use nerve_eventlog::{Log, Offset, Reach, ReadError};

use super::{AskError, Host, Stopped};
use crate::doctor::{self, Gatherer, Known, Report};
use crate::state::PluginState;

/// Bytes of the log that are read at a time.
const CHUNK: usize = 1 << 20;

impl Host {
    /// What the doctor finds in the last `records`; or why they can't be read.
    pub async fn examine(&self, records: u64) -> Result<Result<Report, ReadError>, AskError> {
        let host = self.clone();
        let look = move || {
            let all = host.inner.subscribers.all();
            let known = all
                .iter()
                .map(|subscriber| known(&subscriber.name, &subscriber.state.lock()));
            examine(&**host.log(), records, known.collect())
        };
        let report = tokio::task::spawn_blocking(look).await;
        let report = report.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        // The plugins were asked, and may have run ahead of the disk.
        self.durable_now().await?;
        Ok(report)
    }
}

/// What the doctor is to know of a plugin.
pub(super) fn known(name: &str, state: &PluginState) -> Known {
    let live = state.live.as_ref().filter(|_| !state.removed);
    Known {
        name: name.to_owned(),
        live: live.map(|live| live.version.clone()),
        deployed: state
            .ran
            .values()
            .map(|ran| (ran.at.0, ran.since, ran.by))
            .collect(),
    }
}

/// What is found in the last `records` of `log` that are durable.
pub(super) fn examine(log: &dyn Log, records: u64, known: Vec<Known>) -> Result<Report, ReadError> {
    let bounds = log.bounds();
    let mut at = Offset(bounds.durable.0.saturating_sub(records)).max(bounds.first.prev());
    let mut gatherer = Gatherer::default();
    while at < bounds.durable {
        let entries = match log.read(at.next(), CHUNK, Reach::Durable) {
            // Retention passed by.
            Err(ReadError::Gone { first, .. }) => {
                at = first.prev();
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last() else { break };
        at = last.offset;
        for entry in &entries {
            gatherer.see(entry);
        }
    }
    Ok(doctor::examine(&gatherer.facts(Some(known))))
}
