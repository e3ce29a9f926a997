//! Every limit has a name, which the refusal or the outcome says, and the counter of the plugin too.

use std::fs;

use nerve_tests::Host;
use serde_json::{Value, json};

/// Drop `fixtures/NAME` with these settings.
fn drop_with(host: &Host, name: &str, settings: &str) {
    fs::write(host.path(&format!("plugins/{name}.toml")), settings).unwrap();
    host.drop_built(&format!("fixtures/{name}"));
}

/// Attempts are few and quick.
const RETRY: &str = "[retry]\nattempts = 2\nfirst_ms = 1\noutage_keys = 0\n";

fn live(host: &mut Host, name: &str) {
    host.until("it is live", |host| host.plugin(name)["status"] == "live");
}

/// The only dead letter of a plugin.
fn dead(host: &mut Host, name: &str) -> Value {
    host.until("it has a dead letter", |host| {
        host.plugin(name)["dead_letters"] == 1
    });
    let mut list = host.get(&format!("/v1/dead-letters?plugin={name}")).body;
    list["dead_letters"][0].take()
}

#[test]
fn a_component_that_needs_more_than_it_may_have_is_refused_by_the_name_of_the_limit() {
    let mut host = Host::start(&[]);
    for (limit, says) in [
        ("component_bytes = 1000", "raise limits.component_bytes"),
        (
            "memories = 0",
            "limit memories: the component has 1, and 0 are allowed",
        ),
        ("tables = 0", "limit tables: the component has"),
        ("table_elements = 0", "limit table_elements: its tables asked for"),
        ("memory_bytes = 1", "limit memory_bytes: it asked for"),
        (
            "host_call_bytes = 1",
            "limit host_call_bytes: 1 bytes may be handed",
        ),
        ("shape.functions = 1", "raise limits.shape.functions"),
        ("shape.types = 1", "raise limits.shape.types"),
        ("shape.imports = 0", "raise limits.shape.imports"),
    ] {
        drop_with(&host, "counter", &format!("[limits]\n{limit}\n"));
        host.until(&format!("{limit}: the refusal says {says}"), |host| {
            let plugin = host.plugin("counter");
            let reason = plugin.pointer("/refused/reason").and_then(Value::as_str);
            reason.is_some_and(|reason| reason.contains(says))
        });
    }
}

#[test]
fn invariant_12_a_delivery_beyond_a_limit_says_which_and_is_counted() {
    let mut host = Host::start(&[]);
    drop_with(&host, "counter", &format!("[limits]\nevent_bytes = 100\n{RETRY}"));
    live(&mut host, "counter");
    host.publish("test.x", "small", None, &json!({ "text": "x" }));
    host.publish("test.x", "large", None, &json!({ "text": "x".repeat(100) }));
    let letter = dead(&mut host, "counter");
    assert!(
        letter["class"] == "limit"
            && letter["reason"]
                .as_str()
                .unwrap()
                .starts_with("limit event_bytes: the event has"),
        "{letter}"
    );
    assert_eq!(host.plugin("counter")["limits_hit"], json!({ "event_bytes": 2 }));

    drop_with(&host, "flood", RETRY);
    live(&mut host, "flood");
    host.publish("test.flood.log", "l", None, &json!({}));
    host.until("the lines that are lost are counted", |host| {
        host.plugin("flood")["limits_hit"]["log_lines"].as_u64() > Some(0)
    });
    host.kill();
    host.run();
    assert_eq!(
        host.plugin("counter")["limits_hit"],
        json!({ "event_bytes": 2 }),
        "counters are of the log"
    );
}

#[test]
fn what_one_delivery_settles_is_bounded_as_a_whole() {
    let kinds = ["emits", "writes", "writes", "timers", "lines", "scans"];
    // By default all fits. Log lines have limits of their own.
    for (limit, dead) in [(524_288, 0), (100_000, 5)] {
        let mut host = Host::start(&[]);
        let settings = if dead == 0 {
            String::new()
        } else {
            format!("[limits]\nbatch_bytes = {limit}\n")
        };
        drop_with(&host, "torrent", &format!("{settings}{RETRY}"));
        live(&mut host, "torrent");
        assert_eq!(host.plugin("torrent")["limits"]["batch_bytes"], limit);
        for (n, kind) in kinds.iter().enumerate() {
            host.publish(&format!("torrent.{kind}"), &n.to_string(), None, &json!({}));
        }
        host.until("all are settled", |host| {
            let counters = host.plugin("torrent")["counters"].take();
            counters["done"].as_u64().unwrap() + counters["dead"].as_u64().unwrap() == 6
        });
        let plugin = host.plugin("torrent");
        assert_eq!(plugin["dead_letters"], dead, "with {limit} bytes");
        assert_eq!(
            plugin["limits_hit"]["batch_bytes"].as_u64().unwrap_or_default(),
            2 * dead,
            "each attempt is counted"
        );
    }
}

#[test]
fn a_chain_longer_than_a_plugin_wants_is_taken_for_a_loop() {
    let mut host = Host::start(&["fixtures/retry"]);
    drop_with(&host, "counter", "[limits]\nhops = 0\n");
    live(&mut host, "counter");
    let last = host.publish("test.retry", "first", None, &json!({ "fail": 0 }));
    assert_eq!(host.state("counter", "count/type/test.retry", last), 1);
    let letter = dead(&mut host, "counter");
    assert!(
        letter["class"] == "loop" && letter["reason"].as_str().unwrap().starts_with("limit hops: "),
        "{letter}"
    );
    assert_eq!(host.plugin("counter")["limits_hit"], json!({ "hops": 1 }));
}
