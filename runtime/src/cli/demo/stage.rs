//! Where the story is told: a real host process on a new folder, and what the chapters do with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::api::{Api, ApiError, escaped};
use crate::cli::output::Printer;

/// How long anything may take before the claim is taken not to hold.
const LONGEST: Duration = Duration::from_secs(30);

/// The plugins of the shop.
const SHOP: [&str; 10] = [
    "analytics",
    "carts",
    "inventory",
    "login",
    "notifications",
    "orders",
    "payments",
    "profiles",
    "recommendations",
    "shipping",
];

/// A host on a new folder.
pub(super) struct Stage {
    built: PathBuf,
    folder: TempDir,
    printer: Printer,
    host: Option<Child>,
    address: String,
    claims: u32,
}

impl Stage {
    /// Start the host, with the shop's plugins.
    pub(super) fn open(built: &Path, printer: Printer) -> anyhow::Result<Self> {
        let missing = SHOP
            .iter()
            .map(|name| built.join(format!("plugins/{name}.wasm")))
            .find(|file| !file.is_file());
        if let Some(file) = missing {
            bail!(
                "{} is not there: build the shop's plugins with `make plugins`, or name them with --built",
                file.display()
            );
        }
        let folder = tempfile::tempdir().context("there is no room for a folder")?;
        fs::create_dir(folder.path().join("plugins"))?;
        let mut stage = Self {
            built: built.to_owned(),
            folder,
            printer,
            host: None,
            address: String::new(),
            claims: 0,
        };
        stage.say(&format!(
            "A host starts in {}, with {} plugins dropped into its folder.",
            stage.folder.path().display(),
            SHOP.len()
        ));
        for name in SHOP {
            stage.drop_plugin(name, &format!("plugins/{name}.wasm"))?;
        }
        stage.start()?;
        for name in SHOP {
            stage.until(&format!("{name} is live"), |stage| {
                Ok(stage.plugin(name)?["status"] == "live")
            })?;
        }
        Ok(stage)
    }

    /// End the host, as SIGTERM does.
    pub(super) fn close(&mut self, keep: bool) -> anyhow::Result<()> {
        if let Some(mut host) = self.host.take() {
            signal(&host, rustix::process::Signal::TERM);
            host.wait().context("the host does not end")?;
        }
        if keep {
            self.folder.disable_cleanup(true);
            self.say(&format!(
                "\nThe host's folder stays: {}",
                self.folder.path().display()
            ));
        }
        Ok(())
    }

    /// Let the host run on, on its own: its address, its process and its folder.
    pub(super) fn leave(mut self) -> anyhow::Result<(String, u32, PathBuf)> {
        let host = self.host.take().context("the host is gone")?;
        self.folder.disable_cleanup(true);
        Ok((self.address.clone(), host.id(), self.folder.path().to_owned()))
    }

    /// Start the process, and wait until it answers.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let address = self.folder.path().join("data/address");
        fs::remove_file(&address).ok();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("host.log"))?;
        let host = Command::new(std::env::current_exe()?)
            .args(["run", "--listen", "127.0.0.1:0"])
            .current_dir(self.folder.path())
            .env_remove("NERVE_SERVER")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the host does not start")?;
        self.host = Some(host);
        self.until("the host answers", |stage| {
            if let Some(ended) = stage.host.as_mut().and_then(|host| host.try_wait().ok()?) {
                bail!("the host ended with {ended}; host.log in its folder says why");
            }
            let written = fs::read_to_string(&address).unwrap_or_default();
            written.trim().clone_into(&mut stage.address);
            Ok(!stage.address.is_empty() && stage.api().get("/v1/log").is_ok())
        })
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut host) = self.host.take() {
            host.kill().context("the host can't be killed")?;
            host.wait()?;
        }
        Ok(())
    }

    /// The host's API.
    pub(super) fn api(&self) -> Api {
        Api::open(&self.address)
    }

    /// How many claims held.
    pub(super) fn claims(&self) -> u32 {
        self.claims
    }

    /// Begin a chapter.
    pub(super) fn chapter(&self, title: &str) {
        self.say(&format!("\n{title}"));
    }

    /// Tell.
    pub(super) fn say(&self, text: &str) {
        self.printer.say(text);
    }

    /// A claim: the story ends where it does not hold.
    pub(super) fn claim(&mut self, holds: bool, claim: &str) -> anyhow::Result<()> {
        if !holds {
            bail!("this does not hold: {claim}");
        }
        self.claims += 1;
        self.say(&format!("  ✓ {claim}"));
        Ok(())
    }

    /// Wait until `holds`, which is a claim of its own when it never does.
    pub(super) fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds(self)? {
            if begun.elapsed() > LONGEST {
                bail!("this does not come true within {} s: {what}", LONGEST.as_secs());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Publish, and answer the offset.
    pub(super) fn publish(&self, kind: &str, id: &str, key: &str, data: &Value) -> anyhow::Result<u64> {
        let answer = publish(&self.api(), kind, id, key, data)?;
        answer["offset"].as_u64().context("the host names no offset")
    }

    /// A plugin, as the API shows it; null while the host does not know it.
    pub(super) fn plugin(&self, name: &str) -> anyhow::Result<Value> {
        match self.api().get(&format!("/v1/plugins/{name}")) {
            Err(ApiError::Refused(problem)) if problem.status == 404 => Ok(Value::Null),
            other => Ok(other?),
        }
    }

    /// What a plugin keeps at a readable key, once it has settled everything up to `offset`.
    pub(super) fn state(&self, plugin: &str, key: &str, offset: u64) -> anyhow::Result<Value> {
        let key: Vec<String> = key.split('/').map(escaped).collect();
        let path = format!(
            "/v1/plugins/{plugin}/state/{}?min_offset={offset}&timeout_ms=30000",
            key.join("/")
        );
        match self.api().get(&path) {
            Err(ApiError::Refused(problem)) if problem.code == "state-key-not-found" => Ok(Value::Null),
            other => Ok(other?["value"].take()),
        }
    }

    /// All entries of a plugin's readable state under a prefix.
    pub(super) fn entries(&self, plugin: &str, prefix: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!(
                "/v1/plugins/{plugin}/state?prefix={}&limit=1000{after}",
                escaped(prefix)
            );
            let mut page = self.api().get(&path)?;
            all.extend(
                page["entries"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .map(Value::take),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", escaped(next)),
                None => return Ok(all),
            }
        }
    }

    /// All events of a type.
    pub(super) fn events(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let mut page = self
                .api()
                .get(&format!("/v1/events?type={kind}&limit=1000&after={after}"))?;
            let next = page["next"].as_u64().unwrap_or_default();
            all.extend(
                page["events"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .map(Value::take),
            );
            if next == after {
                return Ok(all);
            }
            after = next;
        }
    }

    /// The deliveries of an event in its trace.
    pub(super) fn deliveries(&self, offset: u64) -> anyhow::Result<Vec<Value>> {
        let mut tree = self.api().get(&format!("/v1/events/@{offset}/trace"))?;
        Ok(tree["root"]["deliveries"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Drop a built file into the folder under a plugin's name, whole at once.
    pub(super) fn drop_plugin(&self, name: &str, built: &str) -> anyhow::Result<()> {
        let file = self.built.join(built);
        let bytes = fs::read(&file)
            .with_context(|| format!("{} can't be read: run `make plugins`", file.display()))?;
        self.drop_bytes(name, &bytes)
    }

    /// Drop bytes into the folder under a plugin's name, whole at once.
    pub(super) fn drop_bytes(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let folder = self.folder.path().join("plugins");
        let beside = folder.join(format!(".{name}"));
        fs::write(&beside, bytes)?;
        fs::rename(&beside, folder.join(format!("{name}.wasm")))?;
        Ok(())
    }

    /// Write a plugin's `[config]`, whole at once, and wait until the version that has it is live.
    pub(super) fn configure(&mut self, name: &str, config: &str) -> anyhow::Result<()> {
        // What happens with it is the story, and no fault of a version that is to be taken back.
        self.settings(name, &format!("[config]\n{config}\n[probation]\nevents = 0\n"))
    }

    /// Write a plugin's settings, whole at once, and wait until the version that has them is live.
    pub(super) fn settings(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let before = self.plugin(name)?["version"].clone();
        let folder = self.folder.path().join("plugins");
        let beside = folder.join(format!(".{name}.settings"));
        fs::write(&beside, text)?;
        fs::rename(&beside, folder.join(format!("{name}.toml")))?;
        self.until(&format!("{name} runs with {text:?}"), |stage| {
            Ok(stage.plugin(name)?["version"] != before)
        })
    }

    /// Publish many events at once; answers the last offset.
    pub(super) fn publish_all(&self, events: &[Value]) -> anyhow::Result<u64> {
        let answer = self.api().post(
            "/v1/events",
            "application/cloudevents-batch+json",
            Value::from(events).to_string().as_bytes(),
        )?;
        let last = answer["events"].as_array().and_then(|all| all.last());
        last.and_then(|one| one["offset"].as_u64())
            .context("the host names no offset")
    }

    /// Take a plugin's file out of the folder, and wait until the host has seen it.
    pub(super) fn remove_file(&mut self, name: &str) -> anyhow::Result<()> {
        fs::remove_file(self.folder.path().join(format!("plugins/{name}.wasm")))?;
        self.until(&format!("{name} is removed"), |stage| {
            Ok(stage.plugin(name)?["status"] == "removed")
        })
    }

    /// A built file.
    pub(super) fn built(&self, file: &str) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.built.join(file))?)
    }

    /// Where a built file is.
    pub(super) fn built_file(&self, file: &str) -> PathBuf {
        self.built.join(file)
    }

    /// Run a command of `nerve` against the host to its end.
    pub(super) fn nerve(&self, args: &[&str]) -> anyhow::Result<Output> {
        Command::new(std::env::current_exe()?)
            .args(["--server", &self.address])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .context("nerve can't be run")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            host.kill().ok();
            host.wait().ok();
        }
    }
}

/// Publish one event.
pub(super) fn publish(api: &Api, kind: &str, id: &str, key: &str, data: &Value) -> Result<Value, ApiError> {
    api.post(
        "/v1/events",
        "application/cloudevents+json",
        event(kind, id, key, data).to_string().as_bytes(),
    )
}

/// An event from the shop.
pub(super) fn event(kind: &str, id: &str, key: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "shop", "type": kind, "partitionkey": key, "data": data })
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, signal).ok();
    }
}
