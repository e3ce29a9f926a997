//! Trials of functions, on histories that are made by hand and on those of a log.

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::{Entry, Micros, Offset};
use serde_json::{Value, json};

use super::differ::What;
use super::history::Step;
use super::report::Report;
use super::side::{Rules, Side, Tried};
use super::*;
use crate::delivery::handler::{Delivery, Emit, Failure, Handled};
use crate::log::record::{
    Asked, Event, FailureClass, FailureRecord, Outcome, Record, Verdict, VersionId, Write,
};
use crate::plugin::guest::Cost;
use crate::state::KeyValues;

/// What a version does, given how often its instance was called.
type Script = fn(&Delivery<'_>, &KeyValues, u64) -> Handled;

/// A version that is a function; what it remembers is how often it was called.
struct Function {
    script: Script,
    state: Arc<KeyValues>,
    calls: u64,
}

impl Tried for Function {
    fn run(&mut self, delivery: &Delivery<'_>) -> (Handled, Cost) {
        self.calls += 1;
        ((self.script)(delivery, &self.state, self.calls), Cost::default())
    }

    fn forget(&mut self) {
        self.calls = 0;
    }
}

fn side_that_remembers(script: Script) -> Side {
    let state = Arc::new(KeyValues::default());
    let function = || {
        let state = state.clone();
        Box::new(Function {
            script,
            state,
            calls: 0,
        }) as Box<dyn Tried>
    };
    let rules = Rules {
        patterns: vec!["a.*".parse().unwrap()],
        hops: 64,
        state_bytes: 100,
    };
    Side::new(function(), Some(function()), state.clone(), rules)
}

const OLD: VersionId = VersionId([1; 8]);

/// A trial of `new` beside `old`, on `steps`.
fn trial(old: Script, new: Script, steps: &[Step]) -> Report {
    let old = Some((side_that_remembers(old), OLD));
    let mut trial = Trial::new(old, side_that_remembers(new), shown);
    for step in steps {
        trial.step(step).unwrap();
    }
    trial.end().unwrap()
}

fn shown(_: Option<&str>, bytes: &[u8]) -> Value {
    rmp_serde::from_slice(bytes).unwrap()
}

fn packed(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// The event at `offset`, with data that names it.
fn event(offset: u64, r#type: &str) -> Entry {
    let data = packed(&json!({ "n": offset }));
    let event = Event {
        id: "e",
        source: "test",
        r#type,
        key: None,
        subject: None,
        time: None,
        content_type: "application/json",
        data: &data,
        correlation: None,
        cause: None,
        traceparent: None,
        data_schema: None,
        extensions: Vec::new(),
    };
    let mut payload = Vec::new();
    Record::encode_event(&event, &mut payload);
    Entry {
        offset: Offset(offset),
        time: Micros(offset),
        payload: payload.into(),
    }
}

/// A step in which the event at `offset` was delivered, and came to `outcome`.
fn step(offset: u64, outcome: Outcome<'_>) -> Step {
    let outcome = Outcome {
        plugin: "p",
        version: OLD,
        event: offset,
        attempt: outcome.attempt.max(1),
        started: offset * 10,
        ..outcome
    };
    let mut payload = Vec::new();
    Record::encode_outcome(&outcome, &mut payload);
    let entry = Entry {
        offset: Offset(offset + 1),
        time: Micros(offset * 10),
        payload: payload.into(),
    };
    Step {
        event: Some(event(offset, "a.b").into()),
        outcome: Some(entry.into()),
        emitted: Vec::new(),
    }
}

fn done(offset: u64) -> Step {
    step(offset, Outcome::default())
}

const FAILURE: FailureRecord<'static> = FailureRecord {
    class: FailureClass::Retry,
    reason: "not yet",
};

fn failed(class: FailureClass, reason: &str) -> Handled {
    Handled {
        failure: Some(Failure {
            class,
            reason: reason.into(),
            retry_after: None,
        }),
        ..Handled::default()
    }
}

/// Emits an event of type `kind` with `data`.
fn emitting(kind: &str, data: &Value) -> Handled {
    let mut handled = Handled::default();
    handled.effects.emits.push(Emit {
        r#type: kind.into(),
        key: None,
        subject: None,
        content_type: None,
        data: packed(data),
    });
    handled
}

fn writing(key: &str, value: &Value) -> Handled {
    let mut handled = Handled::default();
    handled
        .effects
        .writes
        .push((key.into(), Some(packed(value).into())));
    handled
}

fn nothing(_: &Delivery<'_>, _: &KeyValues, _: u64) -> Handled {
    Handled::default()
}

/// The kinds of differences, with how many events show each.
fn kinds(report: &Report) -> Vec<(What, &str, u64)> {
    let groups = report.groups.iter();
    groups
        .map(|group| {
            let difference = &group.first.differences[0];
            (difference.what, &*difference.subject, group.events)
        })
        .collect()
}

#[test]
fn versions_that_do_the_same_differ_in_nothing() {
    let fee = |_: &Delivery<'_>, _: &KeyValues, _: u64| emitting("fee", &json!({ "cents": 390 }));
    let report = trial(fee, fee, &[done(1), done(3)]);
    assert_eq!((report.events, report.differ, report.groups.len()), (2, 0, 0));
    assert_eq!((report.first, report.last), (1, 3));
    assert_eq!((report.new.done, report.running.unwrap().emits["fee"]), (2, 2));
}

#[test]
fn a_changed_value_is_one_kind_however_many_events_show_it() {
    let report = trial(
        |delivery, _, _| emitting("fee", &json!({ "n": delivery.offset.0, "cents": 390 })),
        |delivery, _, _| emitting("fee", &json!({ "n": delivery.offset.0, "cents": 450 })),
        &[done(5), done(7), done(9)],
    );
    assert_eq!(kinds(&report), [(What::Emits, "fee", 3)]);
    let first = &report.groups[0].first;
    assert_eq!((first.offset, &first.data), (5, &json!({ "n": 5 })));
    let changes = &first.differences[0].changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (&*changes[0].path, &changes[0].old, &changes[0].new),
        ("cents", &Some(json!(390)), &Some(json!(450)))
    );
}

#[test]
fn each_side_goes_on_from_its_own_state() {
    fn counting(by: u64, state: &KeyValues) -> Handled {
        let old: u64 = state
            .get("sum/all")
            .map_or(0, |value| rmp_serde::from_slice(&value).unwrap());
        writing("sum/all", &json!(old + by))
    }
    let report = trial(
        |_, state, _| counting(1, state),
        |_, state, _| counting(2, state),
        &[done(1), done(3)],
    );
    assert_eq!(kinds(&report), [(What::Writes, "sum/…", 2)]);
    let difference = &report.groups[0].first.differences[0];
    assert_eq!(
        (&difference.old, &difference.new),
        (&Some(json!(1)), &Some(json!(2)))
    );
    // Had they one state, the second event would not find 1 there.
    let same = trial(
        |_, state, _| counting(1, state),
        |_, state, _| counting(1, state),
        &[done(1), done(3)],
    );
    assert_eq!((same.differ, same.new.remembers), (0, 0));
}

#[test]
fn failures_come_first_and_those_that_name_other_numbers_are_one_kind() {
    let report = trial(
        |_, _, _| emitting("x", &json!(1)),
        |delivery, _, _| match delivery.offset.0 {
            1 => emitting("x", &json!(2)),
            n => failed(FailureClass::Trap, &format!("trap: event {n} is too much")),
        },
        &[done(1), done(30), done(500)],
    );
    assert_eq!(kinds(&report), [(What::Fails, "trap", 2), (What::Emits, "x", 1)]);
    assert_eq!((report.new.failed, report.new.done, report.differ), (2, 1, 3));
}

#[test]
fn an_event_that_was_tried_again_is_compared_by_what_it_came_to_in_the_end() {
    let retry = Outcome {
        verdict: Verdict::Retry {
            due: 9,
            failure: FAILURE,
        },
        ..Outcome::default()
    };
    let second = Outcome {
        attempt: 2,
        ..Outcome::default()
    };
    let steps = [step(1, retry), step(1, second)];
    let old: Script = |delivery, _, _| match delivery.attempt {
        1 => failed(FailureClass::Retry, "not yet"),
        _ => writing("k", &json!(1)),
    };
    let report = trial(old, old, &steps);
    assert_eq!((report.events, report.differ, report.reproduced.of), (1, 0, 2));
    let report = trial(old, |_, _, _| writing("k", &json!(1)), &steps);
    assert_eq!(
        (report.events, report.differ),
        (1, 0),
        "it only needs one attempt"
    );
}

#[test]
fn what_waits_for_its_next_attempt_counts_with_what_it_came_to_so_far() {
    let retry = Outcome {
        verdict: Verdict::Retry {
            due: 9,
            failure: FAILURE,
        },
        ..Outcome::default()
    };
    let report = trial(
        |_, _, _| failed(FailureClass::Retry, "not yet"),
        nothing,
        &[step(1, retry)],
    );
    assert_eq!((report.unsettled, report.events), (1, 1));
    assert_eq!(kinds(&report), [(What::Fails, "retry", 1)]);
    let difference = &report.groups[0].first.differences[0];
    assert_eq!(
        (difference.old.is_some(), difference.new.is_some()),
        (true, false),
        "it is mended"
    );
}

#[test]
fn a_redrive_goes_to_the_side_that_gave_up_and_not_to_the_one_that_was_done() {
    let dead = Outcome {
        verdict: Verdict::Dead { failure: FAILURE },
        ..Outcome::default()
    };
    let again = Outcome {
        replay: true,
        ..Outcome::default()
    };
    let report = trial(
        |delivery, _, _| {
            if delivery.replay {
                Handled::default()
            } else {
                failed(FailureClass::Reject, "no")
            }
        },
        |delivery, _, _| {
            assert!(!delivery.replay, "it was done with the event");
            Handled::default()
        },
        &[step(1, dead), step(1, again)],
    );
    assert_eq!((report.events, report.differ), (2, 1));
}

#[test]
fn a_call_without_an_answer_is_told_and_nothing_else_of_its_event() {
    let report = trial(
        |_, _, _| writing("k", &json!(1)),
        |_, _, _| Handled {
            unanswered: Some(Asked {
                method: "POST".into(),
                target: "https://bank".into(),
                ..Asked::default()
            }),
            ..failed(FailureClass::Host, "this run calls nobody")
        },
        &[done(1)],
    );
    assert_eq!(kinds(&report), [(What::Calls, "POST https://bank", 1)]);
    assert_eq!((report.new.unanswered, report.new.failed), (1, 0));
}

#[test]
fn what_a_version_does_not_subscribe_to_is_a_difference_of_its_own() {
    let unseen = Step {
        event: Some(event(4, "b.c").into()),
        ..Step::default()
    };
    let mut trial = Trial::new(
        Some((side_that_remembers(nothing), OLD)),
        {
            let state = Arc::new(KeyValues::default());
            let function = Function {
                script: nothing,
                state: state.clone(),
                calls: 0,
            };
            let rules = Rules {
                patterns: vec!["b.c".parse().unwrap()],
                hops: 64,
                state_bytes: 100,
            };
            Side::new(Box::new(function), None, state, rules)
        },
        shown,
    );
    for step in [done(1), unseen] {
        trial.step(&step).unwrap();
    }
    let report = trial.end().unwrap();
    assert_eq!(
        kinds(&report),
        [(What::Subscribes, "a.b", 1), (What::Subscribes, "b.c", 1)]
    );
    assert_eq!(report.new.not_subscribed, 1);
}

#[test]
fn invariant_08_a_result_that_depends_on_memory_is_reported_and_does_not_count() {
    let forgetful: Script = |_, _, calls| emitting("n", &json!(calls));
    let report = trial(forgetful, forgetful, &[done(1), done(3), done(5)]);
    assert_eq!(report.differ, 0, "fresh instances all say 1");
    assert_eq!((report.new.remembers, report.new.remembers_first), (2, Some(3)));
    let report = trial(nothing, nothing, &[done(1), done(3)]);
    assert_eq!((report.new.remembers, report.new.remembers_first), (0, None));
}

#[test]
fn what_the_log_says_is_held_against_the_running_version_alone() {
    let value = packed(&json!(7));
    let write = Write {
        key: "k",
        value: Some(&value),
        previous: None,
    };
    let settled = |version| {
        let mut one = step(
            1,
            Outcome {
                writes: vec![write],
                ..Outcome::default()
            },
        );
        if version != OLD {
            let outcome = Outcome {
                plugin: "p",
                version,
                event: 1,
                writes: vec![write],
                ..Outcome::default()
            };
            let mut payload = Vec::new();
            Record::encode_outcome(&outcome, &mut payload);
            let entry = Entry {
                offset: Offset(2),
                time: Micros(0),
                payload: payload.into(),
            };
            one.outcome = Some(entry.into());
        }
        one
    };
    let seven: Script = |_, _, _| writing("k", &json!(7));
    let report = trial(seven, nothing, &[settled(OLD)]);
    assert_eq!((report.reproduced.same, report.reproduced.of), (1, 1));
    let report = trial(nothing, seven, &[settled(OLD)]);
    assert_eq!((report.reproduced.same, report.reproduced.of), (0, 1));
    assert_eq!(report.reproduced.first.unwrap().offset, 1);
    let report = trial(nothing, nothing, &[settled(VersionId([9; 8]))]);
    assert_eq!(report.reproduced.of, 0, "another version did it");
}

#[test]
fn where_an_event_is_gone_both_states_follow_the_log() {
    let value = packed(&json!(7));
    let write = Write {
        key: "k",
        value: Some(&value),
        previous: None,
    };
    let gone = Step {
        event: None,
        ..step(
            1,
            Outcome {
                writes: vec![write],
                ..Outcome::default()
            },
        )
    };
    let reading: Script = |_, state, _| {
        assert_eq!(state.get("k"), Some(Bytes::from(packed(&json!(7)))));
        Handled::default()
    };
    let report = trial(reading, reading, &[gone, done(3)]);
    assert_eq!((report.lost, report.events), (1, 1));
}

#[test]
fn a_state_that_would_grow_too_large_fails_as_it_would_when_it_is_settled() {
    let report = trial(
        nothing,
        |_, _, _| writing("k", &json!("x".repeat(100))),
        &[done(1)],
    );
    assert_eq!(kinds(&report), [(What::Fails, "limit", 1)]);
}
