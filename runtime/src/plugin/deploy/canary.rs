//! Canaries: versions that run for a share of the keys until they are promoted.

use nerve_eventlog::{Appended, Batch};

use super::candidate::Candidate;
use super::{Deployer, RollBackError};
use crate::contract::Offered;
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, Prefer, Record, VersionId};
use crate::log::sequencer::Sequencer;
use crate::plugin::settings::{CanaryState, Settings, Share};
use crate::state::PluginState;

/// Keys of the state that a refusal names.
const NAMED: usize = 5;

impl Deployer {
    /// Why `loaded` can't run as a canary beside the version that is live, where its settings ask for that: both get the
    /// same events.
    pub(super) fn refuse_canary(&self, name: &str, loaded: &Candidate) -> Option<String> {
        let is_canary = loaded.settings.canary != Share::default();
        let subscriber = self.subscribers.get(name)?;
        let state = subscriber.state.lock();
        if !is_canary && state.own.is_none() {
            return None;
        }
        if let Some(rewinding) = &state.rewinding
            && loaded.settings.canary_state == CanaryState::Own
        {
            return Some(format!(
                "canary_state: the rewind of the plugin that began at offset {} writes into its state, of which the canary would have a \
                 copy: deploy it when that is over, or stop it with `nerve plugin rewind --stop`",
                rewinding.generation
            ));
        }
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
            if !is_canary {
                return format!(
                    "a canary with a state of its own runs, and what it did is delivered again to the version that takes its place, \
                     which must subscribe to the same, {}, and not to {}: promote the canary or roll it back first",
                    before.join(", "),
                    own.join(", ")
                );
            }
            format!(
                "canary: it subscribes to {}, and the version that is live to {}; a canary gets the events that the live \
                 version gets: deploy it without `canary`",
                own.join(", "),
                before.join(", ")
            )
        })
    }

    /// Let the canary of `subscriber` run for all keys; answers which it is. One that breaks a contract does not, unless it
    /// is `forced`, and one with a state of its own where both wrote keys of the state only where it is said what is `preferred`.
    /// Blocks: waits for the event that is being delivered.
    pub fn promote(
        &self,
        subscriber: &Subscriber,
        forced: bool,
        preferred: Option<Prefer>,
        who: Option<String>,
    ) -> Result<VersionId, RollBackError> {
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
        let warnings = decided.warnings.clone();
        promoted(
            &self.sequencer,
            &mut state,
            &subscriber.name,
            version,
            (warnings, who),
            preferred,
        )?;
        drop(state);
        between.begin_anew();
        tracing::info!(plugin = %subscriber.name, %version, "the canary runs for all keys");
        Ok(version)
    }
}

/// The canary `version` runs for all keys, and its own state, where it has one, is the plugin's.
pub(crate) fn promoted(
    sequencer: &Sequencer,
    state: &mut PluginState,
    plugin: &str,
    version: VersionId,
    (warnings, who): (Vec<String>, Option<String>),
    preferred: Option<Prefer>,
) -> Result<Appended, RollBackError> {
    let merged = state
        .own
        .as_ref()
        .map(|own| own.merge(&state.key_values, version, preferred));
    let merged = merged.transpose().map_err(|both| RollBackError::BothWrote {
        both: both.len(),
        some: both.iter().take(NAMED).map(|key| format!("{key:?}")).collect(),
    })?;
    let keys = merged.as_ref().map(|merged| merged.writes.len());
    let action = match merged {
        Some(merged) => DeploymentAction::Merged(Box::new(merged)),
        None => DeploymentAction::Promoted(version),
    };
    let deployment = Deployment {
        who,
        plugin: plugin.to_owned(),
        pair: state.pair,
        action,
        by: AskedBy::Operator,
        warnings,
    };
    let mut batch = Batch::new();
    batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
    let (bytes, limit) = (batch.size(), sequencer.log().largest_batch());
    if let Some(keys) = keys.filter(|_| bytes > limit) {
        return Err(RollBackError::LargeMerge { keys, bytes, limit });
    }
    let appended = sequencer.append_in_turn(batch)?;
    state.apply_deployment(appended.first, appended.time, &deployment);
    Ok(appended)
}
