//! Contracts: what is published against its type's schema, who would be broken, and what operators set.

use std::sync::Arc;

use axum::http::StatusCode;
use nerve_eventlog::storage::{MemoryStorage, Storage};
use serde_json::{Value, json};

use super::bed::{Bed, Script, event, request};
use crate::contract::Offered;
use crate::delivery::handler::Handled;
use crate::host::HostOptions;
use crate::log::record::{DeclaredSchema, Mode};

fn idle() -> Script {
    Arc::new(|_| Handled::default())
}

fn declares(emits: bool, event_type: &str, schema: &Value) -> DeclaredSchema {
    DeclaredSchema {
        event_type: event_type.into(),
        emits,
        json: schema.to_string(),
    }
}

/// What an order has, closed as a producer's schema is.
fn order(cents: &str) -> Value {
    json!({"type": "object", "properties": {cents: {"type": "integer", "minimum": 0}, "note": {"type": "string"}},
        "required": [cents], "additionalProperties": false})
}

/// What a consumer of orders needs.
fn needs(cents: &str) -> Value {
    json!({"type": "object", "properties": {cents: {"type": "integer", "minimum": 0}}, "required": [cents]})
}

fn with_data(id: &str, data: &Value) -> Value {
    let mut event = event(id, "order.placed");
    event["data"] = data.clone();
    event
}

const STRUCTURED: &str = "application/cloudevents+json";
const PATH: &str = "/v1/schemas/order.placed";

impl Bed {
    async fn set(&self, query: &str, schema: &Value) -> super::bed::Answer {
        self.send(request("PUT", &format!("{PATH}{query}"), &[], schema.to_string()))
            .await
    }

    /// Whether a version that declares `schemas` may go live, and with which warnings; or why not.
    fn decide(&self, plugin: &str, schemas: &[DeclaredSchema], mode: Mode) -> Result<Vec<String>, String> {
        let offered = Offered {
            schemas,
            from_beginning: false,
            mode,
        };
        let decided = self.host.contracts().decide(plugin, offered);
        decided
            .map(|decided| decided.warnings.clone())
            .map_err(|found| found.refused.unwrap_or_default())
    }
}

#[tokio::test]
async fn an_event_that_breaks_what_an_operator_set_is_refused_with_the_place_in_it() {
    let bed = Bed::new();
    bed.publish(&with_data("before", &json!({"cents": "many"}))).await;
    let set = bed.set("", &order("cents")).await.ok();
    assert_eq!((&set["mode"], &set["warnings"]), (&json!("enforce"), &json!([])));
    bed.publish(&with_data("good", &json!({"cents": 1}))).await;
    let refused = bed
        .post(
            STRUCTURED,
            with_data("bad", &json!({"cents": "many"})).to_string(),
        )
        .await;
    let problem = refused.problem(422, "contract-broken");
    assert_eq!(problem["at"], "/cents");
    assert!(
        problem["detail"].as_str().unwrap().contains("set by an operator"),
        "{problem}"
    );
    let batch = json!([with_data("a", &json!({"cents": 1})), with_data("b", &json!({}))]);
    let refused = bed
        .post("application/cloudevents-batch+json", batch.to_string())
        .await;
    let problem = refused.problem(422, "contract-broken");
    assert!(
        problem["detail"].as_str().unwrap().starts_with("event 1: "),
        "{problem}"
    );
    // What was published before is a duplicate, whatever the schema says by now.
    let again = bed
        .post(
            STRUCTURED,
            with_data("before", &json!({"cents": "many"})).to_string(),
        )
        .await;
    assert_eq!(again.ok()["duplicate"], true);
    let mut text = with_data("text", &Value::Null);
    (text["datacontenttype"], text["data"]) = ("text/plain".into(), "1".into());
    bed.post(STRUCTURED, text.to_string())
        .await
        .problem(422, "contract-broken");
    assert_eq!(bed.get(PATH).await.ok()["refused"], 3);

    bed.set("?mode=warn", &order("cents")).await.ok();
    bed.publish(&with_data("bad", &json!({"cents": "many"}))).await;
    assert_eq!(bed.get(PATH).await.ok()["warned"], 1);
    bed.send(request("DELETE", PATH, &[], "")).await.ok();
    bed.publish(&with_data("worse", &json!([]))).await;
    bed.get(PATH).await.problem(404, "schema-not-found");
}

#[tokio::test]
async fn without_an_operators_schema_an_event_must_be_what_a_producer_declares() {
    let bed = Bed::new();
    bed.deploy_declaring(
        "carts",
        "t",
        &["order.placed"],
        vec![declares(true, "order.placed", &order("cents"))],
        idle(),
    );
    bed.deploy_declaring(
        "tills",
        "t",
        &["order.placed"],
        vec![declares(true, "order.placed", &order("pence"))],
        idle(),
    );
    bed.publish(&with_data("a", &json!({"cents": 1}))).await;
    bed.publish(&with_data("b", &json!({"pence": 1}))).await;
    let refused = bed
        .post(STRUCTURED, with_data("c", &json!({"pennies": 1})).to_string())
        .await;
    let problem = refused.problem(422, "contract-broken");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("declared by plugin carts"),
        "{problem}"
    );
    // What a consumer expects is never held against what is published.
    bed.deploy_declaring(
        "orders",
        "stock.short",
        &[],
        vec![declares(false, "stock.short", &needs("count"))],
        idle(),
    );
    bed.publish(&event("d", "stock.short")).await;
    bed.remove("carts");
    bed.remove("tills");
    bed.publish(&with_data("c", &json!({"pennies": 1}))).await;
}

#[tokio::test]
async fn a_version_that_breaks_a_live_consumer_is_refused_with_plugin_place_and_example() {
    let bed = Bed::new();
    let expects = declares(false, "order.placed", &needs("cents"));
    bed.deploy_declaring("payments", "order.placed", &[], vec![expects], idle());
    let emits = |cents: &str| [declares(true, "order.placed", &order(cents))];
    let refused = bed.decide("carts", &emits("amount"), Mode::Enforce).unwrap_err();
    let says = "plugin payments does not accept its \"order.placed\": /cents: it is required, and is not there (rule required), \
                for example {\"amount\":0}";
    assert!(refused.contains(says), "{refused}");
    assert!(
        refused.contains("carts.toml"),
        "it names the way through: {refused}"
    );
    let warned = bed.decide("carts", &emits("amount"), Mode::Warn).unwrap();
    assert!(
        warned[0].contains("plugin payments does not accept"),
        "{warned:?}"
    );
    assert_eq!(bed.decide("carts", &emits("amount"), Mode::Off), Ok(vec![]));
    let mut more = order("cents");
    more["properties"]["gift"] = json!({"type": "boolean"});
    assert_eq!(
        bed.decide("carts", &[declares(true, "order.placed", &more)], Mode::Enforce),
        Ok(vec![])
    );
    // The consumer itself may change what it needs, and one that is removed binds nobody.
    bed.remove("payments");
    assert_eq!(bed.decide("carts", &emits("amount"), Mode::Enforce), Ok(vec![]));
}

#[tokio::test]
async fn a_version_that_expects_what_is_not_emitted_set_or_stored_is_refused() {
    let bed = Bed::new();
    let expects = |cents: &str| [declares(false, "order.placed", &needs(cents))];
    // Nobody describes the type: what is stored is all that is known of it.
    bed.publish(&with_data("a", &json!({"cents": 1}))).await;
    bed.publish(&with_data("b", &json!({"cents": -1}))).await;
    let refused = bed
        .decide("payments", &expects("cents"), Mode::Enforce)
        .unwrap_err();
    let says = "it does not accept the \"order.placed\" at offset 2: at /cents: the number is out of its range (of 2 stored ones";
    assert!(refused.contains(says), "{refused}");
    // Where it is described, what is stored only warns.
    bed.deploy_declaring(
        "carts",
        "t",
        &["order.placed"],
        vec![declares(true, "order.placed", &order("cents"))],
        idle(),
    );
    let warned = bed.decide("payments", &expects("cents"), Mode::Enforce).unwrap();
    assert!(
        warned.len() == 1 && warned[0].contains("only by a rewind"),
        "{warned:?}"
    );
    let refused = bed
        .decide("payments", &expects("amount"), Mode::Enforce)
        .unwrap_err();
    assert!(
        refused.contains("it does not accept \"order.placed\" as plugin carts emits it: /amount"),
        "{refused}"
    );
    bed.set("", &order("cents")).await.ok();
    let refused = bed
        .decide("payments", &expects("amount"), Mode::Enforce)
        .unwrap_err();
    assert!(
        refused.contains("\"order.placed\" as an operator set it: /amount"),
        "{refused}"
    );
    // A plugin that reads what it emits must agree with itself.
    let own = [
        declares(true, "x", &order("cents")),
        declares(false, "x", &needs("amount")),
    ];
    let refused = bed.decide("loops", &own, Mode::Enforce).unwrap_err();
    assert!(refused.contains("it does not accept its own \"x\""), "{refused}");
    let bad = [declares(true, "x", &json!({"type": "text"}))];
    let refused = bed.decide("odd", &bad, Mode::Enforce).unwrap_err();
    assert!(
        refused.contains("its schema of \"x\" can't be used: /type"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_a_version_would_break_is_told_without_deciding_on_it() {
    let bed = Bed::new();
    let expects = declares(false, "order.placed", &needs("cents"));
    bed.deploy_declaring("payments", "order.placed", &[], vec![expects], idle());
    let stored = bed.publish(&with_data("a", &json!({"cents": -1}))).await;
    bed.settled("payments", stored).await;
    let last = bed.get("/v1/log").await.ok()["last"].clone();
    let ask = async |plugin: &str, body: Value| {
        let path = format!("/v1/plugins/{plugin}/contracts");
        bed.send(request("POST", &path, &[], body.to_string())).await
    };
    let emits = [declares(true, "order.placed", &order("amount"))];
    let found = ask("carts", json!({"schemas": emits})).await.ok();
    assert_eq!(
        found["refused"],
        bed.decide("carts", &emits, Mode::Enforce).unwrap_err(),
        "one and the same decision"
    );
    let breach = &found["breaches"][0];
    assert_eq!(
        (&breach["plugin"], &breach["event_type"], &breach["at"]),
        (&json!("payments"), &json!("order.placed"), &json!("/cents"))
    );
    assert!(breach["example"]["amount"].is_u64(), "{breach}");
    let warned = ask("carts", json!({"schemas": emits, "mode": "warn"})).await.ok();
    assert_eq!(
        (&warned["refused"], &warned["breaches"]),
        (&Value::Null, &found["breaches"])
    );
    // Stored events, for a plugin that would get them.
    let expects = [declares(false, "order.placed", &needs("cents"))];
    let offer = json!({"schemas": expects, "from_beginning": true});
    let breach = ask("new", offer).await.ok()["breaches"][0].clone();
    assert_eq!(
        (&breach["plugin"], &breach["at"]),
        (&Value::Null, &json!("/cents"))
    );
    let problem = breach["problem"].as_str().unwrap();
    assert!(problem.contains(&format!("at offset {stored}")), "{breach}");
    ask("new", json!({"schema": 1}))
        .await
        .problem(400, "query-invalid");
    assert_eq!(bed.get("/v1/log").await.ok()["last"], last, "nothing is recorded");
}

#[tokio::test]
async fn an_operators_schema_that_breaks_a_live_consumer_is_refused_unless_it_is_forced() {
    let bed = Bed::new();
    let expects = declares(false, "order.placed", &needs("cents"));
    bed.deploy_declaring("payments", "order.placed", &[], vec![expects], idle());
    let problem = bed.set("", &order("amount")).await.problem(409, "schema-breaks");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("plugin payments does not accept it: /cents"),
        "{problem}"
    );
    let forced = bed.set("?force=true", &order("amount")).await.ok();
    assert_eq!(forced["warnings"][0]["plugin"], "payments");
    bed.set("", &json!({"type": "text"}))
        .await
        .problem(400, "schema-invalid");
    bed.set("", &json!({"unevaluatedProperties": false}))
        .await
        .problem(400, "schema-invalid");
    bed.send(request("PUT", PATH, &[], ""))
        .await
        .problem(400, "query-invalid");
    let bad = "/v1/schemas/a..b";
    bed.send(request("PUT", bad, &[], "{}"))
        .await
        .problem(400, "schema-invalid");
    let all = bed.get("/v1/schemas").await.ok();
    assert_eq!(all["types"][0]["consumers"][0]["schema"], needs("cents"));
}

#[tokio::test]
async fn what_an_operator_set_holds_after_a_restart_with_and_without_a_checkpoint() {
    for checkpointed in [false, true] {
        let log: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let checkpoints = Arc::new(MemoryStorage::default());
        let bed = Bed::on(&log, checkpoints.clone(), HostOptions::default()).unwrap();
        bed.set("", &order("cents")).await.ok();
        bed.set("?mode=warn", &order("amount")).await.ok();
        if checkpointed {
            bed.host.checkpoint().unwrap();
        }
        bed.host.stop().await.unwrap();
        drop(bed);
        let bed = Bed::on(&log, checkpoints, HostOptions::default()).unwrap();
        let held = bed.get(PATH).await.ok();
        assert_eq!((&held["set"], &held["mode"]), (&order("amount"), &json!("warn")));
        assert_eq!(bed.get("/v1/schemas").await.status, StatusCode::OK);
    }
}
