//! The disk runs full: publishing is refused, what is in is settled, and it heals by itself.
//!
//! The disk is a small one that only the host's process sees. Where nobody may mount, the test fails with what
//! `unshare` or `mount` says: run it as root, or allow user namespaces.

use std::fs;
use std::io::Write;

use nerve_tests::{Answer, Host, nerve};
use serde_json::json;

/// Take all that is free on the host's disk, but for the reserve.
fn fill_up(host: &Host) {
    let mut ballast = fs::File::create(host.path("data/ballast")).unwrap();
    let block = vec![0; 4096];
    while ballast.write_all(&block).is_ok() {}
}

#[test]
fn a_full_disk_refuses_publishers_and_settles_what_is_in() {
    let mut host = Host::start_on_small_disk(64, &["fixtures/counter"]);
    let data = json!("x".repeat(64 << 10));
    let mut acknowledged = 0;
    let refused = loop {
        let publish = host.try_publish("test.x", &format!("n{acknowledged}"), None, &data);
        match publish.unwrap() {
            Answer { status: 200, .. } => acknowledged += 1,
            refused => break refused,
        }
        assert!(acknowledged < 2000, "the disk never is full");
    };
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (507, &json!("disk-full")),
        "{}",
        refused.body
    );
    assert!(
        acknowledged > 400,
        "most of a small disk is for events, not {acknowledged}"
    );
    let again = host.try_publish("test.x", "n0", None, &data).unwrap();
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    assert_eq!(host.get("/readyz").status, 503);
    let server = host.address().to_owned();
    let info = nerve(&host.path("."), &["--server", &server, "log", "info"]);
    let info = String::from_utf8_lossy(&info.stdout).into_owned();
    assert!(info.contains("short_of_room true"), "{info}");

    let last = host.get("/v1/log").body["last"].as_u64().unwrap();
    assert_eq!(host.state("counter", "count/type/test.x", last), acknowledged);
    fill_up(&host);
    let before = host.get("/v1/log").body["last"].as_u64().unwrap();
    for action in ["pause", "resume"] {
        let done = host.post(&format!("/v1/plugins/counter/{action}"), "application/json", b"");
        assert_eq!(done.status, 200, "{}", done.body);
    }
    assert_eq!(host.get("/v1/log").body["last"], before + 2, "both are on disk");

    let events = host.events("test.x");
    assert_eq!(
        events.len(),
        acknowledged,
        "all that was acknowledged, and nothing else"
    );
    host.kill();
}

#[test]
fn room_that_somebody_makes_is_found_without_a_restart() {
    let mut host = Host::start_on_small_disk(64, &["fixtures/counter"]);
    let last = host.publish("test.x", "before", None, &json!({}));
    host.state("counter", "count/type/test.x", last);
    fill_up(&host);
    // The host meets the full disk when it writes what does not fit into the last page.
    host.until("the reserve is given up", |host| {
        let paused = host.post("/v1/plugins/counter/pause", "application/json", b"");
        assert_eq!(paused.status, 200, "{}", paused.body);
        !host.path("data/log/reserve").exists()
    });
    assert_eq!(
        host.try_publish("test.x", "while", None, &json!({}))
            .unwrap()
            .status,
        507
    );
    fs::remove_file(host.path("data/ballast")).unwrap();
    host.until("events are accepted again", |host| {
        host.try_publish("test.x", "after", None, &json!({}))
            .unwrap()
            .status
            == 200
    });
    assert!(host.path("data/log/reserve").exists(), "room is held back again");
    assert_eq!(host.get("/readyz").status, 200);
    assert_eq!(host.stop(), Some(0));
}
