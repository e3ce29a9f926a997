//! What is deployed in a world: versions that go live, are watched, promoted, taken back and refused.

use std::sync::Arc;

use nerve_eventlog::{Batch, Offset};

use super::guest::GuestVersion;
use super::script::Scripted;
use super::world::{Handlers, PLUGINS, World, is_guest};
use crate::delivery::handler::Version;
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, LiveVersion, Prefer, Record, Terms};
use crate::plugin::deploy::{Redelivers, RollBackError, promoted, swap_back};
use crate::state::PluginState;

/// How a version is watched: every second one, and every fourth is a canary for half of the keys, in turn with a state of its own.
fn watched(number: u32) -> Option<Terms> {
    number.is_multiple_of(2).then_some(Terms {
        events: 12,
        seconds: 1,
        slower: 0,
        share: if number.is_multiple_of(4) { 5_000 } else { 0 },
        own: number.is_multiple_of(8),
    })
}

impl World {
    /// Put the versions that were live back in their slots.
    pub(super) fn resume(&mut self) {
        for (plugin, _) in PLUGINS {
            let Some(subscriber) = self.subscriber(plugin) else {
                continue;
            };
            let live = {
                let state = subscriber.state.lock();
                state
                    .live
                    .as_ref()
                    .filter(|_| !state.removed)
                    .map(|live| live.version.version)
            };
            if let Some(id) = live {
                let number = Scripted::number_of(id);
                let before = self.before(&subscriber);
                subscriber
                    .between_events()
                    .swap_watched(Some(self.version(plugin, number)), before);
            }
        }
    }

    /// A version of `plugin` goes live, or with `None` the plugin is removed.
    pub(super) fn deploy(&mut self, plugin: &'static str, version: Option<u32>) -> Result<(), Stopped> {
        self.tell(|| match version {
            Some(number) => format!("version {number} of {plugin} goes live"),
            None => format!("{plugin} is removed"),
        });
        let _inside = self.runtime.enter();
        let patterns = PLUGINS
            .iter()
            .find(|(name, _)| *name == plugin)
            .map_or(&[][..], |(_, patterns)| patterns);
        let subscriber = self
            .host
            .subscribers()
            .get_or_start(plugin, PluginState::default());
        let new = version.map(|number| self.version(plugin, number));
        let action = match &new {
            Some(new) => DeploymentAction::Live(Box::new(LiveVersion {
                version: new.id(),
                subscriptions: patterns.iter().map(|text| (*text).to_owned()).collect(),
                from_beginning: plugin == "c",
                probation: version.and_then(watched),
                ..LiveVersion::default()
            })),
            None => DeploymentAction::Removed,
        };
        let between = subscriber.between_events();
        let unsettles = subscriber.state.lock().own.is_some();
        let offset = self.deployed(&subscriber, action)?;
        if unsettles {
            between.look_back();
        }
        self.history.began.insert(offset, self.host.log().bounds().first);
        between.swap_watched(new, self.before(&subscriber));
        if let Some(number) = version {
            self.versions.insert(plugin, number);
        }
        self.appended();
        Ok(())
    }

    /// The version before takes the place of the live one, or another one that is kept; with the state where that is said, and
    /// it can go back. What is said of a canary's counts where one has a state of its own.
    pub(super) fn roll_back(
        &mut self,
        plugin: &'static str,
        to_before: bool,
        again: Redelivers,
    ) -> Result<(), Stopped> {
        let Some(subscriber) = self.subscriber(plugin) else {
            return Ok(());
        };
        let (from, target, again) = {
            let state = subscriber.state.lock();
            let again = match again {
                Redelivers::Canarys(_) if state.own.is_none() => Redelivers::Canarys(None),
                again => again,
            };
            let live = state.live.as_ref().filter(|_| !state.removed);
            let other = || state.former.values().next();
            let target = if to_before {
                state.version_before()
            } else {
                other()
            };
            match live.zip(target) {
                Some((live, target)) => (live.version.version, target.clone(), again),
                None => return Ok(()),
            }
        };
        let number = Scripted::number_of(target.version);
        self.tell(|| {
            format!("{plugin} is rolled back to version {number}, and this is delivered again: {again:?}")
        });
        let runs = self.version(plugin, number);
        match swap_back(self.host.sequencer(), &subscriber, from, target, runs, again) {
            Ok(()) => {}
            Err(RollBackError::Stopped(stopped)) => return Err(stopped),
            Err(RollBackError::State(refused)) => {
                self.tell(|| format!("it does not go back: {refused}"));
                return Ok(());
            }
            Err(refused) => panic!("seed {}: {refused}", self.seed),
        }
        let bounds = self.host.log().bounds();
        self.history.began.insert(bounds.last, bounds.first);
        self.appended();
        Ok(())
    }

    /// The canary of `plugin` runs for all keys from here on.
    pub(super) fn promote(&mut self, plugin: &'static str, prefer: Prefer) -> Result<(), Stopped> {
        let Some(subscriber) = self.subscriber(plugin) else {
            return Ok(());
        };
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let watch = state.probation.as_ref().filter(|watch| watch.share.is_some());
        let Some(version) = watch.map(|watch| watch.watched) else {
            return Ok(());
        };
        self.tell(|| {
            format!(
                "the canary of {plugin} is promoted, with a state of its own: {}",
                state.own.is_some()
            )
        });
        match promoted(
            self.host.sequencer(),
            &mut state,
            plugin,
            version,
            (Vec::new(), None),
            Some(prefer),
        ) {
            Ok(_) => {}
            Err(RollBackError::Stopped(stopped)) => return Err(stopped),
            Err(refused) => panic!("seed {}: {refused}", self.seed),
        }
        drop(state);
        between.begin_anew();
        self.appended();
        Ok(())
    }

    /// A deployment of `plugin` is refused.
    pub(super) fn refuse(&mut self, plugin: &'static str) -> Result<(), Stopped> {
        self.tell(|| format!("a version of {plugin} is refused"));
        if let Some(subscriber) = self.subscriber(plugin) {
            self.deployed(&subscriber, DeploymentAction::Refused { reason: "no".into() })?;
            self.appended();
        }
        Ok(())
    }

    fn deployed(&self, subscriber: &Subscriber, action: DeploymentAction) -> Result<Offset, Stopped> {
        let deployment = Deployment {
            who: None,
            plugin: subscriber.name.to_string(),
            pair: None,
            action,
            by: AskedBy::Api,
            warnings: Vec::new(),
        };
        let mut state = subscriber.state.lock();
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let sequencer = self.host.sequencer();
        let appended = sequencer
            .append(batch, None, std::iter::empty())
            .map_err(|refused| crate::log::sequencer::stopped(&refused))?;
        state.apply_deployment(appended.first, appended.time, &deployment);
        sequencer.subscribe(subscriber.id, state.subscription.clone());
        Ok(appended.first)
    }

    /// The version before the one that is watched.
    fn before(&self, subscriber: &Subscriber) -> Option<Arc<dyn Version>> {
        let (name, _) = PLUGINS.into_iter().find(|(name, _)| *name == &*subscriber.name)?;
        let before = subscriber.state.lock().probation.as_ref()?.before;
        Some(self.version(name, Scripted::number_of(before)))
    }

    fn version(&self, plugin: &'static str, number: u32) -> Arc<dyn Version> {
        let (reins, disk, log) = (self.reins.clone(), self.log_disk.clone(), self.host.log().clone());
        let before = Arc::new(move || {
            disk.appended(&*log);
            reins.begins(&*log);
        });
        let scripted = Scripted::new(plugin, self.seed, number, before);
        if self.handlers == Handlers::Functions || !is_guest(number) {
            return Arc::new(scripted);
        }
        Arc::new(GuestVersion::new(
            scripted,
            self.handlers == Handlers::ForgetfulGuests,
        ))
    }
}
