//! Starting a host: the log is recovered, the state is folded from it, and the plugins go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nerve_eventlog::storage::{FsStorage, MemoryStorage, Storage};
use nerve_eventlog::{Clock, FileLog, Log, Options, Recovered, SystemClock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Host, Inner};
use crate::delivery::subscribers::Subscribers;
use crate::ingest::{self, Acceptor, Identity};
use crate::log::index::TypeIndex;
use crate::log::record::{DecodeError, Record};
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::plugin::components::{ComponentError, Components};
use crate::plugin::deploy::Deployer;
use crate::plugin::engine::{Engine, EngineError};
use crate::plugin::watcher::{WatchError, Watcher};
use crate::state::Fold;

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
        offset: nerve_eventlog::Offset,
        /// Why.
        #[source]
        cause: DecodeError,
    },
    /// The engine that runs plugins does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of components can't be used.
    #[error(transparent)]
    Components(#[from] ComponentError),
    /// The plugin folder can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

impl Host {
    /// Start a host. Must be called within a tokio runtime; blocks while the log is read.
    pub fn open(options: HostOptions) -> Result<Self, OpenError> {
        let storage: Arc<dyn Storage> = match &options.data {
            Some(data) => Arc::new(FsStorage::new(data.join("log"))),
            None => Arc::new(MemoryStorage::default()),
        };
        Self::open_on(storage, options)
    }

    /// The same, with the log in `storage`.
    pub(crate) fn open_on(storage: Arc<dyn Storage>, options: HostOptions) -> Result<Self, OpenError> {
        let acceptor = Acceptor::new(options.accept);
        let durability = options.log.durability;
        let mut rebuilt = Rebuilt::new(options.window);
        let (log, recovered) = FileLog::open(storage, options.log, options.clock.clone(), &mut |entry| {
            rebuilt.follow(&acceptor, entry);
        })?;
        if let Some((offset, cause)) = rebuilt.unreadable {
            return Err(OpenError::Record { offset, cause });
        }
        let log = Arc::new(log);
        rebuilt.order.index.forget_below(log.bounds().hot_first);
        let sequencer = Sequencer::new(&(log.clone() as Arc<dyn Log>), rebuilt.order);
        let subscribers = Subscribers::new(sequencer.clone(), options.clock.clone());
        for (name, state) in rebuilt.fold.into_plugins() {
            subscribers.get_or_start(&name, state);
        }
        let deployer = match &options.data {
            Some(data) => Some(Arc::new(deployer(data, &sequencer, &subscribers)?)),
            None => None,
        };
        let host = Self {
            inner: Arc::new(Inner {
                acceptor,
                sequencer,
                subscribers,
                deployer,
                plugins: options.plugins,
                recovered: in_words(&recovered),
                durability,
                store: log,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                watcher: Mutex::default(),
            }),
        };
        host.start_plugins()?;
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

/// What the records of the log make.
struct Rebuilt {
    fold: Fold,
    order: Order,
    unreadable: Option<(nerve_eventlog::Offset, DecodeError)>,
}

impl Rebuilt {
    fn new(window: WindowOptions) -> Self {
        let order = Order {
            index: TypeIndex::default(),
            window: Window::new(window),
        };
        Self {
            fold: Fold::default(),
            order,
            unreadable: None,
        }
    }

    fn follow(&mut self, acceptor: &Acceptor, entry: &nerve_eventlog::Entry) {
        match Record::decode(&entry.payload) {
            Ok(record) => {
                if let Record::Event(event) = &record {
                    self.order.index.push(event.r#type, entry.offset);
                    if event.cause.is_none() {
                        let identity = Identity::of_record(event, acceptor.identity_key());
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

fn deployer(
    data: &Path,
    sequencer: &Arc<Sequencer>,
    subscribers: &Arc<Subscribers>,
) -> Result<Deployer, OpenError> {
    let engine = Engine::new(Some(data.join("cache")))?;
    let components = Components::open(&data.join("components"))?;
    Ok(Deployer::new(
        engine,
        components,
        sequencer.clone(),
        subscribers.clone(),
    ))
}

/// What recovery did, where it did anything.
fn in_words(recovered: &Recovered) -> Option<String> {
    recovered.torn.as_ref().map(|torn| {
        let told = if torn.may_hold_acknowledged {
            "which may hold acknowledged records"
        } else {
            "which nobody was told about"
        };
        format!(
            "a torn tail of {} bytes, {told}, was cut off and kept in {}",
            torn.bytes, torn.copied_to
        )
    })
}
