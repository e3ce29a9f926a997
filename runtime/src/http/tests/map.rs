//! The map of a host whose plugins are functions.

use std::sync::Arc;

use serde_json::json;

use super::bed::{Bed, Script, event, failed};
use crate::delivery::handler::{Emit, Handled};
use crate::log::record::FailureClass;

fn emitting(types: &'static [&'static str]) -> Script {
    Arc::new(move |_| {
        let mut handled = Handled::default();
        handled.effects.emits.extend(types.iter().map(|name| Emit {
            r#type: (*name).into(),
            key: None,
            subject: None,
            content_type: None,
            data: b"\x07".to_vec(),
        }));
        handled
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_was_just_settled_beside_what_is_declared() {
    let bed = Bed::new();
    bed.deploy_emitting(
        "orders",
        "order.placed",
        &["payment.wanted"],
        emitting(&["payment.wanted", "order.noted"]),
    );
    bed.deploy_emitting(
        "payments",
        "payment.wanted",
        &[],
        Arc::new(|_| failed(FailureClass::Reject, "no")),
    );
    let placed = bed.publish(&event("o1", "order.placed")).await;
    bed.settled("orders", placed).await;
    bed.settled("payments", placed + 2).await;
    let map = bed.get("/v1/map").await.ok();
    assert_eq!(map["of"], json!({ "plugins": 2, "types": 3 }));
    assert!(map["through"].as_u64().unwrap() > placed);
    let types = map["types"].as_array().unwrap();
    let one = |name: &str| types.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(one("order.placed")["emitted_by"][0]["plugin"], json!(null));
    assert_eq!(one("order.placed")["consumed_by"][0]["attempts"], 1);
    assert_eq!(one("payment.wanted")["emitted_by"][0]["events"], 1);
    assert_eq!(one("payment.wanted")["consumed_by"][0]["dead"], 1);
    assert_eq!(
        map["findings"]["undeclared"],
        json!([{ "plugin": "orders", "type": "order.noted", "events": 1 }])
    );
    assert_eq!(map["plugins"][1]["dead_letters"], 1);

    let part = bed.get("/v1/map?type=order.*&plugin=orders").await.ok();
    let names: Vec<_> = part["types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["order.noted", "order.placed"]);
    bed.get("/v1/map?type=a..b").await.problem(400, "query-invalid");
    bed.get("/v1/map?colour=red").await.problem(400, "query-invalid");
}
