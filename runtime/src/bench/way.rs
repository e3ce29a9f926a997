//! The whole way of an event on one thread and without a disk, from a publisher's batch to the settled outcome: what its stages
//! cost together. Nothing in it depends on time, so that its instructions can be counted, too.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Batch, Durability, FileLog, Log, Options, SystemClock};

use super::guests::Guest;
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::delivery::handler::Version;
use crate::delivery::lane::Lane;
use crate::delivery::subscriber::Subscriber;
use crate::ingest::{Acceptor, Limits, ValidEvent};
use crate::log::index::{Bell, TypeIndex};
use crate::log::record::{AskedBy, Asks, Deployment, DeploymentAction, LiveVersion, Record};
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader::{self, Loaded};
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;
use crate::state::PluginState;

/// Events of a published batch.
const BATCH: usize = 256;

impl Bench<'_> {
    pub(super) fn way(&mut self) -> Result<(), BenchError> {
        let name = "the way on one thread, without a disk";
        if !self.begins(name) {
            return Ok(());
        }
        let acceptor = Acceptor::new(Limits::default());
        let mut way = Way::of_guest(&self.guest)?;
        let (mut accepted, mut runs) = (Vec::new(), Vec::new());
        for run in 0..=self.options.runs {
            let begun = Instant::now();
            let batches: Vec<Vec<ValidEvent>> = (0..self.options.events)
                .step_by(BATCH)
                .map(|from| guests::events(&acceptor, &format!("w{run}"), from, BATCH))
                .collect();
            let accepting = begun.elapsed();
            let begun = Instant::now();
            way.pass(&batches)?;
            let took = begun.elapsed();
            #[expect(clippy::cast_precision_loss, reason = "a count of events")]
            let events = (batches.len() * BATCH) as f64;
            if run > 0 {
                accepted.push(events / accepting.as_secs_f64());
                runs.push(events / took.as_secs_f64());
            }
        }
        let expected = (self.options.events.div_ceil(BATCH) * BATCH * (self.options.runs + 1)) as u64;
        let counters = way.subscriber.state.lock().counters;
        if counters != [expected, 0, 0] {
            return Err(in_words(format!(
                "of {expected} events {counters:?} were settled"
            )));
        }
        self.found(Figure::of("events made and accepted", Unit::PerSecond, accepted));
        self.found(Figure::of(name, Unit::PerSecond, runs));
        Ok(())
    }
}

/// One plugin, in one lane that is run by hand, on a log in memory.
pub(super) struct Way {
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) lane: Lane,
}

impl Way {
    /// Publish and deliver. Never part of its caller, so that a profiler finds it.
    #[inline(never)]
    fn pass(&mut self, batches: &[Vec<ValidEvent>]) -> Result<(), BenchError> {
        for batch in batches {
            self.sequencer.publish(batch).map_err(in_words)?;
            self.lane.run();
        }
        Ok(())
    }

    /// The guest that is measured.
    pub(super) fn of_guest(guest: &Guest) -> Result<Self, BenchError> {
        let loaded = loaded(guest)?;
        let subscriptions = loaded.manifest.subscriptions.iter();
        let subscriptions = subscriptions.map(ToString::to_string).collect();
        Self::new(&guest.name, subscriptions, Arc::new(loaded))
    }

    /// This version of a plugin, which subscribes so.
    pub(super) fn new(
        name: &str,
        subscriptions: Vec<String>,
        version: Arc<dyn Version>,
    ) -> Result<Self, BenchError> {
        let log = in_memory()?;
        let order = Order {
            index: TypeIndex::default(),
            window: Window::new(WindowOptions::default()),
        };
        let sequencer = Sequencer::new(&log, order);
        let subscriber = Subscriber::new(
            name,
            PluginState::default(),
            &sequencer,
            Bell::default(),
            Arc::default(),
        );
        let live = LiveVersion {
            version: version.id(),
            subscriptions,
            ..LiveVersion::default()
        };
        let deployment = Deployment {
            who: None,
            plugin: name.to_owned(),
            pair: None,
            action: DeploymentAction::Live(Box::new(live)),
            by: AskedBy::Folder,
            warnings: Vec::new(),
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = sequencer
            .append(batch, None, std::iter::empty())
            .map_err(in_words)?;
        let between = subscriber.between_events();
        {
            let mut state = subscriber.state.lock();
            state.apply_deployment(appended.first, appended.time, &deployment);
            sequencer.subscribe(subscriber.id, state.subscription.clone());
        }
        between.swap(Some(version));
        let stopping = Arc::new(AtomicBool::new(false));
        let dice = fastrand::Rng::with_seed(7);
        let lane = Lane::new(
            subscriber.clone(),
            0,
            sequencer.clone(),
            Arc::new(SystemClock),
            stopping,
            dice,
        )
        .unhurried();
        Ok(Self {
            sequencer,
            subscriber,
            lane,
        })
    }
}

/// `guest`, compiled in this process: what is built here is trusted, and a process of its own is nothing that instructions can be
/// counted in.
pub(super) fn loaded(guest: &Guest) -> Result<Loaded, BenchError> {
    let engine = Engine::new(None, None, Stack::default(), Code::default()).map_err(in_words)?;
    let plugin = PluginName::parse(&guest.name).map_err(in_words)?;
    loader::load(&engine, &plugin, guest.component(), None, &Asks::new()).map_err(in_words)
}

/// A log without a disk.
pub(super) fn in_memory() -> Result<Arc<dyn Log>, BenchError> {
    let options = Options {
        durability: Durability::Memory,
        hot_bytes: 16 << 20,
        ..Options::default()
    };
    let (storage, clock) = (Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
    let opened = FileLog::open(storage, options, clock, None, &mut |_| {}).map_err(in_words)?;
    Ok(Arc::new(opened.0))
}

pub(super) fn in_words(cause: impl std::fmt::Display) -> BenchError {
    BenchError::Guest(cause.to_string())
}
