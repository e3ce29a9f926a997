//! The contracts that hold now: what live plugins declare and operators set, by event type.
//!
//! Publishing looks a type up and checks the data where there is a schema; a type without one costs the look. What
//! changes them, a deployment or an operator's schema, is decided on one at a time, and holds from its record on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use nerve_eventlog::Batch;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{BadSchema, Checked, Difference, Schema, Verdict, Violation, accepts};
use crate::delivery::subscribers::Subscribers;
use crate::host::Stopped;
use crate::ingest::{ValidEvent, message_pack};
use crate::log::record::{self, LiveVersion, Mode, Record, SetSchema, TypeSchema};
use crate::log::sequencer::{Sequencer, stopped};

/// How old a look at what holds may be that refuses an event. A roll-back is not told here.
const FRESH: Duration = Duration::from_secs(1);

/// The contracts of a host.
pub struct Contracts {
    /// What holds for types where nothing else is set.
    mode: Mode,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) subscribers: Arc<Subscribers>,
    /// Held from the decision on a deployment or a schema until it is recorded and holds.
    deciding: Mutex<()>,
    /// Held while it is looked at what holds, so that who looked first does not come last.
    looking: Mutex<()>,
    looked_at: Mutex<Instant>,
    set: Mutex<BTreeMap<String, TypeSchema>>,
    types: RwLock<Arc<Types>>,
}

/// Contracts by event type.
pub type Types = HashMap<Box<str>, Arc<TypeContract>>;

/// What holds for one event type.
#[derive(Debug, Default)]
pub struct TypeContract {
    /// What becomes of events from outside that break it.
    pub mode: Mode,
    /// What an operator set.
    pub set: Option<Arc<Schema>>,
    /// The live plugins that emit it, each with the schema that it declares.
    pub producers: Vec<(Box<str>, Option<Arc<Schema>>)>,
    /// The live plugins that subscribe to it by name or declare a schema of it, each with what it expects.
    pub consumers: Vec<(Box<str>, Option<Arc<Schema>>)>,
    /// Events from outside that were refused since the host started, and that were let through with a warning.
    pub counters: Arc<Counters>,
}

/// Events from outside that broke a contract.
#[derive(Debug, Default)]
pub struct Counters {
    /// Refused.
    pub refused: AtomicU64,
    /// Let through.
    pub warned: AtomicU64,
}

/// An event is not what its type's schema says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: its data is not what the schema of {event_type:?}, {whose}, says, {violation}")]
pub struct BrokenContract {
    /// Which of the events, from 0.
    pub index: usize,
    /// Its type.
    pub event_type: String,
    /// Who declares the schema.
    pub whose: String,
    /// Where, and what.
    pub violation: Violation,
}

/// What an operator's schema would break.
#[derive(Debug)]
pub enum SetRefused {
    /// It is no schema, or one with something that can't be checked.
    Bad(BadSchema),
    /// A keyword is not understood.
    Unread(String),
    /// Consumers that do not accept what it allows, each with the difference.
    Breaks(Vec<(Box<str>, Difference)>),
    /// The host is stopping or the log is poisoned.
    Stopped(Stopped),
}

impl TypeContract {
    /// The schemas that data from outside may fit: the operator's, or else that of any plugin that emits the type.
    fn of_outside(&self) -> impl Iterator<Item = (&str, &Schema)> {
        let set = self.set.iter().map(|schema| ("set by an operator", &**schema));
        let declared = self.producers.iter().filter(|_| self.set.is_none());
        set.chain(declared.filter_map(|(name, schema)| Some((&**name, &**schema.as_ref()?))))
    }

    /// What is wrong with data from outside, and who declares that.
    fn violation(&self, content_type: &str, data: &[u8]) -> Option<(String, Violation)> {
        let mut first = None;
        for (whose, schema) in self.of_outside() {
            let violation = if message_pack::is_json(content_type) {
                match schema.check(data) {
                    Checked::Broken(violation) => violation,
                    Checked::Valid | Checked::CantTell => return None,
                }
            } else {
                Violation {
                    at: String::new(),
                    problem: format!("it is {content_type}, and must be JSON"),
                }
            };
            let whose = if self.set.is_some() {
                whose.to_owned()
            } else {
                format!("declared by plugin {whose}")
            };
            first.get_or_insert((whose, violation));
        }
        first
    }
}

impl Contracts {
    /// The contracts of the live plugins and of `set`, where events from outside that break one become what `mode` says.
    pub fn new(
        mode: Mode,
        set: BTreeMap<String, TypeSchema>,
        sequencer: &Arc<Sequencer>,
        subscribers: &Arc<Subscribers>,
    ) -> Arc<Self> {
        let contracts = Arc::new(Self {
            mode,
            sequencer: sequencer.clone(),
            subscribers: subscribers.clone(),
            deciding: Mutex::default(),
            looking: Mutex::default(),
            looked_at: Mutex::new(Instant::now()),
            set: Mutex::new(set),
            types: RwLock::default(),
        });
        contracts.refresh();
        contracts
    }

    /// What holds for each event type, as it was looked at last.
    pub fn types(&self) -> Arc<Types> {
        self.types.read().clone()
    }

    /// What operators set.
    pub fn set_schemas(&self) -> BTreeMap<String, TypeSchema> {
        self.set.lock().clone()
    }

    /// Check events from outside before they are appended. One that was published before is let through.
    pub fn check_published(&self, events: &[ValidEvent]) -> Result<(), BrokenContract> {
        let types = self.types();
        if types.is_empty() {
            return Ok(());
        }
        for (index, event) in events.iter().enumerate() {
            let Some(contract) = types
                .get(event.event_type())
                .filter(|contract| contract.mode != Mode::Off)
            else {
                continue;
            };
            if contract.of_outside().next().is_none() {
                continue;
            }
            let Ok(Some(stated)) = record::event(event.record()) else {
                continue;
            };
            let Some((whose, violation)) = contract.violation(stated.content_type, stated.data) else {
                continue;
            };
            if self.sequencer.is_known(event) {
                continue;
            }
            if self.looked_at.lock().elapsed() > FRESH {
                // A version may have been rolled back meanwhile: nothing is refused for one that is gone.
                self.refresh();
                return self.check_published(events);
            }
            let broken = BrokenContract {
                index,
                event_type: stated.r#type.to_owned(),
                whose,
                violation,
            };
            if contract.mode == Mode::Enforce {
                contract.counters.refused.fetch_add(1, Ordering::Relaxed);
                return Err(broken);
            }
            contract.counters.warned.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(id = stated.id, source = stated.source, "let through: {broken}");
        }
        Ok(())
    }

    /// Set what holds for a type, or take it back; a mode without a schema leaves the schema as it was. Answers what can't be told of it, by consumer.
    pub fn set(&self, mut set: SetSchema, force: bool) -> Result<Vec<(Box<str>, Difference)>, SetRefused> {
        let deciding = self.deciding.lock();
        self.refresh();
        let json = set.schema.as_ref().and_then(|schema| schema.json.as_deref());
        let mut unclear = Vec::new();
        if let Some(json) = json {
            let schema: Schema = json.parse().map_err(SetRefused::Bad)?;
            if let Some(keyword) = schema.unread() {
                return Err(SetRefused::Unread(keyword.to_owned()));
            }
            let types = self.types();
            let consumers = types.get(&*set.event_type).map(|contract| &contract.consumers);
            let mut breaks = Vec::new();
            for (name, expected) in consumers.into_iter().flatten() {
                match expected.as_ref().map(|expected| accepts(expected, &schema)) {
                    Some(Verdict::Breaking(difference)) => breaks.push((name.clone(), difference)),
                    Some(Verdict::CantTell(difference)) => unclear.push((name.clone(), difference)),
                    Some(Verdict::Safe) | None => {}
                }
            }
            if !breaks.is_empty() && !force {
                return Err(SetRefused::Breaks(breaks));
            }
            unclear.extend(breaks);
        }
        {
            let mut all = self.set.lock();
            if let Some(schema) = &mut set.schema
                && schema.json.is_none()
            {
                schema.json = all.get(&set.event_type).and_then(|before| before.json.clone());
            }
            let mut batch = Batch::new();
            batch.push_with(|out| Record::Schema(set.clone()).encode(out));
            let appended = self.sequencer.append(batch, None, std::iter::empty());
            appended.map_err(|refused| SetRefused::Stopped(stopped(&refused)))?;
            match set.schema {
                Some(schema) => drop(all.insert(set.event_type, schema)),
                None => drop(all.remove(&set.event_type)),
            }
        }
        self.refresh();
        drop(deciding);
        Ok(unclear)
    }

    pub(super) fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock()
    }

    /// Look anew at what plugins declare and operators set.
    pub fn refresh(&self) {
        let _looking = self.looking.lock();
        *self.looked_at.lock() = Instant::now();
        let before = self.types();
        let live = self.subscribers.all().into_iter();
        let live = live.filter_map(|subscriber| {
            let state = subscriber.state.lock();
            let live = state.live.as_ref().filter(|_| !state.removed)?;
            Some((subscriber.name.clone(), live.version.clone()))
        });
        // No state is locked while `set` is.
        let live: Vec<_> = live.collect();
        let mut types = of_live(self.mode, &self.set.lock(), live.into_iter());
        for (name, contract) in &mut types {
            if let Some(before) = before.get(name) {
                contract.counters = before.counters.clone();
            }
        }
        let types = types
            .into_iter()
            .map(|(name, contract)| (name, Arc::new(contract)));
        *self.types.write() = Arc::new(types.collect());
    }
}

/// What holds for each event type, by what operators `set` and what is `live`; `mode` where nothing else is set.
pub fn of_live(
    mode: Mode,
    set: &BTreeMap<String, TypeSchema>,
    live: impl Iterator<Item = (Box<str>, LiveVersion)>,
) -> HashMap<Box<str>, TypeContract> {
    let mut known: HashMap<String, Arc<Schema>> = HashMap::new();
    let mut parsed = |json: &str| {
        if let Some(schema) = known.get(json) {
            return Some(schema.clone());
        }
        // What was deployed before schemas were read may be anything.
        let schema = Arc::new(json.parse::<Schema>().ok()?);
        known.insert(json.to_owned(), schema.clone());
        Some(schema)
    };
    let mut types: HashMap<Box<str>, TypeContract> = HashMap::new();
    for (event_type, one) in set {
        let contract = types.entry(event_type.as_str().into()).or_default();
        contract.mode = one.mode.unwrap_or(mode);
        contract.set = one.json.as_deref().and_then(&mut parsed);
    }
    let new = || TypeContract {
        mode,
        ..TypeContract::default()
    };
    for (plugin, live) in live {
        let declared = |emits: bool, name: &str| {
            let mut all = live.schemas.iter();
            all.find(|schema| schema.emits == emits && schema.event_type == name)
                .map(|schema| &*schema.json)
        };
        for name in &live.emits {
            let schema = declared(true, name).and_then(&mut parsed);
            let contract = types.entry(name.as_str().into()).or_insert_with(new);
            contract.producers.push((plugin.clone(), schema));
        }
        let exact = live
            .subscriptions
            .iter()
            .filter(|pattern| !pattern.contains(['*', '>']));
        for name in exact {
            let schema = declared(false, name).and_then(&mut parsed);
            let contract = types.entry(name.as_str().into()).or_insert_with(new);
            contract.consumers.push((plugin.clone(), schema));
        }
    }
    types
}
