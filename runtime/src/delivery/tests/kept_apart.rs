//! A canary with a state of its own: who sees what it writes, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use nerve_eventlog::{Log, Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use super::canary::{HALF, run_for};
use super::going_back::QUIET;
use super::probation::{TERMS, agree, live};
use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, FailureClass, Mute, OperatorAction, Outcome, Prefer, Record,
    Terms, VersionId,
};
use crate::plugin::deploy::{Redelivers, RollBackError, StateBackError, promoted, swap_back};
use crate::state::{KeyValues, MOST_SPANS};

/// Half of the keys, on a state of its own.
pub(super) const APART: Terms = Terms { own: true, ..HALF };

/// Of these the canary has ada, dave and eve.
pub(super) const KEYS: [&str; 6] = ["ada", "bob", "carol", "dave", "eve", "mallory"];
pub(super) const CANARYS: [&str; 3] = ["ada", "dave", "eve"];

/// Writes each event of a key down behind those before, and emits one; fails those that `fails`.
fn notes(fails: impl Fn(u64, Option<&str>) -> Option<FailureClass> + Send + Sync + 'static) -> Script {
    Arc::new(move |delivery, state| {
        if let Some(class) = fails(delivery.offset.0, delivery.event.key) {
            return failed(class);
        }
        let key = delivery.event.key.unwrap_or("-");
        let before = state.get(key).unwrap_or_default();
        let after = [&before[..], format!("{} ", delivery.offset).as_bytes()].concat();
        Handled {
            effects: Effects {
                emits: vec![Emit {
                    r#type: "out.x".into(),
                    key: None,
                    subject: None,
                    content_type: None,
                    data: vec![0xc0],
                }],
                writes: vec![(key.into(), Some(after.into()))],
                timers: Vec::new(),
            },
            ..Handled::default()
        }
    })
}

pub(super) fn well() -> Script {
    notes(|_, _| None)
}

/// One event of each key.
pub(super) fn publish(bed: &Bed) -> BTreeMap<&'static str, u64> {
    KEYS.map(|key| (key, bed.publish(Some(key)))).into()
}

fn text(state: &KeyValues, key: &str) -> String {
    String::from_utf8(state.get(key).unwrap_or_default().to_vec()).unwrap()
}

/// What the plugin's state has of `key`.
pub(super) fn noted(bed: &Bed, key: &str) -> String {
    text(&bed.subscriber.state.lock().key_values, key)
}

/// What the canary's own has.
fn noted_apart(bed: &Bed, key: &str) -> String {
    text(&bed.subscriber.state.lock().own.as_ref().unwrap().key_values, key)
}

/// The events at these offsets, as they are noted.
pub(super) fn list(of: &[u64]) -> String {
    of.iter()
        .fold(String::new(), |list, offset| format!("{list}{offset} "))
}

/// How many events were emitted for each event.
fn emitted(bed: &Bed) -> BTreeMap<u64, u32> {
    let mut emitted = BTreeMap::new();
    for (_, _, bytes) in bed.records() {
        if let Record::Outcome(outcome) = Record::decode(&bytes).unwrap() {
            *emitted.entry(outcome.event).or_default() += outcome.emitted;
        }
    }
    emitted
}

pub(super) fn promote(bed: &Bed, prefer: Option<Prefer>) -> Result<(), RollBackError> {
    let between = bed.subscriber.between_events();
    let mut state = bed.subscriber.state.lock();
    let version = state.live.as_ref().unwrap().version.version;
    promoted(
        &bed.sequencer,
        &mut state,
        "p",
        version,
        (Vec::new(), None),
        prefer,
    )?;
    drop(state);
    between.begin_anew();
    Ok(())
}

/// An operator's rollback without the state.
fn roll_back(bed: &mut Bed, to: u8, script: Script) {
    roll_back_as(bed, to, script, None).unwrap();
}

/// One that says what is muted.
fn roll_back_as(bed: &mut Bed, to: u8, script: Script, mute: Option<Mute>) -> Result<(), RollBackError> {
    let (from, target) = {
        let state = bed.subscriber.state.lock();
        let live = state.live.as_ref().unwrap().version.version;
        (live, state.former[&VersionId([to; 8])].clone())
    };
    let (runs, again) = (bed.fake(script, to), Redelivers::Canarys(mute));
    swap_back(&bed.sequencer, &bed.subscriber, from, target, runs, again)?;
    bed.version = to;
    Ok(())
}

/// A canary `script` runs beside a version that does all well, and had an event of each key.
pub(super) fn beside(script: Script, lanes: usize) -> (Bed, BTreeMap<&'static str, u64>) {
    let mut bed = Bed::with_lanes(well(), POLICY, lanes);
    let first = publish(&bed);
    bed.run_all();
    bed.terms = Some(APART);
    bed.swap(script);
    (bed, first)
}

#[test]
fn what_a_canary_writes_is_its_own_until_it_is_promoted_and_so_is_what_the_version_before_writes() {
    for restarts in [false, true] {
        let (mut bed, first) = beside(well(), 1);
        let second = publish(&bed);
        bed.run_all();
        if restarts {
            bed = bed.restart_beside(well(), well());
        }
        for key in KEYS {
            let (one, both) = (list(&[first[key]]), list(&[first[key], second[key]]));
            let (plugins, canarys) = if CANARYS.contains(&key) {
                (&one, &both)
            } else {
                (&both, &one)
            };
            assert_eq!(
                (&noted(&bed, key), &noted_apart(&bed, key)),
                (plugins, canarys),
                "{key}"
            );
        }
        promote(&bed, None).unwrap();
        assert!(bed.subscriber.state.lock().own.is_none());
        let third = publish(&bed);
        bed.run_all();
        for key in KEYS {
            assert_eq!(
                noted(&bed, key),
                list(&[first[key], second[key], third[key]]),
                "{key}"
            );
        }
        assert!(emitted(&bed).values().all(|emitted| *emitted <= 1));
        agree(&bed);
    }
}

#[test]
fn where_both_wrote_a_key_of_the_state_it_is_not_promoted_before_it_is_said_whose_value_stays() {
    // Events without a key are noted in one place, whoever has them.
    for (prefer, stays) in [(Prefer::Canary, 2), (Prefer::Before, 1)] {
        let (mut bed, _) = beside(well(), 1);
        let ada = bed.publish(Some("ada"));
        for id in 0..20 {
            bed.publish_as(&format!("e{id}"), "in.x", None);
        }
        bed.run_all();
        let wanted = [noted(&bed, "-"), noted_apart(&bed, "-")];
        assert_ne!(wanted[0], wanted[1]);
        let refused = promote(&bed, None).unwrap_err();
        let RollBackError::BothWrote { both: 1, some } = refused else {
            panic!("{refused}")
        };
        assert_eq!(some, ["\"-\""]);
        assert!(bed.subscriber.state.lock().own.is_some(), "nothing changed");
        promote(&bed, Some(prefer)).unwrap();
        assert_eq!(noted(&bed, "-"), wanted[stays - 1], "{prefer:?}");
        assert!(
            noted(&bed, "ada").ends_with(&list(&[ada])),
            "what one alone wrote stays in any case"
        );
        agree(&bed);
    }
}

#[test]
fn invariant_03_what_a_canary_did_is_delivered_again_on_the_unchanged_state_and_has_its_effects_once() {
    for lanes in [1, 3] {
        for restarts in [false, true] {
            let trips =
                || notes(|offset, key| (key == Some("eve") && offset > 20).then_some(FailureClass::Trap));
            let (mut bed, first) = beside(trips(), lanes);
            let own = bed.publish(None);
            let rounds = [publish(&bed), publish(&bed)];
            if restarts {
                bed.stop_after(7);
                bed.run();
                bed = bed.restart_beside(trips(), well());
            }
            bed.run_all();
            let third = publish(&bed);
            bed.run_all();
            assert_eq!((live(&bed), bed.fold().own.is_none()), (1, true));
            for key in KEYS {
                let all = [first[key], rounds[0][key], rounds[1][key], third[key]];
                assert_eq!(noted(&bed, key), list(&all), "{key}, {lanes} lanes");
            }
            assert_eq!(noted(&bed, "-"), list(&[own]));
            let of_events = emitted(&bed);
            assert_eq!(of_events.len(), 25);
            assert!(of_events.values().all(|emitted| *emitted == 1), "{of_events:?}");
            assert!(bed.fold().again.is_none() && bed.fold().cursor.parked.is_empty());
            agree(&bed);
        }
    }
}

#[test]
fn a_canary_that_is_taken_back_or_replaced_leaves_nothing_in_the_state() {
    for way in [
        "rollback",
        "rollback with the state",
        "another version",
        "another canary",
        "removed",
    ] {
        let (mut bed, first) = beside(well(), 1);
        let second = publish(&bed);
        bed.run_all();
        match way {
            "rollback" => roll_back(&mut bed, 1, well()),
            "rollback with the state" => bed.go_back(1, well(), QUIET).unwrap(),
            "another version" => {
                bed.terms = Some(TERMS);
                bed.swap(well());
            }
            "another canary" => bed.swap(well()),
            _ => {
                bed.remove();
                bed.swap(well());
                bed = bed.restart_beside(well(), well());
            }
        }
        assert_eq!(
            bed.fold().own.is_some(),
            way == "another canary" || way == "removed",
            "{way}"
        );
        bed.run_all();
        for key in KEYS {
            assert_eq!(noted(&bed, key), list(&[first[key], second[key]]), "{key}, {way}");
        }
        assert!(emitted(&bed).values().all(|emitted| *emitted == 1), "{way}");
        assert!(bed.fold().again.is_none(), "{way}");
        agree(&bed);
        // It left with a state that is gone.
        let back = bed.go_back(2, well(), QUIET);
        let is_refused =
            matches!(&back, Err(RollBackError::State(why)) if matches!(**why, StateBackError::NotKept(_)));
        assert!(is_refused, "{way}: {back:?}");
    }
}

#[test]
fn what_a_canary_did_happens_again_where_that_is_asked_for_and_its_timers_are_set_again() {
    // Each event emits one, and sets a timer of its key.
    let sets = || -> Script {
        let notes = well();
        Arc::new(move |delivery, state| {
            let mut handled = notes(delivery, state);
            let set = SetTimer {
                due: Micros(u64::MAX - 1),
                emit: handled.effects.emits[0].clone(),
            };
            let name = delivery.event.key.unwrap_or("-").into();
            handled.effects.timers.push((name, Some(set)));
            handled
        })
    };
    let loud = Mute::default();
    for (mute, emits, after) in [
        (None, 1, false),
        (Some(Mute::HAPPENED), 1, false),
        (Some(loud), 2, true),
    ] {
        let (mut bed, _) = beside(sets(), 1);
        let second = publish(&bed);
        bed.run_all();
        let began = bed.log.bounds().last;
        roll_back_as(&mut bed, 1, sets(), mute).unwrap();
        bed.run_all();
        let emitted = emitted(&bed);
        for key in KEYS {
            let times = if CANARYS.contains(&key) { emits } else { 1 };
            assert_eq!(emitted[&second[key]], times, "{key}, {mute:?}");
            let state = bed.subscriber.state.lock();
            let is_set = state.timers.iter().find(|(name, _)| *name == key);
            let is_after = is_set.map(|(_, timer)| timer.set_at > began);
            assert_eq!(
                is_after,
                CANARYS.contains(&key).then_some(after),
                "{key}, {mute:?}"
            );
        }
        agree(&bed);
        let refused = roll_back_as(&mut bed, 2, sets(), mute).err();
        let is_refused = matches!(refused, Some(RollBackError::NothingAgain));
        assert_eq!(is_refused, mute.is_some(), "{refused:?}");
    }
}

#[test]
fn the_version_before_is_asked_on_the_canarys_state_and_three_events_in_a_row_that_both_fail_are_the_canarys_fault()
 {
    let knows = |name: &'static str| -> Script {
        let notes = well();
        Arc::new(move |delivery, state| {
            // Neither can go on from what the canary wrote.
            let is_new = state
                .get(delivery.event.key.unwrap_or("-"))
                .is_some_and(|noted| noted == "new");
            match (name, is_new) {
                (_, true) => failed(FailureClass::Trap),
                ("canary", false) => Handled {
                    effects: Effects {
                        writes: vec![(delivery.event.key.unwrap_or("-").into(), Some("new".into()))],
                        ..Effects::default()
                    },
                    ..Handled::default()
                },
                _ => notes(delivery, state),
            }
        })
    };
    for (own, lives) in [(true, 1), (false, 2)] {
        let mut bed = Bed::new(knows("before"));
        bed.terms = Some(Terms { own, ..HALF });
        bed.swap(knows("canary"));
        let rounds = [publish(&bed), publish(&bed)];
        // Where nobody falls it is an outage.
        run_for(&mut bed, 30);
        assert_eq!(live(&bed), lives, "with a state of its own: {own}");
        if own {
            assert!(bed.fold().dead.is_empty());
            for key in KEYS {
                assert_eq!(noted(&bed, key), list(&[rounds[0][key], rounds[1][key]]), "{key}");
            }
        }
        agree(&bed);
    }
}

#[test]
fn a_dead_letter_that_a_canary_did_is_one_again_where_it_is_taken_back() {
    let rejects =
        || notes(|_, key| (key == Some("ada") || key == Some("bob")).then_some(FailureClass::Reject));
    let mut bed = Bed::new(rejects());
    let events = publish(&bed);
    bed.run_all();
    assert_eq!(bed.fold().dead.len(), 2);
    bed.terms = Some(APART);
    bed.swap(well());
    bed.redrive_all();
    bed.run_all();
    // Each went to the version that has its key.
    assert_eq!(noted_apart(&bed, "ada"), list(&[events["ada"]]));
    assert_eq!(
        (noted(&bed, "ada"), noted_apart(&bed, "bob")),
        (String::new(), String::new())
    );
    let letters = |bed: &Bed| bed.fold().dead.keys().map(|event| event.0).collect::<Vec<_>>();
    assert_eq!(letters(&bed), [events["bob"]]);
    roll_back(&mut bed, 1, well());
    assert_eq!(letters(&bed), [events["ada"], events["bob"]]);
    bed.redrive_all();
    bed.run_all();
    assert_eq!(noted(&bed, "ada"), list(&[events["ada"]]));
    assert_eq!(emitted(&bed)[&events["ada"]], 1, "it had its effects");
    agree(&bed);
}

#[test]
fn a_dead_letter_of_a_canary_that_an_operator_gave_up_has_its_effects_where_the_canary_is_taken_back() {
    let rejects = |bad| notes(move |offset, _| (offset == bad).then_some(FailureClass::Reject));
    // Behind the two versions and one event.
    let bad = 4;
    let mut bed = Bed::new(rejects(bad));
    bed.terms = Some(APART);
    bed.swap(rejects(bad));
    let done = bed.publish(Some("ada"));
    assert_eq!(bed.publish(Some("ada")), bad);
    bed.run_all();
    assert!(bed.fold().dead.contains_key(&Offset(bad)));
    bed.operate(OperatorAction::Drop(vec![bad]));
    bed.terms = None;
    bed.swap(well());
    bed.run_all();
    assert_eq!(noted(&bed, "ada"), list(&[done, bad]));
    let emitted = emitted(&bed);
    assert_eq!([emitted[&done], emitted[&bad]], [1, 1], "the second had had none");
    agree(&bed);
}

#[test]
fn a_canary_that_has_more_keys_than_are_kept_of_it_is_taken_back() {
    let (bed, _) = beside(well(), 1);
    let mut state = bed.subscriber.state.lock().snapshot(Offset(0));
    for event in 1..=MOST_SPANS as u64 {
        let outcome = Outcome {
            plugin: "p",
            version: VersionId([2; 8]),
            event: 100 + event,
            cleared: true,
            low_water: 100 + event,
            own: true,
            ..Outcome::default()
        };
        assert!(state.probation.as_ref().unwrap().fallen().is_none());
        state.apply_outcome(Offset(1_000_000 + event), Micros(1_000_001), &outcome);
    }
    let outcome = Outcome {
        plugin: "p",
        event: 1_000_000,
        own: true,
        ..Outcome::default()
    };
    state.apply_outcome(Offset(9_000_000), Micros(1_000_002), &outcome);
    let why = state.probation.as_ref().unwrap().fallen().map(str::to_owned);
    assert!(why.is_some_and(|why| why.contains("100000 keys")));
}

impl Bed {
    /// Its file is gone.
    pub(super) fn remove(&self) {
        let between = self.subscriber.between_events();
        let deployment = Deployment {
            who: None,
            plugin: "p".into(),
            pair: None,
            action: DeploymentAction::Removed,
            by: AskedBy::Folder,
            warnings: Vec::new(),
        };
        let mut state = self.subscriber.state.lock();
        let mut batch = nerve_eventlog::Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = self.sequencer.append(batch, None, std::iter::empty()).unwrap();
        state.apply_deployment(appended.first, appended.time, &deployment);
        drop(state);
        between.look_back();
        between.swap(None);
    }
}
