//! `nerve plugin rewind`, on a real host with a real plugin.

use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

fn rewind(host: &Host, args: &[&str]) -> (Option<i32>, Value) {
    let fixed = [
        "--server",
        host.address(),
        "--output",
        "json",
        "plugin",
        "rewind",
        "counter",
    ];
    let out = nerve(&host.path(""), &[&fixed[..], args].concat());
    (
        out.status.code(),
        serde_json::from_slice(&out.stdout).unwrap_or_default(),
    )
}

fn counted(host: &Host, at: u64) -> Value {
    host.state("counter", "count/type/test.x", at)
}

fn ended(host: &mut Host) {
    host.until("the rewind ends", |host| {
        host.plugin("counter")["rewind"].is_null()
    });
}

#[test]
fn a_state_is_rebuilt_while_events_flow_and_the_host_is_killed() {
    let mut host = Host::start(&["fixtures/counter"]);
    let mut last = 0;
    for n in 0..300 {
        last = host.publish("test.x", &format!("x{n}"), Some("k"), &json!({ "n": n }));
    }
    assert_eq!(counted(&host, last), 300);

    // History is added to the state, and is marked.
    assert_eq!(
        rewind(&host, &["--to", &last.to_string(), "--mute", "emit,http"]).0,
        Some(0)
    );
    ended(&mut host);
    assert_eq!(counted(&host, last), 301);

    // A fresh state is not: readers have the old one until the new one has caught up, whatever happens between.
    let (code, begun) = rewind(
        &host,
        &["--to", "start", "--fresh", "--mute", "emit", "--rate", "80"],
    );
    assert_eq!((code, &begun["rewind"]["fresh"]), (Some(0), &json!(true)));
    for n in 300..340 {
        last = host.publish("test.x", &format!("x{n}"), Some("k"), &json!({ "n": n }));
    }
    host.until("history is on its way", |host| {
        host.plugin("counter")["rewind"]["counters"]["done"]
            .as_u64()
            .is_some_and(|done| done > 20)
    });
    assert_eq!(counted(&host, last), 341, "the old state has what came since");
    host.kill();
    host.run();
    assert_eq!(rewind(&host, &["--to", "start"]).0, Some(4), "the rewind goes on");
    last = host.publish("test.x", "last", Some("k"), &json!({}));
    ended(&mut host);
    assert_eq!(counted(&host, last), 341, "each event once: 340 and the last");

    // One is stopped.
    assert_eq!(rewind(&host, &["--to", "start", "--rate", "1"]).0, Some(0));
    assert_eq!(rewind(&host, &["--stop"]).0, Some(0));
    assert_eq!(host.plugin("counter")["rewind"], Value::Null);
    assert_eq!(rewind(&host, &["--stop"]).0, Some(3));
    assert_eq!(rewind(&host, &["--to", "nobody"]).0, Some(3));
    assert_eq!(rewind(&host, &[]).0, Some(2));
    assert_eq!(host.stop(), Some(0));
}
