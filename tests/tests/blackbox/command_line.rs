//! Every command of the program, as its own help lists them: called wrongly, and with no host to talk to.

use std::collections::BTreeMap;
use std::fs;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

/// A command that has no others below it, and what it must be given.
#[derive(Debug)]
struct Command {
    words: Vec<String>,
    required: usize,
}

/// All commands below `words`, by the program's own help.
fn commands(words: &[String]) -> Vec<Command> {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    let help = nerve(std::path::Path::new("."), &args);
    assert!(help.status.success(), "{args:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    let mut lines = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .peekable();
    if lines.peek().is_none() {
        let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap();
        return vec![Command {
            words: words.to_vec(),
            required: usage.matches('<').count(),
        }];
    }
    lines
        .take_while(|line| !line.is_empty())
        // A description goes on, further to the right, in the next line.
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .flat_map(|name| commands(&[words, &[name]].concat()))
        .collect()
}

/// What the command answers where JSON is wanted: its exit code, and the one JSON value that it prints.
fn answer(folder: &std::path::Path, args: &[&str]) -> (i32, Value) {
    let with_json: Vec<&str> = [&["--output", "json", "--server", "http://127.0.0.1:1"], args].concat();
    let output = nerve(folder, &with_json);
    let code = output.status.code().unwrap_or(-1);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&stdout)
        .unwrap_or_else(|bad| panic!("{args:?} ends with {code} and says {stdout:?}: {bad}"));
    (code, value)
}

#[test]
fn every_command_answers_failures_in_json_with_a_documented_exit_code_and_asks_nothing() {
    let all = commands(&[]);
    assert!(all.len() > 25, "the commands are found: {all:?}");
    // What these do with nonsense takes long, or is what they are for.
    let instead: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("run", &["--listen", "0.0.0.0:0"][..]),
        ("dev", &["--listen", "0.0.0.0:0"]),
        ("bench", &["--seconds", "nonsense"]),
        ("demo", &["--built", "nowhere"]),
    ]);
    for command in &all {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        let (code, value) = answer(folder.path(), &[&words[..], &["--frobnicate"]].concat());
        assert!(
            code == 2 && value["error"]["exit"] == 2,
            "{words:?}: {code} {value}"
        );
        let mut args = words.clone();
        match instead.get(words[0]) {
            Some(instead) => args.extend(*instead),
            None => args.extend(std::iter::repeat_n("nonsense", command.required)),
        }
        let (code, value) = answer(folder.path(), &args);
        if code == 0 {
            assert!(value["error"].is_null(), "{args:?}: {value}");
            continue;
        }
        let error = &value["error"];
        assert!(
            (1..=9).contains(&code) && error["exit"] == code,
            "{args:?}: {code} {value}"
        );
        assert!(!error["code"].as_str().unwrap().is_empty(), "{args:?}: {value}");
        let detail = error["detail"].as_str().unwrap();
        assert!(
            detail.len() > 10 && !detail.contains('\u{1b}'),
            "{args:?}: {value}"
        );
        if command.required > 0 {
            let (code, value) = answer(folder.path(), &words);
            assert!(
                code == 2 && value["error"]["exit"] == 2,
                "{words:?}: {code} {value}"
            );
        }
    }
}

/// Runs commands that succeed, and remembers which.
struct Succeeding {
    host: Host,
    ran: Vec<String>,
}

impl Succeeding {
    /// Run one, whose every line must be JSON.
    fn run(&mut self, args: &[&str]) {
        let with_json = [&["--output", "json", "--server", self.host.address()], args].concat();
        let output = nerve(&self.host.path("."), &with_json);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !stdout.is_empty(),
            "{args:?}: {output:?}"
        );
        for line in stdout.lines() {
            let read = serde_json::from_str::<Value>(line);
            assert!(
                read.is_ok_and(|value| value["error"].is_null()),
                "{args:?}: {line}"
            );
        }
        self.ran.push(format!("{} ", args.join(" ")));
    }

    /// Publish an event that `trap` gives up on; answers its offset.
    fn give_up(&mut self, id: &str) -> String {
        let offset = self.host.publish("test.trap", id, None, &json!({}));
        self.host
            .until("it is given up", |host| host.plugin("trap")["dead_letters"] == 1);
        offset.to_string()
    }
}

/// Commands that succeed one after another, with the files that are made for them.
const SUCCEEDING: &[&[&str]] = &[
    &["init", "new"],
    &[
        "publish",
        "test.x",
        "1",
        "--wait",
        "counter",
        "--wait-seconds",
        "60",
    ],
    &["events"],
    &["trace", "one"],
    &["trace", "--where", "type=test.x", "--where", "source=test"],
    &["map"],
    &["map", "--format", "dot"],
    &["top"],
    &["doctor"],
    &["plugin", "timers", "counter"],
    &["plugin", "list"],
    &["plugin", "show", "counter"],
    &["plugin", "logs", "counter"],
    &["plugin", "pause", "counter"],
    &["plugin", "resume", "counter"],
    &["plugin", "new", "mine"],
    &["plugin", "check", "counter.wasm"],
    &["plugin", "deploy", "counter.wasm", "--settings", "lanes.toml"],
    &["plugin", "versions", "counter"],
    &["plugin", "rollback", "counter"],
    &["plugin", "deploy", "counter.wasm", "--settings", "canary.toml"],
    &["plugin", "promote", "counter"],
    &["plugin", "rewind", "counter", "--to", "start"],
    &["plugin", "deploy", "trap.wasm", "--settings", "once.toml"],
    &["dead", "list"],
    &["schema", "set", "test.x", "--mode", "warn"],
    &["schema", "list"],
    &["schema", "show", "test.x"],
    &["schema", "export"],
    &["schema", "export", "-o", "schemas.json"],
    &["schema", "check", "schemas.json", "schemas.json"],
    &["schema", "unset", "test.x"],
    &["log", "info"],
    &["log", "export"],
    &["log", "export", "-o", "events.jsonl"],
    &["log", "import", "new.jsonl"],
    &["log", "backup", "copy.tar"],
    &["log", "restore", "copy.tar", "restored", "--plugins", "other"],
    &["log", "verify", "restored"],
    &["log", "repair", "restored"],
    &[
        "webhook",
        "new",
        "hook",
        "--url",
        "http://127.0.0.1:1/",
        "--type",
        "test.never",
    ],
    &["completions", "bash"],
    &["config", "show"],
    &["config", "check", "new/nerve.toml"],
    &["token", "create", "ann", "--scope", "read", "--data", "new/data"],
    &["token", "list", "--data", "new/data"],
    &["token", "revoke", "ann", "--data", "new/data"],
    &["explain"],
    &["explain", "busy"],
    &["man", "pages"],
    &["openapi"],
];

#[test]
fn every_command_that_succeeds_prints_json_line_by_line_where_that_is_wanted() {
    let host = Host::start(&["fixtures/counter"]);
    for name in ["trap", "counter"] {
        fs::write(
            host.path(&format!("{name}.wasm")),
            built(&format!("fixtures/{name}")),
        )
        .unwrap();
    }
    fs::write(host.path("lanes.toml"), "lanes = 2\n").unwrap();
    fs::write(host.path("canary.toml"), "lanes = 3\ncanary = \"50%\"\n").unwrap();
    fs::write(host.path("once.toml"), "[retry]\nattempts = 1\n").unwrap();
    let new = json!({ "specversion": "1.0", "id": "new", "source": "test", "type": "test.x" });
    fs::write(host.path("new.jsonl"), new.to_string()).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../target-wasm/fixtures");
    let mut all = Succeeding {
        host,
        ran: Vec::new(),
    };
    let offset = all.host.publish("test.x", "one", None, &json!({}));
    all.host.state("counter", "count/type/test.x", offset);
    for args in SUCCEEDING {
        all.run(args);
    }
    all.run(&[
        "bench",
        "the way",
        "--runs",
        "1",
        "--events",
        "1000",
        "--fixtures",
        fixtures,
    ]);

    all.host.drop_built("fixtures/caller");
    all.host
        .until("caller waits", |host| !host.plugin("caller")["waiting"].is_null());
    all.run(&["plugin", "approve", "caller"]);

    let dead = all.give_up("t-1");
    all.run(&["dead", "show", "trap", &dead]);
    all.run(&["dead", "bundle", "trap", &dead]);
    all.run(&["dead", "bundle", "trap", &dead, "-o", "bundle.json"]);
    all.run(&["plugin", "test", "--bundle", "bundle.json"]);
    all.run(&["dead", "drop", "trap", &dead]);
    let dead = all.give_up("t-2");
    all.run(&["dead", "retry", "trap", &dead]);
    all.run(&["plugin", "remove", "counter"]);

    // What these print is read where they are run: `configuration`, `inner_loop` and `story`.
    let elsewhere = ["run", "dev", "plugin build", "demo"];
    for command in commands(&[]) {
        let words = command.words.join(" ");
        let is_run = all.ran.iter().any(|ran| ran.starts_with(&format!("{words} ")));
        assert!(is_run != elsewhere.contains(&&*words), "{words}");
    }
}

#[test]
fn who_waits_in_vain_is_told_that_the_event_is_in_and_the_exit_code_is_9() {
    let host = Host::start(&[]);
    let folder = host.path(".");
    let args = [
        "--server",
        host.address(),
        "publish",
        "a.b",
        "1",
        "--id",
        "x",
        "--wait",
        "nobody",
    ];
    let text = nerve(&folder, &args);
    let stderr = String::from_utf8_lossy(&text.stderr);
    assert!(
        stderr.contains("x is durable at offset 1") && stderr.contains("nobody (no-such-plugin)"),
        "{stderr}"
    );
    let json = nerve(&folder, &[&["--output", "json"][..], &args].concat());
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&value["settled"], &value["offset"], &value["duplicate"]),
        (&false.into(), &1.into(), &true.into())
    );
    assert_eq!((text.status.code(), json.status.code()), (Some(9), Some(9)));
    assert_eq!(value["error"]["exit"], 9);
}
