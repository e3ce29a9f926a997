//! The breaker's rules: an outage is not a poison event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nerve_eventlog::Micros;

use super::bed::{Bed, Script, failed};
use crate::delivery::handler::Handled;
use crate::delivery::lane::Rest;
use crate::delivery::retry::{AtEnd, RetryPolicy};
use crate::log::record::{FailureClass, OpenReason, OperatorAction};

/// Fails while `down` is set, with `class`.
fn outage(down: &Arc<AtomicBool>, class: FailureClass) -> Script {
    let down = down.clone();
    Arc::new(move |_, _| {
        if down.load(Ordering::Relaxed) {
            failed(class)
        } else {
            Handled::default()
        }
    })
}

fn why(bed: &Bed) -> Option<OpenReason> {
    let state = bed.subscriber.state.lock();
    state.breaker.open().map(|open| open.why)
}

/// Run and advance the clock to the next time, so many times.
fn run_times(bed: &mut Bed, times: u32) {
    for _ in 0..times {
        if let Rest::Until(Some(due)) = bed.run() {
            bed.clock.set(due);
        }
    }
}

#[test]
fn invariant_06_an_outage_pauses_the_plugin_and_costs_no_event() {
    let down = Arc::new(AtomicBool::new(true));
    let mut bed = Bed::new(outage(&down, FailureClass::Retry));
    let events: Vec<u64> = (0..20)
        .map(|n| bed.publish(Some(&format!("k{n}")).filter(|_| n % 2 == 0).map(String::as_str)))
        .collect();
    bed.run();
    assert_eq!(
        bed.seen(),
        "2/1 3/1 4/1",
        "the third failing key opens the breaker"
    );
    assert_eq!(why(&bed), Some(OpenReason::Outage));
    run_times(&mut bed, 200);
    {
        let state = bed.subscriber.state.lock();
        assert_eq!(
            state.counters[2], 0,
            "200 probes, and at most three attempts for an event, but no dead letter"
        );
        assert!(bed.saw.lock().len() > 150, "it was probed all the while");
    }
    down.store(false, Ordering::Relaxed);
    bed.run_all();
    let state = bed.subscriber.state.lock();
    assert_eq!(state.counters[0], events.len() as u64);
    assert!(state.breaker.open().is_none() && state.dead.is_empty() && state.cursor.parked.is_empty());
}

#[test]
fn what_is_tried_while_the_breaker_is_open_uses_up_no_retries() {
    let down = Arc::new(AtomicBool::new(true));
    let script = {
        let down = down.clone();
        Arc::new(move |delivery: &crate::delivery::handler::Delivery<'_>, _: &_| {
            if down.load(Ordering::Relaxed) || delivery.event.key == Some("poison") {
                failed(FailureClass::Trap)
            } else {
                Handled::default()
            }
        })
    };
    let mut bed = Bed::new(script);
    for key in ["poison", "a", "b"] {
        bed.publish(Some(key));
    }
    run_times(&mut bed, 50);
    let attempts = |bed: &Bed| {
        bed.saw
            .lock()
            .iter()
            .filter(|saw| saw.key.as_deref() == Some("poison"))
            .count()
    };
    let before = attempts(&bed);
    assert!(before > 3, "it was probed more often than it has attempts");
    down.store(false, Ordering::Relaxed);
    bed.publish(Some("c"));
    bed.run_all();
    // One attempt before the breaker opened, so two are left; a probe may come first.
    let after = attempts(&bed) - before;
    assert!((2..=3).contains(&after), "{after}");
    assert_eq!(bed.subscriber.state.lock().dead.len(), 1);
}

#[test]
fn probes_come_one_at_a_time_with_growing_waits() {
    let down = Arc::new(AtomicBool::new(true));
    let mut bed = Bed::new(outage(&down, FailureClass::Trap));
    for _ in 0..9 {
        bed.publish(None);
    }
    bed.run();
    let mut waits = Vec::new();
    for _ in 0..5 {
        let Rest::Until(Some(due)) = bed.run() else {
            panic!("a probe is due")
        };
        waits.push((due.0 - bed.now()) / 1000);
        bed.clock.set(due);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160]);
    assert_eq!(bed.seen(), "2/1 3/1 4/1 5/1 2/2 6/1 3/2");
}

#[test]
fn what_waited_behind_a_settled_event_probes_as_a_fresh_one_does() {
    let mut bed = Bed::new(Arc::new(|delivery, _| match delivery.event.key {
        Some("mended") if delivery.offset.0 > 4 => Handled::default(),
        Some("mended") if delivery.attempt > 1 => failed(FailureClass::Reject),
        _ => failed(FailureClass::Trap),
    }));
    for key in ["mended", "bad", "worse"] {
        bed.publish(Some(key));
    }
    bed.run();
    assert_eq!(why(&bed), Some(OpenReason::Outage));
    bed.publish(Some("mended"));
    run_times(&mut bed, 60);
    let state = bed.subscriber.state.lock();
    assert_eq!(
        (state.counters[0], state.dead.len(), state.breaker.open()),
        (1, 3, None),
        "nothing else could tell that there is no outage"
    );
}

#[test]
fn invariant_06_poison_keys_do_not_hold_up_a_plugin_whose_other_keys_succeed() {
    let mut bed = Bed::new(Arc::new(|delivery, _| {
        if delivery.event.key.is_some_and(|key| key.starts_with("bad")) {
            failed(FailureClass::Trap)
        } else {
            Handled::default()
        }
    }));
    for n in 0..40 {
        let key = if n < 6 {
            format!("bad{n}")
        } else {
            format!("good{n}")
        };
        bed.publish(Some(&key));
    }
    bed.run_all();
    let state = bed.subscriber.state.lock();
    assert_eq!((state.counters[0], state.dead.len()), (34, 6));
    assert_eq!(state.breaker.open(), None);
}

#[test]
fn rejects_are_no_outage() {
    let down = Arc::new(AtomicBool::new(true));
    let mut bed = Bed::new(outage(&down, FailureClass::Reject));
    for _ in 0..9 {
        bed.publish(None);
    }
    bed.run_all();
    assert_eq!(bed.subscriber.state.lock().dead.len(), 9);
    assert_eq!(why(&bed), None);
}

#[test]
fn a_swap_half_opens_and_a_restart_keeps_the_breaker() {
    let down = Arc::new(AtomicBool::new(true));
    let mut bed = Bed::new(outage(&down, FailureClass::Trap));
    for _ in 0..9 {
        bed.publish(None);
    }
    run_times(&mut bed, 20);
    bed.run();
    let mut bed = bed.restart(outage(&down, FailureClass::Trap));
    let seen = bed.saw.lock().len();
    let Rest::Until(Some(due)) = bed.run() else {
        panic!("it is still paused")
    };
    assert!(due > Micros(bed.now()) && bed.saw.lock().len() == seen);
    bed.swap(Arc::new(|_, _| Handled::default()));
    bed.run();
    assert_eq!(why(&bed), None, "the new version was tried at once");
    assert_eq!(bed.subscriber.state.lock().counters[0], 9);
}

#[test]
fn an_operators_pause_lasts_until_the_operator_resumes() {
    let mut bed = Bed::new(Arc::new(|_, _| Handled::default()));
    bed.operate(OperatorAction::Pause);
    bed.publish(None);
    assert!(matches!(bed.run(), Rest::Until(None)));
    bed.swap(Arc::new(|_, _| Handled::default()));
    bed.run();
    assert_eq!((bed.seen().as_str(), why(&bed)), ("", Some(OpenReason::Operator)));
    let mut bed = bed.restart(Arc::new(|_, _| Handled::default()));
    bed.run();
    assert_eq!(bed.seen(), "");
    bed.operate(OperatorAction::Resume);
    bed.run();
    assert_eq!(bed.seen(), "3/1");
}

#[test]
fn where_the_policy_says_so_used_up_attempts_pause_the_plugin() {
    let policy = RetryPolicy {
        attempts: 2,
        at_end: AtEnd::Pause,
        ..super::bed::POLICY
    };
    let down = Arc::new(AtomicBool::new(true));
    let mut bed = Bed::with_policy(outage(&down, FailureClass::Trap), policy);
    bed.publish(Some("k"));
    bed.run_all();
    bed.publish(Some("other"));
    bed.run_all();
    assert_eq!(
        (bed.seen().as_str(), why(&bed)),
        ("2/1 2/2", Some(OpenReason::Exhausted))
    );
    bed.operate(OperatorAction::Resume);
    bed.run_all();
    assert_eq!(
        (bed.seen().as_str(), why(&bed)),
        ("2/1 2/2 2/3", Some(OpenReason::Exhausted)),
        "one more attempt at what failed"
    );
    down.store(false, Ordering::Relaxed);
    bed.operate(OperatorAction::Resume);
    bed.run_all();
    assert_eq!((bed.seen().as_str(), why(&bed)), ("2/1 2/2 2/3 2/4 5/1", None));
}
