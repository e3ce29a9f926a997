//! Who may use a host: tokens made by the command line, shown by it, and refused once they are revoked.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nerve_tests::{Host, program};
use serde_json::Value;

/// Run `nerve` to its end with these variables.
pub(crate) fn nerve(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(folder).args(["--output", "json"]).args(args);
    for name in ["NERVE_SERVER", "NERVE_TOKEN", "NERVE_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What it printed, which must be a success.
pub(crate) fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The code with which it failed, and its exit code.
pub(crate) fn refused(output: &Output) -> (String, i32) {
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = value["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{value}"));
    (code.to_owned(), output.status.code().unwrap())
}

/// A host that was started by hand; killed at the end.
pub(crate) struct Started(Child, Value);

impl Started {
    pub(crate) fn with(folder: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(program())
            .current_dir(folder)
            .args(["run", "--output", "json"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, serde_json::from_str(&line).unwrap())
    }

    /// Its address, by the loopback one.
    pub(crate) fn server(&self) -> String {
        self.1["address"]
            .as_str()
            .unwrap()
            .replace("0.0.0.0", "127.0.0.1")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_host_listens_beyond_loopback_only_with_a_token_or_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let wide = ["--listen", "0.0.0.0:0"];
    let output = nerve(path, &[], &[&["run"][..], &wide].concat());
    assert_eq!(refused(&output), ("denied".to_owned(), 5));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("nerve token create") && text.contains("--allow-anonymous"),
        "{text}"
    );
    assert!(!path.join("data").exists(), "nothing was begun");

    let host = Started::with(path, &[&wide[..], &["--allow-anonymous"]].concat());
    assert_eq!(host.1["tokens"], Value::Null);
    said(&nerve(path, &[], &["--server", &host.server(), "log", "info"]));
    drop(host);

    let token = said(&nerve(path, &[], &["token", "create", "ann", "--scope", "read"]));
    let host = Started::with(path, &wide);
    assert_eq!(host.1["tokens"], 1);
    let ask =
        |variables: &[(&str, &str)]| nerve(path, variables, &["--server", &host.server(), "log", "info"]);
    assert_eq!(refused(&ask(&[])), ("token-required".to_owned(), 5));
    said(&ask(&[("NERVE_TOKEN", token["token"].as_str().unwrap())]));
}

#[test]
fn tokens_count_at_once_on_a_running_host_and_no_longer_than_until_they_are_revoked() {
    let host = Host::start(&[]);
    let folder = host.path(".");
    let asked = |variables: &[(&str, &str)], args: &[&str]| {
        nerve(
            &folder,
            variables,
            &[&["--server", host.address()], args].concat(),
        )
    };
    said(&asked(&[], &["publish", "order.placed", "1", "--id", "a"]));
    assert_eq!(said(&nerve(&folder, &[], &["token", "list"]))["asked_for"], false);

    let made = said(&nerve(
        &folder,
        &[],
        &[
            "token",
            "create",
            "ann",
            "--scope",
            "read",
            "--scope",
            "publish:order.*",
            "--expires",
            "90d",
        ],
    ));
    let token = made["token"].as_str().unwrap();
    let own = [("NERVE_TOKEN", token)];
    assert_eq!(
        refused(&asked(&[], &["log", "info"])),
        ("token-required".to_owned(), 5)
    );
    said(&asked(&own, &["log", "info"]));
    said(&asked(&own, &["publish", "order.placed", "1", "--id", "b"]));
    for (args, scope) in [
        (&["publish", "cart.emptied", "1"][..], "publish:cart.emptied"),
        (&["schema", "set", "order.placed", "--mode", "warn"], "operate"),
    ] {
        let output = asked(&own, args);
        assert_eq!(refused(&output), ("scope-missing".to_owned(), 5));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(scope),
            "{output:?}"
        );
    }

    // From a file, which stands before the variable where it is named on the command line.
    std::fs::write(folder.join("token"), format!("{token}\n")).unwrap();
    let wrong = [("NERVE_TOKEN", "nrv_wrong")];
    said(&asked(&[("NERVE_TOKEN_FILE", "token")], &["log", "info"]));
    said(&asked(&wrong, &["--token-file", "token", "log", "info"]));
    assert_eq!(
        refused(&asked(&wrong, &["log", "info"])),
        ("token-refused".to_owned(), 5)
    );
    assert_eq!(
        refused(&asked(&[("NERVE_TOKEN", "hunter2")], &["log", "info"])).1,
        2
    );

    let listed = said(&nerve(&folder, &[], &["token", "list"]));
    assert_eq!(
        (&listed["tokens"][0]["name"], &listed["tokens"][0]["expired"]),
        (&"ann".into(), &false.into())
    );
    assert!(!listed.to_string().contains(token));
    assert_eq!(
        refused(&nerve(
            &folder,
            &[],
            &["token", "create", "ann", "--scope", "read"]
        ))
        .1,
        4
    );
    said(&nerve(&folder, &[], &["token", "revoke", "ann"]));
    assert_eq!(
        refused(&asked(&own, &["log", "info"])),
        ("token-refused".to_owned(), 5)
    );
    assert_eq!(
        refused(&asked(&[], &["log", "info"])),
        ("token-required".to_owned(), 5)
    );
    assert_eq!(host.get("/readyz").status, 200, "probes need no token");
    assert!(!host.said().contains(token), "no token is logged");
}

#[test]
fn the_tokens_are_those_of_the_folder_that_the_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    std::fs::write(
        folder.path().join("nerve.toml"),
        "data = \"elsewhere\"\nallow_anonymous = true\n",
    )
    .unwrap();
    said(&nerve(
        folder.path(),
        &[],
        &["token", "create", "ann", "--scope", "read"],
    ));
    assert!(folder.path().join("elsewhere/tokens").is_file());
    let elsewhere = nerve(folder.path(), &[], &["token", "list", "--data", "nowhere"]);
    assert_eq!(refused(&elsewhere), ("notfound".to_owned(), 3));
    let shown = said(&nerve(folder.path(), &[], &["config", "show", "--origin"]));
    let values = shown["values"].as_array().unwrap();
    let of = |key: &str| values.iter().find(|one| one["key"] == key).unwrap();
    assert_eq!(
        (&of("allow_anonymous")["value"], &of("allow_anonymous")["origin"]),
        (&"true".into(), &"nerve.toml".into())
    );
    assert_eq!(of("token_file")["value"], Value::Null);
}
