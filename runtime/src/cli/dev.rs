//! `nerve dev`: a host that builds plugins when their source changes, swaps them in, and shows what they do.

mod build;
mod crates;
mod examples;
mod refused;
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
use self::refused::Refused;
use self::saves::{Saved, Watching};
use self::story::Screen;
use super::Done;
use super::api::Api;
use super::output::Printer;
use super::run;
use crate::access::Access;
use crate::host::{Host, HostOptions};
use crate::http::Entrance;
use crate::log::record::{Deployment, DeploymentAction, Hash, Record};
use crate::plugin::compiler::child::THIS_PROGRAM;
use crate::plugin::engine::Code;
use crate::plugin::name::PluginName;
use crate::plugin::watcher::{Pair, pair};

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
        let cargo = Cargo::new(self.dir.clone())?;
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
            code: Code::Quick,
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
        let crates = cargo.crates();
        let (saves, mut watching) = saves::watch(&crates.target)?;
        watching.watch(&crates.sources)?;
        let session = Session {
            screen: Screen::new(printer.is_json()),
            at: host.log().bounds().durable,
            host: host.clone(),
            cargo: Arc::new(cargo),
            watching,
            plugins,
            examples: self.publish,
            api: api.at(&format!("http://{address}")),
            asked: BTreeMap::new(),
            built: Instant::now(),
            awaited: BTreeMap::new(),
            refused: Refused::default(),
            is_swapped: false,
        };
        session.screen.show(&json!({
            "kind": "host", "address": session.api.server(), "data": self.data,
            "plugins": crates.all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
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
    watching: Watching,
    /// The plugin folder.
    plugins: PathBuf,
    examples: Option<PathBuf>,
    api: Api,
    /// What is shown of the log ends here.
    at: Offset,
    /// The pair that each plugin was asked to run last.
    asked: BTreeMap<PluginName, Pair>,
    /// When cargo was done last.
    built: Instant,
    /// By plugin, the pair that the host has not decided on yet, and when cargo had built it. One that another takes the
    /// place of may never be decided on.
    awaited: BTreeMap<String, (Hash, Instant)>,
    /// Those that are tried again when another one goes live.
    refused: Refused,
    /// Whether any went live that was awaited, since nothing was.
    is_swapped: bool,
}

/// All that can make it do something.
enum Happened {
    Stop,
    Records(Vec<Entry>),
    Saved(Saved),
    Built(Built),
}

impl Session {
    /// Build and show until it is told to stop.
    async fn live(
        mut self,
        listener: TcpListener,
        entrance: Entrance,
        mut saves: UnboundedReceiver<Saved>,
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
                Some(what) = saves.recv() => Happened::Saved(what),
                built = ended(&mut building), if building.is_some() => Happened::Built(built?),
            };
            match happened {
                Happened::Stop => break,
                Happened::Records(records) => self.see(&records).await?,
                Happened::Saved(what) => {
                    is_stale = true;
                    if what == Saved::Crates {
                        // Before they are looked for: what is saved in them later is noticed.
                        self.watch();
                        self.cargo.look_again();
                    }
                }
                Happened::Built(built) => {
                    building = None;
                    self.deploy(&built).await?;
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

    /// Watch all that the plugins are made from.
    fn watch(&mut self) {
        if let Err(why) = self.watching.watch(&self.cargo.crates().sources) {
            tracing::error!("{why:#}; what is saved there is not seen until nerve dev is started again");
        }
    }

    fn build(&self) -> JoinHandle<anyhow::Result<Built>> {
        let count = self.cargo.crates().all.len();
        self.screen.show(&json!({ "kind": "building", "plugins": count }));
        let (cargo, colour) = (self.cargo.clone(), self.screen.is_coloured());
        tokio::task::spawn_blocking(move || cargo.build(colour))
    }

    /// Give the host what was built, where it differs from what it has.
    async fn deploy(&mut self, built: &Built) -> Done {
        self.screen.show(&built.told());
        self.built = built.ended;
        let crates = self.cargo.crates();
        if !self.watching.is_of(&crates.sources) {
            self.watch();
        }
        // Where it does not build, a crate may be about to come back under another name.
        let has_gone = built.is_well && self.remove_all_but(&crates)?;
        for (one, file) in built.files(&crates.all) {
            self.place(one, &file)?;
        }
        self.go_on().await?;
        if built.is_well && self.awaited.is_empty() && !has_gone {
            self.screen.show(&json!({ "kind": "unchanged" }));
        }
        Ok(())
    }

    /// Put a component and its settings into the plugin folder, where the host has something to decide.
    fn place(&mut self, one: &Crate, file: &Path) -> Done {
        let component = std::fs::read(file).with_context(|| file.display().to_string())?;
        let settings = one.folder.join(format!("{}.toml", one.name));
        let settings = std::fs::read_to_string(settings).ok();
        let asked = pair(one.name.clone(), component.into(), settings, true);
        let last = self.asked.get(&one.name);
        if last.is_some_and(|last| last.hash == asked.hash) {
            return Ok(());
        }
        // Asked before it may decide: a pair that ran when the host was last stopped is not tried again.
        let name = one.name.as_str();
        let is_new = !self.host.has_decided(name, asked.hash);
        // The settings first: the component is the last of a pair to come.
        self.put(&one.name, "toml", asked.settings.as_deref().map(str::as_bytes))?;
        self.put(&one.name, "wasm", Some(&asked.component))?;
        if is_new {
            self.awaited.insert(name.to_owned(), (asked.hash, self.built));
        } else {
            self.refused.before(name);
        }
        self.asked.insert(one.name.clone(), asked);
        Ok(())
    }

    /// Write the file of a plugin with this `ending` into the plugin folder, so that nobody reads a half; or remove it.
    fn put(&self, plugin: &PluginName, ending: &str, bytes: Option<&[u8]>) -> Done {
        let to = self.plugins.join(format!("{plugin}.{ending}"));
        let beside = self.plugins.join(format!(".{plugin}.{ending}"));
        match bytes {
            Some(bytes) => std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(beside, &to)),
            None => std::fs::remove_file(&to).or_else(|cause| match cause.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(cause),
            }),
        }
        .with_context(|| format!("{} can't be written", to.display()))
    }

    /// Take the plugins away whose crates have gone; whether any has.
    fn remove_all_but(&mut self, crates: &Crates) -> anyhow::Result<bool> {
        let has_gone = |name: &&PluginName| crates.all.iter().all(|one| one.name != **name);
        let gone: Vec<PluginName> = self.asked.keys().filter(has_gone).cloned().collect();
        for name in &gone {
            for ending in ["wasm", "toml"] {
                self.put(name, ending, None)?;
            }
            self.asked.remove(name);
            self.awaited.remove(name.as_str());
        }
        Ok(!gone.is_empty())
    }

    /// Show records, and go on where all that was awaited is decided on.
    async fn see(&mut self, records: &[Entry]) -> Done {
        for entry in records {
            self.at = entry.offset;
            let Ok(record) = Record::decode(&entry.payload) else {
                continue;
            };
            let mut about = Value::Null;
            if let Record::Deployment(deployment) = &record {
                match self.follow(deployment) {
                    Some(told) => about = told,
                    None => continue,
                }
            }
            if let Some(mut told) = story::told(entry, &record) {
                if let Value::Object(about) = about {
                    told.as_object_mut().expect("it is an object").extend(about);
                }
                self.screen.show(&told);
            }
        }
        self.go_on().await
    }

    /// What a deployment says of what was asked for; what to show of that besides, or `None` where it says nothing new.
    fn follow(&mut self, deployment: &Deployment) -> Option<Value> {
        let mut told = json!({});
        let (plugin, awaited) = (&deployment.plugin, self.awaited.get(&deployment.plugin).copied());
        if let Some((pair, ended)) = awaited
            && deployment.pair == Some(pair)
        {
            self.awaited.remove(plugin);
            let after = ended.elapsed().as_millis();
            told["after_cargo_ms"] = json!(u64::try_from(after).unwrap_or(u64::MAX));
            self.is_swapped |= matches!(deployment.action, DeploymentAction::Live(_));
        }
        match &deployment.action {
            DeploymentAction::Live(_) => told["now_that"] = json!(self.refused.live(plugin)),
            DeploymentAction::Removed => self.refused.gone(plugin),
            DeploymentAction::Refused { reason } if !self.refused.refuse(plugin, reason) => return None,
            _ => {}
        }
        Some(told)
    }

    /// Where all that was awaited is decided on: try again what was refused, as long as anything goes live; then publish the
    /// examples, where something did.
    async fn go_on(&mut self) -> Done {
        if !self.awaited.is_empty() {
            return Ok(());
        }
        for plugin in self.refused.due() {
            let mut asked = self.asked.values();
            let Some(pair) = asked.find(|pair| pair.name.as_str() == plugin).cloned() else {
                continue;
            };
            // What it decides is a record, and comes with the others.
            let hash = pair.hash;
            if self.host.decide_again(pair).await? {
                self.awaited.insert(plugin, (hash, self.built));
            } else {
                self.refused.is_not(&plugin);
            }
        }
        if !self.awaited.is_empty() {
            return Ok(());
        }
        if let Some(stuck) = self.refused.is_stuck() {
            self.screen.show(&json!({ "kind": "stuck", "plugins": stuck }));
        }
        if std::mem::take(&mut self.is_swapped) {
            self.publish();
        }
        Ok(())
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
