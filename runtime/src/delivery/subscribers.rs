//! All plugins of a host, and the tasks that drive their lanes.
//!
//! A lane that has nothing to deliver costs a sleeping task and no thread: its task waits for the bell or for
//! the next retry, and only then is the lane given a thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nerve_eventlog::{Clock, Micros};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lane::{Lane, Rest};
use super::subscriber::Subscriber;
use super::timer;
use crate::log::index::Bell;
use crate::log::sequencer::Sequencer;
use crate::state::PluginState;

/// All plugins of a host.
pub struct Subscribers {
    sequencer: Arc<Sequencer>,
    clock: Arc<dyn Clock>,
    by_name: RwLock<BTreeMap<Box<str>, Arc<Subscriber>>>,
    timer_bell: Bell,
    lanes: TaskTracker,
    stop: CancellationToken,
    stopping: Arc<AtomicBool>,
}

impl Subscribers {
    /// No plugins yet. Must be called within a tokio runtime.
    pub fn new(sequencer: Arc<Sequencer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let subscribers = Arc::new(Self {
            sequencer,
            clock,
            by_name: RwLock::default(),
            timer_bell: Bell::default(),
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

    /// All plugins, by name.
    pub fn all(&self) -> Vec<Arc<Subscriber>> {
        self.by_name.read().values().cloned().collect()
    }

    /// The plugin called `name`; where there is none, one in `state`, whose lane starts to rest until a version
    /// is put in its slot. Must be called within a tokio runtime.
    pub fn get_or_start(&self, name: &str, state: PluginState) -> Arc<Subscriber> {
        let mut by_name = self.by_name.write();
        if let Some(subscriber) = by_name.get(name) {
            return subscriber.clone();
        }
        let subscription = state.subscription.clone();
        let subscriber = Subscriber::new(name, state, &self.sequencer, self.timer_bell.clone());
        self.sequencer.subscribe(subscriber.id, subscription);
        by_name.insert(name.into(), subscriber.clone());
        let lane = Lane::new(
            subscriber.clone(),
            self.sequencer.clone(),
            self.clock.clone(),
            self.stopping.clone(),
            fastrand::Rng::new(),
        );
        self.timer_bell.notify_one();
        let bell = subscriber.bell.clone();
        self.lanes
            .spawn(drive(lane, bell, self.clock.clone(), self.stop.clone()));
        subscriber
    }

    /// Let every lane settle the delivery it is at, and end.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.lanes.close();
        self.lanes.wait().await;
    }
}

/// Give the lane a thread whenever its bell rings or a retry is due.
async fn drive(mut lane: Lane, bell: Bell, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        let run = tokio::task::spawn_blocking(move || {
            let rest = lane.run();
            (lane, rest)
        });
        let rest = match run.await {
            Ok((back, rest)) => {
                lane = back;
                rest
            }
            Err(panicked) => {
                tracing::error!(
                    "a lane ended by a fault of the host; its plugin stops until a restart: {panicked}"
                );
                return;
            }
        };
        match rest {
            Rest::ForGood => return,
            Rest::Until(due) => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = rung_or_due(&bell, due, &*clock) => {}
                }
            }
        }
    }
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
