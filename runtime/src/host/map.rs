//! The map of a running host: what follows the log for it, and the answer.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc;

use nerve_eventlog::{Micros, Offset};
use tokio::sync::oneshot;

use super::{AskError, Host, Stopped};
use crate::state::PluginState;
use crate::trace::map::{Declared, Map, Wanted, draw};

/// Records behind which the log is followed: nothing is done for the map while less happens.
const FOLLOW_EVERY: u64 = 4000;

/// Chunks that are followed in a row: behind them it is looked whether the host stops.
const IN_A_ROW: usize = 16;

/// How far what follows the log stands behind everybody else for the processor.
const NICE: i32 = 10;

impl Host {
    /// The part of the map that is `wanted`. What it has of the log is followed to its durable end first.
    pub async fn map(&self, wanted: Wanted) -> Result<Map, AskError> {
        let host = self.clone();
        let asked = tokio::task::spawn_blocking(move || host.draw(&wanted)).await;
        let map = asked.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        self.durable_now().await?;
        Ok(map)
    }

    fn draw(&self, wanted: &Wanted) -> Map {
        let end = self.log().bounds().durable;
        // In turns with who makes a checkpoint.
        while self.inner.observed.lock().through < end && self.follow() {}
        let observed = self.inner.observed.lock().clone();
        let declared = self.inner.subscribers.all();
        let declared: Vec<Declared> = declared
            .iter()
            .map(|subscriber| {
                let state = subscriber.state.lock();
                let fresh = self.inner.sequencer.count(&state.subscription, state.cursor.low);
                declared_with_lag(&subscriber.name, &state, fresh)
            })
            .collect();
        let set = self.inner.contracts.holding().set().into_keys().collect();
        draw(
            &declared,
            &set,
            &observed,
            self.inner.clock.now().max(observed.time),
            wanted,
        )
    }

    /// Follow the log for a chunk; whether there was one.
    fn follow(&self) -> bool {
        self.inner.observed.lock().step(&**self.log())
    }

    /// Follow the log for some chunks; whether there was one.
    fn follow_some(&self) -> bool {
        (0..IN_A_ROW).take_while(|_| self.follow()).count() > 0
    }
}

fn declared_with_lag(name: &str, state: &PluginState, fresh: usize) -> Declared {
    declared(name, state, fresh.saturating_sub(state.cursor.above.len()) as u64)
}

/// What the map is to know of a plugin.
pub(super) fn declared(name: &str, state: &PluginState, lag: u64) -> Declared {
    let live = state.live.as_ref();
    let runs = live.is_some() && !state.removed;
    let patterns = state.subscription.patterns().iter();
    // Beside a canary runs the version before.
    let emits: BTreeSet<&String> = state.running().flat_map(|version| &version.emits).collect();
    Declared {
        name: name.to_owned(),
        status: match live {
            _ if state.removed => "removed",
            None if state.waiting.is_some() => "waiting",
            None => "refused",
            Some(_) if state.breaker.open().is_some() => "paused",
            Some(_) => "live",
        },
        runs,
        subscriptions: patterns.map(|(pattern, _)| pattern.clone()).collect(),
        emits: emits.into_iter().cloned().collect(),
        since: live.map_or(Micros(0), |live| live.since),
        lag: if runs { lag } else { 0 },
        dead_letters: state.dead.len(),
        webhook: live.and_then(|live| live.version.webhook.clone()),
    }
}

/// Follow the log, until the host stops. What happens last is followed when somebody asks, or by the next start.
pub(super) async fn keep(host: Host) {
    let stands_still = "the map stands still until somebody asks for it";
    let follower = match behind_others() {
        Ok(follower) => follower,
        Err(cause) => return tracing::error!("{stands_still}: no thread for it: {cause}"),
    };
    loop {
        let through = host.inner.observed.lock().through;
        let grown = tokio::select! {
            () = host.inner.stop.cancelled() => return,
            grown = host.durable(Offset(through.0 + FOLLOW_EVERY)) => grown,
        };
        let Ok(durable) = grown else { return };
        match follow_on(&follower, host.clone()).await {
            Some(true) => {}
            // There is more, and nothing can be read of it: it is tried again when more has come.
            Some(false) => {
                tokio::select! {
                    () = host.inner.stop.cancelled() => return,
                    grown = host.durable(durable.next()) => if grown.is_err() { return },
                }
            }
            None => return tracing::error!("{stands_still}, by a fault of the host"),
        }
    }
}

/// Have `follower` follow the log for some chunks: whether there was one; `None` where it panicked.
async fn follow_on(follower: &mpsc::Sender<Job>, host: Host) -> Option<bool> {
    let (answer, answered) = oneshot::channel();
    let follow = move || {
        let had_more = host.follow_some();
        // Who stops a host and is answered may open its log again.
        drop(host);
        answer.send(had_more).ok();
    };
    follower.send(Box::new(follow)).ok()?;
    answered.await.ok()
}

/// What a thread is to do.
type Job = Box<dyn FnOnce() + Send>;

/// A thread that gives way to those who deliver, and does what it is sent until nobody can send any more.
fn behind_others() -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let work = move || {
        // Where the system does not let it, it stands beside them.
        rustix::process::nice(NICE).ok();
        for job in jobs {
            job();
        }
    };
    std::thread::Builder::new().name("map".into()).spawn(work)?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::HostOptions;

    #[test]
    fn what_follows_the_log_stands_behind_others() {
        let urgency = || rustix::process::nice(0).unwrap();
        let before = urgency();
        let behind = behind_others().unwrap();
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            behind
                .send(Box::new(move || answer.send(urgency()).unwrap()))
                .unwrap();
            assert_eq!(answered.blocking_recv(), Ok((before + NICE).min(19)));
        }
    }

    #[tokio::test]
    async fn who_was_answered_may_open_the_log_of_a_stopped_host_again() {
        let host = Host::open(HostOptions::default()).unwrap();
        let follower = behind_others().unwrap();
        host.stop().await.unwrap();
        for _ in 0..100 {
            assert!(follow_on(&follower, host.clone()).await.is_some());
            assert_eq!(Arc::strong_count(&host.inner), 1, "nobody else has it");
        }
        let (follower, jobs) = mpsc::channel();
        drop(jobs);
        assert_eq!(follow_on(&follower, host).await, None, "nobody is there");
    }
}
