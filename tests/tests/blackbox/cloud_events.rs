//! Events as other implementations know them: the Python packages `cloudevents` and `standardwebhooks`, which
//! `scripts/python.sh` installs.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nerve_tests::Host;
use serde_json::{Value, json};

/// The interpreter with the packages.
pub(crate) fn interpreter() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let interpreter = target.join("python/bin/python");
    assert!(
        interpreter.is_file(),
        "{} is not there: run `make python` first",
        interpreter.display()
    );
    interpreter
}

/// A script in tests/python.
fn python(script: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
    command
}

#[test]
fn the_package_cloudevents_publishes_and_reads_the_same_in_all_modes() {
    let host = Host::start(&[]);
    let out = python("publisher.py").arg(host.address()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && said.contains("the same in all modes"),
        "{said}\nthe host says:\n{}",
        host.said()
    );
}

/// A receiver in Python that knows a secret.
struct Receiver {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Receiver {
    fn start(secret: &str) -> Self {
        let mut command = python("receiver.py");
        let mut process = command.arg(secret).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        Self {
            process,
            lines,
            url: format!("http://127.0.0.1:{port}/"),
        }
    }

    /// What it says of the next request.
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn the_packages_standardwebhooks_and_cloudevents_verify_and_read_what_a_webhook_sends() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut receiver = Receiver::start(secret);
    let mut host = Host::start(&[]);
    // The key that the receiver does not know signs first.
    fs::write(host.path("secret"), format!("{other} {secret}\n")).unwrap();
    let file = host.path("secret").display().to_string();
    for mode in ["structured", "binary"] {
        let text = format!(
            "[webhook]\nurl = {:?}\nsubscriptions = [\"test.{mode}\"]\nmode = {mode:?}\nsecrets = {{ file = {file:?} }}\n",
            receiver.url
        );
        fs::write(host.path(&format!("plugins/{mode}.webhook.toml")), text).unwrap();
        host.until("the webhook is live", |host| {
            host.plugin(mode)["status"] == "live"
        });
        let data = json!({ "text": "ü", "n": [1, 2.5, null] });
        host.publish(&format!("test.{mode}"), &format!("ü {mode}"), Some("k"), &data);
        let got = receiver.next();
        assert_eq!(
            (&got["verified"], &got["signatures"]),
            (&json!(true), &json!(2)),
            "{got}"
        );
        assert_eq!(got["id"].as_str().unwrap().len(), 32);
        let attributes = &got["attributes"];
        assert_eq!(
            [
                &attributes["id"],
                &attributes["type"],
                &attributes["source"],
                &attributes["partitionkey"]
            ],
            [
                &json!(format!("ü {mode}")),
                &json!(format!("test.{mode}")),
                &json!("test"),
                &json!("k")
            ]
        );
        assert_eq!(got["data"], data);
        // What is no JSON. The package verifies texts alone, so bytes go where they are base64.
        let (kind, data, got_as) = match mode {
            "structured" => (
                "application/octet-stream",
                ("data_base64", "AP8B"),
                json!([0, 255, 1]),
            ),
            _ => ("text/plain", ("data", "plain ü"), json!("plain ü")),
        };
        let mut event = json!({
            "specversion": "1.0", "id": "other", "source": mode, "type": format!("test.{mode}"),
            "datacontenttype": kind,
        });
        event[data.0] = data.1.into();
        let answer = host.post(
            "/v1/events",
            "application/cloudevents+json",
            event.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
        let got = receiver.next();
        assert_eq!((&got["verified"], &got["data"]), (&json!(true), &got_as), "{got}");
    }

    // A receiver that does not know the secret refuses, and says so where an operator looks.
    fs::write(host.path("secret"), other).unwrap();
    host.publish("test.binary", "unknown", None, &json!(1));
    assert_eq!(receiver.next()["verified"], "No matching signature found");
    host.until("its events wait", |host| {
        host.plugin("binary")["paused"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("answered 401"))
    });
}
