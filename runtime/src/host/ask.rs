//! Questions about plugins, their state and their dead letters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nerve_eventlog::Offset;

use super::{
    AgainStatus, AskError, DeadLetter, Host, LogStatus, OwnStatus, ParkedStatus, PluginStatus, RewindStatus,
    Standing, TimerStatus, VersionStatus,
};
use crate::delivery::subscriber::Subscriber;
use crate::ingest::SourceRates;
use crate::log::record::{self, Hash};
use crate::state::{KeyValues, PluginState};

impl Host {
    /// All plugins that were ever asked for, by name.
    pub async fn plugins(&self) -> Result<Vec<PluginStatus>, AskError> {
        let all = self
            .inner
            .subscribers
            .all()
            .iter()
            .map(|subscriber| self.status(subscriber))
            .collect();
        self.durable_now().await?;
        Ok(all)
    }

    /// One plugin.
    pub async fn plugin(&self, name: &str) -> Result<PluginStatus, AskError> {
        let subscriber = self.subscriber(name)?;
        let status = self.status(&subscriber);
        self.durable_now().await?;
        Ok(status)
    }

    /// Wait, at most `timeout`, until the plugin has settled everything up to `offset`; answers its cursor.
    pub async fn settled(&self, plugin: &str, offset: Offset, timeout: Duration) -> Result<Offset, AskError> {
        let subscriber = self.subscriber(plugin)?;
        let waited = subscriber.wait_for_settled(offset, &self.inner.sequencer);
        let in_time = tokio::time::timeout(timeout, waited).await.is_ok();
        let settled = subscriber.state.lock().cursor.low;
        if !in_time {
            return Err(AskError::TimedOut {
                plugin: plugin.to_owned(),
                settled,
                wanted: offset,
            });
        }
        self.durable_now().await?;
        Ok(settled)
    }

    /// The value of a readable key, in the state of its own that a `canary` has or in the plugin's, and the plugin's cursor when it was read.
    pub async fn state(
        &self,
        plugin: &str,
        key: &str,
        canary: bool,
    ) -> Result<(Option<Bytes>, Offset), AskError> {
        let answer = {
            let subscriber = self.subscriber(plugin)?;
            let state = subscriber.state.lock();
            readable(plugin, &state, key)?;
            (shown(plugin, &state, canary)?.get(key), state.cursor.low)
        };
        self.durable_now().await?;
        Ok(answer)
    }

    /// Entries of readable keys that start with `prefix`, behind `after`, at most `limit`, and the plugin's
    /// cursor when they were read.
    pub async fn scan_state(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        canary: bool,
    ) -> Result<(Vec<(Box<str>, Bytes)>, Offset), AskError> {
        let answer = {
            let subscriber = self.subscriber(plugin)?;
            let state = subscriber.state.lock();
            readable(plugin, &state, prefix)?;
            {
                let shown = shown(plugin, &state, canary)?;
                (shown.scan(prefix, after, limit), state.cursor.low)
            }
        };
        self.durable_now().await?;
        Ok(answer)
    }

    /// Timers of the plugin that are set, by when they fire: `limit` behind the first `after`, and whether there are more.
    pub async fn timers(
        &self,
        plugin: &str,
        after: usize,
        limit: usize,
    ) -> Result<(Vec<TimerStatus>, bool), AskError> {
        let answer = {
            let subscriber = self.subscriber(plugin)?;
            let state = subscriber.state.lock();
            let timers = state.timers.by_due().skip(after).take(limit);
            let timers = timers.map(|(name, timer)| {
                // What was settled is a record of an event.
                let event = record::event(&timer.event).ok().flatten();
                TimerStatus {
                    name: name.to_owned(),
                    due: timer.due,
                    r#type: event
                        .as_ref()
                        .map_or_else(String::new, |event| event.r#type.to_owned()),
                    key: event.and_then(|event| event.key.map(str::to_owned)),
                    set_at: timer.set_at,
                }
            });
            (timers.collect(), state.timers.len() > after.saturating_add(limit))
        };
        self.durable_now().await?;
        Ok(answer)
    }

    /// Dead letters of one plugin or of all, by plugin and offset.
    pub async fn dead_letters(&self, plugin: Option<&str>) -> Result<Vec<DeadLetter>, AskError> {
        let subscribers = match plugin {
            Some(name) => vec![self.subscriber(name)?],
            None => self.inner.subscribers.all(),
        };
        let letters = subscribers
            .iter()
            .flat_map(|subscriber| dead_letters(subscriber))
            .collect();
        self.durable_now().await?;
        Ok(letters)
    }

    /// Whether this pair of component and settings is the last that was decided on for the plugin: then it is not
    /// tried again.
    pub fn has_decided(&self, plugin: &str, pair: Hash) -> bool {
        let subscriber = self.inner.subscribers.get(plugin);
        subscriber.is_some_and(|subscriber| subscriber.state.lock().pair == Some(pair))
    }

    /// Sizes of the log, and what recovery found.
    pub fn log_status(&self) -> LogStatus {
        let (segments, bytes) = self.inner.store.size();
        LogStatus {
            durability: self.inner.durability,
            refused_busy: self.inner.sequencer.refused_busy(),
            refused_no_room: self.inner.sequencer.refused_no_room(),
            refused_too_fast: self.inner.source_rates.as_ref().map_or(0, SourceRates::refused),
            short_of_room: self.log().short_of_room(),
            bytes,
            segments,
            recovered: self.inner.recovered.clone(),
            scrub: self.inner.scrub.status(self.log().bounds().first),
        }
    }

    pub(super) fn subscriber(&self, name: &str) -> Result<Arc<Subscriber>, AskError> {
        self.inner
            .subscribers
            .get(name)
            .ok_or_else(|| AskError::NoPlugin(name.to_owned()))
    }

    fn status(&self, subscriber: &Subscriber) -> PluginStatus {
        let trouble = subscriber.trouble.lock().clone();
        let state = subscriber.state.lock();
        let version = subscriber.version();
        let cursor = &state.cursor;
        let fresh = self.inner.sequencer.count(&state.subscription, cursor.low);
        PluginStatus {
            name: subscriber.name.to_string(),
            standing: standing(&state),
            version: state.live.as_ref().map(|live| VersionStatus {
                version: live.version.version,
                component: live.version.component,
                label: live.version.label.clone(),
                since: live.since,
                emits: live.version.emits.clone(),
                readable: live.version.readable.clone(),
                asks: live.version.asks.clone(),
                warnings: live.version.warnings.clone(),
                webhook: live.version.webhook.clone(),
            }),
            subscriptions: state
                .subscription
                .patterns()
                .iter()
                .map(|(p, from)| (p.to_string(), *from))
                .collect(),
            limits: version
                .as_ref()
                .map(|version| version.limits())
                .unwrap_or_default(),
            retry: version
                .as_ref()
                .map(|version| version.retry_policy().shown())
                .unwrap_or_default(),
            cursor: cursor.low,
            lag: fresh.saturating_sub(cursor.above.len()) as u64,
            paused: state.breaker.open().cloned(),
            parked: parked(&state),
            dead_letters: state.dead.len(),
            timers: (state.timers.len(), state.timers.next()),
            state_keys: state.key_values.len(),
            state_bytes: state.key_values.bytes(),
            lanes: version.as_ref().map_or(1, |version| version.lanes()),
            counters: state.counters,
            conflicts: state.conflicts,
            limits_hit: state.limits_hit.clone().into_iter().collect(),
            refused: state.refused.clone(),
            trouble,
            rewind: state
                .rewinding
                .as_ref()
                .map(|rewinding| RewindStatus::of(rewinding, &state, self.inner.clock.now())),
            again: AgainStatus::of(&state, subscriber.looked()),
            granted: version.map(|version| version.granted()).unwrap_or_default(),
            probation: state.probation.clone(),
            own: state.own.as_deref().map(OwnStatus::of),
            operated: state.operated.iter().rev().cloned().collect(),
            waiting: state
                .pair
                .zip(state.waiting.clone())
                .map(|(pair, (since, version))| (pair, since, version)),
        }
    }
}

/// The state of its own that a `canary` has, or the plugin's.
fn shown<'a>(plugin: &str, state: &'a PluginState, canary: bool) -> Result<&'a KeyValues, AskError> {
    if !canary {
        return Ok(&state.key_values);
    }
    let own = state.own.as_ref().map(|own| &*own.key_values);
    own.ok_or_else(|| AskError::NoCanaryState(plugin.to_owned()))
}

pub(super) fn standing(state: &PluginState) -> Standing {
    match &state.live {
        _ if state.waiting.is_some() && (state.live.is_none() || state.removed) => Standing::Waiting,
        None => Standing::Refused,
        Some(_) if state.removed => Standing::Removed,
        Some(_) if state.breaker.open().is_some() => Standing::Paused,
        Some(_) => Standing::Live,
    }
}

fn parked(state: &PluginState) -> Vec<ParkedStatus> {
    let parked = state.cursor.parked.iter();
    parked
        .map(|(key, parked)| ParkedStatus {
            key: key.name().map(str::to_owned),
            event: parked.head.as_ref().map_or(parked.waits_from, |head| head.event),
            attempt: parked.head.as_ref().map_or(0, |head| head.attempt),
            due: parked.head.as_ref().map(|head| head.due),
            reason: parked
                .head
                .as_ref()
                .map(|head| head.reason.to_string())
                .unwrap_or_default(),
        })
        .collect()
}

fn dead_letters(subscriber: &Subscriber) -> Vec<DeadLetter> {
    let state = subscriber.state.lock();
    let letters = state.dead.iter();
    letters
        .map(|(event, dead)| DeadLetter {
            plugin: subscriber.name.to_string(),
            event: *event,
            attempts: dead.attempts,
            class: dead.class,
            reason: dead.reason.clone(),
            version: dead.version,
            at: dead.at,
            redriving: state.is_redriving(*event),
            retried: dead.retried.clone(),
            kept: dead.kept.as_ref().map(|kept| kept.entry(*event)),
        })
        .collect()
}

/// Whether the plugin lets applications read `key`.
fn readable(plugin: &str, state: &PluginState, key: &str) -> Result<(), AskError> {
    let prefixes = state.live.as_ref().map(|live| &live.version.readable);
    if prefixes.is_some_and(|prefixes| prefixes.iter().any(|prefix| key.starts_with(&**prefix))) {
        return Ok(());
    }
    Err(AskError::NotReadable {
        plugin: plugin.to_owned(),
        key: key.to_owned(),
    })
}
