//! The whole program with a server that speaks Iggy's protocol: the conversation, and that what is lost, doubled or
//! forgotten is no figure.
#![cfg(feature = "iggy")]
#![expect(clippy::unwrap_used, reason = "a test ends when something is wrong")]

mod fake;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Events of a run: three batches and a half.
const EVENTS: u64 = 3500;

/// A place with programs that say a version, a server of Iggy that is this very program, and a folder for data.
struct Place(TempDir);

/// How a run ended.
struct Ran {
    succeeded: bool,
    said: String,
    /// What the servers noted, in their order.
    noted: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("data")).unwrap();
        for program in ["nerve", "nats-server", "redis-server"] {
            place.program(program, "echo version 1");
        }
        let this = std::env::current_exe().unwrap();
        place.program(
            "iggy-server",
            &format!(
                "[ \"$1\" = --version ] && exec echo iggy-server 0.8.0\n\
                 exec '{}' --exact serves_when_it_is_told_to --nocapture",
                this.display()
            ),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Measure those whose name contains `only`, with a server that has this fault.
    fn run(&self, only: &str, fault: &str) -> Ran {
        let ran = Command::new(env!("CARGO_BIN_EXE_nerve-peers"))
            .arg("--nerve")
            .arg(self.path("nerve"))
            .arg("--servers")
            .arg(self.0.path())
            .arg("--iggy")
            .arg(self.path("iggy-server"))
            .arg("--folder")
            .arg(self.path("data"))
            .args(["--rounds", "1", "--output", "json", "--only", only])
            .args(["--events", &EVENTS.to_string()])
            .env("FAKE_FAULT", fault)
            .env("FAKE_LOG", self.path("log"))
            // A shell may have this for a server of its own.
            .env("IGGY_SYSTEM_PARTITION_ENFORCE_FSYNC", "perhaps")
            .env("IGGY_HTTP_ADDRESS", "0.0.0.0:80")
            .output()
            .unwrap();
        let noted = fs::read_to_string(self.path("log")).unwrap();
        let noted: Vec<_> = noted.lines().map(str::to_owned).collect();
        for process in noted.iter().filter_map(|line| line.strip_prefix("process ")) {
            let process = Path::new("/proc").join(process);
            assert!(!process.exists(), "{} goes on", process.display());
        }
        assert_eq!(
            fs::read_dir(self.path("data")).unwrap().count(),
            0,
            "nothing stays"
        );
        Ran {
            succeeded: ran.status.success(),
            said: String::from_utf8(ran.stdout).unwrap(),
            noted,
        }
    }
}

impl Ran {
    fn has(&self, line: &str) -> bool {
        self.noted.iter().any(|noted| noted == line)
    }
}

/// No test but the server that the others start: whoever runs all of them passes it by.
#[test]
fn serves_when_it_is_told_to() {
    if std::env::var("FAKE_LOG").is_ok() {
        fake::Server::run(|name| std::env::var(name).unwrap());
    }
}

#[test]
fn all_is_handled_in_batches_and_the_last_offset_is_stored() {
    let ran = Place::new().run("Apache Iggy, default", "");
    assert!(ran.succeeded, "{}", ran.said);
    let report: serde_json::Value = serde_json::from_str(&ran.said).unwrap();
    let figure = &report["figures"][0];
    assert_eq!(
        (&figure["events"], &figure["survives"]),
        (&EVENTS.into(), &"nothing".into())
    );
    assert!(figure["median"].as_f64().unwrap() > 0.0);
    assert!(report["versions"].to_string().contains("iggy-server 0.8.0"));
    // Twice, since the first run warms the server up.
    let of = |line: &str| ran.noted.iter().filter(|noted| *noted == line).count();
    assert_eq!((of("in 1000 messages"), of("in 500 messages")), (6, 2));
    assert_eq!(of(&format!("stored {}", EVENTS - 1)), 2);
    let emitted = ran.noted.iter().filter(|line| line.starts_with("out ")).count();
    assert!(
        (8..20).contains(&emitted),
        "what is emitted comes in batches, too: {emitted}"
    );
}

#[test]
fn the_server_listens_on_loopback_only_and_syncs_at_its_strictest_only() {
    let ran = Place::new().run("Apache Iggy, default", "");
    let settings: Vec<_> = ran
        .noted
        .iter()
        .filter(|line| line.starts_with("IGGY_"))
        .collect();
    assert_eq!(
        settings.len(),
        7,
        "nothing but where it is, and who may come: {settings:?}"
    );
    for transport in ["HTTP", "QUIC", "WEBSOCKET"] {
        assert!(
            ran.has(&format!("IGGY_{transport}_ENABLED=false")),
            "{settings:?}"
        );
    }
    assert!(
        settings
            .iter()
            .any(|line| line.starts_with("IGGY_TCP_ADDRESS=127.0.0.1:"))
    );

    let ran = Place::new().run("Apache Iggy, fsync", "");
    assert!(ran.succeeded, "{}", ran.said);
    assert!(ran.said.contains("\"survives\":\"power-cut\""), "{}", ran.said);
    assert!(ran.has("IGGY_SYSTEM_PARTITION_ENFORCE_FSYNC=true"));
    assert!(ran.has("IGGY_SYSTEM_PARTITION_MESSAGES_REQUIRED_TO_SAVE=1"));
}

/// With this fault there is no figure, and this is why.
#[track_caller]
fn fails(fault: &str, why: &str) -> Ran {
    let ran = Place::new().run("Apache Iggy, default", fault);
    assert!(!ran.succeeded && ran.said.contains(why), "{fault}: {}", ran.said);
    ran
}

#[test]
fn a_lost_event_is_no_figure() {
    fails(
        "loses an event",
        "of 3500 messages that the server acknowledged it has 349",
    );
}

#[test]
fn an_event_that_is_there_twice_is_no_figure() {
    fails("has an event twice", "event 7 was handled twice");
    fails(
        "has the last event twice",
        "1 more messages are there than were published",
    );
}

#[test]
fn an_emitted_event_that_is_lost_or_there_twice_is_no_figure() {
    fails("loses what was emitted", "3500 were handled, and 349");
    fails("has an emitted one twice", "3500 were handled, and 350");
}

#[test]
fn an_offset_that_is_not_stored_is_no_figure() {
    fails("forgets offsets", "of 3500 events the stored offset is None");
}

#[test]
fn a_server_that_refuses_or_hangs_up_is_told_and_not_tried_again() {
    fails("refuses the login", "no login to Iggy");
    let ran = fails("hangs up", "messages were not sent");
    let connections = ran.noted.iter().filter(|line| *line == "a connection").count();
    assert_eq!(connections, 4, "each stage that speaks with it came once");
}
