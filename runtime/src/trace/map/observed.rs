//! What the log shows of who emits and who gets what: a fold of counters.
//!
//! An outcome names its event by offset, so the types of the last events are remembered, and older ones are looked up
//! together. What is counted is bounded in number; what lies beyond is counted as just that.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use nerve_eventlog::{Entry, Log, Micros, Offset, Reach, ReadError};
use serde::{Deserialize, Serialize};

use super::Flow;
use crate::delivery::settle::PLUGIN_SOURCE;
use crate::log::record::{self, DeploymentAction, EventGist, Gist, OutcomeGist, Record};

/// Names of types and plugins that are counted, and ways between them.
const MOST_NAMES: usize = 20_000;
const MOST_WAYS: usize = 100_000;

/// Records of which it is remembered what they are: about as many as the hot window holds, so that who settles events late costs no more
/// than who settles them at once.
const REMEMBERED: usize = 1 << 20;

/// Bytes of the log that are read at a time.
const CHUNK: usize = 64 << 10;

/// How often in a row the same place is tried that the system refuses to read, before it is taken for damaged.
const MOST_TRIES: u32 = 10;

/// Records of a log that was never observed which are read, counted from its end.
const LOOK_BACK: u64 = 1_000_000;

/// A name: its place in the list of names.
pub(super) type Id = u32;

/// What was observed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Every record up to here was seen, or is counted as missed.
    pub through: Offset,
    /// The time of the first record that was seen.
    pub since: Option<Micros>,
    /// The time of the last one.
    pub time: Micros,
    /// Records that were gone, or could not be read.
    pub missed: u64,
    /// What was not counted, since there was no more room.
    pub beyond: u64,
    pub(super) names: Vec<Box<str>>,
    /// Events by emitter and type; the emitter outside has the empty name.
    pub(super) emits: BTreeMap<(Id, Id), Flow>,
    /// Deliveries by plugin and type.
    pub(super) gets: BTreeMap<(Id, Id), Got>,
    /// Events by plugin, the type that was delivered and the type that was emitted for it; not those of slow timers,
    /// which begin anew.
    pub(super) links: BTreeMap<(Id, Id, Id), u64>,
    #[serde(skip)]
    ids: HashMap<Box<str>, Id>,
    #[serde(skip)]
    recent: Recent,
    /// How often the system has refused to read what comes next.
    #[serde(skip)]
    tries: u32,
}

/// The types of the last records.
#[derive(Debug, Default)]
struct Recent {
    /// The offset of the first.
    first: Offset,
    /// Of each, one behind the other; [`NO_TYPE`] where it is no event.
    types: VecDeque<Id>,
}

const NO_TYPE: Id = Id::MAX;

/// A copy has none: it is made to be shown or kept, and who goes on with one looks into the log.
impl Clone for Recent {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Recent {
    /// Remember the type of the record at `offset`, which mostly follows the last one.
    fn push(&mut self, offset: Offset, of: Option<Id>) {
        if self.first.0 + self.types.len() as u64 != offset.0 {
            self.types.clear();
            self.first = offset;
        } else if self.types.len() == REMEMBERED {
            self.types.pop_front();
            self.first = self.first.next();
        }
        self.types.push_back(of.unwrap_or(NO_TYPE));
    }

    /// The type of the event at `offset`, where it is one of the last.
    fn get(&self, offset: Offset) -> Option<Id> {
        let at = usize::try_from(offset.0.checked_sub(self.first.0)?).ok()?;
        self.types.get(at).copied().filter(|of| *of != NO_TYPE)
    }
}

/// Attempts of a plugin at events of a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Got {
    /// All of them.
    pub(super) attempts: Flow,
    /// Those that failed and were tried again.
    pub(super) retries: u64,
    /// Those that ended in a dead letter.
    pub(super) dead: u64,
    /// How long they took in all, in microseconds.
    pub(super) took: u64,
}

/// Something that was seen, whose event is looked up.
struct Seen<'a> {
    event: Offset,
    time: Micros,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Delivered(&'a str, bool, bool, u64),
    Emitted(&'a str, Id),
}

impl Observed {
    /// Begin where a log that was never observed is begun with: at its first record, or so many before its last.
    pub fn begin(&mut self, log: &dyn Log) {
        if self.through == Offset(0) {
            let bounds = log.bounds();
            let from = Offset(bounds.durable.0.saturating_sub(LOOK_BACK));
            self.through = from.max(bounds.first.prev());
        }
    }

    /// Follow `log` for one chunk of durable records; whether there was any. What is gone or damaged is passed over; what the
    /// system refuses to read may be read later, and is passed over only where it is refused again and again.
    pub fn step(&mut self, log: &dyn Log) -> bool {
        self.begin(log);
        let read = log.read(self.through.next(), CHUNK, Reach::Durable);
        if let Err(ReadError::Io { .. }) = &read {
            self.tries += 1;
            if self.tries < MOST_TRIES {
                return false;
            }
        }
        self.tries = 0;
        match read {
            Ok(entries) => {
                self.see(log, &entries);
                !entries.is_empty()
            }
            Err(ReadError::Gone { first, .. }) => self.pass_to(first),
            Err(cause @ (ReadError::Damaged { .. } | ReadError::Io { .. })) => {
                let (behind, next) = (self.through, log.bounds().hot_first);
                let has_passed = self.pass_to(next);
                if has_passed {
                    tracing::warn!(
                        "the map has nothing of the records behind offset {behind} and before {next}: {cause}"
                    );
                }
                has_passed
            }
        }
    }

    /// Follow `log`, which nobody appends to, to its durable end.
    pub fn follow_all(&mut self, log: &dyn Log) {
        while self.step(log) || self.tries > 0 {}
    }

    fn pass_to(&mut self, next: Offset) -> bool {
        let passed = next.prev().0.saturating_sub(self.through.0);
        self.missed += passed;
        self.through = self.through.max(next.prev());
        passed > 0
    }

    /// What these `entries` of `log` say, which follow what was seen before.
    pub fn see(&mut self, log: &dyn Log, entries: &[Entry]) {
        let mut seen = Vec::new();
        for entry in entries {
            self.since.get_or_insert(entry.time);
            (self.through, self.time) = (entry.offset, entry.time);
            let mut name = None;
            match Gist::of(&entry.payload) {
                Ok(Gist::Event(event)) => name = self.see_event(entry, &event, &mut seen),
                Ok(Gist::Outcome(outcome)) => see_outcome(entry.time, &outcome, &mut seen),
                Ok(Gist::Other(record)) => {
                    if let Record::Deployment(deployment) = *record
                        && deployment.action == DeploymentAction::Forgotten
                    {
                        self.count(log, std::mem::take(&mut seen));
                        self.forget(&deployment.plugin);
                    }
                }
                Err(_) => self.missed += 1,
            }
            self.recent.push(entry.offset, name);
        }
        // The entries outlive what was seen in them.
        self.count(log, seen);
    }

    /// Answers its type, where that is counted.
    fn see_event<'a>(
        &mut self,
        entry: &Entry,
        event: &EventGist<'a>,
        seen: &mut Vec<Seen<'a>>,
    ) -> Option<Id> {
        let name = self.id(event.r#type);
        let plugin = event.source.strip_prefix(PLUGIN_SOURCE);
        let by = name.and_then(|_| self.id(plugin.unwrap_or_default()));
        let (Some(of), Some(by)) = (name, by) else {
            self.beyond += 1;
            return name;
        };
        let has_room = self.has_room();
        match place(&mut self.emits, (by, of), has_room) {
            Some(flow) => flow.add(entry.time),
            None => self.beyond += 1,
        }
        if let (Some(plugin), Some((cause, hops))) = (plugin, event.cause)
            && hops > 0
        {
            seen.push(Seen {
                event: Offset(cause),
                time: entry.time,
                what: What::Emitted(plugin, of),
            });
        }
        name
    }

    /// Whether there is room for one way more.
    fn has_room(&self) -> bool {
        self.emits.len() + self.gets.len() + self.links.len() < MOST_WAYS
    }

    fn count(&mut self, log: &dyn Log, seen: Vec<Seen<'_>>) {
        let types = self.types_of(log, &seen);
        for (Seen { time, what, .. }, of) in seen.into_iter().zip(types) {
            if self.count_one(time, what, of).is_none() {
                self.beyond += 1;
            }
        }
    }

    /// `None` where it is not counted.
    fn count_one(&mut self, time: Micros, what: What<'_>, of: Option<Id>) -> Option<()> {
        let of = of?;
        let (What::Delivered(plugin, ..) | What::Emitted(plugin, _)) = what;
        let plugin = self.id(plugin)?;
        let has_room = self.has_room();
        match what {
            What::Delivered(_, retry, dead, took) => {
                let got = place(&mut self.gets, (plugin, of), has_room)?;
                got.attempts.add(time);
                got.retries += u64::from(retry);
                got.dead += u64::from(dead);
                got.took = got.took.saturating_add(took);
            }
            What::Emitted(_, name) => *place(&mut self.links, (plugin, of, name), has_room)? += 1,
        }
        Some(())
    }

    /// The type of each event that was `seen`: those that are remembered, and the others read from `log` at once.
    fn types_of(&mut self, log: &dyn Log, seen: &[Seen<'_>]) -> Vec<Option<Id>> {
        let mut types: Vec<_> = seen.iter().map(|one| self.recent.get(one.event)).collect();
        if types.iter().all(Option::is_some) {
            return types;
        }
        let each = seen.iter().zip(&types);
        let unknown = each.filter_map(|(one, of)| of.is_none().then_some(one.event));
        let read = self.types_in(log, unknown.collect());
        for (one, of) in seen.iter().zip(&mut types) {
            *of = of.or_else(|| read.get(&one.event).copied());
        }
        types
    }

    /// The types of the events at these offsets of `log`.
    fn types_in(&mut self, log: &dyn Log, mut unknown: Vec<Offset>) -> HashMap<Offset, Id> {
        unknown.sort_unstable();
        unknown.dedup();
        let mut entries = Vec::new();
        // What retention took, or is damaged, is known no more.
        if log.read_at(&unknown, &mut entries).is_err() {
            for offset in &unknown {
                log.read_at(&[*offset], &mut entries).ok();
            }
        }
        let mut types = HashMap::new();
        for entry in &entries {
            if let Ok(Some(event)) = record::event(&entry.payload)
                && let Some(name) = self.id(event.r#type)
            {
                types.insert(entry.offset, name);
            }
        }
        types
    }

    fn id(&mut self, name: &str) -> Option<Id> {
        if self.ids.len() != self.names.len() {
            self.ids = self.names.iter().cloned().zip(0..).collect();
        }
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        let id = Id::try_from(self.names.len())
            .ok()
            .filter(|_| self.names.len() < MOST_NAMES)?;
        self.names.push(name.into());
        self.ids.insert(name.into(), id);
        Some(id)
    }

    /// Nothing is known of `plugin` any more.
    pub fn forget(&mut self, plugin: &str) {
        if let Some(id) = self.id(plugin) {
            self.emits.retain(|(by, _), _| *by != id);
            self.gets.retain(|(by, _), _| *by != id);
            self.links.retain(|(by, ..), _| *by != id);
        }
    }

    /// The name of `id`.
    pub(super) fn name(&self, id: Id) -> &str {
        self.names.get(id as usize).map_or("", |name| name)
    }
}

/// The counter of `key`, where it is there or may be begun.
fn place<K: Ord, V: Default>(counters: &mut BTreeMap<K, V>, key: K, has_room: bool) -> Option<&mut V> {
    if has_room {
        return Some(counters.entry(key).or_default());
    }
    counters.get_mut(&key)
}

/// History that runs again says nothing of how a plugin fares.
fn see_outcome<'a>(time: Micros, outcome: &OutcomeGist<'a>, seen: &mut Vec<Seen<'a>>) {
    if outcome.historic {
        return;
    }
    seen.push(Seen {
        event: Offset(outcome.event),
        time,
        what: What::Delivered(outcome.plugin, outcome.retry, outcome.dead, outcome.took),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_the_last_records_are_remembered_and_no_more() {
        let mut recent = Recent::default();
        let of = |n: u64| (!n.is_multiple_of(3)).then(|| Id::try_from(n % 1000).unwrap());
        let last = 7 + REMEMBERED as u64 + 5;
        for n in 7..=last {
            recent.push(Offset(n), of(n));
        }
        assert_eq!(recent.types.len(), REMEMBERED);
        let first = last + 1 - REMEMBERED as u64;
        for n in [first, first + 1, first + 2, last - 1, last] {
            assert_eq!(recent.get(Offset(n)), of(n), "{n}");
        }
        for n in [0, first - 1, last + 1, u64::MAX] {
            assert_eq!(recent.get(Offset(n)), None, "{n}");
        }
        // Behind a gap nothing is known of what was before it.
        recent.push(Offset(last + 9), Some(1));
        assert_eq!([last, last + 8].map(|n| recent.get(Offset(n))), [None, None]);
        assert_eq!(recent.get(Offset(last + 9)), Some(1));
    }
}
