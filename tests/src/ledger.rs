//! What a log must say, whatever happened to the process that wrote it: read from the files and checked against what
//! publishers sent and were told.
//!
//! The records are read here by `docs/log-format.md` alone, and the rules are written down a second time: nothing of the
//! host is used, so that a fault of the host can't excuse itself.

mod facts;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use nerve_eventlog::storage::FsStorage;
use nerve_eventlog::{FileLog, Log, Options, SystemClock};
use serde_json::Value;

pub use facts::{Event, Fact, Outcome};

/// What publishers did, and what the log made of it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The first 8 digits of the log's id.
    pub log: String,
    /// All records by offset.
    pub facts: BTreeMap<u64, Fact>,
}

/// What publishers sent, and what they were told.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Ids of all that was ever sent, with its key.
    pub sent: HashMap<String, Option<String>>,
    /// Ids that were acknowledged, with the offset.
    pub told: HashMap<String, u64>,
    /// What was sent without an answer: it may be there or not, and can be sent again.
    pub unsure: Vec<Value>,
}

impl Published {
    /// A batch is about to be sent.
    pub fn sending(&mut self, batch: &[Value]) {
        for event in batch {
            let key = event["partitionkey"].as_str().map(str::to_owned);
            self.sent.insert(event["id"].as_str().unwrap().to_owned(), key);
        }
    }

    /// It was acknowledged with this answer.
    pub fn told(&mut self, batch: &[Value], answer: &Value) {
        let answers = answer["events"].as_array().unwrap();
        assert_eq!(answers.len(), batch.len(), "{answer}");
        for (event, told) in batch.iter().zip(answers) {
            assert_eq!(event["id"], told["id"]);
            let id = event["id"].as_str().unwrap().to_owned();
            self.told.insert(id, told["offset"].as_u64().unwrap());
        }
    }
}

/// How many events there are, by what the counting plugin counts them under.
pub type Counts = BTreeMap<String, u64>;

impl Ledger {
    /// Read the log of a stopped host in `data`, on a copy.
    pub fn read(data: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_files(&data.join("log"), copy.path());
        let mut ledger = Self::default();
        let storage = Arc::new(FsStorage::new(copy.path().to_owned()));
        let mut add = |entry: &nerve_eventlog::Entry| {
            ledger.facts.insert(entry.offset.0, facts::read(&entry.payload));
        };
        let opened = FileLog::open(storage, Options::default(), Arc::new(SystemClock), None, &mut add);
        let (log, _) = opened.unwrap_or_else(|damaged| panic!("the log can't be read: {damaged}"));
        log.id().to_string()[..8].clone_into(&mut ledger.log);
        ledger
    }

    /// What the log says that it must not. Everything must have been settled.
    pub fn violations(&self, published: &Published) -> Vec<String> {
        let mut check = Check {
            log: &self.log,
            faults: Vec::new(),
            patterns: BTreeMap::new(),
            waiting: HashMap::new(),
            timers: HashMap::new(),
            follows: VecDeque::new(),
            keys: HashMap::new(),
            seen: HashSet::new(),
            found: HashMap::new(),
        };
        for (offset, fact) in &self.facts {
            check.follow(*offset, fact, published);
        }
        check.end(published);
        check.faults
    }

    /// What the counting plugin must have counted: all events behind its first deployment.
    pub fn counts(&self, counter: &str) -> Counts {
        let mut counts = Counts::new();
        let live = |fact: &&Fact| matches!(fact, Fact::Live { plugin, .. } if plugin == counter);
        for fact in self.facts.values().skip_while(|fact| !live(fact)) {
            if let Fact::Event(event) = fact {
                *counts.entry(format!("count/type/{}", event.kind)).or_default() += 1;
                if let Some(key) = &event.key {
                    *counts.entry(format!("count/key/{key}")).or_default() += 1;
                }
            }
        }
        counts
    }
}

/// Copy the files of a folder, not those of folders in it.
pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// An effect that must follow.
struct Follows {
    plugin: String,
    /// Offset of the causing event and index of the effect; not known of a timer's event.
    cause: Option<(u64, u64)>,
}

struct Check<'a> {
    log: &'a str,
    faults: Vec<String>,
    patterns: BTreeMap<String, Vec<String>>,
    /// By plugin and key: the events that are not settled, in order.
    waiting: HashMap<(String, String), VecDeque<u64>>,
    /// By plugin and name: the outcome that set the timer.
    timers: HashMap<(String, String), u64>,
    follows: VecDeque<Follows>,
    /// By event: the key that it waits under.
    keys: HashMap<u64, String>,
    seen: HashSet<(String, String)>,
    /// By id: offset and key of the events from outside.
    found: HashMap<String, (u64, Option<String>)>,
}

impl Check<'_> {
    fn follow(&mut self, offset: u64, fact: &Fact, published: &Published) {
        if let Some(follows) = self.follows.pop_front() {
            let Fact::Event(event) = fact else {
                return self.fault(offset, format!("an effect of {} is missing", follows.plugin));
            };
            self.effect(offset, event, &follows);
            return self.arrive(offset, event);
        }
        match fact {
            Fact::Event(event) => {
                if event.cause.is_some() {
                    self.fault(offset, format!("{} is an effect of nothing: a phantom", event.id));
                } else if !published.sent.contains_key(&event.id) {
                    self.fault(offset, format!("{} was never sent: a phantom", event.id));
                }
                self.found.insert(event.id.clone(), (offset, event.key.clone()));
                self.arrive(offset, event);
            }
            Fact::Outcome(outcome) => self.settle(offset, outcome),
            Fact::Live { plugin, patterns } => {
                self.patterns.insert(plugin.clone(), patterns.clone());
            }
            Fact::Fired { plugin, name, set_at } => {
                let armed = self.timers.remove(&(plugin.clone(), name.clone()));
                if armed != Some(*set_at) {
                    self.fault(
                        offset,
                        format!("timer {name:?} fired twice, or was never set: {armed:?}"),
                    );
                }
                self.follows.push_back(Follows {
                    plugin: plugin.clone(),
                    cause: None,
                });
            }
            Fact::Other => {}
        }
    }

    fn effect(&mut self, offset: u64, event: &Event, follows: &Follows) {
        let of_cause = |(cause, index): (u64, u64)| format!("{}-{cause:x}-{index}", self.log);
        let right = event.source == format!("nerve:{}", follows.plugin)
            && follows
                .cause
                .is_none_or(|cause| event.cause == Some(cause) && event.id == of_cause(cause));
        if !right {
            self.fault(offset, format!("{} is no effect of {}", event.id, follows.plugin));
        }
    }

    /// An event waits for everybody who subscribes to it.
    fn arrive(&mut self, offset: u64, event: &Event) {
        if !self.seen.insert((event.source.clone(), event.id.clone())) {
            self.fault(offset, format!("{} is there twice", event.id));
        }
        let key = event.key.clone().unwrap_or_else(|| format!("@{offset}"));
        self.keys.insert(offset, key.clone());
        for (plugin, patterns) in &self.patterns {
            if patterns.iter().any(|pattern| matches(pattern, &event.kind)) {
                let waiting = self.waiting.entry((plugin.clone(), key.clone()));
                waiting.or_default().push_back(offset);
            }
        }
    }

    fn settle(&mut self, offset: u64, outcome: &Outcome) {
        let key = self.keys.get(&outcome.event).cloned().unwrap_or_default();
        let name = (outcome.plugin.clone(), key);
        let queue = self.waiting.get_mut(&name);
        let Some(queue) = queue.filter(|queue| queue.contains(&outcome.event)) else {
            let (event, plugin) = (outcome.event, &outcome.plugin);
            return self.fault(
                offset,
                format!("{plugin} settles event {event}, which does not wait: twice, or never published"),
            );
        };
        if queue.front() != Some(&outcome.event) {
            let fault = format!(
                "{name:?} settles event {} before {queue:?}: out of order",
                outcome.event
            );
            return self.fault(offset, fault);
        }
        let ended = outcome.verdict != "retry";
        if ended {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.waiting.remove(&name);
        }
        if outcome.verdict != "done" {
            if outcome.emitted > 0 || !outcome.timers.is_empty() {
                self.fault(offset, "a failed attempt has effects".to_owned());
            }
            return;
        }
        for (name, set) in &outcome.timers {
            let name = (outcome.plugin.clone(), name.clone());
            if *set {
                self.timers.insert(name, offset);
            } else {
                self.timers.remove(&name);
            }
        }
        self.follows.extend((0..outcome.emitted).map(|index| Follows {
            plugin: outcome.plugin.clone(),
            cause: Some((outcome.event, index)),
        }));
    }

    fn end(&mut self, published: &Published) {
        let last = u64::MAX;
        for (id, offset) in &published.told {
            let key = published.sent.get(id).cloned().flatten();
            match self.found.get(id) {
                None => self
                    .faults
                    .push(format!("{id} was acknowledged at {offset}, and is lost")),
                Some(found) if found.0 != *offset || found.1 != key => self.faults.push(format!(
                    "{id} was acknowledged at {offset}, and is there as {found:?}"
                )),
                Some(_) => {}
            }
        }
        for ((plugin, key), queue) in std::mem::take(&mut self.waiting) {
            self.fault(last, format!("{plugin} never settled {queue:?} of {key}"));
        }
        for ((plugin, name), _) in std::mem::take(&mut self.timers) {
            self.fault(last, format!("timer {name:?} of {plugin} never fired"));
        }
        if !self.follows.is_empty() {
            self.fault(last, "effects are missing at the end".to_owned());
        }
    }

    fn fault(&mut self, offset: u64, what: String) {
        self.faults.push(match offset {
            u64::MAX => what,
            offset => format!("offset {offset}: {what}"),
        });
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('>') {
        Some(begin) => kind.starts_with(begin),
        None => pattern == kind,
    }
}
