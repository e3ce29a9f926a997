//! The process ends: in the middle, or when it is told to.

use std::collections::HashSet;

use nerve_tests::Host;
use serde_json::json;

#[test]
fn sigkill_loses_nothing_acknowledged_and_settles_nothing_twice() {
    let mut host = Host::start(&["fixtures/counter"]);
    let mut acknowledged = HashSet::new();
    for cycle in 0..5 {
        std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..4)
                .map(|publisher| {
                    let host = &host;
                    scope.spawn(move || {
                        let mut own = Vec::new();
                        for n in 0..2000 {
                            let id = format!("{cycle}-{publisher}-{n}");
                            match host.try_publish("test.x", &id, Some(&format!("k{publisher}")), &json!({}))
                            {
                                Some(answer) if answer.status == 200 => own.push(id),
                                _ => return own,
                            }
                        }
                        own
                    })
                })
                .collect();
            // Somewhere in the middle, known by what is in the log.
            let begun = host.get("/v1/log").body["durable"].as_u64().unwrap();
            while host.get("/v1/log").body["durable"].as_u64().unwrap() < begun + 300 + 50 * cycle {}
            kill(&host);
            for publisher in publishers {
                acknowledged.extend(publisher.join().unwrap());
            }
        });
        host.kill();
        host.run();
        let events = host.events("test.x");
        let found: HashSet<&str> = events
            .iter()
            .map(|event| event["event"]["id"].as_str().unwrap())
            .collect();
        assert_eq!(found.len(), events.len(), "no event is there twice");
        let missing: Vec<_> = acknowledged
            .iter()
            .filter(|id| !found.contains(id.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "cycle {cycle}: acknowledged, and missing: {missing:?}"
        );
        let last = events.last().unwrap()["offset"].as_u64().unwrap();
        assert_eq!(
            host.state("counter", "count/type/test.x", last),
            events.len(),
            "each is counted once"
        );
    }
}

/// SIGKILL, while others still hold on to the host.
fn kill(host: &Host) {
    let pid = std::fs::read_to_string(host.path("data/pid")).unwrap();
    let sent = std::process::Command::new("kill")
        .args(["-KILL", pid.trim()])
        .status()
        .unwrap();
    assert!(sent.success());
}

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
