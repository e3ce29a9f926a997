//! What contracts are held against is what runs, however it came to run.

use nerve_eventlog::Offset;
use serde_json::json;

use super::bed::{Bed, Script};
use super::canary::{HALF, record};
use super::probation::{TERMS, agree, bad, live, ok};
use crate::log::record::{
    DeclaredSchema, DeploymentAction, FailureClass, LiveVersion, RolledBack, Terms, VersionId,
};

/// The schema of an `out.x` with the field `field`, and nothing else.
fn declares(emits: bool, field: &str) -> Vec<DeclaredSchema> {
    let schema = json!({"type": "object", "properties": {field: {"type": "integer"}}, "required": [field], "additionalProperties": !emits});
    vec![DeclaredSchema {
        event_type: "out.x".into(),
        emits,
        json: schema.to_string(),
    }]
}

/// Deploy the next version, which emits an `out.x` with the field `field`.
fn swap(bed: &mut Bed, field: &str, terms: Option<Terms>, script: Script) {
    (bed.emits, bed.terms) = (declares(true, field), terms);
    bed.swap(script);
}

/// The fields of `out.x` as those declare it that run.
fn held(bed: &Bed) -> Vec<String> {
    let types = bed.subscriber.contracts.types();
    let producers = types.get("out.x").map(|contract| &contract.producers[..]);
    let schemas = producers.unwrap_or_default().iter().map(|(_, schema)| schema);
    let fields = schemas.map(|schema| schema.as_ref().unwrap().json()["required"][0].clone());
    fields.map(|field| field.as_str().unwrap().to_owned()).collect()
}

fn back(bed: &Bed, from: u8, to: u8) -> DeploymentAction {
    DeploymentAction::RolledBack(Box::new(RolledBack {
        version: bed.fold().former[&VersionId([to; 8])].clone(),
        from: VersionId([from; 8]),
        why: "it was told to".into(),
        state: None,
        mute: None,
    }))
}

#[test]
fn what_holds_is_what_runs_whichever_way_it_came() {
    let traps = || bad(FailureClass::Trap, |_| true);
    let mut bed = Bed::new(ok());
    swap(&mut bed, "two", None, ok());
    assert_eq!(held(&bed), ["two"], "deployed");
    swap(&mut bed, "three", Some(TERMS), traps());
    assert_eq!(held(&bed), ["three"], "deployed, and watched");
    bed.publish(Some("k"));
    bed.run_all();
    assert_eq!(
        (live(&bed), held(&bed)),
        (2, vec!["two".into()]),
        "rolled back by itself"
    );
    record(&bed, back(&bed, 2, 3));
    assert_eq!(held(&bed), ["three"], "rolled back by an operator");
    swap(&mut bed, "four", Some(HALF), ok());
    assert_eq!(held(&bed), ["four", "three"], "a canary beside the live one");
    record(&bed, DeploymentAction::Promoted(VersionId([4; 8])));
    assert_eq!(held(&bed), ["four"], "promoted");
    let bed = bed.restart(ok());
    assert_eq!(held(&bed), ["four"], "after a restart");
    record(&bed, DeploymentAction::Removed);
    assert_eq!(held(&bed), Vec::<String>::new(), "removed");
    let mut bed = bed.restart(ok());
    assert_eq!(held(&bed), Vec::<String>::new(), "removed, after a restart");
    swap(&mut bed, "four", None, ok());
    assert_eq!(held(&bed), ["four"], "put back");
}

#[test]
fn a_version_binds_while_a_key_is_its_own_though_the_canary_is_promoted() {
    let sick = || bad(FailureClass::Retry, |delivery| delivery.attempt < 3);
    let mut bed = Bed::new(ok());
    swap(&mut bed, "two", None, sick());
    bed.publish(Some("k"));
    bed.run();
    swap(&mut bed, "three", Some(HALF), ok());
    record(&bed, DeploymentAction::Promoted(VersionId([3; 8])));
    assert_eq!(held(&bed), ["three", "two"]);
    bed.run_all();
    assert_eq!(held(&bed), ["three"], "its last key is free");
    agree(&bed);
}

#[test]
fn a_version_that_runs_again_by_itself_says_which_contract_it_breaks() {
    let mut bed = Bed::new(ok());
    swap(&mut bed, "two", None, ok());
    swap(&mut bed, "three", Some(TERMS), bad(FailureClass::Trap, |_| true));
    let needs = LiveVersion {
        subscriptions: vec!["out.x".into()],
        schemas: declares(false, "three"),
        ..LiveVersion::default()
    };
    bed.subscriber.contracts.runs("payments", vec![needs]);
    bed.publish(Some("k"));
    bed.run_all();
    assert_eq!(live(&bed), 2, "no contract stops it");
    let state = bed.subscriber.state.lock().snapshot(Offset(0));
    let [warning] = &state.live.as_ref().unwrap().version.warnings[..] else {
        panic!("{state:?}");
    };
    assert!(
        warning.starts_with("plugin payments does not accept its \"out.x\": /three"),
        "{warning}"
    );
    agree(&bed);
}
