//! What the log says of one plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::KeyValues;
use crate::delivery::breaker::Breaker;
use crate::delivery::cursor::Cursor;
use crate::delivery::subscription::Subscription;
use crate::delivery::timer::Timers;
use crate::log::record::{
    Deployment, DeploymentAction, FailureClass, Fired, Hash, LiveVersion, Operator, OperatorAction, Outcome,
    Verdict, VersionId,
};

/// Everything the host knows of one plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PluginState {
    /// The version that is live, or was live before the plugin was removed.
    pub live: Option<Live>,
    /// Whether its file is gone.
    pub removed: bool,
    /// The last pair of component and settings that was decided on; it is not tried again.
    pub pair: Option<Hash>,
    /// Why the last pair was refused, where nothing was deployed since.
    pub refused: Option<(Micros, String)>,
    /// What it subscribes to.
    pub subscription: Subscription,
    /// How far it has settled.
    pub cursor: Cursor,
    /// Whether deliveries to it are stopped.
    pub breaker: Breaker,
    /// Events it gave up on.
    pub dead: BTreeMap<Offset, Dead>,
    /// Dead letters that wait to be delivered again.
    pub redrive: BTreeSet<Offset>,
    /// Its key-value space.
    #[serde(with = "super::key_values::shared")]
    pub key_values: Arc<KeyValues>,
    /// Timers that are set.
    pub timers: Timers,
    /// Outcomes so far: done, retry, dead.
    pub counters: [u64; 3],
    /// The last record of its last settled batch: the condition of the next one.
    pub settled_at: Option<Offset>,
    /// Records up to here are in it, where it comes from a checkpoint.
    pub through: Offset,
}

/// A version that went live.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Live {
    /// The version.
    pub version: LiveVersion,
    /// When.
    pub since: Micros,
}

/// An event that the plugin gave up on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dead {
    /// Attempts made.
    pub attempts: u32,
    /// Class of the last failure.
    pub class: FailureClass,
    /// Reason of the last failure.
    pub reason: String,
    /// The version that failed last.
    pub version: VersionId,
    /// When it was given up.
    pub at: Micros,
}

impl PluginState {
    /// A copy of its own, with everything up to `through` in it.
    #[must_use]
    pub fn snapshot(&self, through: Offset) -> Self {
        Self {
            through,
            key_values: Arc::new(self.key_values.snapshot()),
            ..self.clone()
        }
    }

    /// What the outcome at `offset` does.
    pub fn apply_outcome(&mut self, offset: Offset, time: Micros, outcome: &Outcome<'_>) {
        let event = outcome.event();
        self.cursor.apply(outcome);
        self.breaker.apply(time, outcome);
        self.settled_at = Some(Offset(offset.0 + u64::from(outcome.emitted)));
        self.redrive.remove(&event);
        match outcome.verdict {
            Verdict::Done => {
                self.counters[0] += 1;
                self.dead.remove(&event);
                self.timers.apply(offset, &outcome.timers);
                for write in &outcome.writes {
                    self.key_values
                        .write(write.key, write.value.map(Bytes::copy_from_slice));
                }
            }
            Verdict::Retry { .. } => self.counters[1] += 1,
            Verdict::Dead { failure } => {
                self.counters[2] += 1;
                let dead = Dead {
                    attempts: outcome.attempt,
                    class: failure.class,
                    reason: failure.reason.to_owned(),
                    version: outcome.version,
                    at: time,
                };
                self.dead.insert(event, dead);
            }
        }
    }

    /// What the timer that fired at `offset` does; its event is the record behind it.
    pub fn apply_fired(&mut self, offset: Offset, fired: &Fired<'_>) {
        self.timers.remove(fired.name);
        self.settled_at = Some(offset.next());
    }

    /// What the deployment at `offset` does.
    pub fn apply_deployment(&mut self, offset: Offset, time: Micros, deployment: &Deployment) {
        match &deployment.action {
            DeploymentAction::Live(version) => {
                let start = if self.live.is_none() && version.from_beginning {
                    Offset(1)
                } else {
                    offset.next()
                };
                let patterns = version
                    .subscriptions
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect();
                self.subscription = self.subscription.changed_to(patterns, start);
                if self.live.is_none() {
                    self.cursor.low = Offset(start.0 - 1);
                }
                self.live = Some(Live {
                    version: (**version).clone(),
                    since: time,
                });
                (self.removed, self.refused, self.pair) = (false, None, deployment.pair);
                self.breaker.half_open(time);
            }
            DeploymentAction::Refused { reason } => {
                self.refused = Some((time, reason.clone()));
                self.pair = deployment.pair;
            }
            DeploymentAction::Removed => {
                (self.removed, self.refused, self.pair) = (true, None, None);
            }
        }
    }

    /// What the operator's action, appended at `time`, does.
    pub fn apply_operator(&mut self, time: Micros, operator: &Operator) {
        match &operator.action {
            OperatorAction::Redrive(events) => {
                let letters = events
                    .iter()
                    .map(|event| Offset(*event))
                    .filter(|event| self.dead.contains_key(event));
                self.redrive.extend(letters);
            }
            OperatorAction::Drop(events) => {
                for event in events {
                    self.dead.remove(&Offset(*event));
                    self.redrive.remove(&Offset(*event));
                }
            }
            OperatorAction::Pause => self.breaker.pause(time),
            OperatorAction::Resume => self.breaker.resume(time),
        }
    }

    /// Whether the dead letter of `event` is being delivered again.
    pub fn is_redriving(&self, event: Offset) -> bool {
        let parked = || {
            self.cursor
                .parked
                .values()
                .filter_map(|parked| parked.head.as_ref())
        };
        self.redrive.contains(&event) || parked().any(|head| head.replay && head.event == event)
    }
}
