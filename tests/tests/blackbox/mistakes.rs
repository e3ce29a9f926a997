//! Common mistakes, and what is said of each, as pages to read in `tests/data/mistakes`: every message names the thing, the
//! cause and what to do next. With `NERVE_BLESS=1` the pages are written anew: read what changed.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nerve_tests::{Host, built, nerve, program};
use serde_json::{Value, json};

/// A page of mistakes, made in one folder.
struct Page {
    name: &'static str,
    folder: PathBuf,
    /// What differs from run to run, and what the page has in its place.
    named: Vec<(String, &'static str)>,
    path: Option<PathBuf>,
    text: String,
    mistakes: usize,
}

impl Page {
    fn new(name: &'static str, folder: &Path) -> Self {
        let folder = folder.canonicalize().unwrap();
        Self {
            name,
            named: vec![(folder.display().to_string(), "FOLDER")],
            folder,
            path: None,
            text: String::new(),
            mistakes: 0,
        }
    }

    /// A page of what is asked of `host`, whose address is in the folder's configuration.
    fn of(name: &'static str, host: &Host) -> Self {
        let mut page = Self::new(name, &host.path("."));
        let address = host.address().to_owned();
        fs::write(host.path("nerve.toml"), format!("server = {address:?}\n")).unwrap();
        let bare = address.trim_start_matches("http://").to_owned();
        page.named.push((bare, "127.0.0.1:PORT"));
        page
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    /// A program on a path of its own, and nothing else on it.
    fn only_program(&mut self, name: &str, script: &str) {
        let folder = self.folder.join("bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        self.path = Some(folder);
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let Some(path) = &self.path else {
            return nerve(&self.folder, args);
        };
        let mut command = Command::new(program());
        command.current_dir(&self.folder).args(args).stdin(Stdio::null());
        // No tool chain from anywhere else.
        command
            .env("PATH", path)
            .env("HOME", "/nowhere")
            .env("RUSTUP_HOME", "/nowhere");
        command.output().unwrap()
    }

    /// Make the mistake, for people and for programs, and write down what is said of it.
    fn mistake(&mut self, args: &[&str]) {
        let output = self.run(args);
        let code = output.status.code().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.stdout.is_empty() && (1..=9).contains(&code),
            "{args:?}: {output:?}"
        );
        let json = self.run(&[&["--output", "json"], args].concat());
        let value: Value =
            serde_json::from_slice(&json.stdout).unwrap_or_else(|bad| panic!("{args:?}: {bad}"));
        assert!(
            value["error"]["exit"] == code && json.status.code() == Some(code),
            "{args:?}: {code} {value}"
        );
        let args: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        let told = format!("$ nerve {}\n{}\nexit {code}\n\n", args.join(" "), said.trim_end());
        self.text.push_str(&self.told(&told));
        self.mistakes += 1;
    }

    /// What was said, without what differs from run to run.
    fn told(&self, said: &str) -> String {
        let mut told = said.to_owned();
        for (own, name) in &self.named {
            told = told.replace(own, name);
        }
        // Versions and made-up ids.
        let mut out = String::new();
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        for word in told.split_inclusive(|c| !is_hex(c)) {
            let digits = word.trim_end_matches(|c| !is_hex(c));
            if digits.len() == 16 || digits.len() >= 32 {
                write!(out, "HEX{}", &word[digits.len()..]).unwrap();
            } else {
                out.push_str(word);
            }
        }
        out
    }

    /// Hold it against what is written down.
    fn compare(self, mistakes: usize) {
        assert_eq!(self.mistakes, mistakes, "{}", self.name);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/mistakes/{}.txt", self.name));
        let text = format!("{}\n", self.text.trim_end());
        if std::env::var_os("NERVE_BLESS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            return;
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, known, "{}: NERVE_BLESS=1 writes it anew", file.display());
    }
}

fn quoted(arg: &str) -> String {
    if arg.contains([' ', '{', '*', '>', '"']) {
        format!("'{arg}'")
    } else {
        arg.to_owned()
    }
}

#[test]
fn mistakes_of_who_publishes_and_asks() {
    let host = Host::start(&["fixtures/counter"]);
    host.publish("order.placed", "o-1", None, &json!({ "order": "o-1" }));
    let mut page = Page::of("asking", &host);
    for args in [
        &["--server", "http://127.0.0.1:1", "events"][..],
        &["--server", "127.0.0.1:7117", "events"],
        &["pluign", "list"],
        &["plugin", "lsit"],
        &["publish"],
        &["publish", "order placed", "{}"],
        &["publish", "order.placed", "{order: o-2}"],
        &["publish", "order.placed", "@missing.json"],
        &["publish", "order.placed", "1", "--id", "o-1", "--source", "test"],
        &["publish", "order.placed", "1", "--id", "o-9", "--wait", "ordres"],
        &["trace", "o-17"],
        &["trace", "@17000"],
        &["trace", "--where", "order=o-1"],
        &["trace", "--where", "order"],
        &["events", "order.>.x"],
        &["events", "--after", "yesterday"],
        &["plugin", "logs", "countre"],
        &["dead", "retry", "counter", "17"],
        &["dead", "drop", "counter", "o-1"],
        &["schema", "show", "order.plcaed"],
        &["explain", "bussy"],
        &["doctor", "--traces", "missing.json"],
        &["doctor", "--data", "nowhere"],
        &["map", "--format", "svg"],
    ] {
        page.mistake(args);
    }
    page.compare(24);
}

#[test]
fn mistakes_of_who_deploys_and_takes_back() {
    let host = Host::start(&["fixtures/counter"]);
    let offset = host.publish("test.x", "one", None, &json!({}));
    host.state("counter", "count/type/test.x", offset);
    let mut page = Page::of("deploying", &host);
    page.file("text.wasm", "this is no wasm");
    page.file("core.wasm", wat::parse_str("(module)").unwrap());
    let other = "(component (instance $it) (export \"wasi:cli/run@0.2.0\" (instance $it)))";
    page.file("other-world.wasm", wat::parse_str(other).unwrap());
    page.file("counter.wasm", built("fixtures/counter"));
    page.file("typo.toml", "[limits]\ntime_msec = 5\n");
    page.file("schema.json", r#"{ "type": "strnig" }"#);
    page.file("cut-off.json", r#"{ "type": "#);
    for args in [
        &["plugin", "deploy", "missing.wasm"][..],
        &["plugin", "deploy", "text.wasm"],
        &["plugin", "deploy", "core.wasm"],
        &["plugin", "deploy", "other-world.wasm"],
        &["plugin", "deploy", "counter.wasm", "--name", "orders"],
        &["plugin", "deploy", "counter.wasm", "--name", "Order_Mails"],
        &["plugin", "deploy", "counter.wasm", "--settings", "typo.toml"],
        &["plugin", "rollback", "counter"],
        &["plugin", "rollback", "counter", "deadbeef"],
        &["plugin", "promote", "counter"],
        &["plugin", "approve", "counter"],
        &["plugin", "rewind", "counter"],
        &["plugin", "rewind", "counter", "--to", "99999"],
        &["plugin", "rewind", "counter", "--to", "yesterday"],
        &["plugin", "rewind", "counter", "--stop"],
        &["plugin", "check", "counter.wasm", "--against", "@9..@3"],
        &["schema", "set", "order.placed", "schema.json"],
        &["schema", "set", "order.placed", "cut-off.json"],
        &["schema", "set", "order.placed", "--mode", "strict"],
    ] {
        page.mistake(args);
    }
    page.compare(19);
}

#[test]
fn mistakes_of_who_starts_a_host() {
    let mut host = Host::start(&[]);
    host.publish("order.placed", "o-1", None, &json!({}));
    let mut page = Page::of("starting", &host);
    let listen = host.address().trim_start_matches("http://").to_owned();
    let free = ["run", "--listen", "127.0.0.1:0"];
    page.file("a-file", "");
    page.file("typo.toml", "hot_mb = 3\n");
    page.file("no-port.toml", "listen = \"localhost\"\n");
    page.mistake(&["run", "--listen", &listen, "--data", "other"]);
    page.mistake(&free);
    page.mistake(&["log", "repair"]);
    page.mistake(&[&free[..], &["--data", "a-file/data"]].concat());
    page.mistake(&["run", "--listen", "localhost"]);
    page.mistake(&["run", "--durability", "disk"]);
    page.mistake(&[&free[..], &["--source-burst", "5"]].concat());
    page.mistake(&["--config", "typo.toml", "run"]);
    page.mistake(&["config", "check", "no-port.toml"]);
    page.mistake(&["--config", "missing.toml", "run"]);
    page.mistake(&["log", "verify", "nowhere"]);
    page.mistake(&["log", "import", "missing.jsonl"]);
    page.file("lines.jsonl", "nonsense\n");
    page.mistake(&["log", "import", "lines.jsonl"]);
    page.mistake(&["log", "restore", "missing.tar", "restored"]);
    page.file("text.tar", "this is no backup");
    page.mistake(&["log", "restore", "text.tar", "restored"]);
    assert_eq!(host.stop(), Some(0));
    let log = host.path("data/log/00000000000000000001.log");
    let mut bytes = fs::read(&log).unwrap();
    // In the first frame's body, behind the two headers.
    bytes[140] ^= 0xff;
    fs::write(&log, bytes).unwrap();
    page.mistake(&free);
    page.mistake(&["log", "verify"]);
    page.mistake(&["log", "repair"]);
    page.compare(18);
}

#[test]
fn mistakes_of_who_makes_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let mut page = Page::new("making", folder.path());
    assert!(page.run(&["plugin", "new", "orders"]).status.success());
    page.mistake(&["plugin", "new", "orders"]);
    page.mistake(&["plugin", "new", "Order_Mails"]);
    page.mistake(&["plugin", "new", "mails", "--sdk", "nowhere"]);
    page.mistake(&["plugin", "build", "nowhere"]);
    page.mistake(&["plugin", "test", "nowhere"]);
    page.mistake(&["plugin", "test", "--bundle", "missing.json"]);
    page.mistake(&["dev", "nowhere"]);
    page.mistake(&["demo", "--built", "nowhere"]);
    page.only_program("nothing", "");
    page.mistake(&["plugin", "build", "orders"]);
    page.mistake(&["dev", "orders"]);
    page.only_program("rustc", "echo 1.95");
    page.mistake(&["plugin", "build", "orders"]);
    page.compare(11);
}

#[test]
fn the_mistake_of_who_publishes_on_a_full_disk() {
    let host = Host::start_on_small_disk(64, &[]);
    let data = json!("x".repeat(64 << 10));
    let full = (0..2000).any(|n| {
        let answer = host.try_publish("test.x", &format!("n{n}"), None, &data);
        answer.unwrap().status == 507
    });
    assert!(full, "the disk never is full");
    let folder = tempfile::tempdir().unwrap();
    let mut page = Page::new("full-disk", folder.path());
    page.named
        .push((host.address().to_owned(), "http://127.0.0.1:PORT"));
    page.mistake(&[
        "--server",
        host.address(),
        "publish",
        "order.placed",
        "{}",
        "--id",
        "o-1",
    ]);
    page.compare(1);
}
