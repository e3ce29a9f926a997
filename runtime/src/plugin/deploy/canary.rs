//! Canaries: versions that run for a share of the keys until they are promoted.

use super::candidate::Candidate;
use super::{Deployer, RollBackError};
use crate::contract::Offered;
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, VersionId};
use crate::plugin::settings::{Settings, Share};

impl Deployer {
    /// Why `loaded` can't run as a canary beside the version that is live, where its settings ask for that: both get the
    /// same events.
    pub(super) fn refuse_canary(&self, name: &str, loaded: &Candidate) -> Option<String> {
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

    /// Let the canary of `subscriber` run for all keys; answers which it is. One that breaks a contract does not, unless it
    /// is `forced`. Blocks: waits for the event that is being delivered.
    pub fn promote(&self, subscriber: &Subscriber, forced: bool) -> Result<VersionId, RollBackError> {
        let canary = {
            let state = subscriber.state.lock();
            let watch = state.probation.as_ref().filter(|watch| watch.share.is_some());
            let live = watch.and_then(|watch| state.version(watch.watched));
            live.cloned().ok_or(RollBackError::NoCanary)?
        };
        let version = canary.version;
        let settings = Settings::parse(canary.settings.as_deref().unwrap_or_default());
        let offered = Offered {
            schemas: &canary.schemas,
            from_beginning: canary.from_beginning,
            mode: settings
                .map(|settings| settings.contracts.deploy)
                .unwrap_or_default(),
        };
        let decided = self.hold_against_contracts(subscriber, version, offered, forced)?;
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let watch = state.probation.as_ref();
        if !watch.is_some_and(|watch| watch.watched == version && watch.share.is_some()) {
            return Err(RollBackError::Changed);
        }
        let promoted = Deployment {
            plugin: subscriber.name.to_string(),
            pair: state.pair,
            action: DeploymentAction::Promoted(version),
            by: AskedBy::Operator,
            warnings: decided.warnings.clone(),
        };
        self.append(&mut state, &promoted)?;
        drop(state);
        drop(between);
        tracing::info!(plugin = %subscriber.name, %version, "the canary runs for all keys");
        Ok(version)
    }
}
