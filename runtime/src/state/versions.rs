//! The versions that ran: which is live, which came before, and how each fared.
//!
//! A version is kept, with its settings, until a record says that it is given up. What `plugin versions` shows, where a
//! rollback goes to and whose component must stay is read off here.

use std::collections::BTreeSet;

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::{Live, PluginState};
use crate::delivery::cursor::OrderKey;
use crate::delivery::probation::{Probation, Tally, own_name};
use crate::log::record::{
    self, AskedBy, Deployment, Hash, LiveVersion, Mute, Outcome, RolledBack, Terms, Verdict, VersionId,
    Watched,
};

/// Former versions of a plugin that are kept at most.
const MOST_FORMER: usize = 100;

/// How a version fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ran {
    /// When it went live last.
    pub since: Micros,
    /// The record that says so.
    pub at: Offset,
    /// Who asked for that.
    pub by: AskedBy,
    /// When it stopped to be live; `None` while it is.
    pub until: Option<Micros>,
    /// The record that says so.
    pub left: Option<Offset>,
    /// How long it was live before `since`, in microseconds.
    pub lived_before: u64,
    /// Its outcomes: done, retry, dead.
    pub counters: [u64; 3],
    /// What it did, as another version is held against.
    pub tally: Tally,
    /// What was live when it was deployed: where a rollback from it goes.
    pub before: Option<VersionId>,
    /// When it was rolled back, by whom and why, where it did not go live again.
    pub rolled_back: Option<(Micros, AskedBy, String)>,
    /// Whose token it was deployed with, where that is known.
    #[serde(default)]
    pub who: Option<String>,
    /// Whose token it was rolled back with.
    #[serde(default)]
    pub rolled_back_who: Option<String>,
}

/// The pair in the plugin folder that was decided on; `None` where no file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderPair {
    /// The hash of both.
    pub pair: Option<Hash>,
}

impl Ran {
    /// How long it was live until `now`, in microseconds.
    pub fn lived(&self, now: Micros) -> u64 {
        self.lived_before + self.until.unwrap_or(now).0.saturating_sub(self.since.0)
    }
}

impl PluginState {
    /// The pair in the folder that was decided on: it is not tried again.
    pub fn in_folder(&self) -> Option<Hash> {
        self.folder.map_or(self.pair, |folder| folder.pair)
    }

    /// What a rollback goes to, where nothing else is said.
    pub fn version_before(&self) -> Option<&LiveVersion> {
        let live = self.live.as_ref()?.version.version;
        self.former.get(&self.ran.get(&live)?.before?)
    }

    /// Former versions that stopped to be live before `time`, or are more than is kept, and that nobody needs: no dead
    /// letter, and no rollback.
    pub fn collectable(&self, time: Micros) -> Vec<VersionId> {
        let until = |id: &VersionId| self.ran.get(id).and_then(|ran| ran.until).unwrap_or_default();
        let mut former: Vec<VersionId> = self.former.keys().copied().collect();
        former.sort_by_key(|id| until(id));
        let beyond = former.len().saturating_sub(MOST_FORMER);
        let mut needed: BTreeSet<VersionId> = self.dead.values().map(|dead| dead.version).collect();
        needed.extend(self.version_before().map(|before| before.version));
        needed.extend(self.probation.as_ref().map(|probation| probation.before));
        let old = former.into_iter().enumerate();
        let old = old.filter(|(place, id)| *place < beyond || until(id) < time);
        old.map(|(_, id)| id).filter(|id| !needed.contains(id)).collect()
    }

    /// The hashes of the components that it needs.
    pub fn components(&self) -> impl Iterator<Item = Hash> {
        let live = self.live.iter().map(|live| live.version.component);
        let waiting = self.waiting.iter().map(|(_, waiting)| waiting.component);
        live.chain(waiting)
            .chain(self.former.values().map(|version| version.component))
    }

    /// Before `deployment` is applied: the folder's file stays what it is where somebody else asks.
    pub(super) fn asked(&mut self, deployment: &Deployment) {
        match deployment.by {
            AskedBy::Folder => self.folder = None,
            AskedBy::Api | AskedBy::Operator | AskedBy::Probation => {
                let pair = self.pair;
                self.folder.get_or_insert(FolderPair { pair });
            }
            AskedBy::Retention => {}
        }
    }

    /// `version` goes live with the record at `offset`; where that is a rollback `back`, it stands where it stood in the line
    /// of versions.
    pub(super) fn goes_live(
        &mut self,
        offset: Offset,
        time: Micros,
        version: &LiveVersion,
        asked: &Deployment,
        back: Option<&RolledBack>,
    ) {
        let is_rollback = back.is_some();
        let (id, before) = (
            version.version,
            self.live.as_ref().map(|live| live.version.version),
        );
        let goes_on = before == Some(id) && !self.removed;
        if !goes_on {
            self.leaves(offset);
            self.lefts.remove(&id);
            let mute = back.and_then(|back| back.mute).unwrap_or(Mute::HAPPENED);
            self.give_up_own(offset, time, mute);
        }
        let start = if self.live.is_none() && version.from_beginning {
            Offset(1)
        } else {
            offset.next()
        };
        let patterns = version.subscriptions.iter();
        let patterns = patterns.filter_map(|text| text.parse().ok()).collect();
        self.subscription = self.subscription.changed_to(patterns, start);
        if self.live.is_none() {
            self.cursor.low = Offset(start.0 - 1);
        }
        if !goes_on {
            self.ended(offset, time);
            let ran = self.ran.entry(id).or_default();
            ran.lived_before = ran.until.map_or(0, |until| ran.lived(until));
            (ran.since, ran.at, ran.by) = (time, offset, asked.by);
            (ran.who, ran.rolled_back_who) = (asked.who.clone(), None);
            (ran.until, ran.left, ran.rolled_back) = (None, None, None);
            if before != Some(id) && !is_rollback {
                ran.before = before;
            }
        }
        let since = match &self.live {
            Some(live) if goes_on => live.since,
            _ => time,
        };
        let terms = version.probation;
        let version = version.clone();
        let former = self.live.replace(Live { version, since });
        self.former
            .extend(former.map(|live| (live.version.version, live.version)));
        self.former.remove(&id);
        if !goes_on {
            self.watch(offset, id, before, terms.filter(|_| !is_rollback));
        }
        self.removed = false;
        self.removed_at = None;
        self.breaker.half_open(time);
        if let Some(rewinding) = &mut self.rewinding {
            rewinding.breaker.half_open(time);
        }
    }

    /// What a rollback at `offset` does. A pair that waits or was refused stays what it is.
    pub(super) fn roll_back(&mut self, offset: Offset, time: Micros, back: &RolledBack, asked: &Deployment) {
        let going = self.goes_back(back);
        if going.is_some() {
            // All of what a canary did is unsettled with the rest.
            self.own = self.own.take().map(|own| Box::new(own.with_nothing_done()));
        }
        self.goes_live(offset, time, &back.version, asked, Some(back));
        if let Some(going) = going {
            self.go_back(offset, time, going);
        }
        if let Some(ran) = self.ran.get_mut(&back.from) {
            ran.rolled_back = Some((time, asked.by, back.why.clone()));
            ran.rolled_back_who.clone_from(&asked.who);
        }
    }

    /// The version that is live stops to be so with the record at `offset`.
    pub(super) fn ended(&mut self, offset: Offset, time: Micros) {
        let Some(live) = &self.live else { return };
        // An older version kept no count of it.
        let ran = self.ran.entry(live.version.version).or_insert_with(|| Ran {
            since: live.since,
            ..Ran::default()
        });
        if ran.until.is_none() {
            (ran.until, ran.left) = (Some(time), Some(offset));
        }
    }

    /// Give up what is kept of `versions`.
    pub(super) fn collect(&mut self, versions: &[VersionId]) {
        for id in versions {
            self.former.remove(id);
            self.ran.remove(id);
            self.lefts.remove(id);
        }
    }

    /// Count `outcome` for the version that ran.
    pub(super) fn count_version(&mut self, outcome: &Outcome<'_>) {
        let at = match outcome.verdict {
            Verdict::Done => 0,
            Verdict::Retry { .. } => 1,
            Verdict::Dead { .. } => 2,
        };
        let was_made = outcome.watched != Some(Watched::Waits);
        if let Some(ran) = self.ran.get_mut(&outcome.version).filter(|_| was_made) {
            ran.counters[at] += 1;
            ran.tally.count(outcome);
        }
    }

    /// What `outcome`, appended at `time`, says of a version that is watched; before the cursor follows it.
    pub(super) fn judge(&mut self, time: Micros, key: &OrderKey, outcome: &Outcome<'_>) {
        let Some(probation) = &mut self.probation else {
            return;
        };
        let head = self
            .cursor
            .parked
            .get(key)
            .and_then(|parked| parked.head.as_ref());
        let head = head.filter(|head| head.event == outcome.event());
        probation.apply(time, outcome, head.is_some_and(|head| head.attempt > head.free));
    }

    /// Whether a probation is over behind an outcome of `key`, which the cursor has followed.
    pub(super) fn end_probation(&mut self, time: Micros, key: &OrderKey, outcome: &Outcome<'_>) {
        let Some(probation) = &mut self.probation else {
            return;
        };
        let minded_keys = probation.minds_keys();
        probation.give_back(time, key, outcome);
        if !self.cursor.parked.contains_key(key) {
            probation.free(key);
        }
        let minds_keys = probation.minds_keys();
        if probation.has_ended(time) {
            self.probation = None;
        }
        if minded_keys && !minds_keys {
            self.tell();
        }
    }

    /// The canary `version` runs for all keys, with these `warnings` about its contracts.
    pub(super) fn promote(&mut self, version: VersionId, warnings: &[String]) {
        let Some(probation) = &mut self.probation else {
            return;
        };
        if probation.watched == version {
            let parked = self.cursor.parked.iter().map(|(key, parked)| {
                let kept = parked.head.as_ref().and_then(|head| head.kept.as_ref());
                let event = kept.and_then(|kept| record::event(&kept.record).ok().flatten());
                (key, event.map(|event| own_name(&event)))
            });
            probation.promote(parked);
            if let Some(live) = &mut self.live {
                live.version.warnings = warnings.to_vec();
            }
        }
    }

    /// `id` took the place of the version `before`: whether and how it is watched.
    fn watch(&mut self, offset: Offset, id: VersionId, before: Option<VersionId>, terms: Option<Terms>) {
        // One that was watched itself is no measure: what stood before it is.
        let trusted = self.probation.take().map(|probation| probation.before).or(before);
        let watched = terms.zip(trusted).filter(|(_, trusted)| *trusted != id);
        self.probation = watched.map(|(terms, trusted)| {
            let known = self.ran.get(&trusted).map(|ran| ran.tally).unwrap_or_default();
            Probation::new(id, trusted, terms, known, self.cursor.parked.keys())
        });
        if self.rewinding.is_none() && self.probation.as_ref().is_some_and(Probation::has_own_state) {
            self.keeps_apart(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::{DeploymentAction, FailureClass, FailureRecord};
    use crate::state::Dead;

    fn id(n: u8) -> VersionId {
        VersionId([n; 8])
    }

    fn version(n: u8) -> LiveVersion {
        LiveVersion {
            version: id(n),
            component: Hash([n; 32]),
            ..LiveVersion::default()
        }
    }

    /// A plugin to which these things were done, one each second.
    fn after(done: Vec<(AskedBy, DeploymentAction)>) -> PluginState {
        let mut state = PluginState::default();
        for (at, (by, action)) in (1u8..).zip(done) {
            let deployment = Deployment {
                who: None,
                plugin: "p".into(),
                pair: match &action {
                    DeploymentAction::RolledBack(_) => state.pair,
                    DeploymentAction::Removed => None,
                    _ => Some(Hash([at; 32])),
                },
                action,
                by,
                warnings: Vec::new(),
            };
            state.apply_deployment(Offset(at.into()), Micros(u64::from(at) * 1_000_000), &deployment);
        }
        state
    }

    fn live(n: u8) -> (AskedBy, DeploymentAction) {
        (AskedBy::Folder, DeploymentAction::Live(Box::new(version(n))))
    }

    fn back(from: u8, to: u8) -> (AskedBy, DeploymentAction) {
        let back = RolledBack {
            version: version(to),
            from: id(from),
            why: "why".into(),
            state: None,
            mute: None,
        };
        (AskedBy::Operator, DeploymentAction::RolledBack(Box::new(back)))
    }

    #[test]
    fn one_rollback_after_the_other_goes_further_back() {
        let before = |done| after(done).version_before().map(|version| version.version);
        assert_eq!(before(vec![live(1)]), None);
        assert_eq!(before(vec![live(1), live(2), live(3)]), Some(id(2)));
        assert_eq!(before(vec![live(1), live(2), live(3), back(3, 2)]), Some(id(1)));
        assert_eq!(
            before(vec![live(1), live(2), live(3), back(3, 2), back(2, 1)]),
            None
        );
        assert_eq!(before(vec![live(1), live(2), back(2, 1), live(4)]), Some(id(1)));
        // The same version asked for again is no version before itself.
        assert_eq!(before(vec![live(1), live(2), live(2)]), Some(id(1)));
    }

    #[test]
    fn a_version_says_how_long_it_was_live_and_why_it_is_not() {
        let state = after(vec![live(1), live(2), back(2, 1), live(3)]);
        let ran = |n| state.ran[&id(n)].clone();
        let now = Micros(10_000_000);
        assert_eq!(
            [ran(1), ran(2), ran(3)].map(|ran| ran.lived(now)),
            [2_000_000, 1_000_000, 6_000_000]
        );
        assert_eq!(
            (ran(1).left, ran(2).left, ran(3).left),
            (Some(Offset(4)), Some(Offset(3)), None)
        );
        let why = ran(2).rolled_back.map(|(at, by, why)| (at.0, by, why));
        assert_eq!(why, Some((3_000_000, AskedBy::Operator, "why".to_owned())));
        let again = after(vec![live(1), live(2), back(2, 1), back(1, 2)]);
        assert_eq!(again.ran[&id(2)].rolled_back, None, "it is live again");
    }

    #[test]
    fn the_folders_file_stays_decided_on_whoever_else_asks() {
        let api = |n| (AskedBy::Api, DeploymentAction::Live(Box::new(version(n))));
        let hash = |n| Some(Hash([n; 32]));
        for (done, in_folder) in [
            (vec![live(1)], hash(1)),
            (vec![live(1), api(2)], hash(1)),
            (vec![live(1), api(2), api(3)], hash(1)),
            (vec![live(1), live(2), back(2, 1)], hash(2)),
            (vec![live(1), api(2), live(3)], hash(3)),
            (vec![api(1)], None),
            (vec![api(1), api(2)], None),
            (
                vec![live(1), api(2), (AskedBy::Folder, DeploymentAction::Removed)],
                None,
            ),
            (
                vec![live(1), (AskedBy::Api, DeploymentAction::Removed), api(3)],
                None,
            ),
        ] {
            assert_eq!(after(done.clone()).in_folder(), in_folder, "{done:?}");
        }
    }

    #[test]
    fn outcomes_are_counted_for_the_version_that_ran() {
        let mut state = after(vec![live(1), live(2)]);
        let failure = FailureRecord {
            class: FailureClass::Trap,
            reason: "r",
        };
        let retry = Verdict::Retry { due: 1, failure };
        for (n, verdict) in [
            (1, Verdict::Done),
            (2, retry),
            (2, retry),
            (2, Verdict::Dead { failure }),
        ] {
            let outcome = Outcome {
                version: id(n),
                event: 9,
                verdict,
                ..Outcome::default()
            };
            state.apply_outcome(Offset(9), Micros(1), &outcome);
        }
        assert_eq!(state.ran[&id(1)].counters, [1, 0, 0]);
        assert_eq!(state.ran[&id(2)].counters, [0, 2, 1]);
    }

    #[test]
    fn what_a_dead_letter_or_a_rollback_needs_is_not_collected() {
        let mut state = after(vec![live(1), live(2), live(3), live(4)]);
        assert_eq!(state.collectable(Micros(3_500_000)), [id(1), id(2)]);
        assert_eq!(
            state.collectable(Micros(2_500_000)),
            [id(1)],
            "two was live until the third second"
        );
        let dead = Dead {
            attempts: 1,
            class: FailureClass::Trap,
            reason: String::new(),
            version: id(1),
            at: Micros(1),
            outcome: Offset(9),
            kept: None,
            rewind: None,
            retried: None,
            undone: false,
        };
        state.dead.insert(Offset(7), dead);
        let old = state.collectable(Micros(u64::MAX));
        assert_eq!(
            old,
            [id(2)],
            "the dead letter names one, a rollback goes to three"
        );
        state.collect(&old);
        let kept: BTreeSet<Hash> = state.components().collect();
        assert_eq!(kept, [1, 3, 4].map(|n| Hash([n; 32])).into());
        let many = after((1..=120).map(live).collect());
        assert_eq!(many.collectable(Micros(0)).len(), 119 - MOST_FORMER);
    }
}
