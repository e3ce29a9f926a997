//! From a change in the folder to a swap, and to the record that says so.
//!
//! The folder is an input, the log is the truth: only a pair of component and settings that differs from the
//! last one the log has seen is a request. A request is loaded and checked while the old version runs on; its
//! component is kept by hash and synced; then, between two events, the deployment's record is appended, the
//! fold follows it, and the new version is in the slot. Whatever fails before that changes nothing but the
//! record of the refusal.

mod approval;

use std::sync::Arc;

use nerve_eventlog::{Appended, Batch};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::components::Components;
use super::engine::Engine;
use super::grants::in_words;
use super::loader::{self, Loaded};
use super::name::PluginName;
use super::settings::Start;
use super::watcher::{FolderChange, Pair};
use crate::delivery::handler::Version;
use crate::delivery::subscriber::Subscriber;
use crate::delivery::subscribers::Subscribers;
use crate::delivery::timer::TimerLimits;
use crate::host::Stopped;
use crate::log::record::{Asks, Deployment, DeploymentAction, Hash, LiveVersion, Record};
use crate::log::sequencer::{Sequencer, stopped};
use crate::state::PluginState;

pub use approval::ApproveError;

/// Deploys and removes plugins. Its methods block: they compile, sync and wait for the event that is being
/// delivered.
pub struct Deployer {
    engine: Engine,
    components: Components,
    sequencer: Arc<Sequencer>,
    subscribers: Arc<Subscribers>,
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
    ) -> Self {
        Self {
            engine,
            components,
            sequencer,
            subscribers,
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
        let loaded = PluginName::parse(&subscriber.name)
            .map_err(|cause| cause.to_string())
            .and_then(|name| {
                let component = self
                    .components
                    .read(live.version.component)
                    .map_err(|cause| cause.to_string())?;
                let settings = live.version.settings.as_deref();
                let approved = &live.version.approved;
                loader::load(&self.engine, &name, &component, settings, approved)
                    .map_err(|refused| refused.to_string())
            })
            .and_then(|loaded| match &loaded.missing[..] {
                [] => Ok(loaded),
                missing => Err(format!("it is not granted {} any more", in_words(missing))),
            });
        match loaded {
            Ok(loaded) => subscriber.between_events().swap(Some(Arc::new(loaded))),
            Err(reason) => {
                tracing::error!(plugin = %subscriber.name, "its version {} does not load: {reason}", live.version.version);
                *subscriber.trouble.lock() = Some(reason);
            }
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
                FolderChange::Gone(name) => deployer.gone(name.as_str()),
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
        let name = pair.name.as_str();
        let known = self.subscribers.get(name);
        if known
            .as_ref()
            .is_some_and(|plugin| plugin.state.lock().pair == Some(pair.hash))
        {
            return Ok(());
        }
        let approved = known
            .map(|plugin| plugin.state.lock().approved.clone())
            .unwrap_or_default();
        let checked = loader::load(
            &self.engine,
            &pair.name,
            &pair.component,
            pair.settings.as_deref(),
            &approved,
        )
        .map_err(|refused| refused.to_string())
        .and_then(|loaded| {
            let kept = self.components.keep(loaded.component_hash, &pair.component);
            kept.map(|()| loaded)
                .map_err(|cause| format!("its component can't be kept: {cause}"))
        });
        match checked {
            // A file that is still being written looks like a bad one, and settings may follow their component: only
            // a quiet pair is refused, or waits.
            Err(_) if !pair.settled => Ok(()),
            Ok(loaded) if !loaded.missing.is_empty() => {
                if pair.settled {
                    self.wait_for_approval(pair, &loaded)
                } else {
                    Ok(())
                }
            }
            Ok(loaded) => self.go_live(
                name,
                Pending::New(pair.hash),
                pair.settings.clone(),
                loaded,
                approved,
            ),
            Err(reason) => self.refuse(name, pair.hash, reason),
        }
    }

    /// At the start: whatever was live and is not among `names` was removed while the host was down.
    fn only(&self, names: &[PluginName]) -> Result<(), Stopped> {
        for subscriber in self.subscribers.all() {
            let was_there = {
                let state = subscriber.state.lock();
                state.live.is_some() || state.waiting.is_some()
            };
            if was_there && !names.iter().any(|name| name.as_str() == &*subscriber.name) {
                self.gone(&subscriber.name)?;
            }
            self.let_approved_go_live(&subscriber)?;
        }
        Ok(())
    }

    /// The component called `name` is gone from the folder.
    pub fn gone(&self, name: &str) -> Result<(), Stopped> {
        let Some(subscriber) = self.subscribers.get(name) else {
            return Ok(());
        };
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        if state.removed && state.waiting.is_none() {
            return Ok(());
        }
        self.record(name, &mut state, None, DeploymentAction::Removed)?;
        drop(state);
        between.swap(None);
        tracing::info!(plugin = name, "removed; its cursor and state are kept");
        Ok(())
    }

    /// The swap: between two events, the record first.
    fn go_live(
        &self,
        name: &str,
        pending: Pending,
        settings: Option<String>,
        loaded: Loaded,
        approved: Asks,
    ) -> Result<(), Stopped> {
        let subscriber = self.subscribers.get_or_start(name, PluginState::default());
        let between = subscriber.between_events();
        if subscriber.is_forgotten() {
            drop(between);
            return self.go_live(name, pending, settings, loaded, approved);
        }
        let manifest = &loaded.manifest;
        let live = LiveVersion {
            version: loaded.version,
            component: loaded.component_hash,
            label: manifest.version.clone(),
            settings,
            subscriptions: manifest.subscriptions.iter().map(ToString::to_string).collect(),
            emits: manifest.emits.clone(),
            readable: manifest.readable.clone(),
            asks: manifest.asks.clone(),
            from_beginning: loaded.settings.start == Start::Beginning,
            approved,
        };
        let mut state = subscriber.state.lock();
        if !pending.is_due(&state) {
            return Ok(());
        }
        self.record(
            name,
            &mut state,
            Some(pending.pair()),
            DeploymentAction::Live(Box::new(live)),
        )?;
        self.sequencer
            .subscribe(subscriber.id, state.subscription.clone());
        drop(state);
        *subscriber.trouble.lock() = None;
        tracing::info!(plugin = name, version = %loaded.version, "live");
        between.swap(Some(Arc::new(loaded)));
        Ok(())
    }

    fn refuse(&self, name: &str, pair: Hash, reason: String) -> Result<(), Stopped> {
        tracing::warn!(plugin = name, "refused: {reason}");
        let subscriber = self.subscribers.get_or_start(name, PluginState::default());
        let mut state = subscriber.state.lock();
        self.record(name, &mut state, Some(pair), DeploymentAction::Refused { reason })
            .map(|_| ())
    }

    fn record(
        &self,
        name: &str,
        state: &mut PluginState,
        pair: Option<Hash>,
        action: DeploymentAction,
    ) -> Result<Appended, Stopped> {
        let deployment = Deployment {
            plugin: name.to_owned(),
            pair,
            action,
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = self
            .sequencer
            .append(batch, None, std::iter::empty())
            .map_err(|refused| stopped(&refused))?;
        state.apply_deployment(appended.first, appended.time, &deployment);
        Ok(appended)
    }
}

impl Version for Loaded {
    fn id(&self) -> crate::log::record::VersionId {
        self.version
    }

    fn lanes(&self) -> usize {
        self.settings.lanes.get()
    }

    fn state_bytes(&self) -> usize {
        self.settings.limits.state_bytes
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits {
            count: self.settings.limits.timers,
            bytes: self.settings.limits.timer_bytes,
        }
    }

    fn retry_policy(&self) -> crate::delivery::retry::RetryPolicy {
        self.settings.retry
    }

    fn hops(&self) -> u32 {
        self.settings.limits.hops
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        let mut limits = self.settings.limits.shown();
        if self.outgoing.is_some() {
            limits.extend(self.settings.http.shown());
        }
        limits.extend(self.settings.lag.shown());
        limits
    }

    fn granted(&self) -> Asks {
        self.grants.shown()
    }

    fn handler(&self, state: Arc<crate::state::KeyValues>) -> Box<dyn crate::delivery::handler::Handler> {
        Box::new(Loaded::handler(self, state))
    }
}
