//! All plugins of a host, and the tasks that drive their lanes.
//!
//! A plugin that has nothing to deliver costs a sleeping task and no thread: its task waits for the bell or for
//! the next retry, and only then is a lane given a thread. A lane that finds more than it can do rings the bell
//! itself, which gives the next lane one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nerve_eventlog::{Clock, Micros};
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lane::{Lane, Rest};
use super::subscriber::{self, Subscriber};
use super::timer;
use crate::contract::Holding;
use crate::log::index::Bell;
use crate::log::sequencer::Sequencer;
use crate::state::PluginState;

/// All plugins of a host.
pub struct Subscribers {
    sequencer: Arc<Sequencer>,
    clock: Arc<dyn Clock>,
    by_name: RwLock<BTreeMap<Box<str>, Arc<Subscriber>>>,
    timer_bell: Bell,
    contracts: Arc<Holding>,
    lanes: TaskTracker,
    stop: CancellationToken,
    stopping: Arc<AtomicBool>,
}

impl Subscribers {
    /// No plugins yet, whose versions will be told to `contracts`. Must be called within a tokio runtime.
    pub fn new(sequencer: Arc<Sequencer>, clock: Arc<dyn Clock>, contracts: Arc<Holding>) -> Arc<Self> {
        let subscribers = Arc::new(Self {
            sequencer,
            clock,
            by_name: RwLock::default(),
            timer_bell: Bell::default(),
            contracts,
            lanes: TaskTracker::new(),
            stop: CancellationToken::new(),
            stopping: Arc::default(),
        });
        subscribers.lanes.spawn(fire_timers(subscribers.clone()));
        subscribers
    }

    /// The plugin called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Subscriber>> {
        self.by_name.read().get(name).cloned()
    }

    /// What holds by the versions that run.
    pub fn contracts(&self) -> &Arc<Holding> {
        &self.contracts
    }

    /// All plugins, by name.
    pub fn all(&self) -> Vec<Arc<Subscriber>> {
        self.by_name.read().values().cloned().collect()
    }

    /// The plugin called `name`; where there is none, one in `state`, whose lanes rest until a version
    /// is put in its slot. Must be called within a tokio runtime.
    pub fn get_or_start(&self, name: &str, mut state: PluginState) -> Arc<Subscriber> {
        let mut by_name = self.by_name.write();
        if let Some(subscriber) = by_name.get(name) {
            return subscriber.clone();
        }
        let subscription = state.subscription.clone();
        // One of this name that was forgotten has written before.
        let written = self.sequencer.log().written_by(&subscriber::writer(name));
        state.settled_at = state.settled_at.max(written);
        let subscriber = Subscriber::new(
            name,
            state,
            &self.sequencer,
            self.timer_bell.clone(),
            self.contracts.clone(),
        );
        self.sequencer.subscribe(subscriber.id, subscription);
        by_name.insert(name.into(), subscriber.clone());
        self.timer_bell.notify_one();
        let lanes = Lanes {
            subscriber: subscriber.clone(),
            sequencer: self.sequencer.clone(),
            clock: self.clock.clone(),
            stopping: self.stopping.clone(),
            resting: BTreeMap::new(),
            made: 0,
        };
        self.lanes.spawn(drive(lanes, self.stop.clone()));
        subscriber
    }

    /// Give a plugin up whose record says so: its lane ends, and another one of its name begins anew.
    pub fn forget(&self, subscriber: &Subscriber) {
        self.by_name.write().remove(&subscriber.name);
        self.sequencer
            .subscribe(subscriber.id, super::subscription::Subscription::default());
        subscriber.forget();
    }

    /// Let every lane settle the delivery it is at, and end.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.lanes.close();
        self.lanes.wait().await;
    }
}

/// The lanes of one plugin that have no thread.
struct Lanes {
    subscriber: Arc<Subscriber>,
    sequencer: Arc<Sequencer>,
    clock: Arc<dyn Clock>,
    stopping: Arc<AtomicBool>,
    /// By number.
    resting: BTreeMap<usize, Lane>,
    /// How many there are, those with a thread included.
    made: usize,
}

impl Lanes {
    /// How many may work.
    fn allowed(&self) -> usize {
        self.subscriber.version().map_or(1, |version| version.lanes())
    }

    fn one_rests(&self) -> bool {
        let allowed = self.allowed();
        let first = self.resting.first_key_value();
        first.is_some_and(|(number, _)| *number < allowed) || self.made < allowed
    }

    /// `lane` rests. None that does keeps a version that another took the place of: the next delivery may be far away.
    fn rests(&mut self, lane: Lane) {
        self.resting.insert(lane.number(), lane);
        self.resting.values_mut().for_each(Lane::let_go_of_old);
    }

    /// The lane that is to work next.
    fn next(&mut self) -> Option<Lane> {
        let allowed = self.allowed();
        if let Some(first) = self.resting.first_entry()
            && *first.key() < allowed
        {
            return Some(first.remove());
        }
        if self.made >= allowed {
            return None;
        }
        let lane = Lane::new(
            self.subscriber.clone(),
            self.made,
            self.sequencer.clone(),
            self.clock.clone(),
            self.stopping.clone(),
            fastrand::Rng::new(),
        );
        self.made += 1;
        Some(lane)
    }
}

/// Give a lane a thread whenever the bell rings or a retry is due, until one can't go on.
async fn drive(mut lanes: Lanes, stop: CancellationToken) {
    let (bell, clock) = (lanes.subscriber.bell.clone(), lanes.clock.clone());
    let mut working = JoinSet::new();
    let mut due = None;
    let work = |mut lane: Lane| {
        move || {
            let rest = lane.run();
            (lane, rest)
        }
    };
    if let Some(lane) = lanes.next() {
        working.spawn_blocking(work(lane));
    }
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = working.join_next() => Some(ended),
            () = rung_or_due(&bell, due, &*clock), if lanes.one_rests() => None,
        };
        match ended {
            None => {
                due = None;
                if let Some(lane) = lanes.next() {
                    working.spawn_blocking(work(lane));
                }
            }
            Some(Ok((lane, Rest::Until(until)))) => {
                due = until;
                lanes.rests(lane);
            }
            Some(Ok((_, Rest::ForGood))) => break,
            Some(Err(panicked)) => {
                lanes.subscriber.halt();
                tracing::error!(
                    "a lane ended by a fault of the host; its plugin stops until a restart: {panicked}"
                );
                break;
            }
        }
    }
    // A delivery under way is settled, and no other begins.
    while working.join_next().await.is_some() {}
}

/// Let timers fire when they are due, those of paused and removed plugins too.
async fn fire_timers(subscribers: Arc<Subscribers>) {
    loop {
        let (all, sequencer) = (subscribers.all(), subscribers.sequencer.clone());
        let now = subscribers.clock.now();
        let fired = tokio::task::spawn_blocking(move || {
            let mut next = None;
            for subscriber in all {
                let due = timer::fire(&subscriber, &sequencer, now)?;
                next = [next, due].into_iter().flatten().min();
            }
            Ok::<_, crate::host::Stopped>(next)
        });
        let next = match fired.await {
            Ok(Ok(next)) => next,
            Ok(Err(_)) => return,
            Err(panicked) => {
                tracing::error!(
                    "timers ended by a fault of the host; none fires until a restart: {panicked}"
                );
                return;
            }
        };
        tokio::select! {
            () = subscribers.stop.cancelled() => return,
            () = rung_or_due(&subscribers.timer_bell, next, &*subscribers.clock) => {}
        }
    }
}

/// # Cancel safety
/// May be cancelled at any time: a ring that came is kept by the bell.
async fn rung_or_due(bell: &Bell, due: Option<Micros>, clock: &dyn Clock) {
    match due {
        None => bell.notified().await,
        Some(due) => {
            let wait = Duration::from_micros(due.0.saturating_sub(clock.now().0));
            // Either way it is time to look again.
            drop(tokio::time::timeout(wait, bell.notified()).await);
        }
    }
}
