//! Files that come, change and go.

use nerve_tests::{Host, built};
use serde_json::json;

#[test]
fn invariant_05_a_refused_file_changes_nothing_and_says_why() {
    let mut host = Host::start(&["fixtures/counter"]);
    let good = host.plugin("counter");
    let whole = built("fixtures/counter");
    let cases: [(&[u8], &str); 4] = [
        (b"not wasm at all", "no WebAssembly"),
        (&whole[..whole.len() / 3], "does not compile"),
        (&built("fixtures/wrong-world"), "nerve-sdk"),
        (&built("fixtures/trap"), "describes itself as \"trap\""),
    ];
    let mut handled = 0;
    for (bytes, says) in cases {
        host.drop_bytes("counter", bytes);
        host.until(says, |host| {
            host.plugin("counter")["refused"]["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(says))
        });
        let last = host.publish("test.x", says, None, &json!({}));
        handled += 1;
        assert_eq!(
            host.state("counter", "count/type/test.x", last),
            handled,
            "the good one goes on"
        );
        assert_eq!(host.plugin("counter")["version"], good["version"]);
    }
    // Also over a restart: the refused file is still there, and the good version is what runs.
    assert_eq!(host.stop(), Some(0));
    host.run();
    host.until("the good version is back", |host| {
        host.plugin("counter")["version"] == good["version"]
    });
    let last = host.publish("test.x", "after", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", last), handled + 1);
    assert!(
        host.plugin("counter")["refused"]["reason"]
            .as_str()
            .unwrap()
            .contains("describes itself")
    );
}

#[test]
fn a_removed_plugin_keeps_its_cursor_and_state_and_catches_up() {
    let mut host = Host::start(&["fixtures/counter"]);
    let last = host.publish("test.x", "1", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", last), 1);
    let removed = nerve_tests::nerve(
        &host.path("."),
        &["--server", host.address(), "plugin", "remove", "counter"],
    );
    assert!(
        removed.status.success(),
        "{}",
        String::from_utf8_lossy(&removed.stderr)
    );
    assert_eq!(host.plugin("counter")["status"], "removed");
    let last = host.publish("test.x", "2", None, &json!({}));
    host.kill();
    host.run();
    assert_eq!(
        host.get("/v1/plugins/counter/state/count/type/test.x").body["value"],
        1,
        "its state can still be read"
    );
    host.drop_built("fixtures/counter");
    host.until("it is back", |host| host.plugin("counter")["status"] == "live");
    assert_eq!(host.state("counter", "count/type/test.x", last), 2);
}

#[test]
fn swaps_under_load_lose_double_and_reorder_nothing() {
    let mut host = Host::start(&["fixtures/counter"]);
    let bytes = built("fixtures/counter");
    let mut published = 0;
    let mut last = 0;
    for swap in 0..5 {
        let before = host.plugin("counter")["version"].clone();
        // Another comment in the settings makes another version.
        std::fs::write(host.path("plugins/counter.toml"), format!("# swap {swap}\n")).unwrap();
        host.drop_bytes("counter", &bytes);
        host.until("the next version is live", |host| {
            last = host.publish("test.x", &format!("x{published}"), Some("k"), &json!({}));
            published += 1;
            host.plugin("counter")["version"] != before
        });
    }
    assert_eq!(host.state("counter", "count/key/k", last), published);
}
