//! Dead letters when the state goes back: which were done once, and which never.

use std::sync::Arc;

use nerve_eventlog::Offset;

use super::bed::{Bed, Script, failed};
use super::going_back::{QUIET, dead, fails, happened, seen_in_state, writes};
use super::probation::agree;
use crate::log::record::FailureClass;

/// Fails replays, and writes down everything else.
fn fails_replays() -> Script {
    let writes = writes("b");
    Arc::new(move |delivery, state| {
        if delivery.replay {
            failed(FailureClass::Reject)
        } else {
            writes(delivery, state)
        }
    })
}

/// A dead letter that a rewind of the second version left, which runs `script`.
fn letter(script: Script) -> (Bed, u64) {
    let mut bed = Bed::new(writes("a"));
    bed.swap(script);
    let bad = bed.publish(Some("bad"));
    bed.run_all();
    bed.rewind(1, QUIET, false);
    bed.run_all();
    assert_eq!(dead(&bed), [bad]);
    assert!(bed.fold().dead[&Offset(bad)].rewind.is_some());
    (bed, bad)
}

#[test]
fn an_event_that_was_given_up_and_that_a_rewind_failed_again_has_its_effects_when_the_state_goes_back() {
    let (mut bed, bad) = letter(fails("b", &["bad"]));
    bed.redrive_all();
    bed.run_all();
    assert_eq!((dead(&bed), happened(&bed, bad)), (vec![bad], 0));
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert_eq!((dead(&bed), happened(&bed, bad)), (vec![], 1), "it had had none");
    assert_eq!(seen_in_state(&bed), format!("{bad}a "));
    agree(&bed);
}

#[test]
fn an_event_that_was_done_and_that_a_rewind_failed_is_muted_when_the_state_goes_back() {
    let (mut bed, bad) = letter(fails_replays());
    bed.go_back(1, writes("a"), QUIET).unwrap();
    bed.run_all();
    assert_eq!((dead(&bed), happened(&bed, bad)), (vec![], 1), "it has happened");
    assert_eq!(seen_in_state(&bed), format!("{bad}a "));
    agree(&bed);
}

/// A dead letter of the second version, after the state went back to the first, which has it to do, and to the second again.
fn there_and_back(first: Script) -> (Bed, u64) {
    let mut bed = Bed::new(fails("a", &["k"]));
    let bad = bed.publish(Some("k"));
    bed.run();
    bed.swap(Arc::new(|_, _| failed(FailureClass::Reject)));
    bed.run_all();
    assert_eq!(dead(&bed), [bad]);
    bed.go_back(1, first, QUIET).unwrap();
    bed.run();
    bed.go_back(2, writes("b"), QUIET).unwrap();
    assert_eq!(dead(&bed), [bad]);
    bed.redrive_all();
    bed.run_all();
    assert_eq!((dead(&bed), seen_in_state(&bed)), (vec![], format!("{bad}b ")));
    agree(&bed);
    (bed, bad)
}

#[test]
fn a_dead_letter_that_was_still_to_be_done_where_the_state_went_back_has_its_effects() {
    let (bed, bad) = there_and_back(fails("a", &["k"]));
    assert_eq!(happened(&bed, bad), 1, "it had had none");
}

#[test]
fn a_dead_letter_that_was_done_where_the_state_went_back_is_muted() {
    let (bed, bad) = there_and_back(writes("a"));
    assert_eq!(happened(&bed, bad), 1, "it has happened");
}
