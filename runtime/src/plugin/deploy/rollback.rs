//! Back to a version that ran before, at once: it is loaded while the live one runs on, and swapped in between two
//! events.

use std::sync::Arc;

use super::Deployer;
use crate::contract::{Decided, Offered};
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{AskedBy, DeploymentAction, LiveVersion, Mode, RolledBack, VersionId};
use crate::state::PluginState;

/// Why nothing was rolled back. What was live goes on.
#[derive(Debug, thiserror::Error)]
pub enum RollBackError {
    /// Nothing is live.
    #[error("nothing of it is live")]
    NotLive,
    /// No version came before, or it is not kept any more.
    #[error("no version before {live} is kept")]
    NothingBefore {
        /// What is live.
        live: VersionId,
    },
    /// No version is called so.
    #[error("it has no version {asked}")]
    NoVersion {
        /// What was asked for.
        asked: String,
    },
    /// Several are.
    #[error("versions {} begin with {asked}", versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Those.
        versions: Vec<VersionId>,
    },
    /// It is live already.
    #[error("version {0} is live already")]
    Live(VersionId),
    /// No canary runs.
    #[error("no canary of it runs")]
    NoCanary,
    /// Another version went live meanwhile.
    #[error("another version went live meanwhile")]
    Changed,
    /// It does not load any more.
    #[error("version {version} does not load: {reason}")]
    Load {
        /// The version.
        version: VersionId,
        /// Why.
        reason: String,
    },
    /// It breaks a contract of one that runs.
    #[error("version {version} breaks a contract: {}", problems.join("; "))]
    Contract {
        /// The version.
        version: VersionId,
        /// What it breaks.
        problems: Vec<String>,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Deployer {
    /// Let the version `to` go live again, or, where none is named, the one before the live one; answers which. One that
    /// breaks a contract does not, unless it is `forced`. Blocks: it loads, and waits for the event that is being delivered.
    pub fn roll_back(
        &self,
        subscriber: &Subscriber,
        to: Option<&str>,
        forced: bool,
    ) -> Result<VersionId, RollBackError> {
        let (from, mut target) = target(&subscriber.state.lock(), to)?;
        let version = target.version;
        let loaded = self
            .load_kept(&subscriber.name, &target)
            .map_err(|reason| RollBackError::Load { version, reason })?;
        let decided = self.hold_against_contracts(subscriber, version, loaded.offered(), forced)?;
        target.warnings.clone_from(&decided.warnings);
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let lives_on = state
            .live
            .as_ref()
            .is_some_and(|live| live.version.version == from);
        if !lives_on || state.removed || !state.former.contains_key(&version) {
            return Err(RollBackError::Changed);
        }
        let why = "an operator asked for it".to_owned();
        let back = RolledBack {
            version: target,
            from,
            why,
        };
        let (pair, action) = (state.pair, DeploymentAction::RolledBack(Box::new(back)));
        self.record(&subscriber.name, &mut state, pair, action, AskedBy::Operator)?;
        self.sequencer
            .subscribe(subscriber.id, state.subscription.clone());
        drop(state);
        *subscriber.trouble.lock() = None;
        tracing::info!(plugin = %subscriber.name, %version, "rolled back from {from}");
        between.swap(Some(Arc::new(loaded)));
        Ok(version)
    }

    /// Decide whether a `version` that an operator asks for may run by the contracts of others, as for a deployment.
    pub(super) fn hold_against_contracts(
        &self,
        subscriber: &Subscriber,
        version: VersionId,
        mut offered: Offered<'_>,
        forced: bool,
    ) -> Result<Decided<'_>, RollBackError> {
        if forced && offered.mode == Mode::Enforce {
            offered.mode = Mode::Warn;
        }
        let decided = self.contracts.decide(&subscriber.name, offered);
        decided.map_err(|found| {
            let problems = found.breaches.into_iter().map(|breach| breach.problem);
            RollBackError::Contract {
                version,
                problems: problems.collect(),
            }
        })
    }
}

/// What is live, and what takes its place.
fn target(state: &PluginState, to: Option<&str>) -> Result<(VersionId, LiveVersion), RollBackError> {
    let live = state.live.as_ref().filter(|_| !state.removed);
    let live = live.ok_or(RollBackError::NotLive)?.version.version;
    let Some(asked) = to else {
        let before = state.version_before().cloned();
        return before
            .map(|before| (live, before))
            .ok_or(RollBackError::NothingBefore { live });
    };
    let asked = asked.to_owned();
    let found: Vec<&LiveVersion> = state
        .former
        .values()
        .filter(|version| version.version.begins_with(&asked))
        .collect();
    match found[..] {
        [one] => Ok((live, one.clone())),
        [] if live.begins_with(&asked) => Err(RollBackError::Live(live)),
        [] => Err(RollBackError::NoVersion { asked }),
        _ => Err(RollBackError::Ambiguous {
            asked,
            versions: found.iter().map(|version| version.version).collect(),
        }),
    }
}
