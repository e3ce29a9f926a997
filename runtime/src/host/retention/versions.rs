//! Versions that are not live any more: after a while they are given up, and components that nobody needs go.

use nerve_eventlog::{Batch, Micros};

use super::RetainError;
use crate::delivery::subscriber::Subscriber;
use crate::host::{Host, Stopped};
use crate::log::record::{AskedBy, Deployment, DeploymentAction, Record};
use crate::log::sequencer::stopped;

impl Host {
    /// Give up versions that stopped to be live long before `now`, and remove components that no version needs.
    pub(super) fn collect_versions(&self, now: Micros) -> Result<(), RetainError> {
        for subscriber in self.inner.subscribers.all() {
            self.give_up_versions(&subscriber, now)?;
        }
        let Some(deployer) = &self.inner.deployer else {
            return Ok(());
        };
        // A crash must not bring back a version whose component is gone.
        let durable = self.log().wait_durable(self.log().bounds().last);
        durable.map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))?;
        let gone = deployer.components().collect(|| {
            let all = self.inner.subscribers.all();
            let needed = all.iter().flat_map(|subscriber| {
                let state = subscriber.state.lock();
                state.components().collect::<Vec<_>>()
            });
            needed.collect()
        })?;
        if gone > 0 {
            tracing::info!("{gone} components went that no version needs");
        }
        Ok(())
    }

    /// Give up the versions of `subscriber` that stopped to be live long before `now`.
    pub(crate) fn give_up_versions(&self, subscriber: &Subscriber, now: Micros) -> Result<(), Stopped> {
        let kept = u64::try_from(self.inner.retention.versions.as_micros()).unwrap_or(u64::MAX);
        let mut state = subscriber.state.lock();
        let old = state.collectable(Micros(now.0.saturating_sub(kept)));
        if old.is_empty() || subscriber.is_forgotten() {
            return Ok(());
        }
        let collected = Deployment {
            who: None,
            plugin: subscriber.name.to_string(),
            pair: state.pair,
            action: DeploymentAction::Collected(old),
            by: AskedBy::Retention,
            warnings: Vec::new(),
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(collected.clone()).encode(out));
        let appended = self.inner.sequencer.append(batch, None, std::iter::empty());
        let appended = appended.map_err(|refused| stopped(&refused))?;
        state.apply_deployment(appended.first, appended.time, &collected);
        Ok(())
    }
}
