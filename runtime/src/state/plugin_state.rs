//! What the log says of one plugin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::running::Tells;
use super::versions::{FolderPair, Ran};
use super::{Again, Dead, Decisions, KeyValues, Left, Operated, OwnState, Rewinding};
use crate::delivery::breaker::Breaker;
use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::kept::Kept;
use crate::delivery::probation::Probation;
use crate::delivery::subscription::Subscription;
use crate::delivery::timer::Timers;
use crate::log::record::{
    Asks, Call, Deployment, DeploymentAction, Fired, Gap, Hash, Intent, LiveVersion, Mute, Operator,
    OperatorAction, Outcome, Verdict, VersionId, WaitingVersion,
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
    /// How often each limit was hit, by its setting; log lines that were dropped or cut count one each.
    #[serde(default)]
    pub limits_hit: BTreeMap<Box<str>, u64>,
    /// The version that waits to be approved, and since when.
    #[serde(default)]
    pub waiting: Option<(Micros, WaitingVersion)>,
    /// What an operator approved last.
    #[serde(default)]
    pub approved: Asks,
    /// Attempts that have called somebody outside and have no outcome yet, by their event.
    #[serde(default)]
    pub attempts: BTreeMap<Offset, OpenAttempt>,
    /// Runs that were discarded, since another lane had changed what they read.
    #[serde(default)]
    pub conflicts: u64,
    /// Versions that were live before, as long as they are kept.
    #[serde(default)]
    pub former: BTreeMap<VersionId, LiveVersion>,
    /// Since when its file is gone.
    #[serde(default)]
    pub removed_at: Option<Micros>,
    /// How the versions fared, the live one and those in `former`.
    #[serde(default)]
    pub ran: BTreeMap<VersionId, Ran>,
    /// The pair in the folder, where the last decision was about another one.
    #[serde(default)]
    pub folder: Option<FolderPair>,
    /// How the live version is watched, where it is.
    #[serde(default)]
    pub probation: Option<Probation>,
    /// The rewind that runs.
    #[serde(default)]
    pub rewinding: Option<Box<Rewinding>>,
    /// Where versions left that were live before.
    #[serde(default)]
    pub lefts: BTreeMap<VersionId, Left>,
    /// What is delivered again, since state and cursor went back.
    #[serde(default)]
    pub again: Option<Box<Again>>,
    /// What was decided of its versions, and how often.
    #[serde(default)]
    pub decisions: Decisions,
    /// The state of a canary that is kept apart.
    #[serde(default)]
    pub own: Option<Box<OwnState>>,
    /// What operators did last, the newest at the end.
    #[serde(default)]
    pub operated: VecDeque<Operated>,
    /// Who is told of the versions that run.
    #[serde(skip)]
    pub(super) tells: Tells,
}

/// An attempt that has called somebody outside and has no outcome yet: after a crash it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAttempt {
    /// Its number.
    pub attempt: u32,
    /// Whether an operator asked for the delivery.
    pub replay: bool,
    /// What its clock says.
    pub started: Micros,
    /// Its seed.
    pub seed: u64,
    /// Its calls that were answered, in order.
    pub calls: Vec<Call>,
    /// Hash of the request that is under way behind them.
    pub asked: Hash,
}

/// A version that went live.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Live {
    /// The version.
    pub version: LiveVersion,
    /// When.
    pub since: Micros,
}

impl PluginState {
    /// A copy of its own, with everything up to `through` in it.
    #[must_use]
    pub fn snapshot(&self, through: Offset) -> Self {
        Self {
            through,
            key_values: Arc::new(self.key_values.snapshot()),
            rewinding: self
                .rewinding
                .as_ref()
                .map(|rewinding| Box::new(rewinding.snapshot())),
            own: self.own.as_ref().map(|own| Box::new(own.snapshot())),
            ..self.clone()
        }
    }

    /// What the outcome at `offset` does.
    pub fn apply_outcome(&mut self, offset: Offset, time: Micros, outcome: &Outcome<'_>) {
        if outcome.rewind.as_ref().is_some_and(|of| of.historic) {
            self.apply_historic(offset, time, outcome);
            return;
        }
        let event = outcome.event();
        let key = OrderKey::of(outcome.key, event);
        let kept = match outcome.kept {
            Some(kept) => Some(Kept::from(kept)),
            None if outcome.verdict == Verdict::Done => None,
            None => self.kept(&key, event).cloned(),
        };
        self.judge(time, &key, outcome);
        self.cursor.apply(outcome);
        self.end_probation(time, &key, outcome);
        self.follow_own(&key, outcome);
        self.breaker.apply(time, outcome);
        self.settled_at = Some(Offset(offset.0 + u64::from(outcome.emitted)));
        self.redrive.remove(&event);
        self.attempts.remove(&event);
        self.conflicts += u64::from(outcome.conflicts);
        self.count_limits(outcome);
        self.count_version(outcome);
        match outcome.verdict {
            Verdict::Done => {
                self.counters[0] += 1;
                self.dead.remove(&event);
                self.cures(event);
                self.take_effects(offset, outcome);
            }
            Verdict::Retry { .. } => {
                self.counters[1] += 1;
                if let Some(head) = self.cursor.head_mut(&key, event) {
                    head.kept = kept;
                }
            }
            Verdict::Dead { failure } => {
                self.counters[2] += 1;
                let letter = self.dead.get(&event);
                // One that is delivered again stays what it was.
                let (rewind, retried, undone) = letter.map_or((None, None, false), |dead| {
                    (dead.rewind, dead.retried.clone(), dead.undone)
                });
                let dead = Dead {
                    attempts: outcome.attempt,
                    class: failure.class,
                    reason: failure.reason.to_owned(),
                    version: outcome.version,
                    at: time,
                    outcome: offset,
                    kept,
                    rewind: rewind.or_else(|| self.again_of(outcome)),
                    retried,
                    undone,
                };
                self.dead.insert(event, dead);
            }
        }
        self.count_again(outcome);
    }

    pub(super) fn take_effects(&mut self, offset: Offset, outcome: &Outcome<'_>) {
        self.timers.apply(offset, &outcome.timers);
        let own = self.own.as_ref().filter(|_| outcome.own);
        let key_values = own.map_or(&self.key_values, |own| &own.key_values);
        for write in &outcome.writes {
            key_values.write(write.key, write.value.map(Bytes::copy_from_slice));
        }
    }

    pub(super) fn count_limits(&mut self, outcome: &Outcome<'_>) {
        let hit = match outcome.verdict {
            Verdict::Done => None,
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => failure.limit(),
        };
        let lines = (outcome.lines_lost > 0).then_some(("log_lines", u64::from(outcome.lines_lost)));
        for (limit, times) in hit.map(|limit| (limit, 1)).into_iter().chain(lines) {
            match self.limits_hit.get_mut(limit) {
                Some(count) => *count += times,
                None => {
                    self.limits_hit.insert(limit.into(), times);
                }
            }
        }
    }

    /// What the timer that fired at `offset` does; its event is the record behind it.
    pub fn apply_fired(&mut self, offset: Offset, fired: &Fired<'_>) {
        self.timers.remove(fired.name);
        if let Some(own) = &mut self.own {
            own.fired(fired.name);
        }
        self.settled_at = Some(offset.next());
    }

    /// What the intent at `offset` does.
    pub fn apply_intent(&mut self, offset: Offset, intent: &Intent) {
        self.settled_at = Some(offset);
        let attempts = match &mut self.rewinding {
            Some(rewinding) if intent.historic => &mut rewinding.attempts,
            _ => &mut self.attempts,
        };
        let known = attempts.remove(&Offset(intent.event));
        let known = known.filter(|open| (open.attempt, open.replay) == (intent.attempt, intent.replay));
        let mut calls = known.map(|open| open.calls).unwrap_or_default();
        // The intent names those since the last one: what stood behind them was asked in another way.
        calls.truncate((intent.index as usize).saturating_sub(intent.calls.len()));
        calls.extend_from_slice(&intent.calls);
        let open = OpenAttempt {
            attempt: intent.attempt,
            replay: intent.replay,
            started: Micros(intent.started),
            seed: intent.seed,
            calls,
            asked: intent.asked.request,
        };
        attempts.insert(Offset(intent.event), open);
    }

    /// What the deployment at `offset` does.
    pub fn apply_deployment(&mut self, offset: Offset, time: Micros, deployment: &Deployment) {
        self.asked(deployment);
        self.note_deployment(offset, time, deployment);
        self.decisions.count(&deployment.action, deployment.by);
        match &deployment.action {
            DeploymentAction::Live(version) => {
                self.goes_live(offset, time, version, deployment, None);
                (self.refused, self.pair, self.waiting) = (None, deployment.pair, None);
            }
            DeploymentAction::RolledBack(back) => self.roll_back(offset, time, back, deployment),
            DeploymentAction::Promoted(version) => self.promote(*version, &deployment.warnings),
            DeploymentAction::Merged(merged) => self.merge_own(merged, &deployment.warnings),
            DeploymentAction::Collected(versions) => self.collect(versions),
            DeploymentAction::Refused { reason } => {
                self.refused = Some((time, reason.clone()));
                self.pair = deployment.pair;
                self.waiting = None;
            }
            DeploymentAction::Removed => {
                self.leaves(offset);
                self.ended(offset, time);
                self.give_up_own(offset, time, Mute::HAPPENED);
                self.probation = None;
                (self.removed, self.refused, self.pair) = (true, None, None);
                self.folder = None;
                self.removed_at = Some(time);
                self.waiting = None;
            }
            // The fold knows it no longer.
            DeploymentAction::Forgotten => {}
            DeploymentAction::Waiting(version) => {
                (self.refused, self.pair) = (None, deployment.pair);
                self.waiting = Some((time, (**version).clone()));
            }
        }
        self.tell();
    }

    /// What the gap, appended at `time`, does. What is parked or a dead letter stays: it has its event.
    pub fn apply_gap(&mut self, time: Micros, gap: &Gap) {
        let through = Offset(gap.through);
        self.cursor.skip(through);
        if let Some(own) = &mut self.own {
            own.skip(through);
        }
        self.follow_again();
        self.breaker.gap(time, gap);
        let heads = self
            .cursor
            .parked
            .values()
            .filter_map(|parked| parked.head.as_ref());
        let heads: BTreeSet<Offset> = heads.map(|head| head.event).collect();
        self.attempts
            .retain(|event, _| *event > through || heads.contains(event) || self.dead.contains_key(event));
        self.let_go_of_keys();
    }

    /// What the operator's action, appended at `offset` and `time`, does.
    pub fn apply_operator(&mut self, offset: Offset, time: Micros, operator: &Operator) {
        self.note_operator(offset, time, operator);
        match &operator.action {
            OperatorAction::Redrive(events) => {
                let letters = events.iter().map(|event| Offset(*event));
                let letters: Vec<Offset> = letters
                    .filter(|event| self.dead.contains_key(event) && !self.is_cured(*event))
                    .collect();
                for event in &letters {
                    if let Some(dead) = self.dead.get_mut(event) {
                        dead.retried = Some((time, operator.who.clone()));
                    }
                }
                self.redrive.extend(letters);
            }
            OperatorAction::Drop(events) => {
                for event in events {
                    self.gives_up(Offset(*event));
                    self.dead.remove(&Offset(*event));
                    self.redrive.remove(&Offset(*event));
                    self.attempts.remove(&Offset(*event));
                }
            }
            OperatorAction::Pause => self.breaker.pause(time, operator.who.as_deref()),
            OperatorAction::Resume => {
                self.breaker.resume(time);
                if let Some(rewinding) = &mut self.rewinding {
                    rewinding.breaker.resume(time);
                }
            }
            OperatorAction::Approve { asks, .. } => self.approved.clone_from(asks),
            OperatorAction::Rewind(order) => {
                self.rewinding = Some(Box::new(Rewinding::new(offset, time, order)));
            }
            OperatorAction::StopRewind => self.rewinding = None,
        }
    }

    /// The version `id`, where it is live or a dead letter names it.
    pub fn version(&self, id: VersionId) -> Option<&LiveVersion> {
        let live = self.live.as_ref().map(|live| &live.version);
        live.filter(|live| live.version == id)
            .or_else(|| self.former.get(&id))
    }

    /// The event at `event` with `key`, where it waits for a retry or is a dead letter.
    pub fn kept(&self, key: &OrderKey, event: Offset) -> Option<&Kept> {
        kept(&self.cursor, key, event).or_else(|| self.dead.get(&event)?.kept.as_ref())
    }

    /// Whether the dead letter of `event` is being delivered again, or is done in a state that takes the place of this one.
    pub fn is_redriving(&self, event: Offset) -> bool {
        let parked = || {
            self.cursor
                .parked
                .values()
                .filter_map(|parked| parked.head.as_ref())
        };
        self.redrive.contains(&event)
            || self.is_cured(event)
            || parked().any(|head| head.replay && head.event == event)
    }
}

/// The event at `event` with `key`, where it waits for a retry under `cursor`.
pub(super) fn kept<'a>(cursor: &'a Cursor, key: &OrderKey, event: Offset) -> Option<&'a Kept> {
    let head = cursor.parked.get(key)?.head.as_ref();
    head.filter(|head| head.event == event)?.kept.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::{Answer, Asked};

    fn call(n: u8) -> Call {
        Call {
            asked: Asked {
                request: Hash([n; 32]),
                ..Asked::default()
            },
            took: 1,
            answer: Answer::Failed {
                class: crate::log::record::CallFailure::Connect,
                reason: String::new(),
            },
        }
    }

    fn intent(attempt: u32, index: u32, calls: &[u8]) -> Intent {
        Intent {
            event: 7,
            attempt,
            index,
            calls: calls.iter().copied().map(call).collect(),
            ..Intent::default()
        }
    }

    #[test]
    fn an_open_attempt_keeps_the_answers_that_its_intents_name_until_its_outcome() {
        let mut state = PluginState::default();
        for (attempt, index, calls, kept) in [
            (1, 0, &[][..], &[][..]),
            (1, 1, &[1], &[1]),
            (1, 3, &[2, 3], &[1, 2, 3]),
            // The attempt went on after a crash, and asked its second question in another way.
            (1, 1, &[], &[1]),
            (1, 2, &[4], &[1, 4]),
            (2, 0, &[], &[]),
        ] {
            state.apply_intent(Offset(9), &intent(attempt, index, calls));
            let open = &state.attempts[&Offset(7)];
            let kept: Vec<Call> = kept.iter().copied().map(call).collect();
            assert_eq!(
                (open.attempt, &open.calls),
                (attempt, &kept),
                "intent {index} of attempt {attempt}"
            );
        }
        assert_eq!(state.settled_at, Some(Offset(9)));
        let outcome = Outcome {
            event: 7,
            ..Outcome::default()
        };
        state.apply_outcome(Offset(10), Micros(1), &outcome);
        assert!(state.attempts.is_empty());
    }

    #[test]
    fn an_approval_takes_the_place_of_the_one_before() {
        let mut state = PluginState::default();
        for scope in ["GET a:1", "GET b:1"] {
            let asks: Asks = vec![("http".into(), vec![scope.into()])];
            let approve = OperatorAction::Approve {
                pair: Hash::default(),
                asks: asks.clone(),
            };
            let plugin = String::new();
            state.apply_operator(
                Offset(1),
                Micros(1),
                &Operator {
                    who: None,
                    plugin,
                    action: approve,
                },
            );
            assert_eq!(state.approved, asks);
        }
    }
}
