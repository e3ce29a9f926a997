//! A version that subscribes to something else takes the place of one that has events in front of it.

use std::sync::Arc;

use nerve_eventlog::Micros;
use nerve_eventlog::proof::{Scale, cases};
use parking_lot::Mutex;

use super::bed::{Bed, POLICY, Script, failed};
use super::stepped::Stepped;
use crate::delivery::handler::Handled;
use crate::delivery::retry::RetryPolicy;
use crate::delivery::subscription::Pattern;
use crate::log::record::FailureClass;

/// Fails what is called `fails`, in each of its attempts, and `shaky` by chance.
fn fails() -> Script {
    Arc::new(|delivery, _| match delivery.event.id {
        "fails" => failed(FailureClass::Trap),
        "shaky" if (delivery.offset.0 + u64::from(delivery.attempt)).is_multiple_of(3) => {
            failed(FailureClass::Retry)
        }
        _ => Handled::default(),
    })
}

#[test]
fn what_waits_behind_a_parked_key_is_not_delivered_to_a_version_that_does_not_subscribe_to_it() {
    for lanes in [1, 3] {
        let mut bed = Bed::with_lanes(fails(), POLICY, lanes);
        let parked = bed.publish_as("fails", "in.x", Some("k")).0;
        let waits = bed.publish_of("in.y", Some("k"));
        bed.run();
        assert_eq!(bed.seen(), format!("{parked}/1"), "{waits} waits");
        bed.subscribes = "out.x";
        bed.swap(fails());
        bed.run_all();
        assert_eq!(
            bed.seen(),
            format!("{parked}/1 {parked}/2 {parked}/3"),
            "{waits} is of no type that the version knows"
        );
        let wanted = bed.publish_of("out.x", Some("k")).0;
        bed.run_all();
        assert!(bed.seen().ends_with(&format!(" {wanted}/1")), "{}", bed.seen());
        let (folded, live) = (bed.fold().cursor, bed.subscriber.state.lock().cursor.clone());
        assert_eq!(folded, live);
        assert!(live.parked.is_empty() && live.above.is_empty(), "{live:?}");
    }
}

/// Several lanes, and swaps between versions that subscribe to other types, wherever these stand: whoever is first called with
/// an event subscribes to it, and in the end nothing is left.
fn swaps_at_random(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let subscribes = Arc::new(Mutex::new("in.>"));
    let script: Script = {
        let (fails, subscribes) = (fails(), subscribes.clone());
        Arc::new(move |delivery, state| {
            let pattern: Pattern = subscribes.lock().parse().unwrap();
            assert!(
                delivery.attempt > 1 || pattern.matches(delivery.event.r#type),
                "seed {seed}: a version of {pattern} gets {} at {}",
                delivery.event.r#type,
                delivery.offset
            );
            fails(delivery, state)
        })
    };
    // Several keys fail at the same time, and that is no outage.
    let policy = RetryPolicy {
        outage_keys: 100,
        ..POLICY
    };
    let mut bed = Bed::with_lanes(script.clone(), policy, dice.usize(1..=4));
    let mut lanes = Stepped::new(&bed, seed).in_stretches();
    for _ in 0..dice.usize(50..300) {
        match dice.u32(..40) {
            0..12 => {
                let key = (dice.u32(..5) > 0).then(|| format!("k{}", dice.u32(..3)));
                let id = ["fine", "shaky", "shaky", "fails"][dice.usize(..4)];
                bed.publish_as(id, ["in.x", "in.y"][dice.usize(..2)], key.as_deref());
            }
            12..36 => {
                let n = dice.usize(..4);
                lanes.step(&mut bed, n);
            }
            36 => bed.clock.set(Micros(bed.now() + dice.u64(..30_000))),
            _ => {
                lanes.settle_all(&mut bed);
                bed.subscribes = ["in.>", "in.x", "in.y"][dice.usize(..3)];
                *subscribes.lock() = bed.subscribes;
                bed.swap_to(script.clone(), dice.usize(1..=4));
            }
        }
    }
    lanes.run_all(&mut bed, &mut dice);
    // The mark goes on with the next outcome.
    let r#type = if bed.subscribes == "in.y" { "in.y" } else { "in.x" };
    let last = bed.publish_of(r#type, None);
    lanes.run_all(&mut bed, &mut dice);
    let (folded, live) = (bed.fold().cursor, bed.subscriber.state.lock().cursor.clone());
    assert_eq!(folded, live, "seed {seed}");
    assert!(
        live.low == last && live.parked.is_empty() && live.above.is_empty(),
        "seed {seed}: something is left: {live:?}"
    );
}

#[test]
fn a_version_gets_only_what_it_subscribes_to_whatever_the_one_before_had_in_front_of_it() {
    let scale = Scale {
        short: 500,
        long: 50_000,
    };
    cases("swaps between subscriptions", scale, swaps_at_random);
}
