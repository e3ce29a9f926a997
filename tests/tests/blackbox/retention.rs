//! A log that grows without end: memory follows the hot window, and the disk what is retained.

use nerve_tests::Host;
use serde_json::json;

#[test]
fn invariant_10_memory_follows_the_hot_window_and_the_disk_what_is_retained() {
    let options = &["--hot-mib", "8", "--retain-mib", "80"];
    let mut host = Host::start_with(options, &["fixtures/counter"]);
    let data = json!("x".repeat(512 << 10));
    let publish = |host: &Host, from: u32, to: u32| {
        (from..to).fold(0, |_, n| host.publish("test.x", &n.to_string(), None, &data))
    };
    let last = publish(&host, 0, 100);
    host.state("counter", "count/type/test.x", last);
    let before = host.resident() >> 20;
    let last = publish(&host, 100, 800);
    assert_eq!(host.state("counter", "count/type/test.x", last), 800);
    let after = host.resident() >> 20;
    assert!(
        after < before + 64,
        "350 MiB more of the log took {} MiB of memory",
        after - before
    );
    host.until("the oldest segments go", |host| {
        let log = host.get("/v1/log").body;
        log["first"].as_u64().unwrap() > 100 && log["bytes"].as_u64().unwrap() < 224 << 20
    });
    let first = host.get("/v1/log").body["first"].clone();
    let gone = host.get("/v1/events?after=0");
    assert_eq!((gone.status, &gone.body["first"]), (410, &first));
    host.kill();
    host.run();
    let again = host.plugin("counter");
    assert_eq!(
        (&again["counters"]["done"], &again["paused"]),
        (&json!(800), &json!(null))
    );
}
