//! What comes in the middle of a rewind, and what it leaves: one table.

use std::sync::Arc;

use nerve_eventlog::{Micros, Offset};

use super::bed::{Bed, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::log::record::{FailureClass, Mute, OperatorAction, VersionId};
use crate::plugin::deploy::{Redelivers, swap_back};

/// Writes each event down behind those before, as `OFFSET` with `name` behind it, and sets the timer `name`; events of these
/// keys are rejected, or, where the key is `later`, fail at their first attempt.
fn writes(name: &'static str, rejects: &'static [&'static str]) -> Script {
    Arc::new(move |delivery, state| {
        let key = delivery.event.key.unwrap_or_default();
        if rejects.contains(&key) {
            return failed(FailureClass::Reject);
        }
        if key == "later" && delivery.attempt == 1 {
            return failed(FailureClass::Trap);
        }
        let before = state.get("seen").unwrap_or_default();
        let seen = [&before[..], format!("{}{name} ", delivery.offset).as_bytes()].concat();
        let emit = Emit {
            r#type: "out.x".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        };
        let set = SetTimer {
            due: Micros(u64::MAX - 1),
            emit,
        };
        Handled {
            effects: Effects {
                writes: vec![("seen".into(), Some(seen.into()))],
                timers: vec![(name.into(), Some(set))],
                ..Effects::default()
            },
            ..Handled::default()
        }
    })
}

/// What comes in the middle.
#[derive(Debug, Clone, Copy)]
enum Middle {
    Nothing,
    Restart,
    /// Another version goes live.
    Swap,
    /// The version before goes live again.
    RollBack,
    Stop,
    /// The dead letter is asked for.
    Redrive,
    /// It is given up.
    Drop,
    /// An event comes of a key that history has.
    Live,
    /// One comes that is parked.
    Parked,
    /// Nothing is delivered until told to go on.
    Pause,
}

/// State, dead letters and timers behind a rewind with that in its middle: of the events 2, 3, 4 and 5 with the keys `k`, `bad`,
/// `k` and `later` version `a` rejects 3, and version `b`, which is live, would not. One delivery of history is behind it then.
fn after(middle: Middle, fresh: bool, emit: bool) -> String {
    let mut bed = Bed::new(writes("a", &["bad"]));
    for key in ["k", "bad", "k", "later"] {
        bed.publish(Some(key));
    }
    bed.run_all();
    bed.swap(writes("b", &[]));
    let mute = Mute {
        emit: !emit,
        http: true,
    };
    bed.rewind(1, mute, fresh);
    let stepped = &mut Stepped::new(&bed, 0);
    let before = bed.saw.lock().len();
    while bed.saw.lock().len() == before {
        stepped.step(&mut bed, 0);
    }
    stepped.settle_all(&mut bed);
    match middle {
        Middle::Nothing => {}
        Middle::Restart => bed = bed.restart(writes("b", &[])),
        Middle::Swap => bed.swap(writes("c", &[])),
        Middle::RollBack => {
            let target = bed.subscriber.state.lock().former[&VersionId([1; 8])].clone();
            let runs = bed.fake(writes("a", &["bad"]), 1);
            let from = VersionId([2; 8]);
            swap_back(
                &bed.sequencer,
                &bed.subscriber,
                from,
                target,
                runs,
                Redelivers::Canarys(None),
            )
            .unwrap();
        }
        Middle::Stop => bed.stop_rewind(),
        Middle::Redrive => bed.operate(OperatorAction::Redrive(vec![3])),
        Middle::Drop => bed.operate(OperatorAction::Drop(vec![3])),
        Middle::Live => drop(bed.publish(Some("k"))),
        Middle::Parked => drop(bed.publish(Some("later"))),
        Middle::Pause => {
            bed.operate(OperatorAction::Pause);
            bed.run_all();
            assert_eq!(
                bed.saw.lock().len(),
                before + 1,
                "a paused plugin pauses its rewind"
            );
            bed.operate(OperatorAction::Resume);
        }
    }
    bed.run_all();
    let state = bed.subscriber.state.lock();
    assert!(state.rewinding.is_none() && state.cursor.parked.is_empty());
    let told = |state: &crate::state::PluginState| format!("{:?}", state.snapshot(Offset(0)));
    assert_eq!(told(&bed.fold()), told(&state));
    let seen = state.key_values.get("seen").unwrap_or_default();
    let dead: Vec<String> = state.dead.keys().map(|event| format!("dead {event}")).collect();
    let timers: Vec<String> = state
        .timers
        .iter()
        .map(|(name, _)| format!("timer {name}"))
        .collect();
    let seen = String::from_utf8(seen.to_vec()).unwrap();
    [vec![seen.trim_end().to_owned()], dead, timers]
        .concat()
        .join(", ")
}

#[test]
fn what_comes_in_the_middle_of_a_rewind_and_what_it_leaves() {
    use Middle::{Drop, Live, Nothing, Parked, Pause, Redrive, Restart, RollBack, Stop, Swap};
    for (middle, fresh, emit, left) in [
        (Nothing, false, false, "2a 4a 5a 2b 3b 4b 5b, timer a"),
        (Nothing, false, true, "2a 4a 5a 2b 3b 4b 5b, timer a, timer b"),
        (Nothing, true, false, "2b 3b 4b 5b, timer a"),
        (Nothing, true, true, "2b 3b 4b 5b, timer a, timer b"),
        (Restart, false, false, "2a 4a 5a 2b 3b 4b 5b, timer a"),
        (Restart, true, false, "2b 3b 4b 5b, timer a"),
        (Swap, false, false, "2a 4a 5a 2b 3c 4c 5c, timer a"),
        (Swap, true, false, "2b 3c 4c 5c, timer a"),
        (RollBack, false, false, "2a 4a 5a 2b 4a 5a, dead 3, timer a"),
        (RollBack, true, false, "2b 4a 5a, dead 3, timer a"),
        (Stop, false, false, "2a 4a 5a 2b, dead 3, timer a"),
        (Stop, true, false, "2a 4a 5a, dead 3, timer a"),
        (Redrive, false, false, "2a 4a 5a 2b 3b 3b 4b 5b, timer a, timer b"),
        (Redrive, true, false, "2b 3b 4b 5b, timer a, timer b"),
        (Drop, false, false, "2a 4a 5a 2b 3b 4b 5b, timer a"),
        (Drop, true, false, "2b 3b 4b 5b, timer a"),
        (Live, false, false, "2a 4a 5a 2b 14b 3b 4b 5b, timer a, timer b"),
        (Live, true, false, "2b 3b 4b 14b 5b, timer a, timer b"),
        (Parked, false, false, "2a 4a 5a 2b 3b 4b 14b 5b, timer a, timer b"),
        (Parked, true, false, "2b 3b 4b 5b 14b, timer a, timer b"),
        (Pause, false, false, "2a 4a 5a 2b 3b 4b 5b, timer a"),
        (Pause, true, false, "2b 3b 4b 5b, timer a"),
    ] {
        assert_eq!(
            after(middle, fresh, emit),
            left,
            "{middle:?}, fresh {fresh}, emits {emit}"
        );
    }
}
