//! Retention on a real host: what goes, what is waited for, and what a plugin is told that it will never see.

use std::sync::Arc;

use nerve_eventlog::storage::{Crash, FaultyStorage, MemoryStorage, Storage};
use nerve_eventlog::{ManualClock, Micros, Offset, Options};
use serde_json::{Value, json};

use super::bed::{Bed, Script, event, failed, request};
use crate::delivery::handler::Handled;
use crate::host::{HostOptions, Keep, Retention};
use crate::log::record::FailureClass;
use crate::state::checkpoint;

const HOUR: u64 = 3_600_000_000;

/// What a host keeps its things in, and its time.
struct Place {
    log: Arc<dyn Storage>,
    checkpoints: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self::on(
            Arc::new(MemoryStorage::default()),
            Arc::new(MemoryStorage::default()),
        )
    }

    fn on(log: Arc<dyn Storage>, checkpoints: Arc<dyn Storage>) -> Self {
        Self {
            log,
            checkpoints,
            clock: Arc::new(ManualClock::new(Micros(HOUR))),
        }
    }

    /// A host that keeps 8 KiB of its log, and plugins for 30 days.
    fn start(&self) -> Bed {
        let options = HostOptions {
            log: Options {
                segment_bytes: 2048,
                hot_bytes: 2048,
                ..Options::default()
            },
            checkpoint_bytes: u64::MAX,
            clock: self.clock.clone(),
            retention: Retention {
                log: Keep {
                    bytes: Some(8192),
                    ..Keep::default()
                },
                ..Retention::default()
            },
            ..HostOptions::default()
        };
        Bed::on(&self.log, self.checkpoints.clone(), options).unwrap()
    }

    fn pass_hours(&self, hours: u64) {
        let now = nerve_eventlog::Clock::now(&*self.clock);
        self.clock.set(Micros(now.0 + hours * HOUR));
    }
}

/// Rejects what begins with `d`, fails on what begins with `p`, and does the rest.
fn mixed() -> Script {
    Arc::new(|delivery| match delivery.event.id.as_bytes()[0] {
        b'd' => failed(FailureClass::Reject, "never"),
        b'p' => failed(FailureClass::Retry, "not now"),
        _ => Handled::default(),
    })
}

fn works() -> Script {
    Arc::new(|_| Handled::default())
}

/// Publish so many events of a type, with ids of their own and a checkpoint in the middle; the last offset.
async fn publish(bed: &Bed, kind: &str, count: u32) -> u64 {
    let mut last = 0;
    for n in 0..count {
        if n == count / 2 {
            bed.host.checkpoint().unwrap();
        }
        let id = format!("a{}", bed.host.log().bounds().last);
        last = bed.publish(&event(&id, kind)).await;
    }
    last
}

/// Wait until a plugin has looked at everything up to `offset`, parked or not.
async fn reached(bed: &Bed, name: &str, offset: u64) {
    let subscriber = bed.host.subscribers().get(name).unwrap();
    while subscriber.state.lock().cursor.low < Offset(offset) {
        tokio::task::yield_now().await;
    }
}

async fn plugin(bed: &Bed, name: &str) -> Value {
    bed.get(&format!("/v1/plugins/{name}")).await.ok()
}

async fn operate(bed: &Bed, name: &str, action: &str) {
    let path = format!("/v1/plugins/{name}/{action}");
    bed.send(request("POST", &path, &[], "")).await.ok();
}

#[tokio::test]
async fn what_is_beyond_retention_goes_and_either_checkpoint_is_enough_for_a_start() {
    let checkpoints = MemoryStorage::default();
    let place = Place::on(Arc::new(MemoryStorage::default()), Arc::new(checkpoints.clone()));
    let bed = place.start();
    bed.deploy("p", "t", works());
    // One after the other, so that no frame, and by it no segment, is much larger than another.
    for n in 0..110 {
        let last = bed.publish(&event(&format!("e{n}"), "t")).await;
        bed.settled("p", last).await;
        if n == 99 {
            bed.host.checkpoint().unwrap();
        }
    }
    let first = bed.host.retain().unwrap();
    let status = bed.get("/v1/log").await.ok();
    assert!(
        first > Offset(50) && status["first"] == json!(first.0),
        "{status}"
    );
    assert!(status["bytes"].as_u64().unwrap() < 8192 + 3 * 2048, "{status}");
    let gone = bed.get("/v1/events?after=0").await.problem(410, "position-gone");
    assert_eq!(gone["first"], json!(first.0));
    let page = bed.get("/v1/events").await.ok();
    assert!(page["events"][0]["offset"].as_u64().unwrap() >= first.0, "{page}");
    // A mark that was just written may have made one segment more too much.
    bed.host.retain().unwrap();
    let again = bed.host.retain().unwrap();
    assert!(
        again.0 - first.0 < 60,
        "nothing more is old: {first}, then {again}"
    );
    bed.host.stop().await.unwrap();
    drop(bed);
    for damage in [false, true] {
        let found = checkpoint::verified(&checkpoints).unwrap();
        if damage {
            let name = checkpoint::name(found[0]);
            let mut content = checkpoints.content(&name).unwrap();
            content[30] ^= 1;
            assert_eq!(found.len(), 2, "there is another one");
            checkpoints.put(&name, content);
        }
        let bed = place.start();
        let done = 110 + u64::from(damage);
        assert_eq!(plugin(&bed, "p").await["counters"]["done"], done);
        bed.deploy("p", "t", works());
        let last = publish(&bed, "t", 1).await;
        bed.settled("p", last).await;
        bed.host.stop().await.unwrap();
        drop(bed);
    }
}

#[tokio::test]
async fn a_plugin_that_is_behind_is_waited_for_and_beyond_its_lag_gets_a_gap_that_says_what_is_lost() {
    let place = Place::new();
    let bed = place.start();
    bed.deploy("slow", "t", mixed());
    bed.deploy("quick", "t", works());
    let mut parked = event("parked", "t");
    parked["partitionkey"] = json!("k");
    bed.publish(&parked).await;
    let dead = bed.publish(&event("dead", "t")).await;
    let mut behind = event("behind", "t");
    behind["partitionkey"] = json!("k");
    let behind = bed.publish(&behind).await;
    let settled = publish(&bed, "t", 1).await;
    reached(&bed, "slow", settled).await;
    operate(&bed, "slow", "pause").await;
    let last = publish(&bed, "t", 60).await;
    bed.settled("quick", last).await;
    bed.host.retain().unwrap();
    let waited = bed.host.log().bounds().first;
    assert!(
        waited <= Offset(behind),
        "the event behind the parked one is still needed"
    );

    place.pass_hours(169);
    let last = publish(&bed, "t", 20).await;
    bed.settled("quick", last).await;
    let first = bed.host.retain().unwrap();
    assert!(first > Offset(behind));
    let slow = plugin(&bed, "slow").await;
    assert_eq!(
        (&slow["status"], &slow["paused"]["why"]),
        (&json!("paused"), &json!("gap")),
        "{slow}"
    );
    assert_eq!(slow["parked"][0]["key"], "k");
    let reason = slow["paused"]["reason"].as_str().unwrap();
    let taken: u64 = reason.split(' ').next().unwrap().parse().unwrap();
    assert!(taken > 1 && reason.contains("168 hours"), "{reason}");
    bed.get(&format!("/v1/dead-letters/slow/{dead}")).await.ok();
    assert_eq!(plugin(&bed, "quick").await["paused"], json!(null));
    bed.host.stop().await.unwrap();
    drop(bed);

    let bed = place.start();
    let again = plugin(&bed, "slow").await;
    assert_eq!(again["paused"], slow["paused"], "the gap is in the log");
    bed.deploy("slow", "t", works());
    bed.deploy("quick", "t", works());
    assert_eq!(
        plugin(&bed, "slow").await["paused"]["why"],
        "gap",
        "a new version does not hide it"
    );
    operate(&bed, "slow", "resume").await;
    bed.settled("slow", last).await;
    let slow = plugin(&bed, "slow").await;
    assert_eq!((&slow["paused"], &slow["parked"]), (&json!(null), &json!([])));
    assert_eq!(
        slow["counters"]["done"],
        json!(83 - taken),
        "the parked one, and all behind the gap"
    );
}

#[tokio::test]
async fn a_plugin_with_nothing_to_do_holds_nothing_back_and_has_no_gap() {
    let place = Place::new();
    let mut bed = place.start();
    bed.deploy("rare", "r", works());
    let rare = publish(&bed, "r", 1).await;
    bed.settled("rare", rare).await;
    for round in 1..4 {
        publish(&bed, "t", 60).await;
        let before = bed.host.log().bounds().first;
        assert!(bed.host.retain().unwrap() > before, "round {round}");
        assert_eq!(plugin(&bed, "rare").await["paused"], json!(null));
        if round == 2 {
            bed.host.stop().await.unwrap();
            drop(bed);
            bed = place.start();
            bed.deploy("rare", "r", works());
        }
        let rare = publish(&bed, "r", 1).await;
        reached(&bed, "rare", rare).await;
        assert_eq!(plugin(&bed, "rare").await["trouble"], json!(null));
    }
    assert_eq!(plugin(&bed, "rare").await["counters"]["done"], 4);
}

#[tokio::test]
async fn a_removed_plugin_is_not_waited_for_and_forgotten_in_the_end() {
    let place = Place::new();
    let bed = place.start();
    bed.deploy("gone", "t", works());
    let last = publish(&bed, "t", 3).await;
    bed.settled("gone", last).await;
    bed.remove("gone");
    publish(&bed, "t", 60).await;
    let first = bed.host.retain().unwrap();
    assert!(first > Offset(last + 3));
    let gone = plugin(&bed, "gone").await;
    assert_eq!(
        (&gone["status"], &gone["paused"]["why"]),
        (&json!("removed"), &json!("gap")),
        "{gone}"
    );
    assert!(
        gone["paused"]["reason"].as_str().unwrap().contains("was removed"),
        "{gone}"
    );
    place.pass_hours(24 * 29);
    bed.host.retain().unwrap();
    assert_eq!(
        plugin(&bed, "gone").await["counters"]["done"],
        3,
        "29 days are not long enough"
    );
    place.pass_hours(25);
    bed.host.retain().unwrap();
    bed.get("/v1/plugins/gone").await.problem(404, "plugin-not-found");

    bed.deploy("gone", "t", works());
    let last = publish(&bed, "t", 2).await;
    bed.settled("gone", last).await;
    assert_eq!(
        plugin(&bed, "gone").await["counters"]["done"],
        2,
        "it begins anew"
    );
    bed.host.stop().await.unwrap();
    drop(bed);
    let bed = place.start();
    assert_eq!(plugin(&bed, "gone").await["counters"]["done"], 2);
    bed.deploy("gone", "t", works());
    let last = publish(&bed, "t", 1).await;
    bed.settled("gone", last).await;
    bed.host.stop().await.unwrap();
}

/// A host that is about to drop, and to record a gap.
async fn about_to_retain(log: &FaultyStorage, checkpoints: &FaultyStorage) -> Bed {
    let place = Place::on(Arc::new(log.clone()), Arc::new(checkpoints.clone()));
    let bed = place.start();
    bed.deploy("p", "t", works());
    bed.deploy_with("late", "t", "[lag]\nmib = 0", works());
    bed.host.checkpoint().unwrap();
    operate(&bed, "late", "pause").await;
    let last = publish(&bed, "t", 40).await;
    bed.settled("p", last).await;
    bed
}

#[tokio::test]
async fn invariant_10_a_crash_anywhere_in_retention_leaves_a_host_that_starts() {
    for log_dies in [true, false] {
        let mut died = 0;
        for die_at in 1..200 {
            let (log, checkpoints) = (FaultyStorage::default(), FaultyStorage::default());
            let bed = about_to_retain(&log, &checkpoints).await;
            let dying = if log_dies { &log } else { &checkpoints };
            dying.die_at(dying.changes() + die_at);
            let done = bed.host.retain();
            died += u32::from(done.is_err());
            for how in [Crash::LoseAll, Crash::KeepAll, Crash::Tear(die_at)] {
                let place = Place::on(Arc::new(log.crash(how)), Arc::new(checkpoints.crash(how)));
                let bed = place.start();
                let (p, late) = (plugin(&bed, "p").await, plugin(&bed, "late").await);
                let at = format!("crash at {die_at}, log: {log_dies}, {how:?}: {p} {late}");
                assert_eq!(p["counters"]["done"], 40, "{at}");
                let first = bed.host.log().bounds().first.0;
                let first_event = 3;
                assert!(first <= first_event || late["paused"]["why"] == "gap", "{at}");
                bed.deploy("p", "t", works());
                let last = publish(&bed, "t", 1).await;
                reached(&bed, "p", last).await;
            }
            if done.is_ok() {
                break;
            }
        }
        assert!(died > 2, "it died at every change: {died}");
    }
}

#[tokio::test]
async fn a_reader_that_meets_a_segment_while_it_goes_is_told_that_it_is_gone() {
    let place = Place::new();
    let bed = place.start();
    publish(&bed, "t", 100).await;
    let (log, end) = (bed.host.log().clone(), bed.host.log().bounds().last);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || {
                let mut at = Offset(1);
                while at < end {
                    match log.read(at, 1, nerve_eventlog::Reach::Durable) {
                        Ok(entries) => at = entries.last().unwrap().offset.next(),
                        Err(nerve_eventlog::ReadError::Gone { first, .. }) => at = first,
                        Err(bad) => return Err(bad.to_string()),
                    }
                }
                Ok(())
            })
        })
        .collect();
    for offset in 1..=end.0 {
        log.drop_before(Offset(offset)).unwrap();
    }
    for reader in readers {
        reader.join().unwrap().unwrap();
    }
    assert!(log.bounds().first > Offset(90));
}
