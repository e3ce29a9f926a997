//! Rollbacks whose state does not go back: each says why, and nothing changes.

use std::sync::Arc;

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{Log, Options};

use super::bed::Bed;
use super::going_back::{QUIET, goes_on, seen_in_state, writes};
use crate::log::record::VersionId;
use crate::plugin::deploy::{RollBackError, StateBackError};

fn refused(back: Result<(), RollBackError>) -> StateBackError {
    match back {
        Err(RollBackError::State(cause)) => *cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_that_can_not_go_back_says_why_and_nothing_changes() {
    let mut bed = Bed::new(writes("a"));
    let event = bed.publish(Some("k"));
    bed.run_all();
    bed.swap(writes("b"));
    bed.publish(Some("k"));
    bed.run_all();
    bed.rewind(event, QUIET, false);
    let rewinding = refused(bed.go_back(1, writes("a"), QUIET));
    assert!(matches!(rewinding, StateBackError::Rewinding(_)), "{rewinding}");
    bed.swap(writes("c"));
    bed.run_all();
    let was = refused(bed.go_back(2, writes("b"), QUIET));
    assert!(matches!(was, StateBackError::WasRewinding { .. }), "{was}");
    // Behind a rewind that wrote into the state it goes back before it.
    let seen = seen_in_state(&bed);
    bed.go_back(1, writes("a"), QUIET).unwrap();
    assert_eq!(seen_in_state(&bed), "2a ");
    bed.run_all();
    bed.go_back(3, writes("c"), QUIET).unwrap();
    assert_eq!(seen_in_state(&bed), seen);
    bed.rewind(1, QUIET, true);
    bed.run_all();
    let replaced = refused(bed.go_back(1, writes("a"), QUIET));
    assert!(
        replaced.to_string().contains("a rewind built from nothing"),
        "{replaced}"
    );
    bed.subscriber.state.lock().lefts.clear();
    let unknown = refused(bed.go_back(1, writes("a"), QUIET));
    assert!(matches!(unknown, StateBackError::NotKept(_)), "{unknown}");
    assert!(!goes_on(&bed));
}

#[test]
fn a_state_that_is_too_large_for_a_batch_or_whose_past_is_gone_does_not_go_back() {
    let options = Options {
        max_batch_bytes: 8192,
        segment_bytes: 2000,
        hot_bytes: 1000,
        ..Options::default()
    };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let mut bed = Bed::on(storage, options, writes("a"));
    bed.swap(writes("b"));
    let left = bed.log.bounds().last;
    for _ in 0..100 {
        bed.publish(Some("k"));
        // Else the disk takes all of it at once, into one segment.
        bed.log.wait_durable(bed.log.bounds().last).unwrap();
    }
    bed.run_all();
    let before = seen_in_state(&bed);
    let large = refused(bed.go_back(1, writes("a"), QUIET));
    let StateBackError::Large { bytes, limit, .. } = large else {
        panic!("{large}")
    };
    assert!(bytes > limit && limit == 8192);
    assert_eq!(seen_in_state(&bed), before);
    bed.log.wait_durable(bed.log.bounds().last).unwrap();
    let first = bed.log.drop_before(bed.log.bounds().last).unwrap();
    assert!(first > left);
    let gone = refused(bed.go_back(1, writes("a"), QUIET));
    assert!(
        matches!(gone, StateBackError::Gone { first: at, .. } if at == first),
        "{gone}"
    );
    same_version(&bed, 2);
}

fn same_version(bed: &Bed, version: u8) {
    let live = bed.subscriber.state.lock().live.as_ref().unwrap().version.version;
    assert_eq!(live, VersionId([version; 8]));
}

#[test]
fn where_only_a_few_versions_left_is_kept() {
    let mut bed = Bed::new(writes("a"));
    for _ in 0..40 {
        bed.swap(writes("b"));
    }
    let kept: Vec<u8> = bed
        .subscriber
        .state
        .lock()
        .lefts
        .keys()
        .map(|id| id.0[0])
        .collect();
    assert_eq!(kept, (25..=40).collect::<Vec<u8>>());
    let old = refused(bed.go_back(3, writes("b"), QUIET));
    assert!(matches!(old, StateBackError::NotKept(_)), "{old}");
}

#[test]
fn events_that_the_newer_version_did_not_want_may_be_gone_and_the_state_stays() {
    let options = Options {
        segment_bytes: 2000,
        hot_bytes: 1000,
        ..Options::default()
    };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let mut bed = Bed::on(storage, options, writes("a"));
    bed.publish(None);
    for _ in 0..50 {
        bed.publish_of("other", None);
        bed.log.wait_durable(bed.log.bounds().last).unwrap();
    }
    bed.swap(writes("b"));
    let left = bed.log.bounds().last;
    bed.subscribes_to("in.y");
    bed.log.wait_durable(left).unwrap();
    let first = bed.log.drop_before(left).unwrap();
    assert!(first > nerve_eventlog::Offset(2) && first <= left);
    let gone = refused(bed.go_back(1, writes("a"), QUIET));
    assert!(matches!(gone, StateBackError::Gone { .. }), "{gone}");
    same_version(&bed, 2);
}
