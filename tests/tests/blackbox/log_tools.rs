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

/// A host whose data folder is gone, its plugin folder empty.
fn bare() -> Host {
    let mut host = Host::start(&[]);
    host.stop();
    std::fs::remove_dir_all(host.path("data")).unwrap();
    host
}

#[test]
fn a_backup_of_a_busy_host_is_restored_elsewhere_and_goes_on() {
    let host = Host::start(&["fixtures/counter"]);
    let file = host.path("backup.tar").display().to_string();
    let mut acknowledged = 0;
    for n in 0..50 {
        acknowledged = host.publish("test.x", &format!("before-{n}"), None, &json!({ "n": n }));
    }
    host.state("counter", "count/type/test.x", acknowledged);
    let ended = std::sync::atomic::AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let (host, stop) = (&host, &ended);
        let load = scope.spawn(move || {
            let mut published = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                host.publish("test.x", &format!("during-{published}"), None, &json!({}));
                published += 1;
            }
            published
        });
        let made = run(host, &["log", "backup", &file]);
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(load.join().unwrap() > 0, "publishing went on");
        made
    });
    assert_eq!(made.0, 0, "{made:?}");
    let through = made.1[0]["through"].as_u64().unwrap();
    assert!(through >= acknowledged);
    assert_eq!(
        run(&host, &["log", "backup", &file]).0,
        4,
        "a file that is there is left alone"
    );

    let mut other = bare();
    let (code, told) = run(&other, &["log", "restore", &file, "data"]);
    assert_eq!((code, &told[0]["plugins"]), (0, &json!(["counter"])), "{told:?}");
    assert_eq!(run(&other, &["log", "verify"]).0, 0);
    other.run();
    let log = other.get("/v1/log").body;
    assert!(
        log["id"] == host.get("/v1/log").body["id"] && log["durable"].as_u64() >= Some(through),
        "{log}"
    );
    let of = |host: &Host| {
        let events = host.events("test.x");
        events
            .into_iter()
            .filter(|event| event["offset"].as_u64() <= Some(through))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&other),
        of(&host),
        "every record up to the backup's offset is there"
    );
    let last = other.publish("test.x", "after", None, &json!({}));
    assert_eq!(
        other.state("counter", "count/type/test.x", last),
        other.events("test.x").len()
    );
    assert_eq!(other.plugin("counter")["status"], "live");
    assert_eq!(
        run(&other, &["log", "restore", &file, "data"]).0,
        4,
        "a folder with a log is left alone"
    );
}

#[test]
fn a_backup_that_was_cut_off_or_tampered_with_is_refused_and_leaves_nothing() {
    let host = Host::start(&["fixtures/counter"]);
    for n in 0..10 {
        host.publish("test.x", &n.to_string(), None, &json!({}));
    }
    let file = host.path("backup.tar");
    assert_eq!(run(&host, &["log", "backup", &file.display().to_string()]).0, 0);
    let whole = std::fs::read(&file).unwrap();
    let other = bare();
    let refused = |bytes: &[u8], how: &str| {
        std::fs::write(other.path("bad.tar"), bytes).unwrap();
        let (code, told) = run(&other, &["log", "restore", "bad.tar", "data"]);
        let detail = told[0]["error"]["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(code, 7, "{how}: {told:?}");
        assert!(detail.starts_with("bad.tar can't be restored"), "{how}: {detail}");
        assert!(
            !other.path("data/log").exists() && !other.path("plugins/counter.wasm").exists(),
            "{how}"
        );
    };
    for part in 1..20 {
        let length = whole.len() * part / 20;
        refused(&whole[..length], &format!("{length} bytes"));
        let mut rotten = whole.clone();
        rotten[length] ^= 1;
        // The end of a block behind a file says nothing.
        if whole[length] != 0 {
            refused(&rotten, &format!("byte {length}"));
        }
    }
    // The name of the first entry stands first.
    let mut outside = whole.clone();
    outside[..10].copy_from_slice(b"../log/000");
    let sum: u32 = outside[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    outside[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused(&outside, "a path that leads out");
}

#[test]
fn what_is_exported_and_imported_and_exported_again_is_the_same() {
    let host = Host::start(&["fixtures/counter"]);
    let events = json!([
        { "specversion": "1.0", "id": "a", "source": "web", "type": "test.x", "partitionkey": "k", "subject": "s",
          "time": "2026-01-02T03:04:05Z", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          "correlationid": "c", "flag": true, "number": 7, "data": { "b": [1, 2.5, null, "ü"], "a": u64::MAX } },
        { "specversion": "1.0", "id": "b", "source": "web", "type": "test.y", "datacontenttype": "image/png", "data_base64": "iVBORw==" },
        { "specversion": "1.0", "id": "c", "source": "web", "type": "test.x", "datacontenttype": "text/plain", "data": "text" },
    ]);
    let sent = host.post(
        "/v1/events",
        "application/cloudevents-batch+json",
        events.to_string().as_bytes(),
    );
    assert_eq!(sent.status, 200, "{sent:?}");
    for n in 0..1200 {
        host.publish("test.z", &format!("z{n}"), None, &json!(n));
    }
    let export = |host: &Host, args: &[&str]| {
        let mut all = vec!["log", "export"];
        all.extend(args);
        let (code, lines) = run(host, &all);
        assert_eq!(code, 0);
        lines
    };
    let lines = export(&host, &[]);
    assert_eq!(
        (lines.len(), &lines[1]["data_base64"]),
        (1203, &json!("iVBORw=="))
    );
    assert_eq!(export(&host, &["--types", "test.x"]).len(), 2);
    assert_eq!(
        run(&host, &["log", "export", "--data", "data"]).0,
        4,
        "its log is in use"
    );
    assert_eq!(run(&host, &["log", "export", "-o", "events.jsonl"]).0, 0);

    // What is there already is no conflict, though it is shown with a time that it came without.
    let (code, told) = run(&host, &["log", "import", "events.jsonl"]);
    assert_eq!(
        (code, &told[0]["published"], &told[0]["duplicates"]),
        (0, &json!(0), &json!(1203)),
        "{told:?}"
    );
    let mut changed = lines[1].clone();
    changed["time"] = json!("2026-01-02T03:04:05Z");
    std::fs::write(host.path("changed.jsonl"), format!("{}\n{changed}\n", lines[0])).unwrap();
    let (code, told) = run(&host, &["log", "import", "changed.jsonl"]);
    assert_eq!(
        (code, &told[0]["duplicates"], &told[0]["lines"][0]["line"]),
        (1, &json!(1), &json!(2)),
        "{told:?}"
    );

    let mut other = Host::start(&[]);
    let file = host.path("events.jsonl").display().to_string();
    let (code, told) = run(&other, &["log", "import", &file]);
    assert_eq!((code, &told[0]["published"]), (0, &json!(1203)), "{told:?}");
    let (code, told) = run(&other, &["log", "import", &file]);
    assert_eq!(
        (code, &told[0]["published"], &told[0]["duplicates"]),
        (0, &json!(0), &json!(1203)),
        "{told:?}"
    );
    assert_eq!(export(&other, &[]), lines);
    other.stop();
    assert_eq!(
        export(&other, &["--data", "data"]),
        lines,
        "and so does the log on disk"
    );
    other.run();

    let bad = "{\"specversion\":\"1.0\",\"id\":\"new\",\"source\":\"web\",\"type\":\"t\"}\n\nno json\n\
               {\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"web\",\"type\":\"other\"}\n";
    std::fs::write(other.path("bad.jsonl"), bad).unwrap();
    let (code, told) = run(&other, &["log", "import", "bad.jsonl"]);
    let numbers: Vec<_> = told[0]["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (code, &told[0]["published"], numbers),
        (1, &json!(1), vec![3, 4]),
        "{told:?}"
    );
}
