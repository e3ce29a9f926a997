//! `nerve dev`: a host that builds plugins when their source changes, swaps them in, and shows what they do.

mod build;
mod crates;
mod examples;
mod saves;
mod story;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use nerve_eventlog::{Durability, Entry, Offset, Options, Reach, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::build::{Built, Cargo};
use self::crates::{Crate, Crates};
use self::story::Screen;
use super::Done;
use super::api::Api;
use super::output::Printer;
use super::run;
use crate::access::Access;
use crate::host::{Host, HostOptions};
use crate::http::Entrance;
use crate::log::record::{DeploymentAction, Hash, Record};
use crate::plugin::compiler::child::THIS_PROGRAM;
use crate::plugin::name::PluginName;
use crate::plugin::watcher::pair;

/// Bytes of the log that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Run a host, build plugins when their source changes, swap them in, and show what they do
#[derive(clap::Args)]
pub(super) struct Dev {
    /// A plugin's crate, or a folder of a workspace that has some; NAME.toml in a crate are its settings
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Publish these events after each swap: a JSON object in each line, with `type`, and `data` and `key` as needed
    #[arg(long, value_name = "FILE")]
    publish: Option<PathBuf>,
    /// Keep the log and all state in this folder [default: in memory, for as long as it runs]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The plugin folder of that host, with what else is to run; else it is one of its own
    #[arg(long, requires = "data", default_value = "plugins")]
    plugins: PathBuf,
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7117", env = "NERVE_LISTEN")]
    listen: SocketAddr,
}

impl Dev {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        // What the host has to say of plugins is shown besides.
        run::start_tracing("error");
        run::runtime()?.block_on(self.develop(api, printer))
    }

    async fn develop(self, api: &Api, printer: &Printer) -> Done {
        run::check_loopback(self.listen)?;
        let crates = Crates::find(&self.dir)?;
        if let Some(file) = &self.publish {
            examples::read(file)?;
        }
        let (listener, address) = run::listen(self.listen).await?;
        let own = tempfile::tempdir().context("no folder of its own")?;
        let (data, plugins) = match &self.data {
            Some(data) => (data.clone(), self.plugins.clone()),
            None => (own.path().join("data"), own.path().join("plugins")),
        };
        for folder in [&data, &plugins] {
            std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        }
        let options = HostOptions {
            data: Some(data.clone()),
            plugins: Some(plugins.clone()),
            compiler: Some(THIS_PROGRAM.into()),
            log: Options {
                durability: match self.data {
                    Some(_) => Durability::default(),
                    None => Durability::Memory,
                },
                ..Options::default()
            },
            ..HostOptions::default()
        };
        let opened = tokio::task::spawn_blocking(move || Host::open(options)).await?;
        let host = opened.with_context(|| format!("the host can't start on {}", data.display()))?;
        let (saves, _watching) = saves::watch(&crates)?;
        let session = Session {
            screen: Screen::new(printer.is_json()),
            at: host.log().bounds().durable,
            host: host.clone(),
            cargo: Arc::new(Cargo::new(crates)),
            plugins,
            examples: self.publish,
            api: api.at(&format!("http://{address}")),
            deployed: BTreeMap::new(),
            awaited: BTreeMap::new(),
            is_swapped: false,
        };
        session.screen.show(&json!({
            "kind": "host", "address": session.api.server(), "data": self.data,
            "plugins": session.cargo.crates.all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        }));
        let entrance = Entrance {
            access: Access::by_tokens(&data, true, Arc::new(SystemClock)),
            tls: None,
        };
        session.live(listener, entrance, saves).await?;
        host.stop().await.context("the host did not stop cleanly")?;
        Screen::new(printer.is_json()).show(&json!({ "kind": "stopped" }));
        Ok(())
    }
}

struct Session {
    screen: Screen,
    host: Host,
    cargo: Arc<Cargo>,
    /// The plugin folder.
    plugins: PathBuf,
    examples: Option<PathBuf>,
    api: Api,
    /// What is shown of the log ends here.
    at: Offset,
    /// The pair that each plugin was asked to run last.
    deployed: BTreeMap<PluginName, Hash>,
    /// By plugin, the pair that the host has not decided on yet, and when cargo had built it. One that another takes the
    /// place of may never be decided on.
    awaited: BTreeMap<String, (Hash, Instant)>,
    /// Whether any went live that was awaited, since nothing was.
    is_swapped: bool,
}

/// All that can make it do something.
enum Happened {
    Stop,
    Records(Vec<Entry>),
    Saved,
    Built(Built),
}

impl Session {
    /// Build and show until it is told to stop.
    async fn live(
        mut self,
        listener: TcpListener,
        entrance: Entrance,
        mut saves: UnboundedReceiver<()>,
    ) -> Done {
        let (stop, asked) = (CancellationToken::new(), self.host.clone());
        let asked_to = stop.clone();
        let serving = tokio::spawn(crate::http::serve(
            self.host.clone(),
            listener,
            entrance,
            async move {
                asked_to.cancelled().await;
                asked.announce_stop();
            },
        ));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut building = Some(self.build());
        let mut is_stale = false;
        loop {
            let happened = tokio::select! {
                _ = terminate.recv() => Happened::Stop,
                _ = interrupt.recv() => Happened::Stop,
                () = self.host.poisoned() => Happened::Stop,
                records = more(&self.host, self.at) => Happened::Records(records?),
                Some(()) = saves.recv() => Happened::Saved,
                built = ended(&mut building), if building.is_some() => Happened::Built(built?),
            };
            match happened {
                Happened::Stop => break,
                Happened::Records(records) => self.see(&records),
                Happened::Saved => is_stale = true,
                Happened::Built(built) => {
                    building = None;
                    self.deploy(&built)?;
                }
            }
            if is_stale && building.is_none() {
                is_stale = false;
                building = Some(self.build());
            }
        }
        self.cargo.stop();
        stop.cancel();
        serving.await?.context("the HTTP server failed")
    }

    fn build(&self) -> JoinHandle<anyhow::Result<Built>> {
        self.screen.show(&json!({ "kind": "building" }));
        let (cargo, colour) = (self.cargo.clone(), self.screen.is_coloured());
        tokio::task::spawn_blocking(move || cargo.build(colour))
    }

    /// Give the host what was built, where it differs from what it has.
    fn deploy(&mut self, built: &Built) -> Done {
        let after = built.ended;
        self.screen.show(&built.told());
        let cargo = self.cargo.clone();
        let mut changed = 0;
        for (one, file) in built.files(&cargo.crates.all) {
            changed += usize::from(self.place(one, &file, after)?);
        }
        if built.is_well && changed == 0 {
            self.screen.show(&json!({ "kind": "unchanged" }));
        }
        Ok(())
    }

    /// Put a component and its settings into the plugin folder; answers whether the host has something to decide.
    fn place(&mut self, one: &Crate, file: &Path, after: Instant) -> anyhow::Result<bool> {
        let component = std::fs::read(file).with_context(|| file.display().to_string())?;
        let settings = one.folder.join(format!("{}.toml", one.name));
        let settings = std::fs::read_to_string(settings).ok();
        let asked = pair(one.name.clone(), component.into(), settings, true);
        if self.deployed.get(&one.name) == Some(&asked.hash) {
            return Ok(false);
        }
        let put = |ending: &str, bytes: Option<&[u8]>| {
            let to = self.plugins.join(format!("{}.{ending}", one.name));
            let beside = self.plugins.join(format!(".{}.{ending}", one.name));
            match bytes {
                Some(bytes) => std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(beside, &to)),
                None => std::fs::remove_file(&to).or_else(|cause| match cause.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(cause),
                }),
            }
            .with_context(|| format!("{} can't be written", to.display()))
        };
        // Asked before it may decide: a pair that ran when the host was last stopped is not tried again.
        let is_new = !self.host.has_decided(one.name.as_str(), asked.hash);
        // The settings first: the component is the last of a pair to come.
        put("toml", asked.settings.as_deref().map(str::as_bytes))?;
        put("wasm", Some(&asked.component))?;
        self.deployed.insert(one.name.clone(), asked.hash);
        if is_new {
            let name = one.name.as_str().to_owned();
            self.awaited.insert(name, (asked.hash, after));
        }
        Ok(is_new)
    }

    /// Show records, and publish the examples once all that was awaited is decided on and something of it went live.
    fn see(&mut self, records: &[Entry]) {
        for entry in records {
            self.at = entry.offset;
            let Ok(record) = Record::decode(&entry.payload) else {
                continue;
            };
            let mut after = None;
            if let Record::Deployment(deployment) = &record {
                let awaited = self.awaited.get(&deployment.plugin).copied();
                if let Some((pair, ended)) = awaited
                    && deployment.pair == Some(pair)
                {
                    self.awaited.remove(&deployment.plugin);
                    after = Some(ended.elapsed());
                    self.is_swapped |= matches!(deployment.action, DeploymentAction::Live(_));
                }
            }
            if let Some(mut told) = story::told(entry, &record) {
                if let Some(after) = after {
                    told["after_cargo_ms"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                }
                self.screen.show(&told);
            }
            // One of several may be refused, or wait, last.
            if self.is_swapped && self.awaited.is_empty() {
                self.is_swapped = false;
                self.publish();
            }
        }
    }

    /// Publish the examples beside; what goes wrong is shown.
    fn publish(&self) {
        let Some(file) = self.examples.clone() else {
            return;
        };
        let (screen, api) = (self.screen.clone(), self.api.clone());
        tokio::task::spawn_blocking(move || {
            let value: Value = match examples::publish(&file, &api) {
                Ok(count) => json!({ "kind": "published", "file": file, "events": count }),
                Err(why) => json!({ "kind": "not-published", "file": file, "reason": format!("{why:#}") }),
            };
            screen.show(&value);
        });
    }
}

/// The records behind `at`, when there are some.
///
/// # Cancel safety
/// May be cancelled at any time.
async fn more(host: &Host, at: Offset) -> anyhow::Result<Vec<Entry>> {
    host.durable(at.next()).await?;
    let host = host.clone();
    let read = move || host.log().read(at.next(), CHUNK_BYTES, Reach::Durable);
    Ok(tokio::task::spawn_blocking(read).await??)
}

/// What came of the build that is under way.
///
/// # Cancel safety
/// May be cancelled at any time.
async fn ended(building: &mut Option<JoinHandle<anyhow::Result<Built>>>) -> anyhow::Result<Built> {
    match building {
        Some(building) => building.await?,
        None => std::future::pending().await,
    }
}
