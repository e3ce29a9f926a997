//! The process ends when it is told to, and does not start on damage.

use nerve_tests::Host;
use serde_json::json;

#[test]
fn sigterm_settles_syncs_and_exits_with_0() {
    let mut host = Host::start(&["fixtures/counter"]);
    let last = host.publish("test.x", "1", None, &json!({}));
    host.state("counter", "count/type/test.x", last);
    assert_eq!(host.stop(), Some(0));
    let verified = nerve_tests::nerve(&host.path("."), &["log", "verify", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert!(verified.status.success() && report["torn"].is_null(), "{report}");
    host.run();
    assert_eq!(host.get("/v1/plugins/counter").body["counters"]["done"], 1);
}

#[test]
fn a_damaged_log_is_refused_with_file_and_offset_and_exit_code_7() {
    let mut host = Host::start(&[]);
    for n in 0..20 {
        host.publish("test.x", &n.to_string(), None, &json!({}));
    }
    host.stop();
    let file = host.path("data/log/00000000000000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[300] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let run = nerve_tests::nerve(&host.path("."), &["run", "--listen", "127.0.0.1:0"]);
    let says = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(7), "{says}");
    assert!(
        says.contains("00000000000000000001.log, byte ") && says.contains("nerve log verify"),
        "{says}"
    );
    let verified = nerve_tests::nerve(&host.path("."), &["log", "verify"]);
    assert_eq!(verified.status.code(), Some(7));
}
