//! `nerve doctor` on a host, on its folder when it is stopped, and on traces.

use std::fs;

use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

fn doctor(host: &Host, args: &[&str]) -> Value {
    let args = [&["doctor", "--output", "json"], args].concat();
    let output = nerve(&host.path(""), &args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_doctor_finds_in_a_shop_that_orders_ask_and_wait_and_nothing_worse() {
    let mut host = Host::start(&[
        "plugins/carts",
        "plugins/orders",
        "plugins/payments",
        "plugins/inventory",
    ]);
    let orders = 25;
    host.publish(
        "stock.received",
        "s",
        Some("desk"),
        &json!({ "product": "desk", "count": 100 }),
    );
    for n in 0..orders {
        let (user, order) = (format!("user-{n}"), format!("order-{n}"));
        let item = json!({ "user": user, "product": "desk", "count": 1, "cents": 9900 });
        host.publish("cart.item_added", &format!("i{n}"), Some(&user), &item);
        host.publish(
            "cart.checked_out",
            &format!("b{n}"),
            Some(&user),
            &json!({ "user": user, "order": order }),
        );
    }
    host.until("the orders are confirmed", |host| {
        host.events("order.confirmed").len() == orders
    });
    let address = host.address().to_owned();
    let report = doctor(&host, &["--server", &address, "--html", "report.html"]);
    let found: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["symptom"].as_str().unwrap())
        .collect();
    assert_eq!(
        found,
        ["lock-step", "request-answer", "request-answer"],
        "{report:#}"
    );
    assert!(
        fs::read_to_string(host.path("report.html"))
            .unwrap()
            .contains("disguised as events")
    );
    let text = nerve(
        &host.path(""),
        &["doctor", "--server", &address, "--records", "10"],
    );
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("Examined: 10 records") && text.contains("No symptom was found"),
        "{text}"
    );
    host.stop();
    let rested = doctor(&host, &["--data", "data"]);
    assert_eq!(rested["findings"], report["findings"]);
}

#[test]
fn traces_of_other_services_become_plugins_and_what_is_broken_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let span = |id: &str, parent: &str, name: &str, kind: u8| {
        json!({ "traceId": "0a", "spanId": id, "parentSpanId": parent, "name": name, "kind": kind,
            "startTimeUnixNano": "1760000000000000000", "endTimeUnixNano": "1760000000100000000" })
    };
    let of = |service: &str, span: Value| {
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }],
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] } }] })
    };
    let lines = [
        of("checkout", span("01", "", "POST /orders", 2)),
        of("stock", span("02", "01", "stock.Stock/ReserveItems", 2)),
    ];
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(folder.path().join("spans.jsonl"), lines.join("\n")).unwrap();
    let args = [
        "doctor",
        "--traces",
        "spans.jsonl",
        "--scaffold",
        "made",
        "--output",
        "json",
    ];
    let made = nerve(folder.path(), &args);
    let value: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(value["plan"]["events"][0]["type"], "order.created", "{value:#}");
    assert_eq!(value["scaffolded"][0]["folder"], "made/stock");
    let source = fs::read_to_string(folder.path().join("made/stock/src/lib.rs")).unwrap();
    assert!(
        source.contains("Delivered<OrderCreated>") && source.contains("ItemReserved { id }"),
        "{source}"
    );
    assert!(
        fs::read_to_string(folder.path().join("made/stock/Cargo.toml"))
            .unwrap()
            .contains("name = \"stock\"")
    );

    let again = nerve(folder.path(), &args);
    let value: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (again.status.code(), &value["error"]["code"]),
        (Some(4), &json!("conflict")),
        "nothing is overwritten"
    );
    fs::write(
        folder.path().join("broken.jsonl"),
        format!("{}\n{{\"resourceSpans\": 7}}", lines[0]),
    )
    .unwrap();
    let broken = nerve(folder.path(), &["doctor", "--traces", "broken.jsonl"]);
    let said = String::from_utf8(broken.stderr).unwrap();
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        said.contains("broken.jsonl: line 2, column 19: invalid type: integer `7`"),
        "{said}"
    );
}
