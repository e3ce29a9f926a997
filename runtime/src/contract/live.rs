//! The contracts that hold now: what the versions that run declare and operators set, by event type.
//!
//! Each plugin's fold says which versions run, whenever that changes; nobody has to think of it where a version goes
//! live, is rolled back or promoted, or a plugin is removed. What holds for each type is made of that when somebody
//! looks and something changed since. No plugin's state is locked for it: publishing looks, and waits for no plugin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::{Checked, Schema, Violation};
use crate::ingest::message_pack;
use crate::log::record::{LiveVersion, Mode, TypeSchema};

/// What holds, for all that ask.
#[derive(Default)]
pub struct Holding {
    /// What holds for types where nothing else is set.
    mode: Mode,
    set: Mutex<BTreeMap<String, TypeSchema>>,
    /// The versions that run, by plugin.
    running: Mutex<BTreeMap<Box<str>, Vec<LiveVersion>>>,
    /// Changes of both.
    changes: AtomicU64,
    made: RwLock<Made>,
}

/// What was made of what was known.
#[derive(Default)]
struct Made {
    /// After so many changes.
    after: u64,
    types: Arc<Types>,
    /// Schemas by their text.
    parsed: Parsed,
}

/// Schemas by their text.
pub type Parsed = HashMap<String, Arc<Schema>>;

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

impl TypeContract {
    /// The schemas that data from outside may fit: the operator's, or else that of any plugin that emits the type.
    pub(super) fn of_outside(&self) -> impl Iterator<Item = (&str, &Schema)> {
        let set = self.set.iter().map(|schema| ("set by an operator", &**schema));
        let declared = self.producers.iter().filter(|_| self.set.is_none());
        set.chain(declared.filter_map(|(name, schema)| Some((&**name, &**schema.as_ref()?))))
    }

    /// What is wrong with data from outside, and who declares that.
    pub(super) fn violation(&self, content_type: &str, data: &[u8]) -> Option<(String, Violation)> {
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

impl TypeContract {
    /// Count an event that breaks it; whether it is refused for that.
    pub(super) fn refuses(&self) -> bool {
        let refuses = self.mode == Mode::Enforce;
        let counter = if refuses {
            &self.counters.refused
        } else {
            &self.counters.warned
        };
        counter.fetch_add(1, Ordering::Relaxed);
        refuses
    }
}

impl Holding {
    /// How an event from outside breaks what holds for its type, in words, and whether it is refused for that; counted.
    pub fn judge(&self, event_type: &str, content_type: &str, data: &[u8]) -> Option<(String, bool)> {
        let types = self.types();
        let contract = types
            .get(event_type)
            .filter(|contract| contract.mode != Mode::Off)?;
        let (whose, violation) = contract.violation(content_type, data)?;
        let words = format!("contract {event_type}: it is not what the schema, {whose}, says, {violation}");
        Some((words, contract.refuses()))
    }

    /// What operators `set`, where events from outside that break a contract become what `mode` says. Plugins tell theirs.
    pub fn new(mode: Mode, set: BTreeMap<String, TypeSchema>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            set: Mutex::new(set),
            changes: AtomicU64::new(1),
            ..Self::default()
        })
    }

    /// These `versions` of `plugin` run from here on.
    pub fn runs(&self, plugin: &str, versions: Vec<LiveVersion>) {
        let mut running = self.running.lock();
        if versions.is_empty() {
            running.remove(plugin);
        } else {
            running.insert(plugin.into(), versions);
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What operators set.
    pub fn set(&self) -> BTreeMap<String, TypeSchema> {
        self.set.lock().clone()
    }

    /// Change what operators set; it holds from then on.
    pub(super) fn change_set<T>(&self, change: impl FnOnce(&mut BTreeMap<String, TypeSchema>) -> T) -> T {
        let mut set = self.set.lock();
        let came = change(&mut set);
        self.changes.fetch_add(1, Ordering::Release);
        came
    }

    /// What holds for each event type.
    pub fn types(&self) -> Arc<Types> {
        {
            let made = self.made.read();
            if made.after == self.changes.load(Ordering::Acquire) {
                return made.types.clone();
            }
        }
        let mut made = self.made.write();
        let made = &mut *made;
        let set = self.set.lock();
        let running = self.running.lock();
        let changes = self.changes.load(Ordering::Acquire);
        if made.after != changes {
            let all = running.iter();
            let all = all.flat_map(|(plugin, versions)| versions.iter().map(|version| (&**plugin, version)));
            let mut types = of_running(self.mode, &set, all, &mut made.parsed);
            for (name, contract) in &mut types {
                if let Some(before) = made.types.get(name) {
                    contract.counters = before.counters.clone();
                }
            }
            let types = types
                .into_iter()
                .map(|(name, contract)| (name, Arc::new(contract)));
            made.types = Arc::new(types.collect());
            made.after = changes;
            made.parsed.retain(|_, schema| Arc::strong_count(schema) > 1);
        }
        made.types.clone()
    }
}

/// What holds for each event type, by what operators `set` and the versions that are `running`, those of a plugin together; `mode` where nothing
/// else is set. What was `parsed` before is not parsed again.
pub fn of_running<'a>(
    mode: Mode,
    set: &BTreeMap<String, TypeSchema>,
    running: impl Iterator<Item = (&'a str, &'a LiveVersion)>,
    parsed: &mut Parsed,
) -> HashMap<Box<str>, TypeContract> {
    let mut schema = |json: &str| {
        if let Some(schema) = parsed.get(json) {
            return Some(schema.clone());
        }
        // What was deployed before schemas were read may be anything.
        let schema = Arc::new(json.parse::<Schema>().ok()?);
        parsed.insert(json.to_owned(), schema.clone());
        Some(schema)
    };
    let mut types: HashMap<Box<str>, TypeContract> = HashMap::new();
    for (event_type, one) in set {
        let contract = types.entry(event_type.as_str().into()).or_default();
        contract.mode = one.mode.unwrap_or(mode);
        contract.set = one.json.as_deref().and_then(&mut schema);
    }
    let new = || TypeContract {
        mode,
        ..TypeContract::default()
    };
    for (plugin, version) in running {
        let declared = |emits: bool, name: &str| {
            let mut all = version.schemas.iter();
            all.find(|schema| schema.emits == emits && schema.event_type == name)
                .map(|schema| &*schema.json)
        };
        for name in &version.emits {
            let contract = types.entry(name.as_str().into()).or_insert_with(new);
            add(
                &mut contract.producers,
                plugin,
                declared(true, name).and_then(&mut schema),
            );
        }
        let patterns = version.subscriptions.iter();
        for name in patterns.filter(|pattern| !pattern.contains(['*', '>'])) {
            let contract = types.entry(name.as_str().into()).or_insert_with(new);
            add(
                &mut contract.consumers,
                plugin,
                declared(false, name).and_then(&mut schema),
            );
        }
    }
    types
}

/// Both versions of a plugin that runs two are named where they differ. Only the end of a side is looked at: there may be thousands of plugins on it.
fn add(side: &mut Vec<(Box<str>, Option<Arc<Schema>>)>, plugin: &str, schema: Option<Arc<Schema>>) {
    let same = |a: &Option<Arc<Schema>>, b: &Option<Arc<Schema>>| match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    let own = side.iter().rev().take_while(|(name, _)| **name == *plugin);
    if !own.into_iter().any(|(_, known)| same(known, &schema)) {
        side.push((plugin.into(), schema));
    }
}
