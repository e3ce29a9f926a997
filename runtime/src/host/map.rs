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
    let following = host.clone();
    let follower = match behind_others(move || following.follow_some()) {
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
        let (answer, answered) = oneshot::channel();
        follower.send(answer).ok();
        match answered.await {
            Ok(true) => {}
            // There is more, and nothing can be read of it: it is tried again when more has come.
            Ok(false) => {
                tokio::select! {
                    () = host.inner.stop.cancelled() => return,
                    grown = host.durable(durable.next()) => if grown.is_err() { return },
                }
            }
            Err(_) => return tracing::error!("{stands_still}, by a fault of the host"),
        }
    }
}

/// Do `work` whenever an answer is asked for, on a thread of its own that gives way to those who deliver and ends with who asks. There is no
/// answer where the work panics.
fn behind_others<T: Send + 'static>(
    mut work: impl FnMut() -> T + Send + 'static,
) -> io::Result<mpsc::Sender<oneshot::Sender<T>>> {
    let (ask, asked) = mpsc::channel::<oneshot::Sender<T>>();
    let work = move || {
        // Where the system does not let it, it stands beside them.
        rustix::process::nice(NICE).ok();
        for answer in asked {
            answer.send(work()).ok();
        }
    };
    std::thread::Builder::new().name("map".into()).spawn(work)?;
    Ok(ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_log_stands_behind_others() {
        let urgency = || rustix::process::nice(0).unwrap();
        let before = urgency();
        let behind = behind_others(urgency).unwrap();
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            behind.send(answer).unwrap();
            assert_eq!(answered.blocking_recv(), Ok((before + NICE).min(19)));
        }
        let faulty = behind_others(|| -> () { panic!("this fault is part of the test") });
        let (answer, answered) = oneshot::channel();
        faulty.unwrap().send(answer).unwrap();
        assert!(answered.blocking_recv().is_err());
    }
}
