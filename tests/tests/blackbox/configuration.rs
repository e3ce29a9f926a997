//! `nerve.toml`, the environment and flags: which of them holds, and what is said about mistakes.

use std::process::Command;

use nerve_tests::{nerve, program};
use serde_json::Value;

/// `nerve config show` in `folder`, with these variables: by key, value and origin.
fn shown(folder: &std::path::Path, variables: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let output = Command::new(program())
        .current_dir(folder)
        .args(["config", "show", "--output", "json"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |one: &Value, part: &str| one[part].as_str().unwrap_or("-").to_owned();
    let values = value["values"].as_array().unwrap().iter();
    values
        .map(|one| (text(one, "key"), text(one, "value"), text(one, "origin")))
        .collect()
}

#[test]
fn a_flag_stands_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(
        path.join("nerve.toml"),
        "durability = \"os\"\nhot_mib = 7\nlisten = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let shown = shown(path, &[("NERVE_HOT_MIB", "9")]);
    let of = |key: &str| {
        let found = shown.iter().find(|(name, ..)| name == key).unwrap();
        (found.1.as_str(), found.2.as_str())
    };
    assert_eq!(of("durability"), ("os", "nerve.toml"));
    assert_eq!(of("hot_mib"), ("9", "NERVE_HOT_MIB"));
    assert_eq!(of("reserve_mib"), ("128", "default"));
    assert_eq!(of("retain_days"), ("-", "default"));

    // The file's address would refuse everybody: the flag holds, and the rest is the file's.
    let mut host = Command::new(program())
        .current_dir(path)
        .args(["run", "--listen", "127.0.0.1:0", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(host.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["durability"], "os");
    assert_ne!(told["address"], "http://127.0.0.1:1");
}

#[test]
fn no_command_runs_with_a_file_that_is_wrong_and_config_check_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nerve.toml"), "hot_mb = 7\n").unwrap();
    for args in [
        &["run"][..],
        &["config", "check"],
        &["config", "show"],
        &["events"],
    ] {
        let output = nerve(folder.path(), &[args, &["--output", "json"]].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &value["error"]["exit"]),
            (Some(2), &2.into()),
            "{args:?}"
        );
        let detail = value["error"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("line 1: \"hot_mb\" is no key; did you mean \"hot_mib\"?"),
            "{args:?}: {detail}"
        );
    }
    let made = nerve(folder.path(), &["init", "new", "--config", "new.toml"]);
    assert_eq!(made.status.code(), Some(2), "a file that is named must be there");
    std::fs::remove_file(folder.path().join("nerve.toml")).unwrap();
    assert!(nerve(folder.path(), &["init", "."]).status.success());
    assert!(
        nerve(folder.path(), &["config", "check"]).status.success(),
        "what init writes is right"
    );
}

#[test]
fn systemd_is_told_when_the_host_takes_events_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_mins(1)))
        .unwrap();
    let told = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let mut host = Command::new(program())
        .current_dir(folder.path())
        .args(["run", "--listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(told().trim(), "READY=1");
    assert!(
        Command::new("kill")
            .arg(host.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(told().trim(), "STOPPING=1");
    assert!(host.wait().unwrap().success());
}
