//! The figures of a running host, for those who draw them over time: read off the facts that questions are answered from.
//!
//! They look and leave: nothing is counted twice for them, and a plugin whose state is not to be had at once is passed
//! over, so that a host whose disk hangs still answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nerve_eventlog::{Bounds, MemoryUse, Micros, Offset, Reach};
use parking_lot::Mutex;

use super::ask::standing;
use super::{Host, LogStatus, OtlpFigures, Published, Standing, Stopped};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::took::Taken;
use crate::log::record::{OpenReason, VersionId};
use crate::state::{Decisions, PluginState};

/// How long one plugin's state is waited for.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long it is waited until what was seen is durable.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Codes of refusals that publishers meet; others are counted once they happen.
const KNOWN: [&str; 8] = [
    "busy",
    "contract-broken",
    "disk-full",
    "event-invalid",
    "identity-conflict",
    "stopping",
    "too-fast",
    "too-large",
];

/// Codes by which requests are not let in; others are counted once they happen.
const DENIED: [&str; 5] = [
    "host-refused",
    "origin-refused",
    "scope-missing",
    "token-refused",
    "token-required",
];

/// What became of requests, of publishers above all, since the host started.
#[derive(Debug)]
pub(super) struct Publishing {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    denied: Mutex<BTreeMap<String, u64>>,
}

impl Default for Publishing {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            refused: Mutex::new(KNOWN.map(|code| (code.to_owned(), 0)).into()),
            denied: Mutex::new(DENIED.map(|code| (code.to_owned(), 0)).into()),
        }
    }
}

impl Publishing {
    /// These events were taken.
    pub(super) fn took(&self, events: &[Published]) {
        let duplicates = events.iter().filter(|event| event.duplicate).count() as u64;
        self.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        let accepted = events.len() as u64 - duplicates;
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
    }
}

/// The figures of a host.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Whether events are taken.
    pub ready: bool,
    /// Events of publishers that were accepted, and that had been published before, since the host started.
    pub published: [u64; 2],
    /// Requests of publishers that were refused since then, by the code of the problem.
    pub refused: BTreeMap<String, u64>,
    /// Requests of any kind that were answered with 401 or 403 since then, by the code of the problem.
    pub denied: BTreeMap<String, u64>,
    /// Where the log begins and ends.
    pub bounds: Bounds,
    /// The log on disk.
    pub log: LogStatus,
    /// What it holds in memory.
    pub memory: MemoryUse,
    /// Bytes that were appended since the host started.
    pub appended_bytes: u64,
    /// The plugins, by name.
    pub plugins: Vec<PluginFigures>,
    /// Plugins that are left out, since their state was not to be had at once.
    pub passed_over: usize,
    /// What became of spans, where traces are exported.
    pub exported: OtlpFigures,
}

/// The figures of one plugin.
#[derive(Debug, Clone)]
pub struct PluginFigures {
    /// Its name.
    pub name: Box<str>,
    /// Whether it runs.
    pub standing: Standing,
    /// The version that is live, or was live last, and its author's text.
    pub version: Option<(VersionId, String)>,
    /// Outcomes since the log began: done, retry, dead.
    pub counters: [u64; 3],
    /// Runs that were discarded, since another lane had changed what they read.
    pub conflicts: u64,
    /// Matching events in memory that wait, and how long ago the oldest one was recorded; `None` where nothing is delivered
    /// to it any more.
    pub lag: Option<(u64, Duration)>,
    /// Parked keys.
    pub parked: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Why its breaker is open, where it is.
    pub open: Option<OpenReason>,
    /// Whether its deliveries stopped, for damage or a version that does not load.
    pub stopped: bool,
    /// Keys of its state.
    pub state_keys: usize,
    /// Bytes of its state.
    pub state_bytes: usize,
    /// How often each limit was hit since the log began, by its setting.
    pub limits_hit: Vec<(Box<str>, u64)>,
    /// What was decided of its versions, and how often.
    pub decisions: Decisions,
    /// How long handlers ran since the host started.
    pub took: Taken,
}

fn count(counts: &Mutex<BTreeMap<String, u64>>, code: &str) {
    let mut counts = counts.lock();
    match counts.get_mut(code) {
        Some(count) => *count += 1,
        None => drop(counts.insert(code.to_owned(), 1)),
    }
}

impl Host {
    /// Count that a publisher was refused with a problem of this `code`.
    pub fn count_refused(&self, code: &str) {
        count(&self.inner.publishing.refused, code);
    }

    /// Count that a request was not let in, or might not do what it asked for, with a problem of this `code`.
    pub fn count_denied(&self, code: &str) {
        count(&self.inner.publishing.denied, code);
    }

    /// The figures. Waits a moment for what was seen to be durable, and answers all the same where the disk hangs: a crash
    /// may then take counts back.
    pub async fn figures(&self) -> Result<Figures, Stopped> {
        let host = self.clone();
        let figures = tokio::task::spawn_blocking(move || host.look_at_figures()).await;
        let figures = figures.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        let durable = self.durable(figures.bounds.last);
        // A poisoned log is for the other figures to tell.
        drop(tokio::time::timeout(LONGEST_WAIT, durable).await);
        Ok(figures)
    }

    fn look_at_figures(&self) -> Figures {
        let (publishing, subscribers) = (&self.inner.publishing, self.inner.subscribers.all());
        let plugins: Vec<_> = subscribers
            .iter()
            .filter_map(|subscriber| self.figures_of(subscriber))
            .collect();
        Figures {
            ready: self.not_ready().is_none(),
            published: [&publishing.accepted, &publishing.duplicates]
                .map(|count| count.load(Ordering::Relaxed)),
            refused: publishing.refused.lock().clone(),
            denied: publishing.denied.lock().clone(),
            bounds: self.log().bounds(),
            log: self.log_status(),
            memory: self.inner.store.memory(),
            appended_bytes: self.inner.store.appended_bytes(),
            passed_over: subscribers.len() - plugins.len(),
            exported: self.inner.exported.figures(),
            plugins,
        }
    }

    fn figures_of(&self, subscriber: &Subscriber) -> Option<PluginFigures> {
        let state = subscriber.state.try_lock_for(PATIENCE)?;
        let standing = standing(&state);
        let delivers = matches!(standing, Standing::Live | Standing::Paused);
        let waiting = delivers.then(|| {
            let waiting = self.inner.sequencer.count(&state.subscription, state.cursor.low);
            let waiting = waiting.saturating_sub(state.cursor.above.len());
            (
                waiting as u64,
                subscriber.oldest_waiting(&state, &self.inner.sequencer),
            )
        });
        let mut figures = counted(subscriber, &state, standing);
        drop(state);
        figures.stopped = subscriber.trouble.lock().is_some();
        figures.lag = waiting.map(|(waiting, oldest)| (waiting, self.age(oldest)));
        Some(figures)
    }

    /// How long ago the record at `offset` was appended.
    fn age(&self, offset: Option<Offset>) -> Duration {
        let entries = offset.and_then(|offset| self.log().read(offset, 1, Reach::Appended).ok());
        let time = entries.and_then(|entries| Some(entries.first()?.time));
        let now = self.inner.clock.now();
        Duration::from_micros(now.0.saturating_sub(time.unwrap_or(Micros(u64::MAX)).0))
    }
}

fn counted(subscriber: &Subscriber, state: &PluginState, standing: Standing) -> PluginFigures {
    let version = state.live.as_ref().map(|live| &live.version);
    PluginFigures {
        name: subscriber.name.clone(),
        standing,
        version: version.map(|version| (version.version, version.label.clone())),
        counters: state.counters,
        conflicts: state.conflicts,
        lag: None,
        parked: state.cursor.parked.len(),
        dead_letters: state.dead.len(),
        timers: state.timers.len(),
        open: state.breaker.open().map(|open| open.why),
        stopped: false,
        state_keys: state.key_values.len(),
        state_bytes: state.key_values.bytes(),
        limits_hit: state.limits_hit.clone().into_iter().collect(),
        decisions: state.decisions,
        took: subscriber.took.taken(),
    }
}
