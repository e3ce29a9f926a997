//! Keys that nobody can be asked for: their version does not load, or nobody subscribes to what waits behind them.

use nerve_eventlog::{Log, Offset};

use super::bed::Bed;
use super::canary::{HALF, run_for};
use super::kept_apart::{CANARYS, KEYS, beside, list, noted, promote, publish, well};
use super::probation::agree;
use crate::log::record::{OpenReason, Terms};

/// The canary that runs, after a restart behind which the version before does not load.
fn alone(bed: Bed) -> Bed {
    let bed = bed.restart(well());
    let (runs, why) = (bed.fake(well(), bed.version), "its component is gone");
    let between = bed.subscriber.between_events();
    between.swap_beside(Some(runs), Some(Err(why.into())));
    bed
}

fn parked(bed: &Bed) -> Vec<String> {
    let state = bed.subscriber.state.lock();
    let keys = state.cursor.parked.keys();
    keys.map(|key| key.name().unwrap_or("-").to_owned()).collect()
}

#[test]
fn keys_of_a_version_that_does_not_load_wait_for_it_and_go_on_when_it_loads_or_the_canary_is_promoted() {
    for (own, promotes) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut bed = Bed::new(well());
        bed.terms = Some(Terms { own, ..HALF });
        bed.swap(well());
        let first = publish(&bed);
        bed.run_all();
        let mut bed = alone(bed);
        let rounds = [publish(&bed), publish(&bed)];
        let before = bed.saw.lock().len();
        run_for(&mut bed, 40);
        assert!(
            bed.saw.lock()[before..]
                .iter()
                .all(|saw| CANARYS.contains(&saw.key.as_deref().unwrap_or_default())),
            "nobody else is asked"
        );
        assert_eq!(parked(&bed), ["bob", "carol", "mallory"]);
        {
            let state = bed.subscriber.state.lock();
            let heads = state
                .cursor
                .parked
                .values()
                .filter_map(|parked| parked.head.as_ref());
            for head in heads {
                assert!(head.reason.contains("version 0101010101010101") && head.reason.contains("is gone"));
                assert!(head.attempt > 2 && head.free == head.attempt, "it costs nothing");
            }
            assert!(state.breaker.open().is_none() && state.dead.is_empty());
            assert!(state.probation.as_ref().unwrap().fallen().is_none());
        }
        agree(&bed);
        if promotes {
            promote(&bed, None).unwrap();
        } else {
            bed = bed.restart_beside(well(), well());
        }
        bed.run_all();
        for key in KEYS {
            let all = list(&[first[key], rounds[0][key], rounds[1][key]]);
            let canarys = own && !promotes && CANARYS.contains(&key);
            assert_eq!(
                noted(&bed, key),
                if canarys { String::new() } else { all },
                "{key}"
            );
        }
        assert_eq!(parked(&bed), [""; 0]);
        agree(&bed);
    }
}

#[test]
fn so_many_keys_wait_for_a_version_at_most_and_then_the_plugin_is_paused() {
    let mut bed = Bed::new(well());
    bed.terms = Some(HALF);
    bed.swap(well());
    let mut bed = alone(bed);
    for id in 0..2500 {
        bed.publish_as(&format!("e{id}"), "in.x", None);
    }
    bed.run();
    let open = bed.fold().breaker.open().map(|open| open.why);
    assert_eq!((open, parked(&bed).len()), (Some(OpenReason::Outage), 1001));
    run_for(&mut bed, 50);
    assert!(parked(&bed).len() < 1060, "one by one: {}", parked(&bed).len());
    agree(&bed);
    let mut bed = bed.restart_beside(well(), well());
    bed.run_all();
    assert_eq!((parked(&bed).len(), bed.fold().breaker.open()), (0, None));
    assert_eq!(bed.fold().counters[0], 2500);
}

#[test]
fn a_removed_plugin_whose_canary_had_done_what_it_does_not_subscribe_to_when_it_returns_waits_for_nothing() {
    for restarts in [false, true] {
        let (mut bed, first) = beside(well(), 1);
        publish(&bed);
        bed.run_all();
        bed.remove();
        assert!(!parked(&bed).is_empty());
        bed.subscribes = "else.>";
        bed.terms = None;
        bed.swap(well());
        if restarts {
            bed = bed.restart(well());
        }
        bed.run_all();
        assert_eq!(parked(&bed), [""; 0]);
        let last = bed.log.bounds().last;
        assert!(bed.subscriber.has_settled(last, &bed.sequencer));
        assert!(bed.fold().again.is_none());
        agree(&bed);
        let later = bed.publish_as("later", "else.x", Some("ada"));
        bed.run_all();
        assert_eq!(noted(&bed, "ada"), list(&[first["ada"], later.0]));
        assert_eq!(bed.fold().cursor.low, Offset(later.0));
        agree(&bed);
    }
}
