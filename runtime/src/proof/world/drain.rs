//! Working off everything that a life has left.

use nerve_eventlog::Micros;

use super::{PLUGINS, World};
use crate::host::Stopped;
use crate::log::record::Prefer;
use crate::proof::script::Scripted;
use crate::state::PluginState;

impl World {
    /// Sound versions go live, nobody is paused any more, and what is dead is tried once more.
    pub(in crate::proof) fn revive(&mut self) -> Result<(), Stopped> {
        for (plugin, _) in PLUGINS {
            self.deploy_sound(plugin)?;
            let host = self.host.clone();
            self.operate(plugin, |name| async move {
                host.resume_plugin(name).await?;
                host.redrive(name, None).await.map(drop)
            })?;
        }
        Ok(())
    }

    fn deploy_sound(&mut self, plugin: &'static str) -> Result<(), Stopped> {
        let number = self.versions.get(plugin).copied().unwrap_or(0) + 1;
        self.deploy(plugin, Some(Scripted::sound(number)))
    }

    /// What an operator does about the versions who looks now and then.
    fn look_after(&mut self, plugin: &'static str) -> Result<(), Stopped> {
        // The version before a canary may fail all that it has: the canary may have it.
        self.promote(plugin, Prefer::Canary)?;
        // One that was watched may have been taken back for one that fails every event.
        let live = self.subscriber(plugin).and_then(|plugin| {
            let state = plugin.state.lock();
            Some(Scripted::number_of(state.live.as_ref()?.version.version))
        });
        match live {
            Some(live) if Scripted::sound(live) != live => self.deploy_sound(plugin),
            _ => Ok(()),
        }
    }

    /// Work off everything, while time passes.
    pub(in crate::proof) fn drain(&mut self) -> Result<(), Stopped> {
        self.revive()?;
        for round in 1..=10_000u32 {
            if round % 100 == 0 {
                for (plugin, _) in PLUGINS {
                    self.look_after(plugin)?;
                }
            }
            let mut next = self.fire()?;
            for (plugin, _) in PLUGINS {
                if self.subscriber(plugin).is_some_and(|plugin| {
                    let state = plugin.state.lock();
                    let history = state.rewinding.as_ref().map(|rewinding| &rewinding.breaker);
                    let open = [Some(&state.breaker), history].into_iter().flatten();
                    let mut open = open.filter_map(|breaker| breaker.open());
                    open.any(|open| open.probe.is_none())
                }) {
                    let host = self.host.clone();
                    self.operate(
                        plugin,
                        |name| async move { host.resume_plugin(name).await.map(drop) },
                    )?;
                    // Operators take their time: a version is not watched for ever.
                    self.clock.set(Micros(self.now() + 10_000));
                }
                next = [next, self.run(plugin, 0, u32::MAX)?].into_iter().flatten().min();
            }
            self.flush()?;
            let Some(next) = next else {
                if self.is_quiet() {
                    return Ok(());
                }
                continue;
            };
            self.clock.set(next.max(Micros(self.now())));
        }
        let at = |state: &PluginState| format!("{:?} {:?} {:?}", state.cursor, state.breaker, state.timers);
        let states: Vec<_> = self
            .states()
            .iter()
            .map(|(name, state)| format!("{name}: {}", at(state)))
            .collect();
        panic!("seed {}: the work does not end: {}", self.seed, states.join("; "));
    }

    /// Whether everything is settled, what an operator let be tried once more too, no timer is set and no rewind runs.
    fn is_quiet(&self) -> bool {
        let last = self.host.log().bounds().last;
        let all = self.host.subscribers().all();
        all.iter().all(|subscriber| {
            let is_idle = {
                let state = subscriber.state.lock();
                let tries_again = !state.cursor.parked.is_empty() || !state.redrive.is_empty();
                state.timers.is_empty() && state.rewinding.is_none() && !tries_again
            };
            is_idle && subscriber.has_settled(last, self.host.sequencer())
        })
    }
}
