//! From a change in the folder to a swap, and to the record that says so.
//!
//! The folder is an input, the log is the truth: only a pair of component and settings that differs from the
//! last one the log has seen is a request. A request is loaded and checked while the old version runs on; its
//! component is kept by hash and synced; then, between two events, the deployment's record is appended, the
//! fold follows it, and the new version is in the slot. Whatever fails before that changes nothing but the
//! record of the refusal.

mod approval;
mod canary;
mod candidate;
mod cycles;
mod loaded;
mod rollback;
mod state_back;

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Appended, Batch};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::components::Components;
use super::engine::Engine;
use super::grants::in_words;
use super::name::PluginName;
use super::settings::Start;
use super::watcher::{FolderChange, Pair, pair};
use crate::contract::Contracts;
use crate::delivery::handler::Version;
use crate::delivery::subscriber::Subscriber;
use crate::delivery::subscribers::Subscribers;
use crate::give_way::give_way;
use crate::host::Stopped;
use crate::log::record::{
    AskedBy, Asker, Asks, Deployment, DeploymentAction, Hash, LiveVersion, Record, VersionId,
};
use crate::log::sequencer::{Sequencer, stopped};
use crate::state::PluginState;
use crate::trace::map::Observed;
use candidate::Candidate;

pub use approval::ApproveError;
#[cfg(test)]
pub(crate) use canary::promoted;
#[cfg(test)]
pub(crate) use rollback::swap_back;
pub use rollback::{Redelivers, RollBackError};
pub use state_back::StateBackError;

/// Deploys and removes plugins. Its methods block: they compile, sync and wait for the event that is being
/// delivered.
pub struct Deployer {
    engine: Engine,
    components: Components,
    sequencer: Arc<Sequencer>,
    subscribers: Arc<Subscribers>,
    contracts: Arc<Contracts>,
    observed: Arc<Mutex<Observed>>,
}

/// What came of a request to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// It is live.
    Live,
    /// It was live before.
    Unchanged,
    /// It waits for an operator to approve what it asks for.
    Waiting,
    /// It was refused; what was live before goes on.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was rolled back, and is not tried again.
    RolledBack {
        /// The version that it makes.
        version: VersionId,
        /// Why it was.
        why: String,
    },
    /// Its file may be half-written: it is looked at again.
    Unsettled,
}

/// What is about to go live, beside the version that was made of it.
struct Request {
    pending: Pending,
    settings: Option<String>,
    approved: Asks,
    asker: Asker,
}

/// A pair that is about to go live.
#[derive(Debug, Clone, Copy)]
enum Pending {
    /// It is new in the folder.
    New(Hash),
    /// It waited to be approved; it goes live only while it is still the last that was asked for.
    Waiting(Hash),
}

impl Pending {
    fn pair(self) -> Hash {
        let (Self::New(pair) | Self::Waiting(pair)) = self;
        pair
    }

    fn is_due(self, state: &PluginState) -> bool {
        match self {
            Self::New(_) => true,
            Self::Waiting(pair) => state.waiting.is_some() && state.pair == Some(pair),
        }
    }
}

impl Deployer {
    /// Deploy with `engine` to `subscribers`, keeping components in `components`.
    pub fn new(
        engine: Engine,
        components: Components,
        sequencer: Arc<Sequencer>,
        subscribers: Arc<Subscribers>,
        contracts: Arc<Contracts>,
        observed: Arc<Mutex<Observed>>,
    ) -> Self {
        Self {
            engine,
            components,
            sequencer,
            subscribers,
            contracts,
            observed,
        }
    }

    /// The components that are kept.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// Put the version that was live when the host ended back in its slot.
    pub fn resume(&self, subscriber: &Subscriber) {
        let (live, removed) = {
            let state = subscriber.state.lock();
            (state.live.clone(), state.removed)
        };
        let Some(live) = live.filter(|_| !removed) else {
            return;
        };
        let loaded = self.load_kept(&subscriber.name, &live.version);
        match loaded {
            Ok(loaded) => {
                let before = self.version_before(subscriber, |_| None);
                subscriber.between_events().swap_beside(Some(loaded.runs), before);
            }
            Err(reason) => {
                tracing::error!(plugin = %subscriber.name, "its version {} does not load: {reason}", live.version.version);
                *subscriber.trouble.lock() = Some(reason);
            }
        }
    }

    /// The version before one that is watched: what is `found`, or its component that is kept, or why that does not load.
    fn version_before(
        &self,
        subscriber: &Subscriber,
        found: impl FnOnce(VersionId) -> Option<Arc<dyn Version>>,
    ) -> Option<Result<Arc<dyn Version>, String>> {
        let kept = {
            let state = subscriber.state.lock();
            let before = state.probation.as_ref()?.before;
            if let Some(found) = found(before) {
                return Some(Ok(found));
            }
            state.former.get(&before)?.clone()
        };
        let loaded = self.load_kept(&subscriber.name, &kept);
        Some(loaded.map(|loaded| loaded.runs).map_err(|reason| {
            let version = kept.version;
            tracing::warn!(plugin = %subscriber.name, "nothing is watched, for version {version} does not load: {reason}");
            reason
        }))
    }

    fn candidate(
        &self,
        name: &PluginName,
        component: &[u8],
        settings: Option<&str>,
        approved: &Asks,
    ) -> Result<Candidate, String> {
        let contracts = self.subscribers.contracts();
        Candidate::load(&self.engine, contracts, name, component, settings, approved)
    }

    /// A version that ran before, from its component that is kept, with what it was granted then.
    fn load_kept(&self, name: &str, version: &LiveVersion) -> Result<Candidate, String> {
        let name = PluginName::parse(name).map_err(|cause| cause.to_string())?;
        let component = self.components.read(version.component);
        let component = component.map_err(|cause| cause.to_string())?;
        let settings = version.settings.as_deref();
        let loaded = self.candidate(&name, &component, settings, &version.approved)?;
        match &loaded.missing[..] {
            [] => Ok(loaded),
            missing => Err(format!("it is not granted {} any more", in_words(missing))),
        }
    }

    /// Follow the changes of the folder until it is told to stop.
    pub async fn follow(self: Arc<Self>, mut changes: mpsc::Receiver<FolderChange>, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => change,
            };
            let Some(change) = change else { return };
            let deployer = self.clone();
            let done = tokio::task::spawn_blocking(move || match change {
                FolderChange::First(names) => deployer.only(&names),
                FolderChange::Present(pair) => deployer.present(&pair),
                FolderChange::Gone(name) => deployer.gone(name.as_str(), &AskedBy::Folder.into()),
                FolderChange::Ignored { path, reason } => {
                    tracing::warn!(path = %path.display(), "not a plugin: {reason}");
                    Ok(())
                }
            });
            match done.await {
                Ok(Ok(())) => {}
                Ok(Err(Stopped::Stopping)) => return,
                Ok(Err(stopped)) => tracing::error!("a deployment was not recorded: {stopped}"),
                Err(panicked) => tracing::error!("a deployment ended by a fault of the host: {panicked}"),
            }
        }
    }

    /// A pair of component and settings is in the folder.
    pub fn present(&self, pair: &Pair) -> Result<(), Stopped> {
        let known = self.subscribers.get(pair.name.as_str());
        if known.is_some_and(|plugin| plugin.state.lock().in_folder() == Some(pair.hash)) {
            return Ok(());
        }
        self.decide(pair, &AskedBy::Folder.into()).map(drop)
    }

    /// A pair in the folder that was refused is decided on again, for others may run by now: not one that another took the
    /// place of, or that goes for another reason. Whether it was.
    pub fn present_again(&self, pair: &Pair) -> Result<bool, Stopped> {
        let known = self.subscribers.get(pair.name.as_str());
        let is_refused = known.is_some_and(|plugin| {
            let state = plugin.state.lock();
            state.refused.is_some() && state.pair == Some(pair.hash) && state.in_folder() == state.pair
        });
        if is_refused {
            self.decide(pair, &AskedBy::Folder.into())?;
        }
        Ok(is_refused)
    }

    /// Somebody, `who` by the name of their token, asks for this pair, whatever is in the folder. Where it has no settings, those that the plugin has
    /// hold for it too.
    pub fn deploy(
        &self,
        name: PluginName,
        component: Bytes,
        settings: Option<String>,
        who: Option<String>,
    ) -> Result<Deployed, Stopped> {
        let known = self.subscribers.get(name.as_str());
        let settings = settings.or_else(|| {
            let state = known.as_ref()?.state.lock();
            let waiting = state.waiting.as_ref().map(|(_, waiting)| &waiting.settings);
            // Those of a webhook say nothing of a component.
            let live = state.live.as_ref().filter(|live| live.version.webhook.is_none());
            let live = || live.map(|live| &live.version.settings);
            waiting.or_else(live)?.clone()
        });
        let pair = pair(name, component, settings, true);
        let known = known.and_then(|plugin| decided(&plugin, &pair));
        let asker = Asker {
            by: AskedBy::Api,
            who,
        };
        known.map_or_else(|| self.decide(&pair, &asker), Ok)
    }

    /// Load a pair, and let it go live or say why not.
    fn decide(&self, pair: &Pair, asker: &Asker) -> Result<Deployed, Stopped> {
        let name = pair.name.as_str();
        let approved = self.subscribers.get(name);
        let approved = approved.map(|plugin| plugin.state.lock().approved.clone());
        let approved = approved.unwrap_or_default();
        let settings = pair.settings.as_deref();
        let held = self.components.hold();
        let checked = self
            .has_place(pair)
            .and_then(|()| self.candidate(&pair.name, &pair.component, settings, &approved))
            .and_then(|loaded| {
                let kept = self.components.keep(loaded.component, &pair.component);
                kept.map(|()| loaded)
                    .map_err(|cause| format!("its component can't be kept: {cause}"))
            })
            .and_then(|loaded| match self.refuse_canary(name, &loaded) {
                Some(reason) => Err(reason),
                None => Ok(loaded),
            });
        let decided = match checked {
            // A file that is still being written looks like a bad one, and settings may follow their component: only
            // a quiet pair is refused, or waits.
            Err(_) if !pair.settled => Deployed::Unsettled,
            Ok(loaded) if !loaded.missing.is_empty() && !pair.settled => Deployed::Unsettled,
            Ok(loaded) if !loaded.missing.is_empty() => {
                self.wait_for_approval(pair, &loaded, asker)?;
                Deployed::Waiting
            }
            Ok(loaded) => {
                let request = Request {
                    pending: Pending::New(pair.hash),
                    settings: pair.settings.clone(),
                    approved,
                    asker: asker.clone(),
                };
                self.go_live(name, &request, loaded)?
            }
            Err(reason) => {
                self.refuse(name, pair.hash, reason.clone(), asker)?;
                Deployed::Refused { reason }
            }
        };
        drop(held);
        Ok(decided)
    }

    /// At the start: whatever was live and is not among `names` was removed while the host was down.
    fn only(&self, names: &[PluginName]) -> Result<(), Stopped> {
        for subscriber in self.subscribers.all() {
            let was_there = {
                let state = subscriber.state.lock();
                state.in_folder().is_some() && (state.live.is_some() || state.waiting.is_some())
            };
            if was_there && !names.iter().any(|name| name.as_str() == &*subscriber.name) {
                self.gone(&subscriber.name, &AskedBy::Folder.into())?;
            }
            self.let_approved_go_live(&subscriber, None)?;
        }
        Ok(())
    }

    /// The component called `name` is gone from the folder, or somebody else asks for the plugin's end. The folder
    /// ends only what came from it.
    pub fn gone(&self, name: &str, asker: &Asker) -> Result<(), Stopped> {
        let Some(subscriber) = self.subscribers.get(name) else {
            return Ok(());
        };
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let is_gone = state.removed && state.waiting.is_none();
        if is_gone || (asker.by == AskedBy::Folder && state.in_folder().is_none()) {
            return Ok(());
        }
        let unsettles = state.own.is_some();
        self.record(name, &mut state, None, DeploymentAction::Removed, asker)?;
        between.show(&state, None);
        drop(state);
        if unsettles {
            between.look_back();
        }
        between.swap(None);
        tracing::info!(plugin = name, "removed; its cursor and state are kept");
        Ok(())
    }

    /// The swap: between two events, the record first.
    fn go_live(&self, name: &str, request: &Request, loaded: Candidate) -> Result<Deployed, Stopped> {
        let decided = match self.contracts.decide(name, loaded.offered()) {
            Ok(decided) => decided,
            Err(found) => {
                let reason = found.refused.unwrap_or_default();
                self.refuse(name, request.pending.pair(), reason.clone(), &request.asker)?;
                return Ok(Deployed::Refused { reason });
            }
        };
        let cycles = self.cycles(name, &loaded);
        give_way();
        let subscriber = self.subscribers.get_or_start(name, PluginState::default());
        let between = subscriber.between_events();
        if subscriber.is_forgotten() {
            drop((between, decided));
            return self.go_live(name, request, loaded);
        }
        let manifest = &loaded.manifest;
        let live = LiveVersion {
            version: loaded.version,
            component: loaded.component,
            label: manifest.version.clone(),
            settings: request.settings.clone(),
            subscriptions: manifest.subscriptions.iter().map(ToString::to_string).collect(),
            emits: manifest.emits.clone(),
            readable: manifest.readable.clone(),
            asks: manifest.asks.clone(),
            from_beginning: loaded.settings.start == Start::Beginning,
            approved: request.approved.clone(),
            probation: loaded
                .settings
                .probation
                .terms(loaded.settings.canary, loaded.settings.canary_state),
            schemas: manifest.schemas.clone(),
            warnings: [&decided.warnings[..], &cycles, &loaded.warnings].concat(),
            webhook: loaded.target(),
        };
        let mut state = subscriber.state.lock();
        if !request.pending.is_due(&state) {
            return Ok(Deployed::Unchanged);
        }
        let pair = Some(request.pending.pair());
        let action = DeploymentAction::Live(Box::new(live));
        let unsettles = state.own.is_some();
        self.record(name, &mut state, pair, action, &request.asker)?;
        self.sequencer
            .subscribe(subscriber.id, state.subscription.clone());
        tracing::info!(plugin = name, version = %loaded.version, "live");
        let version = loaded.runs;
        between.show(&state, Some(&version));
        drop(state);
        *subscriber.trouble.lock() = None;
        if unsettles {
            between.look_back();
        }
        let before = self.version_before(&subscriber, |id| between.find(id));
        between.swap_beside(Some(version), before);
        Ok(Deployed::Live)
    }

    fn refuse(&self, name: &str, pair: Hash, reason: String, asker: &Asker) -> Result<(), Stopped> {
        tracing::warn!(plugin = name, "refused: {reason}");
        let subscriber = self.subscribers.get_or_start(name, PluginState::default());
        let mut state = subscriber.state.lock();
        let action = DeploymentAction::Refused { reason };
        self.record(name, &mut state, Some(pair), action, asker).map(drop)
    }

    fn record(
        &self,
        name: &str,
        state: &mut PluginState,
        pair: Option<Hash>,
        action: DeploymentAction,
        asker: &Asker,
    ) -> Result<Appended, Stopped> {
        self.append(
            state,
            &Deployment {
                who: asker.who.clone(),
                plugin: name.to_owned(),
                pair,
                action,
                by: asker.by,
                warnings: Vec::new(),
            },
        )
    }

    fn append(&self, state: &mut PluginState, deployment: &Deployment) -> Result<Appended, Stopped> {
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = self
            .sequencer
            .append(batch, None, std::iter::empty())
            .map_err(|refused| stopped(&refused))?;
        state.apply_deployment(appended.first, appended.time, deployment);
        Ok(appended)
    }
}

/// What was decided of `pair` before, where it is not tried again because somebody asks.
fn decided(plugin: &Subscriber, pair: &Pair) -> Option<Deployed> {
    let settings = pair.settings.as_deref().unwrap_or_default();
    let version = VersionId::of(Hash::of(&pair.component), settings.as_bytes());
    let state = plugin.state.lock();
    let is_last = state.pair == Some(pair.hash);
    let rolled_back = || state.ran.get(&version)?.rolled_back.clone();
    if state
        .live
        .as_ref()
        .is_some_and(|live| live.version.version == version)
        && !state.removed
    {
        Some(Deployed::Unchanged)
    } else if is_last && state.waiting.is_some() {
        Some(Deployed::Waiting)
    } else {
        let (_, _, why) = rolled_back().filter(|_| is_last)?;
        Some(Deployed::RolledBack { version, why })
    }
}
