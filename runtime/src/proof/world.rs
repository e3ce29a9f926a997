//! A host on a faulty disk, whose lanes are run step by step on the thread of the test.

mod drain;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nerve_eventlog::proof;
use nerve_eventlog::storage::{Crash, FaultyStorage, MemoryStorage, Storage};
use nerve_eventlog::{Log, ManualClock, Micros, Options};
use parking_lot::Mutex;

use super::check::check;
use super::gate::{Gated, filled};
use super::history::{History, Sent};
use crate::delivery::lane::{Lane, Rest};
use crate::delivery::pace::TIMERS_SHARE;
use crate::delivery::subscriber::Subscriber;
use crate::delivery::timer;
use crate::host::{Host, HostOptions, Keep, RetainError, Retention, Stopped};
use crate::ingest::{NewEvent, ValidEvent};
use crate::state::PluginState;

/// The plugins, and what they subscribe to.
pub(super) const PLUGINS: [(&str, &[&str]); 3] = [("a", &["in.>"]), ("b", &["in.y", "out.a"]), ("c", &[">"])];

/// Lanes of each plugin; how many of them work is up to the version.
const LANES: usize = 3;

/// How long a former version is kept.
const VERSIONS_KEPT: Duration = Duration::from_millis(50);

/// What handles the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handlers {
    /// Functions.
    Functions,
    /// Functions and guests, one after the other.
    Guests,
    /// The same, and what a guest writes is dropped.
    ForgetfulGuests,
}

/// Whether the version of this number is a guest, where there are any.
pub(super) fn is_guest(number: u32) -> bool {
    number.is_multiple_of(2)
}

/// Deliveries that a lane may make before it is told to stop, and whether it is.
#[derive(Default)]
pub(super) struct Reins {
    left: AtomicU32,
    stopping: Arc<AtomicBool>,
    /// Whose lane it is.
    subscriber: Mutex<Weak<Subscriber>>,
}

impl Reins {
    /// A delivery begins: whether the lane is to stop behind it is decided now. It is, too, before it has to wait for a disk
    /// that waits for the lane's own thread.
    pub(super) fn begins(&self, log: &dyn Log) {
        let subscriber = self.subscriber.lock().upgrade();
        let is_ahead = |subscriber: Arc<Subscriber>| subscriber.is_ahead(log, TIMERS_SHARE / 2);
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 1 || subscriber.is_some_and(is_ahead) {
            self.stopping.store(true, Ordering::Relaxed);
        }
    }
}

/// A host, its disks, and what is known of it outside.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) clock: Arc<ManualClock>,
    pub(super) log_disk: Gated,
    pub(super) checkpoints: FaultyStorage,
    pub(super) host: Host,
    pub(super) history: History,
    /// Numbers of the versions that were deployed last.
    pub(super) versions: BTreeMap<&'static str, u32>,
    /// Events that were lost before anybody was told about them: their publishers try again.
    pub(super) lost: Vec<Sent>,
    pub(super) handlers: Handlers,
    lanes: BTreeMap<(&'static str, usize), Lane>,
    pub(super) reins: Arc<Reins>,
    pub(super) options: Options,
    // Holds the tasks of the host, and never runs them. Dropped last.
    pub(super) runtime: tokio::runtime::Runtime,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn open(
    runtime: &tokio::runtime::Runtime,
    log: &Gated,
    checkpoints: &FaultyStorage,
    clock: &Arc<ManualClock>,
    options: &Options,
) -> Result<Host, crate::host::OpenError> {
    let _inside = runtime.enter();
    let log: Arc<dyn Storage> = Arc::new(log.clone());
    let options = HostOptions {
        log: options.clone(),
        clock: clock.clone(),
        checkpoint_bytes: u64::MAX,
        retention: Retention {
            log: Keep {
                bytes: Some(2 * options.segment_bytes),
                ..Keep::default()
            },
            versions: VERSIONS_KEPT,
            ..Retention::default()
        },
        ..HostOptions::default()
    };
    Host::open_on(&log, Arc::new(checkpoints.clone()), options)
}

impl World {
    /// A new host, without plugins. The disk of its log `lies` where it answers syncs without making them.
    pub(super) fn new(seed: u64, options: Options, lies: bool) -> Self {
        let checkpoints = FaultyStorage::default();
        let log_disk = Gated::new(&MemoryStorage::default(), lies);
        let clock = Arc::new(ManualClock::new(Micros(1_000_000)));
        let runtime = runtime();
        let host = open(&runtime, &log_disk, &checkpoints, &clock, &options).unwrap();
        let history = History {
            seed,
            log: host.log().id().short(),
            ..History::default()
        };
        Self {
            seed,
            clock,
            log_disk,
            checkpoints,
            host,
            history,
            versions: BTreeMap::new(),
            lost: Vec::new(),
            handlers: Handlers::Functions,
            lanes: BTreeMap::new(),
            reins: Arc::default(),
            options,
            runtime,
        }
    }

    /// What the clock says.
    pub(super) fn now(&self) -> u64 {
        nerve_eventlog::Clock::now(&*self.clock).0
    }

    /// The plugin's part of the fold.
    pub(super) fn subscriber(&self, plugin: &str) -> Option<Arc<Subscriber>> {
        self.host.subscribers().get(plugin)
    }

    /// Say what happens, to who asked for the steps of one life.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        proof::step(|| format!("seed {}, {}: {}", self.seed, self.now(), what()));
    }

    /// Follow what was appended.
    pub(super) fn follow(&mut self) {
        self.history.follow(&**self.host.log());
    }

    /// Everything is durable, or the log is poisoned.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        self.tell(|| "the disk takes what waits".to_owned());
        let flushed = self.log_disk.flush(&**self.host.log());
        self.history.follow(&**self.host.log());
        flushed.map_err(|poisoned| Stopped::Poisoned(poisoned.to_string()))
    }

    /// Something may have been appended: the writer takes it.
    pub(super) fn appended(&self) {
        self.log_disk.appended(&**self.host.log());
    }

    /// The answer of the host, which may wait for the disk.
    pub(super) fn answer<T, E: From<Stopped>>(
        &mut self,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut question = pin!(question);
        let runtime = self.runtime.handle().clone();
        let _inside = runtime.enter();
        for _ in 0..10_000_000 {
            if let Poll::Ready(answer) = question.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return answer;
            }
            self.flush()?;
            std::thread::yield_now();
        }
        panic!("seed {}: the host does not answer", self.seed);
    }

    /// An event that `name` stands for, wherever it is published again.
    pub(super) fn event(&self, name: &str, r#type: &str, key: Option<&str>, data: u8) -> ValidEvent {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let event = NewEvent {
            id: name,
            source: "test",
            r#type,
            key,
            subject: Some(name),
            content_type: "application/json",
            data: &[data],
            traceparent: Some(traceparent),
            ..NewEvent::default()
        };
        self.host.acceptor().event(&event).unwrap()
    }

    /// Publish `events`, of which none was published before.
    pub(super) fn publish(&mut self, events: &[ValidEvent]) -> Result<(), Stopped> {
        self.tell(|| {
            let ids: Vec<&str> = events.iter().map(ValidEvent::id).collect();
            format!("publish {}", ids.join(", "))
        });
        let published = match self.host.publish(events) {
            Ok(published) => published,
            Err(crate::host::PublishError::Stopped(stopped)) => return Err(stopped),
            Err(refused) => panic!("seed {}: {refused}", self.seed),
        };
        for (event, published) in events.iter().zip(published) {
            assert!(
                !published.duplicate,
                "seed {}: {} was never published",
                self.seed,
                event.id()
            );
            let sent = Sent {
                id: event.id().to_owned(),
                record: event.record.clone(),
                acknowledged: false,
            };
            self.history.sent.insert(published.offset, sent);
        }
        self.appended();
        Ok(())
    }

    /// Run the lanes of `plugin`, beginning with one of them, for at most `deliveries` each; when one wants to run
    /// again.
    pub(super) fn run(
        &mut self,
        plugin: &'static str,
        first: usize,
        deliveries: u32,
    ) -> Result<Option<Micros>, Stopped> {
        let mut next = None;
        for number in 0..LANES {
            let due = self.run_lane(plugin, (first + number) % LANES, deliveries)?;
            next = [next, due].into_iter().flatten().min();
        }
        Ok(next)
    }

    fn run_lane(
        &mut self,
        plugin: &'static str,
        number: usize,
        deliveries: u32,
    ) -> Result<Option<Micros>, Stopped> {
        let Some(subscriber) = self.subscriber(plugin) else {
            return Ok(None);
        };
        if subscriber.is_ahead(&**self.host.log(), TIMERS_SHARE / 2) {
            self.flush()?;
        }
        *self.reins.subscriber.lock() = Arc::downgrade(&subscriber);
        self.reins.left.store(deliveries, Ordering::Relaxed);
        self.reins.stopping.store(false, Ordering::Relaxed);
        let lane = self.lanes.entry((plugin, number)).or_insert_with(|| {
            Lane::new(
                subscriber.clone(),
                number,
                self.host.sequencer().clone(),
                self.clock.clone(),
                self.reins.stopping.clone(),
                fastrand::Rng::with_seed(self.seed ^ 0x1a9e),
            )
        });
        let rest = lane.run();
        assert_eq!(
            *subscriber.trouble.lock(),
            None,
            "seed {}: {plugin} can't go on",
            self.seed
        );
        self.appended();
        match rest {
            Rest::Until(due) => Ok(due),
            Rest::ForGood if self.reins.stopping.load(Ordering::Relaxed) => Ok(Some(Micros(self.now()))),
            Rest::ForGood => Err(Stopped::Stopping),
        }
    }

    /// Let timers fire that are due; when the next one is.
    pub(super) fn fire(&mut self) -> Result<Option<Micros>, Stopped> {
        let mut next = None;
        for subscriber in self.host.subscribers().all() {
            let now = Micros(self.now());
            let due = timer::fire(&subscriber, self.host.sequencer(), now)?;
            next = [next, due].into_iter().flatten().min();
            self.appended();
        }
        Ok(next)
    }

    /// The power goes, or the process ends; then a host starts on what is left.
    pub(super) fn crash(&mut self, how: Crash) {
        self.tell(|| format!("a crash: {how:?}"));
        self.history.follow(&**self.host.log());
        let (log, checkpoints) = (self.log_disk.crash(how), self.checkpoints.crash(how));
        // Its thread ends at the dead disk.
        drop(self.host.log().close());
        self.lanes.clear();
        self.runtime = runtime();
        (self.log_disk, self.checkpoints) = (Gated::new(&log, self.log_disk.lies), filled(&checkpoints));
        self.host = open(
            &self.runtime,
            &self.log_disk,
            &self.checkpoints,
            &self.clock,
            &self.options,
        )
        .unwrap_or_else(|refused| {
            panic!(
                "seed {}: after {how:?} the host does not start: {refused}",
                self.seed
            )
        });
        self.lost.extend(self.history.crashed(&**self.host.log()));
        self.history.follow(&**self.host.log());
        self.resume();
        self.check(false);
    }

    /// Hold everything against the promises.
    pub(super) fn check(&self, finished: bool) {
        check(&self.history, &self.states(), finished);
    }

    /// The live state of every plugin.
    pub(super) fn states(&self) -> BTreeMap<String, PluginState> {
        let all = self.host.subscribers().all().into_iter();
        all.map(|subscriber| (subscriber.name.to_string(), subscriber.state.lock().clone()))
            .collect()
    }

    /// What an operator does to `plugin`, where it is there.
    pub(super) fn operate<F>(
        &mut self,
        plugin: &'static str,
        act: impl FnOnce(&'static str) -> F,
    ) -> Result<(), Stopped>
    where
        F: Future<Output = Result<(), crate::host::AskError>>,
    {
        if self.subscriber(plugin).is_none() {
            return Ok(());
        }
        self.tell(|| format!("an operator sees to {plugin}"));
        let done = act(plugin);
        match self.answer(done) {
            Err(crate::host::AskError::Stopped(stopped)) => Err(stopped),
            Err(refused) => panic!("seed {}: {refused}", self.seed),
            Ok(()) => Ok(()),
        }
    }

    /// Let go of what is old and needed by nobody. Not while a plugin is removed, which is not waited for: what that one
    /// misses is no part of the promises held here.
    pub(super) fn retain(&mut self) -> Result<(), Stopped> {
        self.tell(|| "retention".to_owned());
        if self.states().values().any(|state| state.removed) {
            return Ok(());
        }
        // What it appends has to be durable before it takes anything, and here nobody else lets the writer on.
        for subscriber in self.host.subscribers().all() {
            self.host.give_up_versions(&subscriber, Micros(self.now()))?;
            self.appended();
        }
        self.flush()?;
        match self.host.retain() {
            Ok(_) => Ok(()),
            Err(RetainError::Read(cause)) => panic!("seed {}: {cause}", self.seed),
            Err(RetainError::Stopped(stopped)) => Err(stopped),
            // One of the disks is gone: so is the power.
            Err(RetainError::Checkpoint(_) | RetainError::Drop(_) | RetainError::Component(_)) => {
                Err(Stopped::Stopping)
            }
        }
    }
}

impl Drop for World {
    /// The writer must not wait for ever for a gate that nobody opens.
    fn drop(&mut self) {
        self.log_disk.crash(Crash::LoseAll);
    }
}
