//! The test host goes by the host's rules, and the macros say what the plugin is.
#![expect(clippy::needless_pass_by_value, reason = "handlers own their event")]

use std::collections::BTreeMap;
use std::time::Duration;

use nerve_sdk::prelude::*;
use nerve_sdk::testing::{Ending, EventFields, Host};
use nerve_sdk::{RawEmit, StateError};
use serde_json::{Value, json};

#[derive(Schema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Size {
    Small,
    ExtraLarge,
}

#[derive(Schema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Line {
    product_name: String,
    count: u32,
}

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(type = "order.placed", key = "order", subject = "note")]
struct OrderPlaced {
    order: u64,
    lines: Vec<Line>,
    size: Size,
    note: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, bool>,
    /// What the handler is to do.
    act: String,
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.seen", key = "order")]
struct OrderSeen {
    order: u64,
}

struct Orders;

#[plugin(
    name = "orders",
    version = "1.2.0",
    emits(OrderSeen, "order.raw"),
    readable("seen/")
)]
impl Orders {
    #[on]
    fn placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        info!("order {}", event.order);
        ctx.emit(&OrderSeen { order: event.order })?;
        ctx.state().set(&format!("seen/{}", event.order), &event.size)?;
        match event.act.as_str() {
            "reject" => Err(Failure::reject("no")),
            "retry" => Err(Failure::retry_after(Duration::from_millis(5), "later")),
            "panic" => panic!("at {}", event.order),
            "break" => {
                let refused = ctx.state().set("", &1);
                assert!(matches!(refused, Err(StateError::Key(_))));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[on("stock.*", "user.>")]
    fn other(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure> {
        ctx.emit_raw(RawEmit {
            type_: "order.raw",
            subject: None,
            key: event.key(),
            content_type: Some("text/plain"),
            data: event.event_type().as_bytes(),
        })?;
        Ok(())
    }
}

fn order(act: &str) -> OrderPlaced {
    OrderPlaced {
        order: 7,
        lines: vec![Line {
            product_name: "desk".into(),
            count: 2,
        }],
        size: Size::ExtraLarge,
        note: None,
        tags: BTreeMap::new(),
        act: act.into(),
    }
}

#[test]
fn a_done_delivery_settles_its_effects() {
    let mut host = Host::<Orders>::new();
    let outcome = host.deliver(&order(""));
    assert_eq!(
        outcome.expect_done().emitted::<OrderSeen>(),
        [OrderSeen { order: 7 }]
    );
    assert_eq!(outcome.emitted[0].key.as_deref(), Some("7"));
    assert_eq!(host.state::<Size>("seen/7"), Some(Size::ExtraLarge));
}

#[test]
fn a_failed_delivery_leaves_its_log_lines_and_nothing_else() {
    for act in ["reject", "retry", "panic", "break"] {
        let mut host = Host::<Orders>::new();
        let outcome = host.deliver(&order(act));
        match (act, &outcome.ending) {
            ("reject", Ending::Failed(failure)) => assert_eq!(failure, &Failure::reject("no")),
            ("retry", Ending::Failed(failure)) => {
                assert_eq!(failure, &Failure::retry_after(Duration::from_millis(5), "later"));
            }
            ("panic", Ending::Trapped(message)) => assert_eq!(message, "at 7"),
            ("break", Ending::Broke(limit)) => assert!(limit.contains("1 to 512"), "{limit}"),
            (_, other) => panic!("{act} ended as {other:?}"),
        }
        assert!(outcome.logged("order 7"));
        assert!(outcome.emitted.is_empty());
        assert!(host.state_keys().is_empty());
    }
}

#[test]
fn patterns_take_raw_events() {
    let mut host = Host::<Orders>::new();
    for event_type in ["stock.received", "user.address.changed"] {
        let outcome = host.deliver_as(event_type, &());
        assert_eq!(outcome.expect_done().emitted[0].data, event_type.as_bytes());
    }
}

#[test]
#[should_panic(expected = "orders does not subscribe to stock.received.twice")]
fn an_event_that_was_not_subscribed_to_is_not_delivered() {
    drop(Host::<Orders>::new().deliver_as("stock.received.twice", &()));
}

#[test]
fn data_that_does_not_fit_is_a_reject_that_names_the_field() {
    let good = || {
        let json = json!({"order": 7, "lines": [{"productName": "desk", "count": 2}], "size": "small",
                          "note": null, "act": "", "unknown": [1, {"a": -5}, 2.5, null, "x".repeat(300)]});
        json.as_object().cloned().unwrap()
    };
    let mut host = Host::<Orders>::new();
    host.deliver_as("order.placed", &good()).expect_done();
    for (field, value, named) in [
        ("order", json!("seven"), "field `order`"),
        (
            "lines",
            json!([{"productName": "desk", "count": -2}]),
            "field `lines`",
        ),
        ("lines", json!([{"productName": "desk"}]), "missing field `count`"),
        ("size", json!("huge"), "field `size`"),
        ("note", json!(5), "field `note`"),
    ] {
        let mut data = good();
        data.insert(field.to_owned(), value);
        let outcome = host.deliver_as("order.placed", &data);
        let Failure::Reject { reason } = outcome.expect_failure() else {
            panic!("{outcome:?}")
        };
        assert!(
            reason.contains(named) && reason.contains("order.placed"),
            "{reason}"
        );
    }
    let mut data = good();
    data.remove("act");
    let outcome = host.deliver_as("order.placed", &data);
    assert!(outcome.expect_failure().reason().contains("missing field `act`"));
}

#[test]
fn cut_and_random_data_is_a_reject_and_never_a_panic() {
    let mut whole = rmp_serde::to_vec_named(&order("")).unwrap();
    for len in 0..whole.len() {
        let raw = EventFields {
            data: whole[..len].to_vec(),
            ..EventFields::of("order.placed")
        };
        let outcome = Host::<Orders>::new().deliver_raw(raw);
        assert!(matches!(outcome.expect_failure(), Failure::Reject { .. }));
    }
    for at in 0..whole.len() {
        for byte in [0x00, 0x81, 0xc1, 0xc6, 0xdb, 0xdd, 0xdf, 0xff] {
            let good = std::mem::replace(&mut whole[at], byte);
            let raw = EventFields {
                data: whole.clone(),
                ..EventFields::of("order.placed")
            };
            let outcome = Host::<Orders>::new().deliver_raw(raw);
            assert!(!matches!(outcome.ending, Ending::Trapped(_)), "{outcome:?}");
            whole[at] = good;
        }
    }
}

#[test]
fn the_manifest_says_what_was_written() {
    let manifest = Orders::manifest();
    assert_eq!(
        (manifest.name.as_str(), manifest.version.as_str()),
        ("orders", "1.2.0")
    );
    assert_eq!(manifest.subscriptions, ["order.placed", "stock.*", "user.>"]);
    assert_eq!(manifest.emits, ["order.seen", "order.raw"]);
    assert_eq!(manifest.readable, ["seen/"]);
    let schema: Value = serde_json::from_str(&manifest.schemas[0].json).unwrap();
    let text = json!({"type": "string"});
    let count = json!({"type": "integer", "minimum": 0});
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "properties": {
                "order": count,
                "lines": {"type": "array", "items": {
                    "type": "object",
                    "properties": {"productName": text, "count": {"type": "integer", "minimum": 0, "maximum": u32::MAX}},
                    "required": ["productName", "count"],
                }},
                "size": {"enum": ["small", "extra_large"]},
                "note": {"anyOf": [text, {"type": "null"}]},
                "tags": {"type": "object", "additionalProperties": {"type": "boolean"}},
                "act": text,
            },
            "required": ["order", "lines", "size", "act"],
        })
    );
}

struct Scanner;

#[plugin(name = "scanner")]
impl Scanner {
    #[on("scan.*")]
    fn scan(ctx: &mut Context<Self>, _event: RawEvent) -> Result<(), Failure> {
        let entries: Vec<(String, u32)> = ctx.state().scan("b/").collect::<Result<_, _>>()?;
        ctx.state().set("found", &entries)?;
        ctx.state().delete("a/1")?;
        Ok(())
    }
}

#[test]
fn a_scan_finds_every_key_of_its_prefix_once_and_in_order() {
    let mut host = Host::<Scanner>::new();
    host.set_state("a/1", &1_u32);
    host.set_state("c/1", &1_u32);
    // More than one page, and a page boundary that ends exactly: 512 = 2 x 256.
    let wanted: Vec<(String, u32)> = (0..512).map(|n| (format!("b/{n:04}"), n)).collect();
    for (key, value) in &wanted {
        host.set_state(key, value);
    }
    host.deliver_as("scan.now", &()).expect_done();
    assert_eq!(host.state::<Vec<(String, u32)>>("found"), Some(wanted));
    assert_eq!(host.state::<u32>("a/1"), None);
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "reminder.due", key = "who")]
struct ReminderDue {
    who: String,
}

struct Reminders;

#[plugin(name = "reminders", emits(ReminderDue))]
impl Reminders {
    #[on("reminder.asked")]
    fn asked(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure> {
        let who: String = event.parse()?;
        ctx.timer(&who)
            .after(Duration::from_mins(1), &ReminderDue { who: who.clone() })?;
        if who == "nobody" {
            return Err(Failure::reject("who is that"));
        }
        Ok(())
    }

    #[on("reminder.given_up")]
    fn given_up(ctx: &mut Context<Self>, event: RawEvent) -> Result<(), Failure> {
        let who: String = event.parse()?;
        ctx.timer(&who).cancel()?;
        Ok(())
    }

    #[on]
    fn due(ctx: &mut Context<Self>, event: Delivered<ReminderDue>) -> Result<(), Failure> {
        ctx.state().set("reminded", &event.who)?;
        Ok(())
    }
}

#[test]
fn a_timer_is_set_and_cancelled_with_its_delivery_and_fires_once() {
    let mut host = Host::<Reminders>::new();
    host.deliver_as("reminder.asked", "ada").expect_done();
    host.deliver_as("reminder.asked", "eve").expect_done();
    host.deliver_as("reminder.given_up", "eve").expect_done();
    host.deliver_as("reminder.asked", "nobody").expect_failure();
    assert_eq!(host.timers().keys().collect::<Vec<_>>(), ["ada"]);
    let timer = &host.timers()["ada"];
    assert_eq!(timer.due, 1_767_225_600_000_000 + 61_000_000);
    assert_eq!(
        timer.event.parse::<ReminderDue>(),
        ReminderDue { who: "ada".into() }
    );
    host.fire("ada").expect_done();
    assert_eq!(host.state::<String>("reminded").as_deref(), Some("ada"));
    assert!(host.timers().is_empty());
}

#[test]
fn a_timer_without_a_name_fails_the_delivery() {
    let mut host = Host::<Reminders>::new();
    let outcome = host.deliver_as("reminder.asked", "");
    assert!(matches!(outcome.ending, Ending::Broke(_)), "{outcome:?}");
}
