//! Files that come, change and go.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nerve_tests::ledger::{Ledger, Published};
use nerve_tests::proof::Proof;
use nerve_tests::{Host, built};
use serde_json::{Value, json};

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

/// Events that are published at a time, a hundred times a second.
const AT_A_TIME: u64 = 50;

#[test]
fn invariant_05_swaps_under_load_lose_double_and_reorder_nothing() {
    let mut proof = Proof::begin("swaps under 5,000 events/s");
    let swaps = proof.scale(20, 200);
    let mut host = Host::start(&["fixtures/counter"]);
    let component = built("fixtures/counter");
    let (published, stop) = (Mutex::<Published>::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&host, &published, &stop));
        for swap in 0..swaps {
            let seen = published.lock().unwrap().told.len();
            while published.lock().unwrap().told.len() < seen + 200 {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            // Another comment in the settings makes another version; every fifth swap goes back.
            let answer = if swap % 5 == 4 {
                host.post("/v1/plugins/counter/rollback", "application/json", b"")
            } else {
                let path = format!("/v1/plugins/counter?settings=%23%20swap%20{swap}");
                host.put(&path, "application/wasm", &component)
            };
            assert_eq!(answer.status, 200, "swap {swap}: {}", answer.body);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let published = published.into_inner().unwrap();
    let last = published.told.values().copied().max().unwrap();
    let counted = host.state("counter", "count/type/test.x", last);
    assert_eq!(counted, published.told.len(), "none is lost and none doubled");
    let versions = host.get("/v1/plugins/counter/versions").body;
    let versions = versions["versions"].as_array().unwrap().clone();
    let rolled_back = versions
        .iter()
        .filter(|version| version["rolled_back"]["by"] == "operator");
    assert!(rolled_back.count() > 0);
    assert_eq!(host.stop(), Some(0));
    let faults = Ledger::read(&host.path("data")).violations(&published);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    proof.held(swaps);
}

/// Publish events of ten keys until told to stop.
fn publish(host: &Host, published: &Mutex<Published>, stop: &AtomicBool) {
    let (connection, begun) = (host.connect(), Instant::now());
    for n in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let due = begun + n * Duration::from_millis(10);
        while let Some(left) = due
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            std::thread::park_timeout(left);
        }
        let event = |i: u64| {
            let (id, key) = (format!("{n}-{i}"), format!("k{}", i % 10));
            json!({ "specversion": "1.0", "id": id, "source": "test", "type": "test.x", "partitionkey": key, "data": {} })
        };
        let batch: Vec<Value> = (0..AT_A_TIME).map(event).collect();
        published.lock().unwrap().sending(&batch);
        let answer = connection.publish(&batch).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        published.lock().unwrap().told(&batch, &answer.body);
    }
}
