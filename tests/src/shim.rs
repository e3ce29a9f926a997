//! A library in front of the system's: lets changes of a host's files fail, notes them, and ends the process before one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Host;

const SOURCE: &str = include_str!("shim/shim.c");

/// What stands between the processes of one host and the system.
pub struct Shim {
    faults: PathBuf,
}

impl Shim {
    /// Stand in front of the processes of `host` from its next start on.
    pub fn before(host: &mut Host) -> Self {
        let faults = fs::canonicalize(host.path(".")).unwrap().join("faults");
        let (source, library) = (host.path("shim.c"), host.path("shim.so"));
        if !library.exists() {
            fs::create_dir(&faults).unwrap();
            fs::write(&source, SOURCE).unwrap();
            let compiled = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .args([&library, &source])
                .arg("-ldl")
                .output()
                .expect("cc, which linking Rust needs as well");
            let said = String::from_utf8_lossy(&compiled.stderr);
            assert!(compiled.status.success(), "{said}");
        }
        let data = faults.with_file_name("data");
        host.before_start(&format!(
            "export LD_PRELOAD={} FAULTS={} DATA={};",
            library.display(),
            faults.display(),
            data.display()
        ));
        Self { faults }
    }

    /// Whether every `what`, `sync` or `write`, fails from now on.
    pub fn fail(&self, what: &str, fails: bool) {
        self.set(what, fails.then_some(""));
    }

    /// Note all changes from now on.
    pub fn note(&self) {
        fs::remove_file(self.faults.join("changes")).ok();
        self.set("note", Some(""));
    }

    /// The changes that were noted, and no more of them: what, and the path below the data folder.
    pub fn noted(&self) -> Vec<(String, String)> {
        self.set("note", None);
        self.read("changes")
    }

    /// The process gets SIGKILL before the `nth` change from now on that is a `what` of a path that fits `pattern`.
    pub fn kill_before(&self, what: &str, pattern: &str, nth: usize) {
        self.set("kill", Some(&format!("{what} {pattern} {nth}\n")));
    }

    /// Kill nobody any more; answers the change before which somebody was killed.
    pub fn killed(&self) -> Option<(String, String)> {
        self.set("kill", None);
        let killed = self.read("killed").pop();
        self.set("killed", None);
        killed
    }

    fn read(&self, name: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.faults.join(name)).unwrap_or_default();
        let lines = text.lines().map(|line| line.split_once(' ').unwrap());
        lines
            .map(|(what, path)| (what.to_owned(), path.to_owned()))
            .collect()
    }

    /// The file called `name` has this content, whole at once, or is not there.
    fn set(&self, name: &str, content: Option<&str>) {
        let path = self.faults.join(name);
        match content {
            Some(content) => {
                let beside = self.faults.join(".new");
                fs::write(&beside, content).unwrap();
                fs::rename(beside, path).unwrap();
            }
            None => drop(fs::remove_file(path)),
        }
    }
}
