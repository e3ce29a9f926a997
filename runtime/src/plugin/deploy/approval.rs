//! Versions that ask for more than they were granted: they wait, visibly, until an operator approves.

use nerve_eventlog::Batch;

use super::candidate::Candidate;
use super::{Deployer, Pending, Request};
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{
    AskedBy, Asker, Asks, DeploymentAction, Hash, Operator, OperatorAction, Record, WaitingVersion,
};
use crate::log::sequencer::stopped;
use crate::plugin::grants::in_words;
use crate::plugin::name::PluginName;
use crate::plugin::settings::Settings;
use crate::plugin::watcher::Pair;
use crate::state::PluginState;

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// Nothing waits, or something else than what was shown.
    #[error("{}", match waiting {
        Some(pair) => format!("what waits for approval is not {shown} any more, but {pair}"),
        None => "nothing of this plugin waits for approval".to_owned(),
    })]
    Changed {
        /// The pair that was shown to the operator.
        shown: Hash,
        /// The pair that waits, where one does.
        waiting: Option<Hash>,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Deployer {
    /// The version in `pair` asks for more than it was granted: what is live goes on, and it waits.
    pub(super) fn wait_for_approval(
        &self,
        pair: &Pair,
        loaded: &Candidate,
        asker: &Asker,
    ) -> Result<(), Stopped> {
        let name = pair.name.as_str();
        tracing::warn!(
            plugin = name,
            "it waits for `nerve plugin approve {name}`: not granted is {}",
            in_words(&loaded.missing)
        );
        let waiting = WaitingVersion {
            version: loaded.version,
            component: loaded.component,
            label: loaded.manifest.version.clone(),
            settings: pair.settings.clone(),
            asks: loaded.manifest.asks.clone(),
            missing: loaded.missing.clone(),
        };
        let subscriber = self.subscribers.get_or_start(name, PluginState::default());
        let mut state = subscriber.state.lock();
        let action = DeploymentAction::Waiting(Box::new(waiting));
        self.record(name, &mut state, Some(pair.hash), action, asker)
            .map(drop)
    }

    /// Approve what the waiting version of `subscriber` asks for, where it is still the one in `pair`, and let it go
    /// live. Blocks: it compiles, and waits for the event that is being delivered. Answers what was approved.
    pub fn approve(
        &self,
        subscriber: &Subscriber,
        pair: Hash,
        who: Option<String>,
    ) -> Result<Asks, ApproveError> {
        let asks = {
            let mut state = subscriber.state.lock();
            let waits = state.waiting.is_some().then_some(state.pair).flatten();
            let asks = match &state.waiting {
                Some((_, waiting)) if waits == Some(pair) => waiting.asks.clone(),
                _ => {
                    return Err(ApproveError::Changed {
                        shown: pair,
                        waiting: waits,
                    });
                }
            };
            let operator = Operator {
                who: who.clone(),
                plugin: subscriber.name.to_string(),
                action: OperatorAction::Approve {
                    pair,
                    asks: asks.clone(),
                },
            };
            let mut batch = Batch::new();
            batch.push_with(|out| Record::Operator(operator.clone()).encode(out));
            let appended = self
                .sequencer
                .append(batch, None, std::iter::empty())
                .map_err(|refused| stopped(&refused))?;
            state.apply_operator(appended.first, appended.time, &operator);
            asks
        };
        self.let_approved_go_live(subscriber, who)?;
        Ok(asks)
    }

    /// Let the waiting version of `subscriber` go live, where what it asks for is approved: after an approval, and
    /// after a restart that came between an approval and its deployment.
    pub(super) fn let_approved_go_live(
        &self,
        subscriber: &Subscriber,
        who: Option<String>,
    ) -> Result<(), Stopped> {
        let (waiting, pair, approved) = {
            let state = subscriber.state.lock();
            let (Some((_, waiting)), Some(pair)) = (&state.waiting, state.pair) else {
                return Ok(());
            };
            (waiting.clone(), pair, state.approved.clone())
        };
        if !is_granted(&waiting, &approved) {
            return Ok(());
        }
        let asker = Asker {
            by: AskedBy::Operator,
            who,
        };
        let name = &*subscriber.name;
        let settings = waiting.settings.as_deref();
        let loaded = PluginName::parse(name)
            .map_err(|cause| cause.to_string())
            .and_then(|name| {
                let component = self.components.read(waiting.component);
                let component = component.map_err(|cause| cause.to_string())?;
                self.candidate(&name, &component, settings, &approved)
            });
        match loaded {
            Ok(loaded) => {
                let request = Request {
                    pending: Pending::Waiting(pair),
                    settings: waiting.settings,
                    approved,
                    asker,
                };
                self.go_live(name, &request, loaded).map(drop)
            }
            Err(reason) => {
                let mut state = subscriber.state.lock();
                if !Pending::Waiting(pair).is_due(&state) {
                    return Ok(());
                }
                let refused = DeploymentAction::Refused { reason };
                self.record(name, &mut state, Some(pair), refused, &asker)
                    .map(drop)
            }
        }
    }
}

/// Whether the settings of `waiting` and what was approved grant all that it asks for.
fn is_granted(waiting: &WaitingVersion, approved: &Asks) -> bool {
    let granted = || {
        let settings = Settings::parse(waiting.settings.as_deref().unwrap_or_default()).ok()?;
        let grants = settings.grants.with(approved).ok()?;
        grants.missing(&waiting.asks).ok()
    };
    granted().is_some_and(|missing| missing.is_empty())
}
