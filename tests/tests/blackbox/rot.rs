//! Damaged files: never in silence, never with a panic, and named.

use std::fs;
use std::path::{Path, PathBuf};

use nerve_tests::ledger::copy_files;
use nerve_tests::proof::Proof;
use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

/// The folders whose files are damaged.
const DAMAGED: [&str; 2] = ["log", "checkpoints"];

/// Events in the folder that is damaged.
const EVENTS: usize = 200;

#[test]
fn invariant_07_damage_to_any_file_is_named_or_reported_as_a_cut() {
    let mut proof = Proof::begin("bit flips and truncations, real process");
    let cases = proof.scale(200, 2000);
    let mut dice = proof.dice();
    let mut host = Host::start(&["fixtures/counter"]);
    prepare(&mut host);
    let (data, whole) = (host.path("data"), host.path("whole"));
    copy(&data, &whole);
    let files = damageable(&whole);
    assert_eq!(files.len(), 3, "a segment and two checkpoints: {files:?}");
    for case in 0..cases {
        let name = &files[dice.usize(..files.len())];
        let did = damage(&data.join(name), &mut dice);
        let what = format!("case {case}: {} {did}", name.display());
        check(&mut host, name, &what);
        // What the case left behind must not excuse the next one.
        for folder in DAMAGED {
            fs::remove_dir_all(data.join(folder)).unwrap();
        }
        copy(&whole, &data);
        proof.held(1);
    }
}

/// Events, a clean stop, more events, a kill, more events and another clean stop.
fn prepare(host: &mut Host) {
    let publish = |host: &Host, from: usize| {
        for n in from..from + EVENTS / 4 {
            let data = json!({ "text": "x".repeat(n * 7 % 400) });
            host.publish("test.x", &n.to_string(), Some(&format!("k{}", n % 5)), &data);
        }
    };
    publish(host, 0);
    assert_eq!(host.stop(), Some(0));
    host.run();
    publish(host, EVENTS / 4);
    host.kill();
    host.run();
    publish(host, EVENTS / 2);
    publish(host, EVENTS * 3 / 4);
    assert_eq!(host.stop(), Some(0));
}

fn copy(from: &Path, to: &Path) {
    for folder in DAMAGED {
        copy_files(&from.join(folder), &to.join(folder));
    }
}

/// Segments and checkpoints, from the data folder.
fn damageable(data: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for (folder, ending) in [("log", "log"), ("checkpoints", "checkpoint")] {
        for entry in fs::read_dir(data.join(folder)).unwrap() {
            let name = Path::new(folder).join(entry.unwrap().file_name());
            if name.extension().is_some_and(|found| found == ending) {
                out.push(name);
            }
        }
    }
    out.sort();
    out
}

/// Damage the file in one of many ways; answers how.
fn damage(file: &Path, dice: &mut fastrand::Rng) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = dice.usize(..bytes.len());
    let did = match dice.u8(..5) {
        0 => {
            bytes.truncate(at);
            format!("is cut to {at} bytes")
        }
        1 => {
            let end = bytes.len().min(at / 512 * 512 + 512);
            bytes[at / 512 * 512..end]
                .iter_mut()
                .for_each(|byte| *byte = !*byte);
            format!("has another sector at {at}")
        }
        _ => {
            bytes[at] ^= 1 << dice.u8(..8);
            format!("has a flipped bit in byte {at}")
        }
    };
    fs::write(file, bytes).unwrap();
    did
}

/// Somebody says what was done to `name`, or nothing is lost; and nobody panics.
fn check(host: &mut Host, name: &Path, what: &str) {
    let file = name.file_name().unwrap().to_str().unwrap();
    let verified = nerve(&host.path("."), &["log", "verify", "--output", "json"]);
    let says = String::from_utf8_lossy(&verified.stdout).into_owned();
    let code = verified.status.code();
    assert!(matches!(code, Some(0 | 7)), "{what}: verify: {code:?} {says}");
    assert!(code == Some(0) || says.contains(file), "{what}: verify: {says}");
    let report = serde_json::from_str::<Value>(&says).unwrap_or_default();
    let mut noticed = code == Some(7) || !report["torn"].is_null();
    let before = host.said().len();
    if let Some(code) = host.run_or_end() {
        let said = host.said().split_off(before);
        assert_eq!(code, 7, "{what}: {said}");
        assert!(said.contains(file) || said.contains("offset"), "{what}: {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        return;
    }
    let log = host.get("/v1/log").body;
    noticed |= !log["recovered"].is_null();
    let events = host.events("test.x");
    let last = log["last"].as_u64().unwrap();
    let whole = events.len() == EVENTS;
    assert!(
        whole || noticed,
        "{what}: {} events are left, in silence",
        events.len()
    );
    assert!(noticed || !name.starts_with("log"), "{what}: nobody says so");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["event"]["id"], n.to_string(), "{what}");
    }
    assert_eq!(
        host.state("counter", "count/type/test.x", last),
        events.len(),
        "{what}"
    );
    host.kill();
    let said = host.said().split_off(before);
    assert!(!said.contains("panicked"), "{what}: {said}");
}
