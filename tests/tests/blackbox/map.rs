//! `nerve map` on a host with plugins of the shop, on its folder when it is stopped, and on a backup.

use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

fn map(host: &Host, args: &[&str]) -> Value {
    let args = [&["map", "--output", "json"], args].concat();
    let output = nerve(&host.path(""), &args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Emitter, count, and consumers with their attempts, of a type.
fn told(map: &Value, name: &str) -> String {
    let types = map["types"].as_array().unwrap();
    let one = types.iter().find(|one| one["name"] == name).unwrap();
    let by = one["emitted_by"].as_array().unwrap().iter();
    let by: Vec<String> = by
        .map(|by| format!("{} {}", by["plugin"], by["events"]))
        .collect();
    let to = one["consumed_by"].as_array().unwrap().iter();
    let to: Vec<String> = to
        .map(|to| format!("{} {}", to["plugin"], to["attempts"]))
        .collect();
    format!("{} -> {}", by.join(", "), to.join(", "))
}

#[test]
fn the_map_is_the_same_for_a_host_its_folder_its_backup_and_its_next_life() {
    let mut host = Host::start(&[
        "plugins/carts",
        "plugins/orders",
        "plugins/payments",
        "plugins/inventory",
    ]);
    let item = json!({ "user": "ada", "product": "desk", "count": 1, "cents": 9900 });
    host.publish(
        "stock.received",
        "s",
        Some("desk"),
        &json!({ "product": "desk", "count": 5 }),
    );
    host.publish("cart.item_added", "i", Some("ada"), &item);
    host.publish(
        "cart.checked_out",
        "b",
        Some("ada"),
        &json!({ "user": "ada", "order": "o1" }),
    );
    host.until("the order is confirmed", |host| {
        host.events("order.confirmed").len() == 1
    });
    let last = host.events("order.confirmed")[0]["offset"].as_u64().unwrap();
    host.until("everybody has seen it", |host| {
        host.plugin("inventory")["cursor"].as_u64().unwrap() >= last
    });
    let address = host.address().to_owned();
    let live = map(&host, &["--server", &address]);
    for (name, is) in [
        ("cart.checked_out", r#"null 1 -> "carts" 1"#),
        ("order.placed", r#""carts" 1 -> "orders" 1, "payments" 1"#),
        ("payment.received", r#""payments" 1 -> "orders" 1"#),
        ("order.confirmed", r#""orders" 1 -> "inventory" 1"#),
    ] {
        assert_eq!(told(&live, name), is, "{name}");
    }
    let (orders, payments) = (host.plugin("orders"), host.plugin("payments"));
    let warned = format!("{}{}", orders["warnings"], payments["warnings"]);
    assert!(
        warned.contains("by what is declared an event can come round"),
        "{warned}"
    );
    assert!(
        host.said().contains("an event can come round"),
        "the host's log says so"
    );

    let drawn = nerve(
        &host.path(""),
        &["map", "--server", &address, "--format", "mermaid", "payment.>"],
    );
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert!(
        drawn.starts_with("flowchart LR") && drawn.contains("payments") && !drawn.contains("cart."),
        "{drawn}"
    );
    let backup = nerve(&host.path(""), &["log", "backup", "b.tar", "--server", &address]);
    assert!(backup.status.success());

    host.stop();
    let plain = |map: &Value| {
        let mut types = map["types"].clone();
        for one in types.as_array_mut().unwrap() {
            // What changes while nothing happens.
            one["per_minute"] = json!(0);
            for side in ["emitted_by", "consumed_by"] {
                one[side]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .for_each(|by| by["per_minute"] = json!(0));
            }
        }
        types
    };
    assert_eq!(plain(&map(&host, &["--data", "data"])), plain(&live));
    assert_eq!(plain(&map(&host, &["--backup", "b.tar"])), plain(&live));
    host.run();
    let address = host.address().to_owned();
    assert_eq!(plain(&map(&host, &["--server", &address])), plain(&live));
}
