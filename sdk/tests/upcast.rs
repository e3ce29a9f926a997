//! The way through a breaking change: a new type beside the old one, and a consumer that sees only the new shape.
#![expect(clippy::needless_pass_by_value, reason = "handlers own their event")]

use nerve_sdk::prelude::*;
use nerve_sdk::testing::Host;
use serde_json::{Value, json};

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.placed", key = "order")]
struct OrderPlacedV1 {
    order: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.placed.v2", key = "order", upcasts = OrderPlacedV1)]
struct OrderPlacedV2 {
    order: String,
    amount: Amount,
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.placed.v3", key = "order", upcasts = OrderPlacedV2)]
struct OrderPlaced {
    order: String,
    total: Amount,
}

#[derive(Schema, Serialize, Deserialize, Debug, PartialEq)]
struct Amount {
    cents: u64,
    currency: String,
}

impl From<OrderPlacedV1> for OrderPlacedV2 {
    fn from(old: OrderPlacedV1) -> Self {
        Self {
            order: old.order,
            amount: Amount {
                cents: old.cents,
                currency: "EUR".into(),
            },
        }
    }
}

impl From<OrderPlacedV2> for OrderPlaced {
    fn from(old: OrderPlacedV2) -> Self {
        Self {
            order: old.order,
            total: old.amount,
        }
    }
}

struct Payments;

#[plugin(name = "payments")]
impl Payments {
    #[on]
    fn placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        let total = &event.total;
        ctx.state()
            .set(&event.order, &format!("{} {}", total.cents, total.currency))?;
        Ok(())
    }
}

struct Both;

#[plugin(name = "both")]
impl Both {
    #[on]
    fn newer(ctx: &mut Context<Self>, _event: Delivered<OrderPlacedV2>) -> Result<(), Failure> {
        ctx.state().set("saw", "new")?;
        Ok(())
    }

    #[on]
    fn older(ctx: &mut Context<Self>, _event: Delivered<OrderPlacedV1>) -> Result<(), Failure> {
        ctx.state().set("saw", "old")?;
        Ok(())
    }
}

fn amount(cents: u64) -> Amount {
    Amount {
        cents,
        currency: "USD".into(),
    }
}

#[test]
fn a_consumer_of_the_newest_type_gets_events_of_all_in_the_new_shape() {
    let mut host = Host::<Payments>::new();
    let order = String::from;
    host.deliver(&OrderPlacedV1 {
        order: order("a"),
        cents: 1,
    })
    .expect_done();
    host.deliver(&OrderPlacedV2 {
        order: order("b"),
        amount: amount(2),
    })
    .expect_done();
    host.deliver(&OrderPlaced {
        order: order("c"),
        total: amount(3),
    })
    .expect_done();
    let saw = ["a", "b", "c"].map(|order| host.state::<String>(order).unwrap());
    assert_eq!(saw, ["1 EUR", "2 USD", "3 USD"]);
}

#[test]
fn all_its_types_are_subscribed_to_and_declared_once() {
    let manifest = Payments::manifest();
    let types = ["order.placed.v3", "order.placed.v2", "order.placed"];
    assert_eq!(manifest.subscriptions, types);
    let declared: Vec<&str> = manifest
        .schemas
        .iter()
        .map(|schema| &*schema.event_type)
        .collect();
    assert_eq!(declared, types);
    let oldest: Value = serde_json::from_str(&manifest.schemas[2].json).unwrap();
    assert_eq!(oldest["required"], json!(["order", "cents"]));
    assert_eq!(Both::manifest().schemas.len(), 2);
}

#[test]
fn an_older_type_that_has_a_handler_of_its_own_goes_there() {
    let mut host = Host::<Both>::new();
    host.deliver(&OrderPlacedV1 {
        order: "a".into(),
        cents: 1,
    })
    .expect_done();
    assert_eq!(host.state::<String>("saw").as_deref(), Some("old"));
    host.deliver(&OrderPlacedV2 {
        order: "a".into(),
        amount: amount(1),
    })
    .expect_done();
    assert_eq!(host.state::<String>("saw").as_deref(), Some("new"));
}

#[test]
fn old_data_that_cant_be_read_is_refused_with_its_field() {
    let outcome = Host::<Payments>::new().deliver_as("order.placed", &json!({"order": "a", "cents": "x"}));
    let failure = outcome.expect_failure().to_string();
    assert!(
        failure.contains("order.placed") && failure.contains("`cents`"),
        "{failure}"
    );
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "shaped")]
struct Shaped {
    #[serde(default)]
    may_be_missing_here: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    may_be_missing_there: Vec<i32>,
    way: Way,
}

#[derive(Schema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    n: u64,
}

#[derive(Schema, Serialize, Deserialize)]
enum Way {
    Air,
    Sea(Strict),
}

struct Shaper;

#[plugin(name = "shaper", emits(Shaped))]
impl Shaper {
    #[on]
    fn shape(ctx: &mut Context<Self>, event: Delivered<Shaped>) -> Result<(), Failure> {
        ctx.emit(&event.into_data())?;
        Ok(())
    }
}

#[test]
fn what_is_emitted_is_closed_and_what_is_consumed_is_open() {
    let manifest = Shaper::manifest();
    let [consumed, emitted]: [Value; 2] =
        [0, 1].map(|at: usize| serde_json::from_str(&manifest.schemas[at].json).unwrap());
    assert_eq!(consumed["required"], json!(["may_be_missing_there", "way"]));
    assert_eq!(emitted["required"], json!(["may_be_missing_here", "way"]));
    assert_eq!(
        (
            &consumed["additionalProperties"],
            &emitted["additionalProperties"]
        ),
        (&Value::Null, &json!(false))
    );
    let sea = &consumed["properties"]["way"]["oneOf"][1];
    assert_eq!(
        sea["additionalProperties"],
        json!(false),
        "serde takes exactly one variant"
    );
    assert_eq!(
        sea["properties"]["Sea"]["additionalProperties"],
        json!(false),
        "it denies unknown fields"
    );
    assert_eq!(consumed["properties"]["may_be_missing_here"]["maximum"], 255);
}
