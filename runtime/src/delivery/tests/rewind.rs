//! Rewinds, one rule at a time.

use std::sync::Arc;

use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::delivery::lane::Rest;
use crate::log::record::{FailureClass, Mute, Muted, OperatorAction, Outcome, Record, Rewind, RewindEnd};

const LOUD: Mute = Mute {
    emit: false,
    http: false,
};
const QUIET: Mute = Mute {
    emit: true,
    http: true,
};

fn emit() -> Emit {
    Emit {
        r#type: "out.x".into(),
        key: Some("k".into()),
        subject: None,
        content_type: None,
        data: vec![0xc0],
    }
}

/// Writes down each event's offset behind those before, emits an event and sets a timer.
fn writes_down() -> Script {
    Arc::new(|delivery, state| {
        let before = state.get("seen").unwrap_or_default();
        let seen = [&before[..], format!("{} ", delivery.offset).as_bytes()].concat();
        let set = SetTimer {
            due: Micros(u64::MAX),
            emit: emit(),
        };
        Handled {
            effects: Effects {
                emits: vec![emit()],
                writes: vec![("seen".into(), Some(seen.into()))],
                timers: vec![("t".into(), Some(set))],
            },
            ..Handled::default()
        }
    })
}

fn seen_in_state(bed: &Bed) -> String {
    let state = bed.subscriber.state.lock();
    let seen = state.key_values.get("seen").unwrap_or_default();
    String::from_utf8(seen.to_vec()).unwrap()
}

/// Replays among what the handler saw, by offset.
fn replayed(bed: &Bed) -> Vec<u64> {
    let saw = bed.saw.lock();
    saw.iter()
        .filter(|saw| saw.replay)
        .map(|saw| saw.offset)
        .collect()
}

fn ends(bed: &Bed) -> Vec<RewindEnd> {
    let records = bed.records();
    let ends = records
        .iter()
        .filter_map(|(_, _, bytes)| match Record::decode(bytes).unwrap() {
            Record::Rewound(rewound) => Some(rewound.end),
            _ => None,
        });
    ends.collect()
}

fn same_as_fold(bed: &Bed) {
    let told = |state: &crate::state::PluginState| format!("{:?}", state.snapshot(Offset(0)));
    assert_eq!(told(&bed.fold()), told(&bed.subscriber.state.lock()));
}

#[test]
fn history_runs_again_in_its_order_behind_live_events_and_is_marked() {
    let mut bed = Bed::new(writes_down());
    for key in [Some("a"), Some("b"), None, Some("a")] {
        bed.publish(key);
    }
    bed.run_all();
    let first = bed.seen();
    bed.rewind(3, LOUD, false);
    let live = bed.publish(Some("b"));
    bed.run_all();
    assert_eq!(bed.seen(), format!("{first} {live}/1 3/1 4/1 5/1"));
    assert_eq!(replayed(&bed), [3, 4, 5]);
    assert_eq!(ends(&bed), [RewindEnd::Done]);
    assert!(bed.subscriber.state.lock().rewinding.is_none());
    assert_eq!(seen_in_state(&bed), format!("2 3 4 5 {live} 3 4 5 "));
    same_as_fold(&bed);
}

#[test]
fn a_busy_plugin_leaves_history_its_share() {
    let mut bed = Bed::new(writes_down());
    for _ in 0..10 {
        bed.publish(None);
    }
    bed.run_all();
    bed.rewind(1, LOUD, false);
    for _ in 0..40 {
        bed.publish(None);
    }
    let before = bed.saw.lock().len();
    bed.run_all();
    let saw = bed.saw.lock();
    let historic = saw[before..before + 40].iter().filter(|saw| saw.replay).count();
    assert_eq!(historic, 5, "one in eight");
}

#[test]
fn what_is_muted_is_recorded_and_does_not_happen() {
    for mute in [LOUD, QUIET] {
        let mut bed = Bed::new(writes_down());
        bed.publish(Some("a"));
        bed.run_all();
        bed.rewind(1, mute, false);
        bed.run_all();
        let records = bed.records();
        let outcome = |bytes| match Record::decode(bytes).unwrap() {
            Record::Outcome(outcome) if outcome.rewind.is_some() => Some(outcome),
            _ => None,
        };
        let outcomes: Vec<Outcome<'_>> = records
            .iter()
            .filter_map(|(_, _, bytes)| outcome(bytes))
            .collect();
        let [again] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        let of = again.rewind.as_ref().unwrap();
        let generation = records
            .iter()
            .position(|(_, _, bytes)| matches!(Record::decode(bytes), Ok(Record::Operator(_))));
        assert_eq!(of.generation, generation.unwrap() as u64 + 1);
        assert!(again.replay && of.historic && !of.fresh);
        let ids: Vec<String> = records
            .iter()
            .filter_map(|(_, _, bytes)| Some(crate::log::record::event(bytes).unwrap()?.id.to_owned()))
            .collect();
        let set_at = bed.subscriber.state.lock().timers.iter().next().unwrap().1.set_at;
        if mute == LOUD {
            assert_eq!((again.emitted, of.muted.len()), (1, 0));
            assert_eq!(
                ids[2],
                format!("{}-{:x}", ids[1], of.generation),
                "an id of its own"
            );
            assert!(set_at > Offset(of.generation));
        } else {
            assert_eq!((again.emitted, again.timers.len(), ids.len()), (0, 0, 2));
            let emit = Muted::Emit {
                r#type: "out.x",
                key: Some("k"),
            };
            let set = Muted::Set {
                name: "t",
                due: u64::MAX,
            };
            assert_eq!(of.muted, [emit, set]);
            assert!(set_at < Offset(of.generation));
        }
        assert_eq!(seen_in_state(&bed), "2 2 ", "state is written either way");
        same_as_fold(&bed);
    }
}

#[test]
fn a_fresh_state_takes_the_place_of_the_old_one_when_it_has_caught_up_and_not_before() {
    let mut bed = Bed::new(writes_down());
    for _ in 0..3 {
        bed.publish(Some("k"));
    }
    bed.run_all();
    bed.rewind(1, QUIET, true);
    let live = bed.publish(Some("k"));
    let stepped = &mut Stepped::new(&bed, 0);
    let mut swapped_at = None;
    for _ in 0..100 {
        let before = seen_in_state(&bed);
        let rebuilding = bed.subscriber.state.lock().rewinding.is_some();
        assert!(
            !rebuilding || before.starts_with("2 3 4 "),
            "old until the swap: {before}"
        );
        let goes_on = stepped.step(&mut bed, 0);
        if rebuilding && bed.subscriber.state.lock().rewinding.is_none() {
            swapped_at = Some(seen_in_state(&bed));
        }
        if !goes_on {
            break;
        }
    }
    assert_eq!(
        swapped_at,
        Some(format!("2 3 4 {live} ")),
        "the live event is in both"
    );
    assert_eq!(ends(&bed), [RewindEnd::Swapped]);
    assert!(
        bed.discarded.load(std::sync::atomic::Ordering::Relaxed) > 0,
        "guests forget"
    );
    let next = bed.publish(Some("k"));
    bed.run_all();
    assert_eq!(seen_in_state(&bed), format!("2 3 4 {live} {next} "));
    same_as_fold(&bed);
}

#[test]
fn history_goes_back_before_the_plugin_began() {
    let mut bed = Bed::new(writes_down());
    bed.publish(None);
    bed.run_all();
    let state = bed.subscriber.state.lock().subscription.clone();
    let later = crate::delivery::subscription::Subscription::new(
        state
            .patterns()
            .iter()
            .map(|(pattern, _)| (pattern.clone(), Offset(50)))
            .collect(),
    );
    bed.subscriber.state.lock().subscription = later;
    bed.rewind(1, QUIET, true);
    bed.run_all();
    assert_eq!(seen_in_state(&bed), "2 ");
}

/// Fails every attempt at events of key `bad` until replays of it are asked to succeed.
fn fails(live: bool, replays: bool) -> Script {
    Arc::new(move |delivery, _| {
        let fails = if delivery.replay { replays } else { live };
        if delivery.event.key == Some("bad") && fails {
            failed(FailureClass::Trap)
        } else {
            Handled::default()
        }
    })
}

#[test]
fn what_the_plugin_has_not_settled_is_no_history_before_it_has() {
    let mut bed = Bed::new(fails(true, false));
    for key in ["good", "bad", "bad", "good"] {
        bed.publish(Some(key));
    }
    bed.run();
    bed.rewind(1, LOUD, false);
    let Rest::Until(Some(_)) = bed.run() else {
        panic!("the retry waits")
    };
    assert_eq!(replayed(&bed), [2, 5], "3 waits for its retry, and 4 behind it");
    assert!(bed.subscriber.state.lock().rewinding.is_some());
    // A restart finds it so.
    let mut bed = bed.restart(fails(false, false));
    bed.run_all();
    assert_eq!(replayed(&bed), [2, 5, 3, 4]);
    assert_eq!(ends(&bed), [RewindEnd::Done]);
    same_as_fold(&bed);
}

#[test]
fn history_that_fails_holds_up_no_live_event_and_ends_as_dead_letters_of_the_rewind() {
    let mut bed = Bed::new(fails(false, true));
    for key in ["bad", "bad", "good"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    bed.rewind(1, QUIET, false);
    bed.run();
    let live = bed.publish(Some("bad"));
    bed.run();
    assert!(bed.seen().ends_with(&format!("4/1 {live}/1")), "{}", bed.seen());
    bed.run_all();
    {
        let state = bed.subscriber.state.lock();
        assert_eq!(
            state.dead.keys().copied().collect::<Vec<_>>(),
            [Offset(2), Offset(3)]
        );
        let of = state.dead[&Offset(2)].rewind.unwrap();
        assert_eq!(of.mute, QUIET);
        assert!(state.breaker.open().is_none() && state.cursor.parked.is_empty());
    }
    bed.swap(fails(false, false));
    bed.redrive_all();
    bed.run_all();
    let state = bed.subscriber.state.lock();
    assert!(state.dead.is_empty());
    let last = Record::decode(&bed.records().last().unwrap().2).map(|record| format!("{record:?}"));
    assert!(last.unwrap().contains("muted"), "it is still of the rewind");
}

#[test]
fn history_that_fails_across_keys_is_paused_and_the_plugin_is_not() {
    let mut bed = Bed::new(Arc::new(|delivery, _| {
        if delivery.replay {
            failed(FailureClass::Trap)
        } else {
            Handled::default()
        }
    }));
    for key in ["a", "b", "c", "d"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    bed.rewind(1, QUIET, false);
    bed.run();
    {
        let state = bed.subscriber.state.lock();
        assert!(state.breaker.open().is_none());
        assert!(state.rewinding.as_ref().unwrap().breaker.open().is_some());
    }
    let live = bed.publish(Some("a"));
    bed.run();
    assert!(bed.seen().ends_with(&format!("{live}/1")), "{}", bed.seen());
}

#[test]
fn a_rewind_that_is_stopped_leaves_a_fresh_state_behind() {
    for fresh in [false, true] {
        let mut bed = Bed::new(writes_down());
        for _ in 0..3 {
            bed.publish(Some("k"));
        }
        bed.run_all();
        bed.rewind(1, QUIET, fresh);
        let stepped = &mut Stepped::new(&bed, 0);
        stepped.steps(&mut bed, 0, 3);
        stepped.settle_all(&mut bed);
        bed.stop_rewind();
        bed.run_all();
        assert_eq!(replayed(&bed), [2]);
        assert_eq!(seen_in_state(&bed), if fresh { "2 3 4 " } else { "2 3 4 2 " });
        bed.rewind(1, QUIET, fresh);
        bed.run_all();
        assert_eq!(replayed(&bed), [2, 2, 3, 4], "another one begins anew");
        same_as_fold(&bed);
    }
}

#[test]
fn history_keeps_to_its_rate() {
    let mut bed = Bed::new(writes_down());
    for _ in 0..20 {
        bed.publish(None);
    }
    bed.run_all();
    let through = bed.subscriber.state.lock().cursor.low.0;
    let between = bed.subscriber.between_events();
    bed.operate(OperatorAction::Rewind(Rewind {
        from: 1,
        through: Some(through),
        rate: Some(10),
        mute: QUIET,
        ..Rewind::default()
    }));
    between.look_anew();
    let begun = bed.now();
    bed.run_all();
    assert_eq!(replayed(&bed).len(), 20);
    let took = bed.now() - begun;
    assert!(
        (1_800_000..=2_000_000).contains(&took),
        "20 at 10 a second took {took} us"
    );
}

#[test]
fn two_events_of_one_key_never_run_at_once_be_they_live_or_history() {
    let mut bed = Bed::with_lanes(writes_down(), POLICY, 3);
    bed.publish(Some("k"));
    bed.run_all();
    bed.rewind(1, QUIET, false);
    let stepped = &mut Stepped::new(&bed, 0);
    // History's event is under way; the live one of its key waits for it, and another key does not.
    stepped.step(&mut bed, 0);
    let same = bed.publish(Some("k"));
    let other = bed.publish(Some("o"));
    stepped.step(&mut bed, 1);
    stepped.step(&mut bed, 2);
    let under_way: Vec<u64> = stepped.under_way().map(|entry| entry.offset.0).collect();
    assert_eq!(under_way, [2, other]);
    stepped.settle_all(&mut bed);
    // What waits is above the mark, so that a crash does not lose it.
    assert!(bed.fold().cursor.low < Offset(same));
    stepped.run_all(&mut bed, &mut fastrand::Rng::with_seed(1));
    assert!(
        seen_in_state(&bed).contains(&format!(" {same} ")),
        "{}",
        seen_in_state(&bed)
    );
    same_as_fold(&bed);
}
