//! The data folder of a host that is stopped, read as a start would read it. Nothing in it is changed: what a start would
//! change, such as a torn tail, is changed in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nerve_eventlog::storage::{FsStorage, Storage, Untouched};
use nerve_eventlog::{FileLog, Log, ReadError};

use super::open::{HostOptions, OpenError, rebuild};
use crate::contract::{self, Found, Offered, Parsed};
use crate::doctor::Report;
use crate::log::index::TypeIndex;
use crate::log::record::{Mode, TypeSchema};
use crate::plugin::components::Components;
use crate::state::PluginState;
use crate::trace::map::{Map, Observed, Wanted, draw};
use crate::trial::read::{Asked, HistoryError, Sink, Source};

/// A data folder that no host uses. Its lock is held, so that none does meanwhile.
pub struct AtRest {
    log: FileLog,
    plugins: BTreeMap<String, PluginState>,
    schemas: BTreeMap<String, TypeSchema>,
    index: TypeIndex,
    components: Components,
    observed: Observed,
}

impl AtRest {
    /// Open the data folder `data`. Blocks while its log is read.
    pub fn open(data: &Path) -> Result<Self, OpenError> {
        let folder = data.join("log");
        if !folder.is_dir() {
            return Err(OpenError::Log(nerve_eventlog::OpenError::Io {
                file: folder.display().to_string(),
                cause: io::Error::new(
                    io::ErrorKind::NotFound,
                    "it is not there; name a data folder, as `nerve run --data` has it",
                ),
            }));
        }
        let untouched = |folder| Untouched::over(Arc::new(FsStorage::new(folder)));
        let log: Arc<dyn Storage> = Arc::new(untouched(folder));
        let checkpoints = data.join("checkpoints");
        std::fs::read_dir(&checkpoints).map_err(|cause| OpenError::Checkpoints {
            folder: checkpoints.display().to_string(),
            cause,
        })?;
        let (rebuilt, log, _) = rebuild(&log, &untouched(checkpoints), &HostOptions::default())?;
        let (plugins, schemas, index, observed) = rebuilt.at_rest(&log);
        Ok(Self {
            log,
            plugins,
            schemas,
            index,
            components: Components::at(&data.join("components")),
            observed,
        })
    }

    /// What a version of `plugin` that declares what is `offered` would break if a host were started and it were deployed.
    pub fn would_break(&self, plugin: &str, offered: Offered<'_>) -> Found {
        let all = self.plugins.iter();
        let all = all.flat_map(|(name, state)| state.running().map(|version| (name.as_str(), version)));
        let types = contract::of_running(Mode::default(), &self.schemas, all, &mut Parsed::default());
        let types = types.into_iter().map(|(name, of)| (name, Arc::new(of)));
        let log = (&self.log as &dyn Log, &self.index);
        contract::look_at_rest(log, &self.plugins, &types.collect(), plugin, offered)
    }

    /// The part of the map that is `wanted`, as it was when the host ended.
    pub fn map(&self, wanted: &Wanted) -> Map {
        let mut observed = self.observed.clone();
        observed.follow_all(&self.log);
        let declared = self
            .plugins
            .iter()
            .map(|(name, state)| super::map::declared(name, state, 0));
        let declared: Vec<_> = declared.collect();
        let set = self.schemas.keys().cloned().collect();
        let at = observed.time;
        draw(&declared, &set, &observed, at, wanted)
    }

    /// What the doctor finds in its last `records`.
    pub fn examine(&self, records: u64) -> Result<Report, ReadError> {
        let known = self
            .plugins
            .iter()
            .map(|(name, state)| super::doctor::known(name, state));
        super::doctor::examine(&self.log, records, known.collect())
    }

    /// Hand what the history of `plugin` is about to `sink`, with its component, or else what is asked for of it.
    pub fn history(
        &self,
        plugin: &str,
        asked: Option<Asked<'_>>,
        sink: Sink<'_>,
    ) -> Result<(), HistoryError> {
        let through = self.log.bounds().last;
        let state = self.plugins.get(plugin).map(|state| state.snapshot(through));
        let live = state.as_ref().and_then(|state| state.live.as_ref());
        let live = live.filter(|_| asked.is_none());
        let component = live.and_then(|live| self.components.read(live.version.component).ok());
        let source = Source {
            log: &self.log,
            plugin,
            state,
            through,
            component,
        };
        source.read(asked, sink)
    }
}
