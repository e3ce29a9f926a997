//! Back to a version that ran before, at once: it is loaded while the live one runs on, and swapped in between two
//! events; with the state where it left it, where that is asked for.

use std::sync::Arc;

use nerve_eventlog::{Batch, Offset};

use super::Deployer;
use super::state_back::{Back, StateBackError};
use crate::contract::{Decided, Offered};
use crate::delivery::handler::Version;
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, LiveVersion, Mode, Mute, Record, RolledBack, VersionId,
};
use crate::log::sequencer::Sequencer;
use crate::state::PluginState;

/// What a rollback delivers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivers {
    /// What a canary did on a state of its own, where one is taken back; this is muted, and what has happened where nothing is
    /// said.
    Canarys(Option<Mute>),
    /// What was settled since the version left, for state and cursor go back with it; this is muted.
    Since(Mute),
}

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
    /// A canary with a state of its own runs, and what it did would be another version's that subscribes to something else.
    #[error(
        "a canary with a state of its own runs, and what it did is delivered again to the version that takes its place; version \
         {0} subscribes to something else: roll the canary back first, with `nerve plugin rollback` and no version"
    )]
    OwnState(VersionId),
    /// The canary and the version before both wrote keys of the state.
    #[error(
        "the canary and the version before both wrote {both} keys of the state, among them {}: say whose values stay, with \
         `--prefer canary` or `--prefer before`",
        some.join(", ")
    )]
    BothWrote {
        /// How many keys.
        both: usize,
        /// Some of them.
        some: Vec<String>,
    },
    /// What the canary wrote is too much for one record.
    #[error(
        "what the canary wrote into its own state, in {keys} keys, is a record of {bytes} bytes, and a batch of the log may have {limit}: \
         roll it back, and deploy it without `canary_state`"
    )]
    LargeMerge {
        /// Keys.
        keys: usize,
        /// What the record would have.
        bytes: usize,
        /// What a batch may have.
        limit: usize,
    },
    /// It was said what is muted, and nothing is delivered again.
    #[error(
        "what is muted is of what is delivered again, and nothing is: no canary with a state of its own runs, and state and cursor \
         stay where they are"
    )]
    NothingAgain,
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
    /// State and cursor don't go back with it.
    #[error("its state does not go back with it: {0}")]
    State(Box<StateBackError>),
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Deployer {
    /// Let the version `to` go live again, or, where none is named, the one before the live one; answers which. One that
    /// breaks a contract does not, unless it is `forced`. Where state and cursor go back with it to where it left, and what was
    /// settled since is delivered `again`, retention must stand still meanwhile. Blocks: it loads, reads the log, and waits
    /// for the event that is being delivered.
    pub fn roll_back(
        &self,
        subscriber: &Subscriber,
        to: Option<&str>,
        forced: bool,
        again: Redelivers,
        who: Option<String>,
    ) -> Result<VersionId, RollBackError> {
        let (from, mut target) = target(&subscriber.state.lock(), to)?;
        let version = target.version;
        let loaded = self
            .load_kept(&subscriber.name, &target)
            .map_err(|reason| RollBackError::Load { version, reason })?;
        let back = read_back(&self.sequencer, subscriber, version, again)?;
        // Held until it runs.
        let decided = self.hold_against_contracts(subscriber, version, loaded.offered(), forced)?;
        target.warnings.clone_from(&decided.warnings);
        swap_in(
            &self.sequencer,
            subscriber,
            from,
            target,
            loaded.runs,
            (again, back),
            who,
        )?;
        *subscriber.trouble.lock() = None;
        tracing::info!(plugin = %subscriber.name, %version, "rolled back from {from}");
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

/// What the state has to go back to with `version`, where it does. Blocks: it reads the log.
fn read_back<'a>(
    sequencer: &Sequencer,
    subscriber: &'a Subscriber,
    version: VersionId,
    again: Redelivers,
) -> Result<Option<Back<'a>>, RollBackError> {
    let Redelivers::Since(mute) = again else {
        return Ok(None);
    };
    let mut back = Back::new(&subscriber.name, &subscriber.state.lock(), version, mute)?;
    back.read_ahead(&**sequencer.log())?;
    Ok(Some(back))
}

/// Both, for a test whose versions are functions.
#[cfg(test)]
pub(crate) fn swap_back(
    sequencer: &Sequencer,
    subscriber: &Subscriber,
    from: VersionId,
    target: LiveVersion,
    runs: Arc<dyn Version>,
    again: Redelivers,
) -> Result<(), RollBackError> {
    let back = read_back(sequencer, subscriber, target.version, again)?;
    swap_in(sequencer, subscriber, from, target, runs, (again, back), None)
}

/// Put `runs`, which is the former version `target`, in the place of `from`, with the state where it goes `back`. Blocks.
fn swap_in(
    sequencer: &Sequencer,
    subscriber: &Subscriber,
    from: VersionId,
    target: LiveVersion,
    runs: Arc<dyn Version>,
    (again, mut back): (Redelivers, Option<Back<'_>>),
    who: Option<String>,
) -> Result<(), RollBackError> {
    let (log, version) = (&**sequencer.log(), target.version);
    let between = subscriber.between_events();
    let mut state = subscriber.state.lock();
    let lives_on = state
        .live
        .as_ref()
        .is_some_and(|live| live.version.version == from);
    if !lives_on || state.removed || !state.former.contains_key(&version) {
        return Err(RollBackError::Changed);
    }
    back.as_mut().map(|back| back.read(log)).transpose()?;
    let back = back.map(|back| back.finish(log, &state)).transpose()?;
    let (goes_back, unsettles) = (back.is_some(), state.own.is_some());
    if unsettles && !goes_back && !gets_the_same(&state, &target) {
        return Err(RollBackError::OwnState(version));
    }
    let mute = match again {
        Redelivers::Canarys(Some(_)) if !unsettles => return Err(RollBackError::NothingAgain),
        Redelivers::Canarys(mute) => mute,
        Redelivers::Since(_) => None,
    };
    let back = RolledBack {
        version: target,
        from,
        why: "an operator asked for it".to_owned(),
        state: back.map(Box::new),
        mute,
    };
    record(sequencer, subscriber, &mut state, back, who)?;
    sequencer.subscribe(subscriber.id, state.subscription.clone());
    between.show(&state, Some(&runs));
    drop(state);
    if goes_back {
        between.go_back(Some(runs), log.bounds().first);
    } else {
        if unsettles {
            between.look_back();
        }
        between.swap(Some(runs));
    }
    Ok(())
}

/// Whether `target` subscribes to what the live version subscribes to.
fn gets_the_same(state: &PluginState, target: &LiveVersion) -> bool {
    let sorted = |version: &LiveVersion| {
        let mut patterns = version.subscriptions.clone();
        patterns.sort_unstable();
        patterns
    };
    let live = state.live.as_ref();
    live.is_some_and(|live| sorted(&live.version) == sorted(target))
}

/// The record of a rollback, which may be large where the state goes back.
fn record(
    sequencer: &Sequencer,
    subscriber: &Subscriber,
    state: &mut PluginState,
    back: RolledBack,
    who: Option<String>,
) -> Result<(), RollBackError> {
    let size = back
        .state
        .as_ref()
        .map(|back| (Offset(back.to), back.writes.len()));
    let deployment = Deployment {
        who,
        plugin: subscriber.name.to_string(),
        pair: state.pair,
        action: DeploymentAction::RolledBack(Box::new(back)),
        by: AskedBy::Operator,
        warnings: Vec::new(),
    };
    let mut batch = Batch::new();
    batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
    let (bytes, limit) = (batch.size(), sequencer.log().largest_batch());
    if let Some((left, keys)) = size.filter(|_| bytes > limit) {
        return Err(StateBackError::Large {
            left,
            keys,
            bytes,
            limit,
        }
        .into());
    }
    let appended = sequencer.append_in_turn(batch)?;
    state.apply_deployment(appended.first, appended.time, &deployment);
    Ok(())
}

impl From<StateBackError> for RollBackError {
    fn from(refused: StateBackError) -> Self {
        Self::State(Box::new(refused))
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
