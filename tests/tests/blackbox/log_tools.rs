//! The tools for a log that no host uses, and what they leave.

use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

/// `nerve --output json …` in the host's folder: its exit code, and all that it printed, a value for each line.
fn run(host: &Host, args: &[&str]) -> (i32, Vec<Value>) {
    let mut all = vec!["--output", "json", "--server", host.address()];
    all.extend(args);
    let output = nerve(&host.path("."), &all);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), values.collect())
}

/// Flip a bit in the only segment's frame that holds `text`.
fn rot(host: &Host, text: &str) {
    let file = host.path("data/log/00000000000000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(text.len())
        .position(|part| part == text.as_bytes())
        .unwrap();
    bytes[at] ^= 4;
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn a_damaged_log_is_repaired_only_when_its_loss_is_accepted_and_then_the_host_starts() {
    let mut host = Host::start(&["fixtures/counter"]);
    let mut last = 0;
    for n in 0..30 {
        last = host.publish("test.x", &format!("number-{n}."), None, &json!({}));
    }
    host.state("counter", "count/type/test.x", last);
    assert_eq!(host.stop(), Some(0));
    let damaged = host.path("data/log/00000000000000000001.log");
    rot(&host, "number-7.");
    let before = std::fs::read(&damaged).unwrap();

    let (code, told) = run(&host, &["log", "verify"]);
    assert_eq!(
        (code, told[0]["damage"].as_array().unwrap().len()),
        (7, 1),
        "{told:?}"
    );
    let gone = told[0]["unreadable"][0][1].as_u64().unwrap();
    let (code, told) = run(&host, &["log", "repair"]);
    assert_eq!((code, &told[0]["repaired"]), (7, &json!(false)), "{told:?}");
    assert_eq!(std::fs::read(&damaged).unwrap(), before, "nothing was changed");
    let (code, told) = run(&host, &["log", "repair", "--accept-loss"]);
    assert_eq!((code, &told[0]["repaired"]), (0, &json!(true)), "{told:?}");
    assert_eq!(
        told[0]["first"],
        gone + 1,
        "the checkpoint makes up for the beginning: {told:?}"
    );
    assert_eq!(
        std::fs::read(host.path("data/log-before-repair-1/00000000000000000001.log")).unwrap(),
        before
    );
    assert_eq!(run(&host, &["log", "verify"]).0, 0);

    host.run();
    let recovered = host.get("/v1/log").body["recovered"].as_str().unwrap().to_owned();
    assert!(
        recovered.contains("the log was repaired") && recovered.contains(&format!("1 to {gone}")),
        "{recovered}"
    );
    assert_eq!(
        host.state("counter", "count/type/test.x", last),
        30,
        "its state is kept"
    );
    let last = host.publish("test.x", "after", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", last), 31);
}

#[test]
fn without_a_checkpoint_the_log_is_cut_at_the_damage() {
    let mut host = Host::start(&[]);
    for n in 0..20 {
        host.publish("test.x", &format!("number-{n}."), None, &json!({}));
    }
    let (code, _) = run(&host, &["log", "repair"]);
    assert_eq!(code, 4, "a log in use is left alone");
    assert_eq!(run(&host, &["log", "verify"]).0, 0, "and can be looked at");
    host.kill();
    rot(&host, "number-11.");
    let (code, told) = run(&host, &["log", "repair", "--accept-loss"]);
    assert_eq!(
        (code, &told[0]["last"], &told[0]["lost"]),
        (0, &json!(11), &json!([[12, 20]])),
        "{told:?}"
    );
    host.run();
    assert_eq!(host.events("test.x").len(), 11);
    assert_eq!(host.publish("test.x", "after", None, &json!({})), 12);
}
