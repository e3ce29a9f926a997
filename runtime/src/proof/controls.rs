//! That the check notices what it is there for: faults made in the records and states of a host that kept its promises,
//! and a disk that does not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nerve_eventlog::Options;
use nerve_eventlog::storage::Crash;

use super::check::check;
use super::history::History;
use super::simulation::live;
use super::world::World;
use crate::log::record::{Outcome, Record, Replay, Verdict};
use crate::state::PluginState;

/// Makes a fault where it finds a place for one, and answers whether it did.
type Fault = fn(&mut History, &BTreeMap<String, PluginState>) -> bool;

/// Faults, and what the check has to say of each.
const FAULTS: [(&str, Fault); 11] = [
    ("was acknowledged at", acknowledged_is_gone),
    ("nobody published the event", published_by_nobody),
    ("the log ends within a batch", outcome_without_its_emits),
    ("settles an event that has come to its end", settled_twice),
    ("overtakes an event of its key", reordered),
    ("fires a timer that is not set", fired_twice),
    ("counts every done event once", state_counts_once_more),
    ("ends before its history", history_left_out),
    ("is muted and has effects", muted_and_emitted),
    ("does again what happened", happens_again),
    ("and had not happened", is_made_up),
];

fn acknowledged_is_gone(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let sent = history.sent.values().next().cloned();
    sent.map(|sent| history.sent.insert(history.last().next(), sent))
        .is_some()
}

fn published_by_nobody(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    history.sent.pop_first().is_some()
}

fn outcome_without_its_emits(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let at = find(history, |outcome| outcome.emitted > 0);
    at.inspect(|at| history.records.truncate(at + 1)).is_some()
}

fn settled_twice(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let at = find(history, |outcome| {
        outcome.verdict == Verdict::Done && outcome.emitted == 0
    });
    at.inspect(|at| history.records.push(history.last_as(*at)))
        .is_some()
}

fn reordered(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let mut before: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut found = None;
    for (at, (_, bytes)) in history.records.iter().enumerate() {
        let Ok(Record::Outcome(outcome)) = Record::decode(bytes) else {
            continue;
        };
        let event = &history.records[usize::try_from(outcome.event - 1).unwrap()].1;
        let event = crate::log::record::event(event).unwrap().unwrap();
        let is_plain = outcome.verdict == Verdict::Done
            && outcome.attempt == 1
            && outcome.emitted == 0
            && !outcome.replay
            && outcome.timers.is_empty();
        let Some(key) = event.key.filter(|_| is_plain) else {
            continue;
        };
        let whose = (outcome.plugin.to_owned(), key.to_owned());
        if let Some(other) = before
            .insert(whose, at)
            .filter(|other| outcome.event <= *other as u64)
        {
            found = Some((other, at));
            break;
        }
    }
    let Some((one, other)) = found else { return false };
    let swapped = history.records[one].1.clone();
    history.records[one].1 = std::mem::replace(&mut history.records[other].1, swapped);
    true
}

fn fired_twice(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let fired = |bytes: &[u8]| matches!(Record::decode(bytes), Ok(Record::Fired(_)));
    let at = history.records.iter().position(|(_, bytes)| fired(bytes));
    at.inspect(|at| history.records.push(history.last_as(*at)))
        .is_some()
}

fn state_counts_once_more(_: &mut History, states: &BTreeMap<String, PluginState>) -> bool {
    let state = &states["a"].key_values;
    let count = state
        .get("count")
        .map_or(0, |bytes| super::script::number(&bytes));
    state.write("count", Some((count + 1).to_le_bytes().to_vec().into()));
    true
}

/// The last delivery of a rewind is none, by what its outcome says.
fn history_left_out(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let ends = |bytes: &[u8]| matches!(Record::decode(bytes), Ok(Record::Rewound(_)));
    let Some(end) = history.records.iter().position(|(_, bytes)| ends(bytes)) else {
        return false;
    };
    let Ok(Record::Rewound(rewound)) = Record::decode(&history.records[end].1) else {
        return false;
    };
    let last = history.records[..end].iter().rposition(|(_, bytes)| {
        let Ok(Record::Outcome(outcome)) = Record::decode(bytes) else {
            return false;
        };
        outcome.plugin == rewound.plugin && outcome.rewind.is_some_and(|of| of.historic)
    });
    let is_plain = |at: &usize| {
        let Ok(Record::Outcome(outcome)) = Record::decode(&history.records[*at].1) else {
            return false;
        };
        outcome.verdict == Verdict::Done && outcome.emitted == 0 && outcome.timers.is_empty()
    };
    let last = last.filter(is_plain);
    last.inspect(|at| change(history, *at, |outcome| outcome.verdict = retry()))
        .is_some()
}

fn retry<'a>() -> Verdict<'a> {
    let failure = crate::log::record::FailureRecord {
        class: crate::log::record::FailureClass::Trap,
        reason: "",
    };
    Verdict::Retry { due: 0, failure }
}

/// A muted rewind emits.
fn muted_and_emitted(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let at = find(history, |outcome| {
        outcome.rewind.as_ref().is_some_and(|of| !of.muted.is_empty())
    });
    at.inspect(|at| change(history, *at, |outcome| outcome.emitted = 1))
        .is_some()
}

/// An event that is delivered again since the state went back says nothing of that.
fn happens_again(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let at = find(history, |outcome| {
        let is_again = |of: &Replay<'_>| !of.historic && !outcome.replay;
        outcome.verdict == Verdict::Done
            && outcome.rewind.as_ref().is_some_and(is_again)
            && outcome.emitted == 0
    });
    at.inspect(|at| change(history, *at, |outcome| outcome.rewind = None))
        .is_some()
}

/// An event that was never delivered is said to be delivered again.
fn is_made_up(history: &mut History, _: &BTreeMap<String, PluginState>) -> bool {
    let at = find(history, |outcome| {
        outcome.verdict == Verdict::Done && outcome.emitted == 0 && outcome.rewind.is_none()
    });
    at.inspect(|at| change(history, *at, |outcome| outcome.rewind = Some(Replay::default())))
        .is_some()
}

/// Change the outcome at place `at`; one that fails writes nothing.
fn change(history: &mut History, at: usize, how: impl Fn(&mut Outcome<'_>)) {
    let bytes = history.records[at].1.clone();
    let Ok(Record::Outcome(mut outcome)) = Record::decode(&bytes) else {
        return;
    };
    how(&mut outcome);
    if outcome.verdict != Verdict::Done {
        outcome.writes.clear();
        outcome.rewind.iter_mut().for_each(|of| of.muted.clear());
    }
    let mut changed = Vec::new();
    Record::encode_outcome(&outcome, &mut changed);
    history.records[at].1 = changed.into();
}

/// The first outcome that `is` one, by its place among the records.
fn find(history: &History, is: impl Fn(&Outcome<'_>) -> bool) -> Option<usize> {
    let is = |bytes: &[u8]| matches!(Record::decode(bytes), Ok(Record::Outcome(outcome)) if is(&outcome));
    history.records.iter().position(|(_, bytes)| is(bytes))
}

#[test]
fn the_check_notices_what_is_lost_made_up_doubled_reordered_or_miscounted() {
    for (says, fault) in FAULTS {
        let (history, states) = (0..50)
            .find_map(|seed| {
                let world = live(seed);
                let (mut history, states) = (world.history.clone(), world.states());
                check(&history, &states, true);
                fault(&mut history, &states).then_some((history, states))
            })
            .unwrap_or_else(|| panic!("no seed has a place for: {says}"));
        let said = catch_unwind(AssertUnwindSafe(|| check(&history, &states, true)));
        let said = *said.expect_err(says).downcast::<String>().unwrap();
        assert!(said.contains(says), "of {says} the check says {said}");
    }
}

/// Two events become durable, one after the other, and the power goes.
fn two_events_and_a_crash(lies: bool) {
    let mut world = World::new(0, Options::default(), lies);
    for name in ["one", "two"] {
        let event = world.event(name, "in.x", None, 0xc0);
        world.publish(&[event]).unwrap();
        world.flush().unwrap();
    }
    world.crash(Crash::LoseAll);
}

#[test]
fn a_disk_that_makes_its_syncs_keeps_what_was_acknowledged() {
    two_events_and_a_crash(false);
}

#[test]
#[should_panic(expected = "the log ends at")]
fn the_check_notices_a_disk_that_answers_syncs_without_making_them() {
    two_events_and_a_crash(true);
}
