//! What is known to be done when a state goes back.

use nerve_eventlog::{Micros, Offset};

use crate::delivery::cursor::Cursor;
use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, Event, FailureClass, FailureRecord, KeptEvent, LiveVersion,
    Outcome, RolledBack, StateBack, Verdict, VersionId,
};
use crate::state::{Left, PluginState};

fn version(n: u8) -> LiveVersion {
    LiveVersion {
        version: VersionId([n; 8]),
        subscriptions: vec![">".into()],
        ..LiveVersion::default()
    }
}

fn deploy(state: &mut PluginState, at: u64, action: DeploymentAction) {
    let deployment = Deployment {
        who: None,
        plugin: "p".into(),
        pair: None,
        action,
        by: AskedBy::Api,
        warnings: Vec::new(),
    };
    state.apply_deployment(Offset(at), Micros(at), &deployment);
}

fn event(key: &str) -> Event<'_> {
    Event {
        id: "e",
        source: "s",
        r#type: "in.x",
        key: Some(key),
        subject: None,
        time: None,
        content_type: "application/json",
        data: &[],
        correlation: None,
        cause: None,
        traceparent: None,
        data_schema: None,
        extensions: Vec::new(),
    }
}

#[test]
fn above_the_mark_of_several_lanes_all_of_a_parked_key_is_done_but_its_head_and_what_waits() {
    let mut state = PluginState::default();
    deploy(&mut state, 10, DeploymentAction::Live(Box::new(version(1))));
    deploy(&mut state, 20, DeploymentAction::Live(Box::new(version(2))));
    let outcome = |event, verdict| Outcome {
        plugin: "p",
        event,
        attempt: 1,
        key: Some("k"),
        cleared: verdict == Verdict::Done,
        low_water: 20,
        verdict,
        waits_from: (verdict != Verdict::Done).then_some(event + 1),
        ..Outcome::default()
    };
    let failure = FailureRecord {
        class: FailureClass::Trap,
        reason: "",
    };
    state.apply_outcome(Offset(40), Micros(40), &outcome(30, Verdict::Done));
    let retry = Verdict::Retry { due: 99, failure };
    state.apply_outcome(Offset(41), Micros(41), &outcome(35, retry));
    assert_ne!(state.cursor, Cursor::default());
    let back = RolledBack {
        version: version(1),
        from: VersionId([2; 8]),
        why: String::new(),
        state: Some(Box::new(StateBack {
            to: 20,
            ..StateBack::default()
        })),
        mute: None,
    };
    deploy(&mut state, 50, DeploymentAction::RolledBack(Box::new(back)));
    let again = state.again.as_ref().unwrap();
    let is_done = [30, 35, 36].map(|at| again.of(Offset(at), &event("k")).is_some());
    assert_eq!(is_done, [true, false, false]);
}

#[test]
fn what_is_kept_of_how_far_versions_came_does_not_grow_with_the_events_that_wait() {
    let mut state = PluginState::default();
    deploy(&mut state, 10, DeploymentAction::Live(Box::new(version(1))));
    let failure = FailureRecord {
        class: FailureClass::Trap,
        reason: "",
    };
    let record = vec![7; 100_000];
    let outcome = Outcome {
        plugin: "p",
        event: 15,
        attempt: 1,
        key: Some("k"),
        low_water: 15,
        verdict: Verdict::Retry { due: 99, failure },
        waits_from: Some(16),
        kept: Some(KeptEvent {
            recorded: 15,
            record: &record,
        }),
        ..Outcome::default()
    };
    state.apply_outcome(Offset(16), Micros(16), &outcome);
    for n in 2..40 {
        deploy(
            &mut state,
            20 + u64::from(n),
            DeploymentAction::Live(Box::new(version(n))),
        );
    }
    let left = state.lefts.values().map(Left::depth);
    assert_eq!((state.lefts.len(), left.sum::<usize>()), (16, 120));
    // The cursor keeps the event, and so does each of the versions that left; how far the plugin was since then does not.
    let bytes = rmp_serde::to_vec(&state).unwrap().len();
    assert!((17 * 100_000..20 * 100_000).contains(&bytes), "{bytes} bytes");
}
