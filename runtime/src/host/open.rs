//! Starting a host: the log is recovered, the state is folded from it, and the plugins go on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use nerve_eventlog::storage::{FsStorage, MemoryStorage, Storage};
use nerve_eventlog::{Clock, Durability, FileLog, Log, Offset, Options, Recovered, SystemClock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checkpoint::Checkpoints;
use super::otlp::Exporter;
use super::{Host, Inner, Retention, ScrubOptions};
use crate::contract::{Contracts, Holding};
use crate::delivery::subscribers::Subscribers;
use crate::ingest::{self, Acceptor, Identity, SourceRate, SourceRates};
use crate::log::index::TypeIndex;
use crate::log::record::{DecodeError, Mode, Record, TypeSchema};
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::otlp::{BadOtlp, OtlpOptions, Sender};
use crate::plugin::components::{ComponentError, Components};
use crate::plugin::deploy::Deployer;
use crate::plugin::engine::{Code, Engine, EngineError};
use crate::plugin::stack::Stack;
use crate::plugin::watcher::{WatchError, Watcher};
use crate::state::checkpoint::{self, Checkpoint, Unusable};
use crate::state::{Fold, PluginState};
use crate::trace::map::Observed;

/// How to start a host.
#[derive(Clone)]
pub struct HostOptions {
    /// The data folder: log, components and caches. `None` keeps everything in memory and watches no plugins.
    pub data: Option<PathBuf>,
    /// The watched folder of plugins.
    pub plugins: Option<PathBuf>,
    /// How the log works.
    pub log: Options,
    /// How long identities are remembered.
    pub window: WindowOptions,
    /// What is accepted.
    pub accept: ingest::Limits,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The `nerve` program of this build, a process of which compiles each new component inside `limits.compile_ms` and
    /// `limits.compile_memory_bytes`. With `None` this process compiles, and nothing bounds that: a component made for
    /// it can then take all memory. `nerve run` gives its own program.
    pub compiler: Option<PathBuf>,
    /// How much stack a guest may use.
    pub stack: Stack,
    /// What the code of plugins is compiled to be.
    pub code: Code,
    /// Bytes of the log after which a checkpoint is made, which bounds what a start has to read. Default 128 MiB.
    pub checkpoint_bytes: u64,
    /// How sealed segments are read again in the background.
    pub scrub: ScrubOptions,
    /// How fast one source may publish; `None`, the default, sets no limit.
    pub source_rate: Option<SourceRate>,
    /// What is kept of the log, and of plugins that were removed.
    pub retention: Retention,
    /// What becomes of an event from outside that breaks its type's schema, where none is set for the type.
    pub contracts: Mode,
    /// How its traces are exported; `None`, the default, exports none.
    pub otlp: Option<OtlpOptions>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            data: None,
            plugins: None,
            log: Options::default(),
            window: WindowOptions::default(),
            accept: ingest::Limits::default(),
            clock: Arc::new(SystemClock),
            compiler: None,
            stack: Stack::default(),
            code: Code::default(),
            checkpoint_bytes: 128 << 20,
            scrub: ScrubOptions::default(),
            source_rate: None,
            retention: Retention::default(),
            contracts: Mode::default(),
            otlp: None,
        }
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] nerve_eventlog::OpenError),
    /// A record can't be read.
    #[error("the record at offset {offset} can't be read: {cause}")]
    Record {
        /// Where.
        offset: Offset,
        /// Why.
        #[source]
        cause: DecodeError,
    },
    /// The folder of checkpoints can't be used.
    #[error("{folder}: {cause}")]
    Checkpoints {
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Another version wrote a checkpoint.
    #[error("checkpoint {file} was written by another version: {cause}. Use the version that wrote it")]
    Format {
        /// The file.
        file: String,
        /// What it has.
        #[source]
        cause: checkpoint::Unusable,
    },
    /// The log's beginning is gone, and what it said is in no checkpoint that can be read.
    #[error(
        "the log begins at offset {first}, and no checkpoint says what came before it ({}); \
         restore a backup, or the folder of checkpoints from a copy",
        if passed_over.is_empty() { "there is none".to_owned() } else { passed_over.join(", ") }
    )]
    NoCheckpoint {
        /// The first offset that is left.
        first: Offset,
        /// The checkpoints that are there, each with what is wrong.
        passed_over: Vec<String>,
    },
    /// The engine that runs plugins does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of components can't be used.
    #[error(transparent)]
    Components(#[from] ComponentError),
    /// Traces can't be exported.
    #[error("traces can't be exported: {0}")]
    Otlp(#[from] BadOtlp),
    /// The plugin folder can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

impl Host {
    /// Start a host. Must be called within a tokio runtime; blocks while the log is read.
    pub fn open(options: HostOptions) -> Result<Self, OpenError> {
        let Some(data) = &options.data else {
            let log: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
            return Self::open_on(&log, Arc::new(MemoryStorage::default()), options);
        };
        let folder = data.join("checkpoints");
        std::fs::create_dir_all(&folder).map_err(|cause| OpenError::Checkpoints {
            folder: folder.display().to_string(),
            cause,
        })?;
        let exporter = match &options.otlp {
            Some(otlp) => Some(Exporter::new(otlp.clone(), Sender::start(otlp)?, data.clone())),
            None => None,
        };
        let log: Arc<dyn Storage> = Arc::new(FsStorage::new(data.join("log")));
        let host = Self::open_on(&log, Arc::new(FsStorage::new(folder)), options)?;
        host.inner.tasks.spawn(super::retention::keep(host.clone()));
        host.inner.tasks.spawn(super::map::keep(host.clone()));
        if let Some(exporter) = exporter {
            host.inner.tasks.spawn(super::otlp::keep(host.clone(), exporter));
        }
        Ok(host)
    }

    /// The same, with the log and the checkpoints in these storages, and retention only when it is asked for.
    pub(crate) fn open_on(
        storage: &Arc<dyn Storage>,
        checkpoints: Arc<dyn Storage>,
        options: HostOptions,
    ) -> Result<Self, OpenError> {
        let (rebuilt, log, recovered) = rebuild(storage, &*checkpoints, &options)?;
        let durability = options.log.durability;
        let log = Arc::new(log);
        let Rebuilt {
            acceptor,
            fold,
            mut order,
            through,
            passed_over,
            observed,
            ..
        } = rebuilt;
        order.index.forget_below(log.bounds().hot_first);
        let sequencer = Sequencer::new(&(log.clone() as Arc<dyn Log>), order);
        let holding = Holding::new(options.contracts, fold.schemas().clone());
        let subscribers = Subscribers::new(sequencer.clone(), options.clock.clone(), holding);
        for (name, state) in fold.into_plugins() {
            subscribers.get_or_start(&name, state);
        }
        let contracts = Contracts::new(&sequencer, &subscribers);
        let observed = Arc::new(Mutex::new(observed));
        let deployer = match &options.data {
            Some(data) => {
                let cache = Some(data.join("cache"));
                let engine = Engine::new(cache, options.compiler, options.stack, options.code)?;
                let deployer = Deployer::new(
                    engine,
                    Components::open(&data.join("components"))?,
                    sequencer.clone(),
                    subscribers.clone(),
                    contracts.clone(),
                    observed.clone(),
                );
                Some(Arc::new(deployer))
            }
            None => None,
        };
        let host = Self {
            who: None,
            inner: Arc::new(Inner {
                acceptor,
                contracts,
                sequencer,
                subscribers,
                deployer,
                plugins: options.plugins,
                recovered: in_words(&recovered, &passed_over),
                durability,
                store: log,
                retention: options.retention,
                retaining: Mutex::default(),
                source_rates: options.source_rate.map(SourceRates::new),
                publishing: super::figures::Publishing::default(),
                clock: options.clock,
                checkpoints: Checkpoints::new(checkpoints, options.checkpoint_bytes, through),
                scrub: super::scrub::Scrub::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                watcher: Mutex::default(),
                waits: super::wait::Waits::default(),
                observed,
                exported: super::otlp::Counts::default(),
            }),
        };
        host.start_plugins()?;
        if durability != Durability::Memory {
            host.inner.tasks.spawn(super::checkpoint::keep(host.clone()));
            host.inner
                .tasks
                .spawn(super::scrub::keep(host.clone(), options.scrub));
        }
        Ok(host)
    }

    /// Let the plugins go on that were live, and follow the folder.
    fn start_plugins(&self) -> Result<(), OpenError> {
        let Some(deployer) = &self.inner.deployer else {
            return Ok(());
        };
        for subscriber in self.inner.subscribers.all() {
            deployer.resume(&subscriber);
        }
        if let Some(folder) = &self.inner.plugins {
            let (watcher, changes) = Watcher::start(folder)?;
            self.inner
                .tasks
                .spawn(deployer.clone().follow(changes, self.inner.stop.clone()));
            *self.inner.watcher.lock() = Some(watcher);
        }
        Ok(())
    }
}

/// The fold at the end of the log, from the newest checkpoint that can be used.
pub(super) fn rebuild(
    storage: &Arc<dyn Storage>,
    checkpoints: &dyn Storage,
    options: &HostOptions,
) -> Result<(Rebuilt, FileLog, Recovered), OpenError> {
    let of_checkpoints = |cause| OpenError::Checkpoints {
        folder: checkpoints.place(),
        cause,
    };
    let mut passed_over = Vec::new();
    if options.log.durability != Durability::Memory {
        for through in checkpoint::list(checkpoints).map_err(of_checkpoints)? {
            let bytes = checkpoint::read(checkpoints, through).map_err(of_checkpoints)?;
            let found = match checkpoint::parse(&bytes) {
                Ok(found) => found,
                Err(cause @ Unusable::Format { .. }) => {
                    let file = checkpoint::name(through);
                    return Err(OpenError::Format { file, cause });
                }
                Err(unusable) => {
                    tracing::warn!(
                        "checkpoint {} is passed over: {unusable}",
                        checkpoint::name(through)
                    );
                    passed_over.push(format!("{}: {unusable}", checkpoint::name(through)));
                    continue;
                }
            };
            match follow(storage, options, Some(found), &passed_over) {
                // What is only written may be lost with the system, and a checkpoint can outlive it.
                Err(OpenError::Log(nerve_eventlog::OpenError::Behind { .. }))
                    if options.log.durability == Durability::Os =>
                {
                    // The log will grow past it, and go another way: it must not be taken for one of this log then.
                    checkpoint::pass_over(checkpoints, through).map_err(of_checkpoints)?;
                    passed_over.push(format!("{}: the log ends before it", checkpoint::name(through)));
                }
                other => return other,
            }
        }
    }
    let rebuilt = follow(storage, options, None, &passed_over)?;
    let first = rebuilt.1.bounds().first;
    if first > Offset(1) {
        return Err(OpenError::NoCheckpoint { first, passed_over });
    }
    Ok(rebuilt)
}

/// The fold at the end of the log, from `checkpoint` on.
fn follow(
    storage: &Arc<dyn Storage>,
    options: &HostOptions,
    checkpoint: Option<Checkpoint<'_>>,
    passed_over: &[String],
) -> Result<(Rebuilt, FileLog, Recovered), OpenError> {
    let known = checkpoint.as_ref().map(Checkpoint::known);
    let mut rebuilt = Rebuilt::new(options, checkpoint, passed_over.to_vec());
    let (log, recovered) = FileLog::open(
        storage.clone(),
        options.log.clone(),
        options.clock.clone(),
        known.as_ref(),
        &mut |entry| rebuilt.follow(entry),
    )?;
    match rebuilt.unreadable {
        Some((offset, cause)) => Err(OpenError::Record { offset, cause }),
        None => Ok((rebuilt, log, recovered)),
    }
}

/// What a checkpoint and the records behind it make.
pub(super) struct Rebuilt {
    acceptor: Acceptor,
    fold: Fold,
    order: Order,
    /// The checkpoint's offset.
    through: Offset,
    /// Identities up to here are in the window.
    window_through: Offset,
    passed_over: Vec<String>,
    unreadable: Option<(Offset, DecodeError)>,
    /// What the checkpoint says of the map.
    observed: Observed,
}

impl Rebuilt {
    /// The states of the plugins by name, what operators set for event types, the index of what `log` has in memory, and
    /// what the checkpoint says of the map.
    pub(super) fn at_rest(
        mut self,
        log: &FileLog,
    ) -> (
        BTreeMap<String, PluginState>,
        BTreeMap<String, TypeSchema>,
        TypeIndex,
        Observed,
    ) {
        self.order.index.forget_below(log.bounds().hot_first);
        let schemas = self.fold.schemas().clone();
        (self.fold.into_plugins(), schemas, self.order.index, self.observed)
    }

    fn new(options: &HostOptions, checkpoint: Option<Checkpoint<'_>>, passed_over: Vec<String>) -> Self {
        let (acceptor, window, fold, through, window_through, observed) = match checkpoint {
            Some(found) => (
                Acceptor::with_key(options.accept.clone(), found.key),
                Window::from_bytes(options.window, &found.window),
                Fold::new(found.plugins, found.schemas),
                found.through,
                found.window_through,
                found.observed,
            ),
            None => (
                Acceptor::new(options.accept.clone()),
                Window::new(options.window),
                Fold::default(),
                Offset(0),
                Offset(0),
                Observed::default(),
            ),
        };
        Self {
            acceptor,
            fold,
            order: Order {
                index: TypeIndex::default(),
                window,
            },
            through,
            window_through,
            passed_over,
            unreadable: None,
            observed,
        }
    }

    fn follow(&mut self, entry: &nerve_eventlog::Entry) {
        match Record::decode(&entry.payload) {
            Ok(record) => {
                if let Record::Event(event) = &record {
                    self.order.index.push(event.r#type, entry.offset);
                    if event.cause.is_none() && entry.offset > self.window_through {
                        let identity = Identity::of_record(event, self.acceptor.identity_key());
                        self.order.window.insert(identity, entry.offset, entry.time);
                    }
                }
                self.fold.apply(entry.offset, entry.time, &record);
            }
            Err(cause) => {
                self.unreadable.get_or_insert((entry.offset, cause));
            }
        }
    }
}

/// What recovery did, where it did anything.
fn in_words(recovered: &Recovered, passed_over: &[String]) -> Option<String> {
    let torn = recovered.torn.as_ref().map(|torn| {
        let told = if torn.may_hold_acknowledged {
            "which may hold acknowledged records"
        } else {
            "which nobody was told about"
        };
        format!(
            "a torn tail of {} bytes, {told}, was cut off and kept in {}",
            torn.bytes, torn.copied_to
        )
    });
    let passed_over = passed_over
        .iter()
        .map(|why| format!("a checkpoint was passed over, {why}"));
    let repaired = recovered
        .repaired
        .as_ref()
        .map(|line| format!("the log was repaired: {line}"));
    let all: Vec<String> = torn.into_iter().chain(passed_over).chain(repaired).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
