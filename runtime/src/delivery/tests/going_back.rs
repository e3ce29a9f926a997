//! Rollbacks that take state and cursor back, one rule at a time.

use std::sync::Arc;

use nerve_eventlog::{Log, Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::delivery::timer;
use crate::log::record::{FailureClass, Mute, OperatorAction, Outcome, Record, VersionId};
use crate::plugin::deploy::{Redelivers, RollBackError, swap_back};

pub(super) const QUIET: Mute = Mute {
    emit: true,
    http: true,
};
const LOUD: Mute = Mute {
    emit: false,
    http: false,
};

impl Bed {
    /// Roll back to a version that ran before, with the state, as the host does it.
    pub(super) fn go_back(&mut self, to: u8, script: Script, mute: Mute) -> Result<(), RollBackError> {
        let (from, target) = {
            let state = self.subscriber.state.lock();
            let live = state.live.as_ref().unwrap().version.version;
            (live, state.former[&VersionId([to; 8])].clone())
        };
        let (runs, again) = (self.fake(script, to), Redelivers::Since(mute));
        swap_back(&self.sequencer, &self.subscriber, from, target, runs, again)?;
        self.version = to;
        Ok(())
    }

    /// As if the version that is live subscribed to this alone.
    pub(super) fn subscribes_to(&self, pattern: &str) {
        let mut state = self.subscriber.state.lock();
        let from = self.log.bounds().last.next();
        state.subscription = state
            .subscription
            .changed_to(vec![pattern.parse().unwrap()], from);
        self.sequencer
            .subscribe(self.subscriber.id, state.subscription.clone());
    }
}

fn emit() -> Emit {
    Emit {
        r#type: "out.x".into(),
        key: Some("k".into()),
        subject: None,
        content_type: None,
        data: vec![0xc0],
    }
}

/// Writes each event down behind those before, as `OFFSET` with `name` behind it; emits an event, and sets a timer.
pub(super) fn writes(name: &'static str) -> Script {
    sets(name, "t")
}

/// The same, with a timer called `timer`.
fn sets(name: &'static str, timer: &'static str) -> Script {
    Arc::new(move |delivery, state| {
        let before = state.get("seen").unwrap_or_default();
        let seen = [&before[..], format!("{}{name} ", delivery.offset).as_bytes()].concat();
        let set = SetTimer {
            due: Micros(u64::MAX - 1),
            emit: emit(),
        };
        let own = (
            format!("{name}/{}", delivery.offset).into(),
            Some(vec![7; 100].into()),
        );
        Handled {
            effects: Effects {
                emits: vec![emit()],
                writes: vec![own, ("seen".into(), Some(seen.into()))],
                timers: vec![(timer.into(), Some(set))],
            },
            ..Handled::default()
        }
    })
}

/// The same, and fails events of these keys: for good, but for `k`.
pub(super) fn fails(name: &'static str, keys: &'static [&'static str]) -> Script {
    let writes = writes(name);
    Arc::new(move |delivery, state| {
        if delivery.event.key.is_some_and(|key| keys.contains(&key)) {
            failed(if delivery.event.key == Some("k") {
                FailureClass::Trap
            } else {
                FailureClass::Reject
            })
        } else {
            writes(delivery, state)
        }
    })
}

pub(super) fn seen_in_state(bed: &Bed) -> String {
    let state = bed.subscriber.state.lock();
    let seen = state.key_values.get("seen").unwrap_or_default();
    String::from_utf8(seen.to_vec()).unwrap()
}

fn keys_of(bed: &Bed) -> Vec<String> {
    let state = bed.subscriber.state.lock();
    let keys = state.key_values.scan("", None, 1000);
    keys.into_iter().map(|(key, _)| key.into()).collect()
}

/// How often each event's effects happened, `OFFSET times`, from the outcomes.
pub(super) fn happened(bed: &Bed, event: u64) -> usize {
    let records = bed.records();
    let outcomes = records.iter().filter_map(|(_, _, bytes)| outcome(bytes));
    outcomes
        .filter(|outcome| outcome.event == event && outcome.emitted > 0)
        .count()
}

fn outcome(bytes: &[u8]) -> Option<Outcome<'_>> {
    match Record::decode(bytes) {
        Ok(Record::Outcome(outcome)) => Some(outcome),
        _ => None,
    }
}

pub(super) fn dead(bed: &Bed) -> Vec<u64> {
    bed.subscriber
        .state
        .lock()
        .dead
        .keys()
        .map(|event| event.0)
        .collect()
}

fn same_as_fold(bed: &Bed) {
    let told = |state: &crate::state::PluginState| format!("{:?}", state.snapshot(Offset(0)));
    assert_eq!(told(&bed.fold()), told(&bed.subscriber.state.lock()));
}

pub(super) fn goes_on(bed: &Bed) -> bool {
    bed.subscriber.state.lock().again.is_some()
}

#[test]
fn state_and_cursor_go_back_together_and_the_events_since_are_delivered_again() {
    for mute in [QUIET, LOUD] {
        let mut bed = Bed::new(writes("a"));
        bed.publish(Some("k"));
        bed.run_all();
        bed.swap(writes("b"));
        let since = [bed.publish(Some("k")), bed.publish(None)];
        bed.run_all();
        assert_eq!(seen_in_state(&bed), format!("2a {}b {}b ", since[0], since[1]));
        let waiting = bed.publish(Some("k"));

        bed.go_back(1, writes("a"), mute).unwrap();
        assert_eq!(seen_in_state(&bed), "2a ", "at once");
        assert_eq!(keys_of(&bed), ["a/2", "seen"]);
        assert!(goes_on(&bed));
        let before = bed.saw.lock().len();
        let live = bed.publish(Some("k"));
        bed.run_all();

        assert_eq!(
            seen_in_state(&bed),
            format!("2a {}a {}a {waiting}a {live}a ", since[0], since[1]),
            "as if the newer version had never been"
        );
        let replays: Vec<bool> = bed.saw.lock()[before..].iter().map(|saw| saw.replay).collect();
        assert_eq!(
            replays,
            [true, true, false, false],
            "what was done is a replay, and nothing else"
        );
        let times = if mute == QUIET { 1 } else { 2 };
        assert_eq!(since.map(|event| happened(&bed, event)), [times, times]);
        assert_eq!([waiting, live].map(|event| happened(&bed, event)), [1, 1]);
        assert!(!goes_on(&bed));
        same_as_fold(&bed);
    }
}

#[test]
fn what_is_delivered_again_says_so_in_its_outcome_and_what_was_muted() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    let event = bed.publish(None);
    bed.run_all();
    bed.go_back(1, writes("a"), QUIET).unwrap();
    let generation = bed.log.bounds().last;
    bed.run_all();
    let records = bed.records();
    let again = outcome(&records.last().unwrap().2).unwrap();
    let of = again.rewind.as_ref().unwrap();
    assert_eq!((again.event, again.emitted, again.timers.len()), (event, 0, 0));
    assert_eq!(
        (of.generation, of.historic, of.muted.len()),
        (generation.0, false, 2)
    );
}

#[test]
fn a_rollback_of_several_versions_goes_to_where_that_version_left_last() {
    let mut bed = Bed::new(writes("a"));
    let mut at = vec![bed.publish(Some("k"))];
    bed.run_all();
    for name in ["b", "c", "d"] {
        bed.swap(writes(name));
        at.push(bed.publish(Some("k")));
        bed.run_all();
    }
    let told = |names: [&str; 4]| -> String {
        let each = at.iter().zip(names);
        each.map(|(at, name)| format!("{at}{name} "))
            .collect::<Vec<_>>()
            .concat()
    };
    assert_eq!(seen_in_state(&bed), told(["a", "b", "c", "d"]));
    bed.go_back(2, writes("b"), QUIET).unwrap();
    bed.run_all();
    assert_eq!(seen_in_state(&bed), told(["a", "b", "b", "b"]));
    // Back to what was rolled back: to where that one left, and not to where the other one began.
    bed.go_back(4, writes("d"), QUIET).unwrap();
    assert_eq!(seen_in_state(&bed), told(["a", "b", "c", "d"]));
    assert!(
        !goes_on(&bed),
        "nothing was settled since that it had not settled"
    );
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert_eq!(seen_in_state(&bed), told(["a", "a", "a", "a"]));
    assert!(at.iter().all(|event| happened(&bed, *event) == 1));
    same_as_fold(&bed);
}

#[test]
fn a_second_rollback_before_the_first_is_through_knows_what_was_done() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    let first = bed.publish(None);
    bed.run_all();
    bed.swap(writes("c"));
    let later = [bed.publish(None), bed.publish(None)];
    bed.run_all();
    bed.go_back(2, writes("b"), QUIET).unwrap();
    bed.stop_after(1);
    bed.run();
    let mut bed = bed.restart(writes("b"));
    bed.go_back(1, writes("a"), QUIET).unwrap();
    assert_eq!(seen_in_state(&bed), "");
    bed.run_all();
    assert_eq!(
        seen_in_state(&bed),
        format!("{first}a {}a {}a ", later[0], later[1])
    );
    for event in [first, later[0], later[1]] {
        assert_eq!(happened(&bed, event), 1, "{event}");
    }
    assert!(!goes_on(&bed));
    same_as_fold(&bed);
}

#[test]
fn what_was_given_up_or_waited_has_its_effects_and_a_dead_letter_from_before_is_one_again() {
    let mut bed = Bed::new(fails("a", &["old", "cured", "dropped"]));
    let letters = ["old", "cured", "dropped"].map(|key| bed.publish(Some(key)));
    bed.run_all();
    bed.swap(fails("b", &["old", "new", "gone", "k"]));
    let [new, gone] = ["new", "gone"].map(|key| bed.publish(Some(key)));
    bed.run_all();
    bed.operate(OperatorAction::Redrive(vec![letters[1]]));
    bed.operate(OperatorAction::Drop(vec![letters[2], gone]));
    bed.run_all();
    let parked = [bed.publish(Some("k")), bed.publish(Some("k"))];
    bed.run();
    assert_eq!(dead(&bed), [letters[0], new]);

    bed.go_back(1, writes("a"), QUIET).unwrap();
    assert_eq!(dead(&bed), letters, "as they were");
    bed.run_all();
    assert_eq!(dead(&bed), letters, "nobody asked for them");
    for event in [new, gone, parked[0], parked[1]] {
        assert_eq!(happened(&bed, event), 1, "{event} had had no effect");
    }
    bed.redrive_all();
    bed.run_all();
    assert_eq!(dead(&bed), [0; 0]);
    assert_eq!(
        letters.map(|event| happened(&bed, event)),
        [1, 1, 1],
        "the cured one's are muted"
    );
    assert!(!goes_on(&bed));
    same_as_fold(&bed);
}

#[test]
fn a_key_that_was_parked_is_parked_again_and_its_events_stay_in_order_behind_it() {
    let mut bed = Bed::new(fails("a", &["k"]));
    let head = bed.publish(Some("k"));
    bed.run();
    bed.swap(writes("b"));
    let behind = [
        bed.publish(Some("k")),
        bed.publish(Some("other")),
        bed.publish(Some("k")),
    ];
    bed.run_all();
    bed.go_back(1, fails("a", &["k"]), QUIET).unwrap();
    {
        let state = bed.subscriber.state.lock();
        let parked = state.cursor.parked.values().next().unwrap();
        assert_eq!(parked.head.as_ref().unwrap().event, Offset(head));
        assert_eq!(parked.head.as_ref().unwrap().attempt, 1);
    }
    bed.run();
    assert_eq!(
        seen_in_state(&bed),
        format!("{}a ", behind[1]),
        "the key waits, and another does not"
    );
    assert!(goes_on(&bed));
    // A swap in the middle: the newer version has what is left, muted as well.
    bed.version = 6;
    bed.swap(writes("c"));
    bed.run_all();
    let seen = format!("{}a {head}c {}c {}c ", behind[1], behind[0], behind[2]);
    assert_eq!(seen_in_state(&bed), seen);
    for event in [head, behind[0], behind[1], behind[2]] {
        assert_eq!(happened(&bed, event), 1, "{event}");
    }
    assert!(!goes_on(&bed));
    same_as_fold(&bed);
}

#[test]
fn an_event_that_fails_when_it_is_delivered_again_is_a_dead_letter_whose_effects_stay_muted() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    let event = bed.publish(Some("k"));
    bed.run_all();
    bed.go_back(1, fails("a", &["k"]), QUIET).unwrap();
    bed.run_all();
    assert_eq!(dead(&bed), [event]);
    assert!(!goes_on(&bed));
    let mut bed = bed.restart(writes("a"));
    bed.redrive_all();
    bed.run_all();
    assert_eq!((dead(&bed).len(), happened(&bed, event)), (0, 1));
    assert_eq!(seen_in_state(&bed), format!("{event}a "));
    same_as_fold(&bed);
}

#[test]
fn what_was_done_once_has_happened_also_where_it_was_given_up_when_it_was_delivered_again() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    bed.swap(writes("c"));
    let event = bed.publish(Some("x"));
    bed.run_all();
    bed.go_back(2, fails("b", &["x"]), QUIET).unwrap();
    bed.run_all();
    assert_eq!(dead(&bed), [event]);
    bed.operate(OperatorAction::Drop(vec![event]));
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert_eq!(
        (seen_in_state(&bed), happened(&bed, event)),
        (format!("{event}a "), 1)
    );
    same_as_fold(&bed);
}

#[test]
fn what_a_version_in_between_did_and_the_last_one_does_not_want_has_happened() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    let done = bed.publish(None);
    bed.run_all();
    bed.swap(writes("c"));
    bed.subscribes_to("in.y");
    bed.publish_of("in.y", None);
    bed.run_all();
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert!(seen_in_state(&bed).starts_with(&format!("{done}a ")));
    assert_eq!(happened(&bed, done), 1);
}

#[test]
fn timers_that_are_set_have_happened_where_emitting_is_muted_and_are_set_again_where_it_is_not() {
    for mute in [QUIET, LOUD] {
        let mut bed = Bed::new(sets("a", "before"));
        bed.publish(None);
        bed.run_all();
        bed.swap(sets("b", "since"));
        bed.publish(None);
        bed.run_all();
        bed.go_back(1, sets("a", "again"), mute).unwrap();
        let names = |bed: &Bed| -> Vec<String> {
            let state = bed.subscriber.state.lock();
            state.timers.iter().map(|(name, _)| name.to_owned()).collect()
        };
        let left: &[&str] = if mute == QUIET {
            &["before", "since"]
        } else {
            &["before"]
        };
        assert_eq!(names(&bed), left);
        bed.run_all();
        let after: &[&str] = if mute == QUIET { left } else { &["again", "before"] };
        assert_eq!(names(&bed), after);
        bed.clock.set(Micros(u64::MAX - 1));
        timer::fire(&bed.subscriber, &bed.sequencer, Micros(bed.now())).unwrap();
        assert!(names(&bed).is_empty());
        same_as_fold(&bed);
    }
}

#[test]
fn several_lanes_deliver_again_in_the_order_of_each_key() {
    let mut bed = Bed::with_lanes(writes("a"), POLICY, 3);
    let stepped = &mut Stepped::new(&bed, 0);
    let keys = ["x", "y", "z"];
    let mut events: Vec<u64> = (0..30).map(|n| bed.publish(Some(keys[n % 3]))).collect();
    // It leaves with events settled above the mark.
    stepped.step(&mut bed, 0);
    for _ in 0..9 {
        stepped.step(&mut bed, 1);
    }
    stepped.settle_all(&mut bed);
    bed.swap(writes("b"));
    stepped.run_all(&mut bed, &mut fastrand::Rng::with_seed(3));
    bed.go_back(1, writes("a"), QUIET).unwrap();
    events.extend((0..9).map(|n| bed.publish(Some(keys[n % 3]))));
    stepped.run_all(&mut bed, &mut fastrand::Rng::with_seed(4));
    let mut all: Vec<String> = events.iter().map(|event| format!("a/{event}")).collect();
    all.push("seen".into());
    all.sort_unstable();
    assert_eq!(keys_of(&bed), all, "each by the older version");
    let records = bed.records();
    let outcomes = records.iter().filter_map(|(_, _, bytes)| outcome(bytes));
    let done = outcomes.filter(|outcome| outcome.version == VersionId([1; 8]));
    let done: Vec<u64> = done.map(|outcome| outcome.event).collect();
    for n in 0..3 {
        let of_key = events.iter().skip(n).step_by(3);
        let places: Vec<usize> = of_key
            .map(|event| done.iter().rposition(|one| one == event).unwrap())
            .collect();
        assert!(places.is_sorted(), "{places:?}");
    }
    assert!(events.iter().all(|event| happened(&bed, *event) == 1));
    assert!(!goes_on(&bed));
    same_as_fold(&bed);
}

#[test]
fn a_restart_anywhere_in_between_goes_on_where_it_was() {
    for stop in 1..6 {
        let mut bed = Bed::new(writes("a"));
        bed.swap(writes("b"));
        let events: Vec<u64> = (0..4).map(|_| bed.publish(Some("k"))).collect();
        bed.run_all();
        bed.go_back(1, writes("a"), QUIET).unwrap();
        let live = bed.publish(Some("k"));
        bed.stop_after(stop);
        bed.run();
        same_as_fold(&bed);
        let mut bed = bed.restart(writes("a"));
        bed.run_all();
        let all = events.iter().chain([&live]);
        let seen = all.map(|event| format!("{event}a ")).collect::<Vec<_>>().concat();
        assert_eq!(seen_in_state(&bed), seen, "after {stop}");
        assert!(events.iter().all(|event| happened(&bed, *event) == 1));
        assert!(!goes_on(&bed));
    }
}

#[test]
fn what_the_newer_version_did_not_subscribe_to_is_delivered_for_the_first_time() {
    let mut bed = Bed::new(writes("a"));
    bed.swap(writes("b"));
    bed.subscribes_to("in.y");
    let missed = bed.publish(None);
    let done = bed.publish_of("in.y", None).0;
    bed.run_all();
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert_eq!(seen_in_state(&bed), format!("{missed}a {done}a "));
    assert_eq!([missed, done].map(|event| happened(&bed, event)), [1, 1]);
}
