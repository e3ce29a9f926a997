//! What an operator does to a plugin. Each is a record before it has an effect.

use std::sync::atomic::Ordering;

use nerve_eventlog::{Batch, Offset};

use super::{AskError, Host, PluginStatus};
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, Hash, Operator, OperatorAction, Record};
use crate::log::sequencer::stopped;
use crate::plugin::deploy::ApproveError;
use crate::plugin::webhook;
use crate::state::PluginState;

impl Host {
    /// Deliver dead letters of `plugin` again, one or, where `event` is `None`, all; those that are on their
    /// way already are left out. Answers their offsets once the operator's record is durable.
    pub async fn redrive(&self, plugin: &str, event: Option<Offset>) -> Result<Vec<Offset>, AskError> {
        let subscriber = self.subscriber(plugin)?;
        let asked = {
            let mut state = subscriber.state.lock();
            let asked: Vec<Offset> = match event {
                Some(event) => vec![dead_letter(plugin, &state, event)?],
                None => state.dead.keys().copied().collect(),
            };
            let asked: Vec<Offset> = asked
                .into_iter()
                .filter(|event| !state.is_redriving(*event))
                .collect();
            if !asked.is_empty() {
                let offsets = asked.iter().map(|event| event.0).collect();
                self.append(&subscriber, &mut state, OperatorAction::Redrive(offsets))?;
            }
            asked
        };
        subscriber.redrive.store(true, Ordering::Relaxed);
        subscriber.bell.notify_one();
        self.durable_now().await?;
        Ok(asked)
    }

    /// Give a dead letter up.
    pub async fn drop_dead_letter(&self, plugin: &str, event: Offset) -> Result<(), AskError> {
        let subscriber = self.subscriber(plugin)?;
        {
            let mut state = subscriber.state.lock();
            dead_letter(plugin, &state, event)?;
            self.append(&subscriber, &mut state, OperatorAction::Drop(vec![event.0]))?;
        }
        self.durable_now().await?;
        Ok(())
    }

    /// Deliver nothing to the plugin until it is resumed. The delivery under way is settled, and what its
    /// lane took up with it.
    pub async fn pause_plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        self.append(&subscriber, &mut subscriber.state.lock(), OperatorAction::Pause)?;
        // Whoever stands between two events knows that none runs, and that the next one sees the pause.
        let settled = tokio::task::spawn_blocking(move || drop(subscriber.between_events())).await;
        settled.map_err(|panicked| super::Stopped::Poisoned(panicked.to_string()))?;
        self.plugin(name).await
    }

    /// Deliver to the plugin again: where it was paused for its failures, one event first.
    pub async fn resume_plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        self.append(&subscriber, &mut subscriber.state.lock(), OperatorAction::Resume)?;
        subscriber.bell.notify_one();
        self.plugin(name).await
    }

    /// Approve what the waiting version of the plugin asks for, where it is still the pair that was shown, and let it
    /// go live.
    pub async fn approve_plugin(&self, name: &str, pair: Hash) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        if let Some(deployer) = self.inner.deployer.clone() {
            let who = self.who();
            let approved =
                tokio::task::spawn_blocking(move || deployer.approve(&subscriber, pair, who)).await;
            let approved = approved.map_err(|panicked| super::Stopped::Poisoned(panicked.to_string()))?;
            approved.map_err(|refused| match refused {
                ApproveError::Stopped(stopped) => AskError::Stopped(stopped),
                changed @ ApproveError::Changed { .. } => AskError::Approval {
                    plugin: name.to_owned(),
                    cause: changed,
                },
            })?;
        }
        self.plugin(name).await
    }

    /// Remove the plugin's component, or the webhook's file, from the folder, and answer when the plugin has stopped. Its
    /// settings stay.
    pub async fn remove_plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        if let (Some(folder), Some(deployer)) = (&self.inner.plugins, &self.inner.deployer) {
            let component = folder.join(format!("{name}.wasm"));
            let webhook = folder.join(format!("{name}{}", webhook::ENDING));
            // What somebody wrote is put aside.
            let aside = folder.join(format!("{name}{}.removed", webhook::ENDING));
            let gone = [
                (&component, std::fs::remove_file(&component)),
                (&webhook, std::fs::rename(&webhook, aside)),
            ];
            for (path, gone) in gone {
                match gone {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        return Err(AskError::Folder {
                            path: path.display().to_string(),
                            cause,
                        });
                    }
                    _ => {}
                }
            }
            let deployer = deployer.clone();
            let gone = name.to_owned();
            let asker = self.asker(AskedBy::Api);
            let stopped = tokio::task::spawn_blocking(move || deployer.gone(&gone, &asker)).await;
            stopped.map_err(|panicked| super::Stopped::Poisoned(panicked.to_string()))??;
        }
        drop(subscriber);
        self.plugin(name).await
    }

    pub(super) fn append(
        &self,
        subscriber: &Subscriber,
        state: &mut PluginState,
        action: OperatorAction,
    ) -> Result<(), AskError> {
        let operator = Operator {
            who: self.who(),
            plugin: subscriber.name.to_string(),
            action,
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Operator(operator.clone()).encode(out));
        let appended = self
            .inner
            .sequencer
            .append(batch, None, std::iter::empty())
            .map_err(|no| stopped(&no))?;
        state.apply_operator(appended.first, appended.time, &operator);
        Ok(())
    }
}

fn dead_letter(plugin: &str, state: &PluginState, event: Offset) -> Result<Offset, AskError> {
    if state.dead.contains_key(&event) {
        return Ok(event);
    }
    Err(AskError::NoDeadLetter {
        plugin: plugin.to_owned(),
        event,
    })
}
