//! Building with cargo, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::crates::{Crate, Crates};
use crate::cli::plugin::tool_chain::{NO_CARGO, TARGET};

/// Bytes that are kept of what cargo says beside its messages.
const LONGEST_COMPLAINT: u64 = 64 << 10;

/// Builds the plugins of a folder, one build at a time.
pub(super) struct Cargo {
    /// The folder.
    dir: PathBuf,
    /// As they were found last.
    crates: Mutex<Arc<Crates>>,
    /// Whether others may be there since.
    is_outdated: AtomicBool,
    /// The process group of the build under way.
    running: Mutex<Option<Pid>>,
    /// Whether no other build is to begin.
    is_stopped: AtomicBool,
    /// Whether everything was built before, so that cargo has little to tell.
    is_warm: AtomicBool,
}

/// What a build came to.
#[derive(Debug)]
pub(super) struct Built {
    /// Whether cargo succeeded.
    pub(super) is_well: bool,
    /// When it ended.
    pub(super) ended: Instant,
    took: Duration,
    /// The compiler's messages, as it shows them.
    messages: Vec<String>,
    /// What cargo itself said, where it was not shown already.
    complaint: String,
    /// Crates' manifests, each with its component.
    components: Vec<(PathBuf, PathBuf)>,
}

impl Cargo {
    /// Builds the plugins in `dir`.
    pub(super) fn new(dir: PathBuf) -> anyhow::Result<Self> {
        let crates = Crates::find(&dir)?;
        Ok(Self {
            dir,
            crates: Mutex::new(Arc::new(crates)),
            is_outdated: AtomicBool::default(),
            running: Mutex::default(),
            is_stopped: AtomicBool::default(),
            is_warm: AtomicBool::default(),
        })
    }

    /// The plugins as they were found last.
    pub(super) fn crates(&self) -> Arc<Crates> {
        self.crates.lock().clone()
    }

    /// Plugins may have come or gone: the next build looks.
    pub(super) fn look_again(&self) {
        self.is_outdated.store(true, Ordering::SeqCst);
    }

    /// Find the plugins again, where others may be there.
    fn look(&self) -> anyhow::Result<Arc<Crates>> {
        if self.is_outdated.swap(false, Ordering::SeqCst) {
            let found = Crates::find(&self.dir);
            // What is written half is looked at again with the next save.
            *self.crates.lock() = Arc::new(found.inspect_err(|_| self.look_again())?);
        }
        Ok(self.crates())
    }

    /// Build all plugins. Blocks.
    pub(super) fn build(&self, colour: bool) -> anyhow::Result<Built> {
        let begun = Instant::now();
        let crates = match self.look() {
            Ok(crates) => crates,
            Err(why) => return Ok(Built::nothing(begun, format!("{why:#}"))),
        };
        let mut command = crates.chain.cargo();
        command
            .args(["build", "--release", "--target", TARGET, "--manifest-path"])
            .arg(&crates.manifest)
            .args(crates.chain.flags());
        for one in &crates.all {
            command.args(["--package", one.name.as_str()]);
        }
        command.arg(if colour {
            "--message-format=json-diagnostic-rendered-ansi"
        } else {
            "--message-format=json"
        });
        // The first build takes its time, and shows what it is at.
        let shows = colour && !self.is_warm.load(Ordering::Relaxed);
        if !shows {
            command.arg("--quiet");
        }
        let stderr = if shows { Stdio::inherit() } else { Stdio::piped() };
        let mut running = self.running.lock();
        if self.is_stopped.load(Ordering::SeqCst) {
            return Ok(Built::nothing(begun, "stopped".into()));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .context(NO_CARGO)?;
        *running = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        drop(running);
        let said = listen(&mut child);
        *self.running.lock() = None;
        let (mut built, status) = (said?, child.wait()?);
        built.ended = Instant::now();
        built.took = begun.elapsed();
        built.is_well = status.success();
        self.is_warm.fetch_or(built.is_well, Ordering::Relaxed);
        if !built.is_well {
            // It may have failed for a crate that is not there any more.
            self.look_again();
        }
        Ok(built)
    }

    /// End the build under way, and begin no other.
    pub(super) fn stop(&self) {
        let running = self.running.lock();
        self.is_stopped.store(true, Ordering::SeqCst);
        if let Some(group) = *running {
            // It may have ended by itself.
            kill_process_group(group, Signal::TERM).ok();
        }
    }
}

/// Read what cargo says, to its end.
fn listen(child: &mut Child) -> anyhow::Result<Built> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let complaint = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            // What is too much is read and thrown away, so that cargo never waits.
            stderr
                .by_ref()
                .take(LONGEST_COMPLAINT)
                .read_to_end(&mut said)
                .ok();
            std::io::copy(&mut stderr, &mut std::io::sink()).ok();
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let mut built = Built::nothing(Instant::now(), String::new());
    for line in stdout
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines())
    {
        built.hear(&line.context("cargo can't be listened to")?);
    }
    built.complaint = complaint.join().unwrap_or_default();
    Ok(built)
}

impl Built {
    /// Nothing, for the reason of the `complaint`.
    fn nothing(begun: Instant, complaint: String) -> Self {
        Self {
            is_well: false,
            ended: Instant::now(),
            took: begun.elapsed(),
            messages: Vec::new(),
            complaint,
            components: Vec::new(),
        }
    }

    /// One of cargo's messages.
    fn hear(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return;
        };
        match message["reason"].as_str() {
            Some("compiler-message") => {
                let rendered = message.pointer("/message/rendered").and_then(Value::as_str);
                self.messages
                    .extend(rendered.map(|text| text.trim_end().to_owned()));
            }
            Some("compiler-artifact") => {
                let manifest = message["manifest_path"].as_str().unwrap_or_default();
                let files = message["filenames"].as_array().into_iter().flatten();
                let component = files
                    .filter_map(Value::as_str)
                    .find(|file| Path::new(file).extension().is_some_and(|ending| ending == "wasm"));
                self.components
                    .extend(component.map(|file| (manifest.into(), file.into())));
            }
            _ => {}
        }
    }

    /// The component of each of `crates` that was built.
    pub(super) fn files<'a>(&self, crates: &'a [Crate]) -> Vec<(&'a Crate, PathBuf)> {
        let of = |one: &'a Crate| {
            let manifest = one.folder.join("Cargo.toml");
            let mut components = self.components.iter();
            let (_, file) = components.find(|(made, _)| *made == manifest)?;
            Some((one, file.clone()))
        };
        // A build that failed half-way may have made some: what it made is whole.
        crates.iter().filter_map(of).collect()
    }

    /// What it came to, to be shown.
    pub(super) fn told(&self) -> Value {
        // Where the compiler says why, cargo has nothing to add.
        let cargo_says = !self.is_well && self.messages.is_empty() && !self.complaint.is_empty();
        json!({
            "kind": "built", "ok": self.is_well, "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "messages": self.messages, "cargo": cargo_says.then_some(&self.complaint),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::name::PluginName;

    #[test]
    fn components_and_the_compilers_words_are_taken_from_what_cargo_says() {
        let mut built = Built::nothing(Instant::now(), "error: could not compile".into());
        for line in [
            r#"{"reason":"compiler-message","message":{"rendered":"error: no\n\n"}}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","filenames":["/t/a.d","/t/a.wasm"]}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/serde/Cargo.toml","filenames":["/t/libserde.rlib"]}"#,
            "warning: cargo speaks plainly",
        ] {
            built.hear(line);
        }
        let crates = ["a", "b"].map(|name| Crate {
            name: PluginName::parse(name).unwrap(),
            folder: format!("/w/{name}").into(),
        });
        assert_eq!(built.files(&crates), [(&crates[0], PathBuf::from("/t/a.wasm"))]);
        let told = built.told();
        assert_eq!(
            (&told["messages"], &told["cargo"]),
            (&json!(["error: no"]), &Value::Null)
        );
        built.messages.clear();
        assert_eq!(built.told()["cargo"], "error: could not compile");
    }
}
