//! Versions of a plugin: deployed and rolled back by name, and how each fared.

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};

use super::{AskError, Host, PluginStatus, Stopped};
use crate::log::record::{LiveVersion, Mute, Prefer, VersionId};
use crate::plugin::deploy::{Deployed, Deployer, Redelivers, RollBackError};
use crate::plugin::name::PluginName;
use crate::plugin::watcher::Pair;
use crate::state::{PluginState, Ran};

/// A version that is live or was.
#[derive(Debug, Clone)]
pub struct KeptVersion {
    /// What it is.
    pub version: LiveVersion,
    /// How it fared.
    pub ran: Ran,
    /// Whether it is live now.
    pub is_live: bool,
    /// Of 10,000 keys it runs for so many, where it is live and a canary.
    pub share: Option<u32>,
    /// Whether it is so on a state of its own.
    pub own: bool,
    /// How long it was live, in microseconds.
    pub lived: u64,
    /// The offset that a rollback takes the state back to with it, where it is kept.
    pub state: Option<Offset>,
}

/// What is delivered again, since state and cursor went back.
#[derive(Debug, Clone)]
pub struct AgainStatus {
    /// The rollback's record.
    pub generation: Offset,
    /// When that was.
    pub since: Micros,
    /// The record before which state and cursor were what they went back to.
    pub to: Offset,
    /// Where the cursor went back to.
    pub from: Offset,
    /// How far the plugin is.
    pub at: Offset,
    /// The last event that was settled before.
    pub through: Offset,
    /// What does not happen again.
    pub mute: Mute,
    /// Its outcomes so far: done, retry, dead.
    pub counters: [u64; 3],
    /// Effects that did not happen.
    pub muted: u64,
}

impl AgainStatus {
    /// Where something is left of it, for a plugin that has `looked` at everything up to there.
    pub(super) fn of(state: &PluginState, looked: Offset) -> Option<Self> {
        let again = state.again.as_deref()?;
        let is_left = !again.is_over(&state.cursor, looked);
        is_left.then(|| Self {
            generation: again.generation,
            since: again.since,
            to: again.to,
            from: again.from,
            at: state.cursor.low.max(looked).min(again.through),
            through: again.through,
            mute: again.mute,
            counters: again.counters,
            muted: again.muted,
        })
    }
}

impl Host {
    /// Deploy a component as the plugin `name`, as if it had been dropped into the folder; without `settings` those hold
    /// that the plugin has. Answers what came of it, once that is durable.
    pub async fn deploy_plugin(
        &self,
        name: &str,
        component: Bytes,
        settings: Option<String>,
    ) -> Result<(Deployed, PluginStatus), AskError> {
        let plugin = PluginName::parse(name)?;
        let (deployer, who) = (self.deployer()?, self.who());
        let came =
            tokio::task::spawn_blocking(move || deployer.deploy(plugin, component, settings, who)).await;
        let came = came.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))??;
        Ok((came, self.plugin(name).await?))
    }

    /// Decide again on a pair in the plugin folder that was refused, for others may run by now; whether it was, and a record
    /// says what came of it.
    pub async fn decide_again(&self, pair: Pair) -> Result<bool, AskError> {
        let deployer = self.deployer()?;
        let decided = tokio::task::spawn_blocking(move || deployer.present_again(&pair)).await;
        Ok(decided.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))??)
    }

    /// Let the version `to` of a plugin go live again, or, where none is named, the one before the live one; one that breaks
    /// a contract only where it is `forced`. Where it is said what is muted, `state` and cursor go back with it to where it
    /// left, and what was settled since is delivered again. Answers which, once that is durable.
    pub async fn roll_back_plugin(
        &self,
        name: &str,
        to: Option<String>,
        forced: bool,
        again: Redelivers,
    ) -> Result<(VersionId, PluginStatus), AskError> {
        let (subscriber, deployer) = (self.subscriber(name)?, self.deployer()?);
        let (host, who) = (self.clone(), self.who());
        let back = tokio::task::spawn_blocking(move || {
            let goes_back = matches!(again, Redelivers::Since(_));
            let _still = goes_back.then(|| host.inner.retaining.lock());
            deployer.roll_back(&subscriber, to.as_deref(), forced, again, who)
        })
        .await;
        let back = back.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        let back = back.map_err(|refused| roll_back_refused(name, refused))?;
        Ok((back, self.plugin(name).await?))
    }

    /// Let the canary of a plugin run for all keys, one that breaks a contract only where it is `forced`, and one with a
    /// state of its own whose keys the version before wrote too only where it is said what is `preferred`; answers which it is, once that is durable.
    pub async fn promote_plugin(
        &self,
        name: &str,
        forced: bool,
        preferred: Option<Prefer>,
    ) -> Result<(VersionId, PluginStatus), AskError> {
        let (subscriber, deployer) = (self.subscriber(name)?, self.deployer()?);
        let who = self.who();
        let promoted =
            tokio::task::spawn_blocking(move || deployer.promote(&subscriber, forced, preferred, who)).await;
        let promoted = promoted.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        let version = promoted.map_err(|refused| roll_back_refused(name, refused))?;
        Ok((version, self.plugin(name).await?))
    }

    /// The versions of a plugin that are kept, the newest first.
    pub async fn versions(&self, name: &str) -> Result<Vec<KeptVersion>, AskError> {
        let now = self.inner.clock.now();
        let mut versions: Vec<KeptVersion> = {
            let subscriber = self.subscriber(name)?;
            let state = subscriber.state.lock();
            let live = state.live.as_ref().map(|live| (&live.version, true));
            let former = state.former.values().map(|version| (version, false));
            let kept = |(version, is_live): (&LiveVersion, bool)| {
                let live_since = state.live.as_ref().filter(|_| is_live).map(|live| live.since);
                let ran = state.ran.get(&version.version).cloned().unwrap_or_else(|| Ran {
                    since: live_since.unwrap_or_default(),
                    ..Ran::default()
                });
                KeptVersion {
                    version: version.clone(),
                    lived: ran.lived(if is_live { now } else { ran.since }),
                    is_live: is_live && !state.removed,
                    state: state.lefts.get(&version.version).map(|left| left.at),
                    own: is_live && state.own.is_some(),
                    share: state
                        .probation
                        .as_ref()
                        .filter(|_| is_live)
                        .and_then(|watch| watch.share),
                    ran,
                }
            };
            live.into_iter().chain(former).map(kept).collect()
        };
        versions.sort_by_key(|kept| std::cmp::Reverse((kept.is_live, kept.ran.since)));
        self.durable_now().await?;
        Ok(versions)
    }

    fn deployer(&self) -> Result<Arc<Deployer>, AskError> {
        self.inner.deployer.clone().ok_or(AskError::NoFolder)
    }
}

fn roll_back_refused(plugin: &str, refused: RollBackError) -> AskError {
    match refused {
        RollBackError::Stopped(stopped) => AskError::Stopped(stopped),
        cause => AskError::RollBack {
            plugin: plugin.to_owned(),
            cause,
        },
    }
}
