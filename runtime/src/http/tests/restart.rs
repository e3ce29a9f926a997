//! A host that starts again, from a checkpoint and without one.

use std::sync::Arc;

use nerve_eventlog::storage::{Crash, FaultyStorage, MemoryStorage, Storage};
use nerve_eventlog::{Micros, Offset, Options};
use serde_json::json;

use super::bed::{Bed, Script, event, failed};
use crate::delivery::handler::{Effects, Emit, Handled, SetTimer};
use crate::host::{HostOptions, OpenError};
use crate::log::record::FailureClass;
use crate::state::checkpoint;

/// Options that make many small segments, and no checkpoint by itself.
fn options() -> HostOptions {
    HostOptions {
        log: Options {
            segment_bytes: 4096,
            ..Options::default()
        },
        checkpoint_bytes: u64::MAX,
        ..HostOptions::default()
    }
}

/// Parks, dead-letters, sets timers and writes state, by the first letter of the event's id.
fn mixed() -> Script {
    Arc::new(|delivery| {
        let id = delivery.event.id;
        let emit = Emit {
            r#type: "later".into(),
            key: None,
            subject: None,
            content_type: None,
            data: vec![0xc0],
        };
        match id.as_bytes()[0] {
            b'p' => failed(FailureClass::Retry, "not now"),
            b'd' => failed(FailureClass::Reject, "never"),
            _ => Handled {
                effects: Effects {
                    emits: vec![],
                    writes: vec![(format!("seen/{id}").into(), Some(b"x"[..].into()))],
                    timers: vec![(
                        format!("t{}", id.len()).into(),
                        Some(SetTimer {
                            due: Micros(u64::MAX - 1),
                            emit,
                        }),
                    )],
                },
                ..Handled::default()
            },
        }
    })
}

/// The fold of a host, to compare.
fn fold(bed: &Bed) -> String {
    let all = bed.host.subscribers().all();
    let states = all.iter().map(|subscriber| {
        let mut state = subscriber.state.lock().snapshot(Offset(0));
        state.counters[1] = 0;
        state
            .cursor
            .parked
            .values_mut()
            .for_each(|parked| parked.head = None);
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?}\n",
            subscriber.name,
            state.cursor.parked,
            state.dead,
            state.timers,
            state.key_values,
            state.subscription,
            state.live
        )
    });
    states.collect()
}

async fn publish(bed: &Bed, names: impl Iterator<Item = String>) {
    let mut last = 0;
    for name in names {
        let mut one = event(&name, "t");
        one["partitionkey"] = json!(name);
        last = bed.publish(&one).await;
    }
    let subscriber = bed.host.subscribers().get("p").unwrap();
    while subscriber.state.lock().cursor.low < Offset(last) {
        tokio::task::yield_now().await;
    }
}

fn names(from: u32, to: u32) -> impl Iterator<Item = String> {
    (from..to).map(|n| match n % 40 {
        7 => format!("p{n}"),
        9 => format!("d{n}"),
        _ => format!("a{n}"),
    })
}

/// A host that has handled events, its checkpoint behind the first ones.
async fn lived(log: &Arc<dyn Storage>, checkpoints: &Arc<dyn Storage>) -> Bed {
    let bed = Bed::on(log, checkpoints.clone(), options()).unwrap();
    bed.deploy("p", "t", mixed());
    publish(&bed, names(0, 80)).await;
    bed.host.checkpoint().unwrap();
    bed
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::default())
}

#[tokio::test]
async fn a_start_from_a_checkpoint_finds_what_a_start_from_the_whole_log_finds() {
    let (log, checkpoints) = (memory(), memory());
    let bed = lived(&log, &checkpoints).await;
    publish(&bed, names(80, 160)).await;
    let first = bed.publish(&event("twice", "other")).await;
    bed.host.stop().await.unwrap();
    let live = fold(&bed);
    drop(bed);
    assert_eq!(checkpoint::list(&*checkpoints).unwrap().len(), 2);
    // The last one was made at the clean stop: leave the one in the middle.
    let newest = checkpoint::list(&*checkpoints).unwrap()[0];
    checkpoints.remove(&checkpoint::name(newest)).unwrap();

    let from_checkpoint = Bed::on(&log, checkpoints.clone(), options()).unwrap();
    assert_eq!(fold(&from_checkpoint), live);
    let again = from_checkpoint.post(
        "application/cloudevents+json",
        event("twice", "other").to_string(),
    );
    assert_eq!(again.await.ok()["duplicate"], true);
    let old = from_checkpoint.post("application/cloudevents+json", {
        let mut one = event("a0", "t");
        one["partitionkey"] = json!("a0");
        one.to_string()
    });
    assert_eq!(
        old.await.ok()["duplicate"],
        true,
        "the window is in the checkpoint"
    );
    let read = from_checkpoint.get(&format!("/v1/events/@{first}")).await.ok();
    assert_eq!(read["events"][0]["event"]["id"], "twice");
    from_checkpoint.host.stop().await.unwrap();
    drop(from_checkpoint);

    let from_the_log = Bed::on(&log, memory(), options()).unwrap();
    assert_eq!(fold(&from_the_log), live);
}

#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over_and_said() {
    let (log, checkpoints) = (MemoryStorage::default(), MemoryStorage::default());
    let (log, checkpoints): (Arc<dyn Storage>, MemoryStorage) = (Arc::new(log), checkpoints);
    let of_checkpoints: Arc<dyn Storage> = Arc::new(checkpoints.clone());
    let bed = lived(&log, &of_checkpoints).await;
    bed.host.stop().await.unwrap();
    let live = fold(&bed);
    drop(bed);
    let damage = |through| {
        let name = checkpoint::name(through);
        let mut content = checkpoints.content(&name).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        checkpoints.put(&name, content);
        name
    };
    let found = checkpoint::list(&checkpoints).unwrap();
    let newest = damage(found[0]);
    let bed = Bed::on(&log, of_checkpoints.clone(), options()).unwrap();
    assert_eq!(fold(&bed), live);
    let said = bed.get("/v1/log").await.ok()["recovered"].to_string();
    assert!(said.contains(&newest) && said.contains("damaged"), "{said}");
    bed.host.log().drop_before(Offset(60)).unwrap();
    let first = bed.host.log().bounds().first;
    assert!(first > Offset(1));
    bed.host.stop().await.unwrap();
    drop(bed);
    for through in checkpoint::list(&checkpoints).unwrap() {
        if checkpoint::parse(&checkpoint::read(&checkpoints, through).unwrap()).is_ok() {
            damage(through);
        }
    }
    match Bed::on(&log, of_checkpoints, options()).map(|_| ()) {
        Err(OpenError::NoCheckpoint { first: said, .. }) => assert_eq!(said, first),
        other => panic!("what came before is nowhere: {other:?}"),
    }
}

#[tokio::test]
async fn a_checkpoint_of_another_format_or_fold_is_refused_by_name() {
    // Where the formats of the file and of the fold stand.
    for byte in [8, 12] {
        let (log, checkpoints) = (memory(), MemoryStorage::default());
        let of_checkpoints: Arc<dyn Storage> = Arc::new(checkpoints.clone());
        let bed = lived(&log, &of_checkpoints).await;
        bed.host.stop().await.unwrap();
        drop(bed);
        let name = checkpoint::name(checkpoint::list(&checkpoints).unwrap()[0]);
        let mut content = checkpoints.content(&name).unwrap();
        content[byte] = 9;
        let hashed = content.len() - 32;
        let hash = blake3::hash(&content[..hashed]);
        content.splice(hashed.., *hash.as_bytes());
        checkpoints.put(&name, content);
        match Bed::on(&log, of_checkpoints, options()).map(|_| ()) {
            Err(refused @ OpenError::Format { .. }) => {
                let says = refused.to_string();
                assert!(
                    says.contains(&name) && says.contains('9') && says.contains("Use the version"),
                    "{says}"
                );
            }
            other => panic!("it is not known here: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_outlived_its_log_is_never_taken_for_one_of_the_log_that_grew_anew() {
    let os = || crate::host::HostOptions {
        log: Options {
            durability: nerve_eventlog::Durability::Os,
            ..options().log
        },
        ..options()
    };
    let log = FaultyStorage::default();
    let (of_log, checkpoints): (Arc<dyn Storage>, _) = (Arc::new(log.clone()), memory());
    let bed = Bed::on(&of_log, checkpoints.clone(), os()).unwrap();
    for n in 0..5 {
        bed.publish(&event(&format!("lost{n}"), "t")).await;
    }
    bed.host.checkpoint().unwrap();
    // What was only written is lost with the system, and the checkpoint was synced.
    let after: Arc<dyn Storage> = Arc::new(log.crash(Crash::LoseAll));
    drop(bed);
    let bed = Bed::on(&after, checkpoints.clone(), os()).unwrap();
    let said = bed.get("/v1/log").await.ok()["recovered"].to_string();
    assert!(said.contains("the log ends before it"), "{said}");
    for n in 0..20 {
        bed.publish(&event(&format!("new{n}"), "t")).await;
    }
    bed.host.stop().await.unwrap();
    drop(bed);
    // A crash would have made no checkpoint.
    let newest = checkpoint::list(&*checkpoints).unwrap()[0];
    checkpoints.remove(&checkpoint::name(newest)).unwrap();
    let bed = Bed::on(&after, checkpoints, os()).unwrap();
    assert_eq!(
        bed.get("/v1/log").await.ok()["recovered"],
        serde_json::Value::Null
    );
    let lost = bed.publish(&event("lost3", "t")).await;
    assert_eq!(lost, 21, "nothing is known of what was lost");
}

#[tokio::test]
async fn invariant_10_a_crash_anywhere_in_a_checkpoint_leaves_a_host_that_starts() {
    let mut died = 0;
    for die_at in 1..100 {
        let (log, checkpoints) = (FaultyStorage::default(), FaultyStorage::default());
        let (of_log, of_checkpoints): (Arc<dyn Storage>, Arc<dyn Storage>) =
            (Arc::new(log.clone()), Arc::new(checkpoints.clone()));
        let bed = lived(&of_log, &of_checkpoints).await;
        publish(&bed, names(80, 90)).await;
        bed.host.checkpoint().unwrap();
        publish(&bed, names(90, 100)).await;
        checkpoints.die_at(checkpoints.changes() + die_at);
        let made = bed.host.checkpoint();
        died += u32::from(made.is_err());
        for how in [Crash::LoseAll, Crash::KeepAll, Crash::Tear(die_at)] {
            let start = |checkpoints| {
                let log: Arc<dyn Storage> = Arc::new(log.crash(how));
                Bed::on(&log, checkpoints, options())
                    .unwrap_or_else(|refused| panic!("crash at {die_at}, {how:?}: {refused}"))
            };
            let from_checkpoint = start(Arc::new(checkpoints.crash(how)));
            let from_the_log = start(memory());
            assert_eq!(
                fold(&from_checkpoint),
                fold(&from_the_log),
                "crash at {die_at}, {how:?}"
            );
        }
        if made.is_ok() {
            break;
        }
    }
    assert!(died > 4, "it died at every change");
}
