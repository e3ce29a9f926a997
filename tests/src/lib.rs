//! What the black-box tests share: a real host process on a folder of its own.
#![expect(
    clippy::missing_panics_doc,
    reason = "a test's fixture ends the test when something is wrong"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test's fixture ends the test when something is wrong"
)]

pub mod ledger;
pub mod proof;
pub mod server;
pub mod shim;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take: compiling a language's whole engine takes longest.
const LONGEST: Duration = Duration::from_mins(5);

/// The `nerve` program: `NERVE_BIN`, or what cargo built beside this test.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("NERVE_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    let beside = test.parent().and_then(Path::parent).unwrap().join("nerve");
    assert!(
        beside.is_file(),
        "{} is not there: run `make host` first",
        beside.display()
    );
    beside
}

/// A plugin that `scripts/build-plugins` built: `fixtures/trap`, or `plugins/login`.
pub fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target-wasm/{name}.wasm"));
    fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}; run `make plugins` first", path.display()))
}

/// Run `nerve` to its end.
pub fn nerve(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .current_dir(folder)
        .args(args)
        .env_remove("NERVE_SERVER")
        .env_remove("NERVE_TOKEN")
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// A host process.
pub struct Host {
    folder: TempDir,
    process: Option<Child>,
    address: String,
    before: String,
    /// MiB of the disk of its own that its data is on, where it has one; it is gone with the process.
    disk: Option<u32>,
    /// Further options of `nerve run`.
    options: &'static [&'static str],
}

/// An answer: its status, and its body as JSON where it is JSON.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Host {
    /// A host on a new folder, with these plugins in it.
    pub fn start(plugins: &[&str]) -> Self {
        Self::start_on(None, &[], plugins)
    }

    /// The same, with further options of `nerve run`.
    pub fn start_with(options: &'static [&'static str], plugins: &[&str]) -> Self {
        Self::start_on(None, options, plugins)
    }

    /// The same, with its data on a disk of so many MiB. Needs the right to mount: root has it, and whoever may make
    /// user namespaces.
    pub fn start_on_small_disk(mib: u32, plugins: &[&str]) -> Self {
        Self::start_on(Some(mib), &[], plugins)
    }

    fn start_on(disk: Option<u32>, options: &'static [&'static str], plugins: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plugins", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut host = Self {
            folder,
            process: None,
            address: String::new(),
            before: String::new(),
            disk,
            options,
        };
        for plugin in plugins {
            host.drop_built(plugin);
        }
        host.run();
        for plugin in plugins {
            let name = plugin.rsplit('/').next().unwrap();
            host.until(&format!("{name} is live"), |host| {
                host.plugin(name)["status"] == "live"
            });
        }
        host
    }

    /// Start the process on its folder, and wait until it answers.
    pub fn run(&mut self) {
        self.begin();
        self.until("the host answers", Self::answers);
    }

    /// What the shell does before each start from now on, such as `ulimit -n 64;`.
    pub fn before_start(&mut self, does: &str) {
        does.clone_into(&mut self.before);
    }

    /// Further options of `nerve run` from the next start on.
    pub fn set_options(&mut self, options: &'static [&'static str]) {
        self.options = options;
    }

    /// What all its processes have said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.path("host.log")).unwrap_or_default()
    }

    /// Start the process on its folder, and wait until it answers, or has ended: answers the exit code then.
    pub fn run_or_end(&mut self) -> Option<i32> {
        self.begin();
        let mut code = None;
        self.until("the host answers or ends", |host| {
            if let Some(status) = host.process.as_mut().unwrap().try_wait().unwrap() {
                host.process = None;
                code = Some(status.code().unwrap_or(-1));
            }
            code.is_some() || host.answers()
        });
        code
    }

    /// Whether it answers.
    pub fn answers(&mut self) -> bool {
        let written = fs::read_to_string(self.path("data/address")).unwrap_or_default();
        written.trim().clone_into(&mut self.address);
        !self.address.is_empty() && self.try_get("/readyz").is_some()
    }

    /// Start the process on its folder, and wait for nothing.
    pub fn begin(&mut self) {
        fs::remove_file(self.path("data/address")).ok();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("host.log"))
            .unwrap();
        let child = command(self.disk, &self.before)
            .args(["run", "--listen", "127.0.0.1:0"])
            .args(self.options)
            .current_dir(self.folder.path())
            .env_remove("NERVE_SERVER")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    /// SIGKILL, and wait for its end.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.ended();
    }

    /// SIGTERM; answers the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    /// Send a signal, while others may hold on to the host.
    pub fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Whether the process has ended, or was never started.
    pub fn is_gone(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_none_or(|process| process.try_wait().unwrap().is_some())
    }

    /// Wait for the end of the process; answers its exit code, or nothing where a signal ended it.
    pub fn ended(&mut self) -> Option<i32> {
        self.process.take().unwrap().wait().unwrap().code()
    }

    /// Bytes of memory that the process has.
    pub fn resident(&self) -> u64 {
        let pid = self.process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// A path in its folder, as its process sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        match &self.process {
            Some(process) if self.disk.is_some() => {
                let seen = format!("/proc/{}/root", process.id());
                Path::new(&seen).join(path.strip_prefix("/").unwrap())
            }
            _ => path,
        }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Drop a built plugin, whole at once.
    pub fn drop_built(&self, plugin: &str) {
        self.drop_bytes(plugin.rsplit('/').next().unwrap(), &built(plugin));
    }

    /// Drop a built plugin under another name, whole at once.
    pub fn drop_built_as(&self, name: &str, plugin: &str) {
        self.drop_bytes(name, &built(plugin));
    }

    /// Drop bytes as a plugin, whole at once.
    pub fn drop_bytes(&self, name: &str, bytes: &[u8]) {
        let beside = self.path(&format!("plugins/.{name}"));
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.path(&format!("plugins/{name}.wasm"))).unwrap();
    }

    /// `GET`, whatever the answer.
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path)
            .unwrap_or_else(|| panic!("no answer to GET {path}"))
    }

    /// `GET`; `None` where the host does not answer.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        answer(agent().get(format!("{}{path}", self.address)).call())
    }

    /// `GET`, as text.
    pub fn text(&self, path: &str) -> String {
        let mut answer = agent().get(format!("{}{path}", self.address)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// `POST`, whatever the answer.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = agent()
            .post(format!("{}{path}", self.address))
            .header("content-type", content_type);
        answer(request.send(body)).unwrap_or_else(|| panic!("no answer to POST {path}"))
    }

    /// `PUT`, whatever the answer.
    pub fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = agent()
            .put(format!("{}{path}", self.address))
            .header("content-type", content_type);
        answer(request.send(body)).unwrap_or_else(|| panic!("no answer to PUT {path}"))
    }

    /// Publish, and answer the offset.
    pub fn publish(&self, kind: &str, id: &str, key: Option<&str>, data: &Value) -> u64 {
        let answer = self.try_publish(kind, id, key, data);
        let answer = answer.unwrap_or_else(|| panic!("no answer"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["offset"].as_u64().unwrap()
    }

    /// Publish; `None` where the host does not answer.
    pub fn try_publish(&self, kind: &str, id: &str, key: Option<&str>, data: &Value) -> Option<Answer> {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "test", "type": kind, "partitionkey": key, "data": data,
        });
        let request = agent()
            .post(format!("{}/v1/events", self.address))
            .header("content-type", "application/cloudevents+json");
        answer(request.send(event.to_string().as_bytes()))
    }

    /// A plugin, as the API shows it; null where there is none.
    pub fn plugin(&self, name: &str) -> Value {
        let answer = self.get(&format!("/v1/plugins/{name}"));
        if answer.status == 404 {
            Value::Null
        } else {
            answer.body
        }
    }

    /// What a plugin keeps at a key once it has settled everything up to `offset`.
    pub fn state(&self, plugin: &str, key: &str, offset: u64) -> Value {
        let mut answer = self.get(&format!(
            "/v1/plugins/{plugin}/state/{key}?min_offset={offset}&timeout_ms=30000"
        ));
        assert!(matches!(answer.status, 200 | 404), "{}", answer.body);
        answer.body["value"].take()
    }

    /// All events, of a type.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let mut page = self
                .get(&format!("/v1/events?type={kind}&limit=1000&after={after}"))
                .body;
            all.extend(page["events"].as_array_mut().unwrap().iter_mut().map(Value::take));
            let next = page["next"].as_u64().unwrap();
            if next == after {
                return all;
            }
            after = next;
        }
    }

    /// A connection that is kept over many requests.
    pub fn connect(&self) -> Connection {
        Connection {
            agent: agent(),
            events: format!("{}/v1/events", self.address),
        }
    }

    /// Wait until `holds`.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            if begun.elapsed() > LONGEST {
                let log = self.said();
                panic!("this does not come true: {what}\nthe host says:\n{log}");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// A connection that is kept, for publishing.
pub struct Connection {
    agent: ureq::Agent,
    events: String,
}

impl Connection {
    /// Publish a batch; `None` where the host does not answer.
    pub fn publish(&self, batch: &[Value]) -> Option<Answer> {
        let request = self
            .agent
            .post(&self.events)
            .header("content-type", "application/cloudevents-batch+json");
        answer(request.send(Value::from(batch).to_string().as_bytes()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// The host's program behind what the shell does before, on a disk of its own where it is to have one.
fn command(disk: Option<u32>, before: &str) -> Command {
    let (mut command, mount) = match disk {
        None => (Command::new("sh"), String::new()),
        Some(mib) => {
            let mut command = Command::new("unshare");
            command.args(namespaces()).arg("sh");
            (command, format!("mount -t tmpfs -o size={mib}m none data &&"))
        }
    };
    command.args(["-c", &format!("{mount} {before} exec \"$@\""), "sh"]);
    command.arg(program());
    command
}

fn namespaces() -> &'static [&'static str] {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = response.ok()?;
    let text = response
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_string()
        .ok()?;
    Some(Answer {
        status: response.status().as_u16(),
        body: serde_json::from_str(&text).unwrap_or_default(),
    })
}
