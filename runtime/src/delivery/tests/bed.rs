//! A test bed: one plugin, whose handler is a function, on a log in memory.

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nerve_eventlog::storage::{MemoryStorage, Storage};
use nerve_eventlog::{
    Batch, Clock, Durability, Entry, FileLog, Log, ManualClock, Micros, Offset, Options, Reach,
};
use parking_lot::Mutex;

use crate::delivery::handler::{Delivery, Failure, Handled, Handler, Version};
use crate::delivery::lane::{Lane, Rest};
use crate::delivery::retry::{AtEnd, RetryPolicy};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::timer::TimerLimits;
use crate::log::index::{Bell, TypeIndex};
use crate::log::record::{
    AskedBy, Cause, DeclaredSchema, Deployment, DeploymentAction, Event, FailureClass, LiveVersion, Mute,
    Operator, OperatorAction, Record, Rewind, Terms, VersionId,
};
use crate::log::sequencer::{Order, Sequencer};
use crate::log::window::{Window, WindowOptions};
use crate::state::{Fold, KeyValues, PluginState};

/// What the fake handler does.
pub(super) type Script = Arc<dyn Fn(&Delivery<'_>, &KeyValues) -> Handled + Send + Sync>;

/// A delivery that the fake handler saw: offset, key, attempt, replay, version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saw {
    pub(super) offset: u64,
    pub(super) key: Option<String>,
    pub(super) attempt: u32,
    pub(super) replay: bool,
    pub(super) version: u8,
}

#[derive(Clone)]
pub(super) struct Fake {
    version: u8,
    lanes: usize,
    script: Script,
    saw: Arc<Mutex<Vec<Saw>>>,
    discarded: Arc<AtomicUsize>,
    state: Arc<KeyValues>,
    policy: RetryPolicy,
    reins: Arc<Reins>,
}

/// Deliveries that may be made before the lanes are told to stop.
struct Reins {
    left: AtomicUsize,
    stopping: Arc<AtomicBool>,
    /// Whether the handler is called anew for each event.
    anew: AtomicBool,
    /// How often the handler was called.
    calls: AtomicUsize,
}

/// Lanes of the bed.
const MOST_LANES: usize = 4;

/// Three attempts, 10 ms, 20 ms apart.
pub(super) const POLICY: RetryPolicy = RetryPolicy {
    attempts: 3,
    first: Duration::from_millis(10),
    longest: Duration::from_mins(1),
    factor: 2.0,
    jitter: 0.0,
    at_end: AtEnd::DeadLetter,
    outage_keys: 3,
};

/// A failure of `class`.
pub(super) fn failed(class: FailureClass) -> Handled {
    let failure = Failure {
        class,
        reason: "it was told to".into(),
        retry_after: None,
    };
    Handled {
        failure: Some(failure),
        ..Handled::default()
    }
}

fn open(storage: Arc<dyn Storage>, options: Options) -> (Arc<ManualClock>, Arc<FileLog>) {
    let clock = Arc::new(ManualClock::new(Micros(1_000_000)));
    let (log, _) = FileLog::open(storage, options, clock.clone(), None, &mut |_| {}).unwrap();
    (clock, Arc::new(log))
}

/// One plugin called `p` that subscribes to `in.>`.
pub(super) struct Bed {
    pub(super) clock: Arc<ManualClock>,
    pub(super) log: Arc<FileLog>,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) saw: Arc<Mutex<Vec<Saw>>>,
    /// How often a handler was told to forget.
    pub(super) discarded: Arc<AtomicUsize>,
    /// All that there may be; how many work, the version says.
    pub(super) lanes: Vec<Lane>,
    allowed: usize,
    pub(super) version: u8,
    pub(super) policy: RetryPolicy,
    /// How the next versions are watched.
    pub(super) terms: Option<Terms>,
    /// What the next version declares to emit.
    pub(super) emits: Vec<DeclaredSchema>,
    /// What the next version subscribes to.
    pub(super) subscribes: &'static str,
    reins: Arc<Reins>,
}

impl Bed {
    /// The plugin is live, at offset 1, and runs `script`.
    pub(super) fn new(script: Script) -> Self {
        Self::with_policy(script, POLICY)
    }

    /// The same, under `policy`.
    pub(super) fn with_policy(script: Script, policy: RetryPolicy) -> Self {
        Self::with_lanes(script, policy, 1)
    }

    /// The same, in so many lanes.
    pub(super) fn with_lanes(script: Script, policy: RetryPolicy, lanes: usize) -> Self {
        let options = Options {
            durability: Durability::Memory,
            ..Options::default()
        };
        let (clock, log) = open(Arc::new(MemoryStorage::default()), options);
        let mut bed = Self::start(clock, log, PluginState::default());
        (bed.policy, bed.allowed) = (policy, lanes);
        bed.swap(script);
        bed
    }

    /// The plugin is live on a new log in `storage`.
    pub(super) fn on(storage: Arc<dyn Storage>, options: Options, script: Script) -> Self {
        let (clock, log) = open(storage, options);
        let mut bed = Self::start(clock, log, PluginState::default());
        bed.swap(script);
        bed
    }

    /// The log in `storage`, as a host that starts finds it.
    pub(super) fn reopen(storage: Arc<dyn Storage>, options: Options, script: Script) -> Self {
        let (clock, log) = open(storage, options);
        let bed = Self::start(clock, log, PluginState::default());
        bed.restart(script)
    }

    /// The same log, as a host that starts now finds it.
    pub(super) fn restart(self, script: Script) -> Self {
        let (clock, log) = (self.clock.clone(), self.log.clone());
        let state = self.fold();
        let mut bed = Self::start(clock, log, state);
        bed.saw = self.saw;
        (bed.version, bed.policy, bed.allowed) = (self.version, self.policy, self.allowed);
        bed.put(script);
        bed
    }

    /// The same, while the version that runs is watched and `before` is what the one before it runs.
    pub(super) fn restart_beside(self, script: Script, before: Script) -> Self {
        let bed = self.restart(script.clone());
        let both = [(script, bed.version), (before, bed.version - 1)];
        let [live, before] = both.map(|(script, version)| bed.fake(script, version));
        bed.subscriber
            .between_events()
            .swap_watched(Some(live), Some(before));
        bed
    }

    /// The handler is called anew for each event from here on.
    pub(super) fn call_anew(&self) {
        self.reins.anew.store(true, Ordering::Relaxed);
    }

    /// How often the handler was called, which may be less often than it made deliveries.
    pub(super) fn calls(&self) -> usize {
        self.reins.calls.load(Ordering::Relaxed)
    }

    /// Make so many deliveries more, and then no other.
    pub(super) fn stop_after(&self, deliveries: usize) {
        self.reins.left.store(deliveries, Ordering::Relaxed);
    }

    /// A second lane of the same plugin on the same log, as a host that should not be there would have it.
    pub(super) fn twin(&self, script: Script) -> Self {
        let mut twin = Self::start(self.clock.clone(), self.log.clone(), self.fold());
        twin.put(script);
        twin
    }

    /// What the clock says, in microseconds.
    pub(super) fn now(&self) -> u64 {
        self.clock.now().0
    }

    /// The plugin's state as the records say.
    pub(super) fn fold(&self) -> PluginState {
        let mut fold = Fold::default();
        for (offset, time, bytes) in self.records() {
            fold.apply(offset, time, &Record::decode(&bytes).unwrap());
        }
        fold.into_plugins().remove("p").unwrap_or_default()
    }

    /// Every record.
    pub(super) fn records(&self) -> Vec<(Offset, Micros, bytes::Bytes)> {
        let mut from = Offset(1);
        let mut out = Vec::new();
        loop {
            let entries = self.log.read(from, 1 << 20, Reach::Appended).unwrap();
            let Some(last) = entries.last() else { return out };
            from = last.offset.next();
            out.extend(
                entries
                    .into_iter()
                    .map(|entry| (entry.offset, entry.time, entry.payload)),
            );
        }
    }

    /// Every record, as an entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let records = self.records().into_iter();
        records.map(|(offset, time, payload)| Entry {
            offset,
            time,
            payload,
        })
    }

    /// Deliver every dead letter again that is not on its way.
    pub(super) fn redrive_all(&self) {
        let asked: Vec<u64> = {
            let state = self.subscriber.state.lock();
            let letters = state.dead.keys().filter(|event| !state.is_redriving(**event));
            letters.map(|event| event.0).collect()
        };
        if !asked.is_empty() {
            self.operate(OperatorAction::Redrive(asked));
        }
    }

    fn start(clock: Arc<ManualClock>, log: Arc<FileLog>, state: PluginState) -> Self {
        let window = Window::new(WindowOptions::default());
        let mut index = TypeIndex::default();
        let mut from = Offset(1);
        loop {
            let entries = log.read(from, 1 << 20, Reach::Appended).unwrap();
            let Some(last) = entries.last() else { break };
            from = last.offset.next();
            for entry in &entries {
                if let Some(event) = crate::log::record::event(&entry.payload).unwrap() {
                    index.push(event.r#type, entry.offset);
                }
            }
        }
        index.forget_below(log.bounds().hot_first);
        let sequencer = Sequencer::new(&(log.clone() as Arc<dyn Log>), Order { index, window });
        let subscription = state.subscription.clone();
        let subscriber = Subscriber::new("p", state, &sequencer, Bell::default(), Arc::default());
        sequencer.subscribe(subscriber.id, subscription);
        let stopping = Arc::new(AtomicBool::new(false));
        let lane = |number| {
            let (subscriber, sequencer) = (subscriber.clone(), sequencer.clone());
            let dice = fastrand::Rng::with_seed(7);
            Lane::new(
                subscriber,
                number,
                sequencer,
                clock.clone(),
                stopping.clone(),
                dice,
            )
        };
        let reins = Reins {
            left: AtomicUsize::new(usize::MAX),
            stopping: stopping.clone(),
            anew: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        };
        let lanes = (0..MOST_LANES).map(lane).collect();
        Self {
            clock,
            log,
            sequencer,
            subscriber,
            saw: Arc::default(),
            discarded: Arc::default(),
            lanes,
            allowed: 1,
            version: 0,
            policy: POLICY,
            terms: None,
            emits: Vec::new(),
            subscribes: "in.>",
            reins: Arc::new(reins),
        }
    }

    /// Deploy the next version, running `script` in so many lanes.
    pub(super) fn swap_to(&mut self, script: Script, lanes: usize) {
        self.allowed = lanes;
        self.swap(script);
    }

    /// Deploy the next version, running `script`.
    pub(super) fn swap(&mut self, script: Script) {
        self.version += 1;
        let between = self.subscriber.between_events();
        let live = LiveVersion {
            version: VersionId([self.version; 8]),
            subscriptions: vec![self.subscribes.into()],
            emits: self
                .emits
                .iter()
                .map(|emitted| emitted.event_type.clone())
                .collect(),
            schemas: self.emits.clone(),
            probation: self.terms,
            ..LiveVersion::default()
        };
        let action = DeploymentAction::Live(Box::new(live));
        let deployment = Deployment {
            who: None,
            plugin: "p".into(),
            pair: None,
            action,
            by: AskedBy::Folder,
            warnings: Vec::new(),
        };
        let mut state = self.subscriber.state.lock();
        let unsettles = state.own.is_some();
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = self.sequencer.append(batch, None, std::iter::empty()).unwrap();
        state.apply_deployment(appended.first, appended.time, &deployment);
        self.sequencer
            .subscribe(self.subscriber.id, state.subscription.clone());
        drop(state);
        if unsettles {
            between.look_back();
        }
        drop(between);
        self.put(script);
    }

    fn put(&mut self, script: Script) {
        let fake = self.fake(script, self.version);
        let between = self.subscriber.between_events();
        let before = {
            let state = self.subscriber.state.lock();
            let probation = state.probation.as_ref();
            probation.and_then(|probation| between.find(probation.before))
        };
        between.swap_watched(Some(fake), before);
    }

    pub(super) fn fake(&self, script: Script, version: u8) -> Arc<dyn Version> {
        Arc::new(Fake {
            version,
            lanes: self.allowed,
            script,
            saw: self.saw.clone(),
            discarded: self.discarded.clone(),
            state: Arc::default(),
            policy: self.policy,
            reins: self.reins.clone(),
        })
    }

    /// Publish an event of type `in.x`.
    pub(super) fn publish(&self, key: Option<&str>) -> u64 {
        self.publish_of("in.x", key).0
    }

    /// Publish an event of this type.
    pub(super) fn publish_of(&self, r#type: &str, key: Option<&str>) -> Offset {
        self.publish_as("e", r#type, key)
    }

    /// Publish an event with this id.
    pub(super) fn publish_as(&self, id: &str, r#type: &str, key: Option<&str>) -> Offset {
        self.publish_caused(id, r#type, key, None)
    }

    /// The same, emitted for `cause`.
    pub(super) fn publish_caused(
        &self,
        id: &str,
        r#type: &str,
        key: Option<&str>,
        cause: Option<Cause<'_>>,
    ) -> Offset {
        let event = Event {
            id,
            source: "test",
            r#type,
            key,
            subject: None,
            time: None,
            content_type: "application/json",
            data: &[0xc0],
            correlation: None,
            cause,
            traceparent: None,
            data_schema: None,
            extensions: vec![],
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::encode_event(&event, out));
        self.sequencer
            .append(batch, None, std::iter::once((0, r#type)))
            .unwrap()
            .first
    }

    /// Run the first lane until it rests.
    pub(super) fn run(&mut self) -> Rest {
        self.lanes[0].run()
    }

    /// Run the lane, and advance the clock to each retry, until nothing is due any more.
    pub(super) fn run_all(&mut self) {
        while let Rest::Until(Some(due)) = self.run() {
            self.clock.set(due);
        }
    }

    /// An operator's action, as the host does it.
    pub(super) fn operate(&self, action: OperatorAction) {
        let operator = Operator {
            who: None,
            plugin: "p".into(),
            action,
        };
        let mut state = self.subscriber.state.lock();
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Operator(operator.clone()).encode(out));
        let appended = self.sequencer.append(batch, None, std::iter::empty()).unwrap();
        state.apply_operator(appended.first, appended.time, &operator);
        self.subscriber.redrive.store(true, Ordering::Relaxed);
    }

    /// An operator's rewind, of everything that is settled or, with `fresh`, into a state of its own.
    pub(super) fn rewind(&self, from: u64, mute: Mute, fresh: bool) {
        let between = self.subscriber.between_events();
        let settled = self.subscriber.state.lock().cursor.low;
        self.operate(OperatorAction::Rewind(Rewind {
            from,
            through: (!fresh).then_some(settled.0),
            mute,
            fresh,
            rate: None,
        }));
        between.look_anew();
    }

    /// The operator stops it.
    pub(super) fn stop_rewind(&self) {
        let between = self.subscriber.between_events();
        self.operate(OperatorAction::StopRewind);
        between.look_anew();
    }

    /// What the handler saw, as `offset/attempt`.
    pub(super) fn seen(&self) -> String {
        let saw = self.saw.lock();
        saw.iter()
            .map(|saw| format!("{}/{}", saw.offset, saw.attempt))
            .collect::<Vec<_>>()
            .join(" ")
    }
}
