//! The whole way of an event on one thread and without a disk, from a publisher's batch to the settled outcome: what its stages
//! cost together. Nothing in it depends on time, so that its instructions can be counted, too.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use nerve_eventlog::storage::MemoryStorage;
use nerve_eventlog::{Batch, Durability, FileLog, Log, Options, SystemClock};

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::delivery::lane::Lane;
use crate::delivery::subscriber::Subscriber;
use crate::ingest::{Acceptor, Limits, ValidEvent};
use crate::log::index::{Bell, TypeIndex};
use crate::log::record::{AskedBy, Asks, Deployment, DeploymentAction, LiveVersion, Record};
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader;
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
        let mut way = Way::new(self)?;
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
struct Way {
    sequencer: Arc<Sequencer>,
    subscriber: Arc<Subscriber>,
    lane: Lane,
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

    fn new(bench: &Bench<'_>) -> Result<Self, BenchError> {
        // What is built here is trusted, and a process of its own is nothing that instructions can be counted in.
        let engine = Engine::new(None, None, Stack::default(), Code::default()).map_err(in_words)?;
        let plugin = PluginName::parse(&bench.guest.name).map_err(in_words)?;
        let loaded = loader::load(&engine, &plugin, bench.guest.component(), None, &Asks::new());
        let loaded = loaded.map_err(in_words)?;
        let options = Options {
            durability: Durability::Memory,
            hot_bytes: 16 << 20,
            ..Options::default()
        };
        let (storage, clock) = (Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
        let log = FileLog::open(storage, options, clock.clone(), None, &mut |_| {})
            .map_err(in_words)?
            .0;
        let log: Arc<dyn Log> = Arc::new(log);
        let order = Order {
            index: TypeIndex::default(),
            window: Window::new(WindowOptions::default()),
        };
        let sequencer = Sequencer::new(&log, order);
        let name = &bench.guest.name;
        let subscriber = Subscriber::new(
            name,
            PluginState::default(),
            &sequencer,
            Bell::default(),
            Arc::default(),
        );
        let live = LiveVersion {
            version: loaded.version,
            subscriptions: loaded
                .manifest
                .subscriptions
                .iter()
                .map(ToString::to_string)
                .collect(),
            ..LiveVersion::default()
        };
        let deployment = Deployment {
            who: None,
            plugin: name.clone(),
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
        between.swap(Some(Arc::new(loaded)));
        let stopping = Arc::new(AtomicBool::new(false));
        let dice = fastrand::Rng::with_seed(7);
        let lane = Lane::new(subscriber.clone(), 0, sequencer.clone(), clock, stopping, dice);
        Ok(Self {
            sequencer,
            subscriber,
            lane,
        })
    }
}

fn in_words(cause: impl std::fmt::Display) -> BenchError {
    BenchError::Guest(cause.to_string())
}
