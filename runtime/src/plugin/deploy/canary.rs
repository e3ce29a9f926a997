//! Canaries: versions that run for a share of the keys until they are promoted.

use super::{Deployer, RollBackError};
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, DeploymentAction, VersionId};
use crate::plugin::loader::Loaded;
use crate::plugin::settings::Share;

impl Deployer {
    /// Why `loaded` can't run as a canary beside the version that is live, where its settings ask for that: both get the
    /// same events.
    pub(super) fn refuse_canary(&self, name: &str, loaded: &Loaded) -> Option<String> {
        if loaded.settings.canary == Share::default() {
            return None;
        }
        let subscriber = self.subscribers.get(name)?;
        let state = subscriber.state.lock();
        let mut before = state.live.as_ref()?.version.subscriptions.clone();
        let mut own: Vec<String> = loaded
            .manifest
            .subscriptions
            .iter()
            .map(ToString::to_string)
            .collect();
        before.sort_unstable();
        own.sort_unstable();
        (own != before).then(|| {
            format!(
                "canary: it subscribes to {}, and the version that is live to {}; a canary gets the events that the live \
                 version gets: deploy it without `canary`",
                own.join(", "),
                before.join(", ")
            )
        })
    }

    /// Let the canary of `subscriber` run for all keys; answers which it is. Blocks: waits for the event that is being
    /// delivered.
    pub fn promote(&self, subscriber: &Subscriber) -> Result<VersionId, RollBackError> {
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let canary = state.probation.as_ref().filter(|watch| watch.share.is_some());
        let version = canary.ok_or(RollBackError::NoCanary)?.watched;
        let (pair, action) = (state.pair, DeploymentAction::Promoted(version));
        self.record(&subscriber.name, &mut state, pair, action, AskedBy::Operator)?;
        drop(state);
        drop(between);
        tracing::info!(plugin = %subscriber.name, %version, "the canary runs for all keys");
        Ok(version)
    }
}
