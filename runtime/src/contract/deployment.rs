//! Whether a version may run, by the contracts of those that are.
//!
//! What it emits must be accepted by every live consumer, and what it expects must accept what live producers and
//! operators say of the type. Stored events are looked at too: they refuse a version that will get them, or whose type
//! nobody describes, so that they are all that is known of it; otherwise they only warn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nerve_eventlog::{Log, Offset, Reach};
use parking_lot::MutexGuard;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Checked, Contracts, Difference, Holding, Schema, TypeContract, Types, Verdict, accepts};
use crate::give_way::give_way;
use crate::ingest::message_pack;
use crate::log::index::TypeIndex;
use crate::log::record::{self, DeclaredSchema, Mode};
use crate::state::PluginState;

/// Stored events that are looked at for one type, and how long that may take for one deployment.
const SAMPLE: usize = 1000;
const SAMPLE_TIME: Duration = Duration::from_millis(250);

/// Of them, so many at a time.
const AT_A_TIME: usize = 50;

/// Bytes of a sentence's example at most.
const LONGEST_EXAMPLE: usize = 400;

/// How the reason begins for which contracts refuse a version.
pub const REFUSED: &str = "contract: ";

/// What a version declares.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Offered<'a> {
    /// Its schemas.
    pub schemas: &'a [DeclaredSchema],
    /// Whether a new plugin starts at the first event of the log.
    pub from_beginning: bool,
    /// What becomes of a breach.
    pub mode: Mode,
}

/// What a version would break.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Why it is refused; `None` where it is not, whatever it breaks.
    pub refused: Option<String>,
    /// What it breaks.
    pub breaches: Vec<Breach>,
    /// What can't be told, or touches only a rewind.
    pub warnings: Vec<String>,
}

/// A contract that a version breaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The event type.
    pub event_type: String,
    /// The live plugin at the other end; `None` where it is an operator, the version itself, or a stored event.
    pub plugin: Option<String>,
    /// The place in the data, as a JSON pointer.
    pub at: String,
    /// Data that is allowed and not accepted, where there is such.
    pub example: Option<Json>,
    /// All of it in words.
    pub problem: String,
}

/// The stored events.
struct Stored<'a> {
    /// Where they are.
    log: &'a dyn Log,
    /// The newest offsets of a type that the index has, so many at most.
    newest: &'a dyn Fn(&str, usize) -> Vec<Offset>,
    /// Whether the plugin would get the event of a type at an offset.
    will_get: &'a dyn Fn(&str, Offset) -> bool,
}

/// A version may run: until this is dropped nobody else is decided on.
pub struct Decided<'a> {
    /// What was found and let through.
    pub warnings: Vec<String>,
    _deciding: MutexGuard<'a, ()>,
}

/// One look at what a version would break.
struct Look<'a> {
    types: &'a Types,
    stored: Option<&'a Stored<'a>>,
    plugin: &'a str,
    offered: Offered<'a>,
    until: Instant,
    breaches: Vec<Breach>,
    warnings: Vec<String>,
}

impl Contracts {
    /// Decide whether a version of `plugin` that declares what is `offered` may run; otherwise what is found, with why it is
    /// refused. Blocks: compares schemas and reads stored events.
    pub fn decide(&self, plugin: &str, offered: Offered<'_>) -> Result<Decided<'_>, Found> {
        let deciding = self.deciding();
        let found = self.look(plugin, offered);
        if found.refused.is_some() {
            return Err(found);
        }
        Ok(Decided {
            warnings: found.in_words(),
            _deciding: deciding,
        })
    }

    /// What a version of `plugin` that declares what is `offered` would break if it were deployed now. Decides nothing.
    /// Blocks as `decide` does.
    pub fn look(&self, plugin: &str, offered: Offered<'_>) -> Found {
        let stored = Stored {
            log: &**self.sequencer.log(),
            newest: &|name, limit| self.sequencer.newest(name, limit),
            will_get: &|name, offset| {
                let known = self.subscribers.get(plugin);
                let state = known.as_ref().map(|known| known.state.lock());
                will_get(state.as_deref(), offered, name, offset)
            },
        };
        look(&self.types(), Some(&stored), plugin, offered)
    }
}

impl Holding {
    /// What the version of `plugin` that declares these `schemas` breaks, whatever is stored: what is said of one that runs
    /// again without being asked.
    pub fn broken_by(&self, plugin: &str, schemas: &[DeclaredSchema]) -> Vec<Breach> {
        let offered = Offered {
            schemas,
            from_beginning: false,
            mode: Mode::Warn,
        };
        look(&self.types(), None, plugin, offered).breaches
    }
}

impl Found {
    /// What was let through.
    fn in_words(self) -> Vec<String> {
        let breaches = self.breaches.into_iter().map(|breach| breach.problem);
        breaches.chain(self.warnings).collect()
    }
}

/// What a version of `plugin` would break by a log that nobody appends to: the states of its `plugins`, and an `index` of
/// its hot window.
pub fn look_at_rest(
    (log, index): (&dyn Log, &TypeIndex),
    plugins: &BTreeMap<String, PluginState>,
    types: &Types,
    plugin: &str,
    offered: Offered<'_>,
) -> Found {
    let stored = Stored {
        log,
        newest: &|name, limit| index.newest(name, limit),
        will_get: &|name, offset| will_get(plugins.get(plugin), offered, name, offset),
    };
    look(types, Some(&stored), plugin, offered)
}

/// Whether a version would get the event at `offset`, by what the fold knows of its plugin.
fn will_get(state: Option<&PluginState>, offered: Offered<'_>, name: &str, offset: Offset) -> bool {
    match state.filter(|state| state.live.is_some()) {
        Some(state) => offset > state.cursor.low && state.subscription.wants(name, offset),
        None => offered.from_beginning,
    }
}

/// What a version of `plugin` that declares what is `offered` breaks, by what holds for each of the `types` and by the
/// `stored` events.
fn look(types: &Types, stored: Option<&Stored<'_>>, plugin: &str, offered: Offered<'_>) -> Found {
    let mut look = Look {
        types,
        stored,
        plugin,
        offered,
        until: Instant::now() + SAMPLE_TIME,
        breaches: Vec::new(),
        warnings: Vec::new(),
    };
    if offered.mode != Mode::Off {
        look.at_all();
    }
    let Look {
        breaches, warnings, ..
    } = look;
    let problems: Vec<&str> = breaches.iter().map(|breach| &*breach.problem).collect();
    let refused = !breaches.is_empty() && offered.mode == Mode::Enforce;
    let refused = refused.then(|| {
        format!(
            "{REFUSED}{}. Keep what is needed beside the new, emit a new type beside the old one, or write \
             `deploy = \"warn\"` under `[contracts]` into {plugin}.toml",
            problems.join("; ")
        )
    });
    Found {
        refused,
        breaches,
        warnings,
    }
}

impl Stored<'_> {
    /// Show `each` stored events of type `name`: the newest ones in memory, then the oldest, while there is time.
    fn each(&self, name: &str, until: Instant, each: &mut dyn FnMut(Offset, &record::Event<'_>)) {
        let log = self.log;
        let newest = (self.newest)(name, SAMPLE);
        let mut left = SAMPLE - newest.len();
        let mut entries = Vec::new();
        // What left memory meanwhile is not needed: this is a sample.
        if log.read_at(&newest, &mut entries).is_ok() {
            for entry in &entries {
                if let Ok(Some(event)) = record::event(&entry.payload) {
                    each(entry.offset, &event);
                }
            }
        }
        let bounds = log.bounds();
        let mut at = bounds.first;
        while left > 0 && at < bounds.hot_first && Instant::now() < until {
            let Ok(entries) = log.read(at, 1 << 20, Reach::Durable) else {
                return;
            };
            let Some(last) = entries.last() else { return };
            at = last.offset.next();
            for entry in entries.iter().filter(|entry| entry.offset < bounds.hot_first) {
                if let Ok(Some(event)) = record::event(&entry.payload)
                    && event.r#type == name
                    && left > 0
                {
                    left -= 1;
                    each(entry.offset, &event);
                }
            }
        }
    }
}

impl Look<'_> {
    fn at_all(&mut self) {
        let types = self.types;
        for declared in self.offered.schemas {
            let name = &declared.event_type;
            let schema = match declared.json.parse::<Schema>() {
                Ok(schema) => schema,
                Err(bad) => {
                    self.breach(name, format!("its schema of {name:?} can't be used: {bad}"));
                    continue;
                }
            };
            let contract = types.get(name.as_str()).map(|contract| &**contract);
            if declared.emits {
                self.at_consumers(name, &schema, contract);
            } else {
                let is_described = self.at_producers(name, &schema, contract);
                self.at_stored(name, &schema, is_described);
            }
        }
    }

    /// Who expects what it emits.
    fn at_consumers(&mut self, name: &str, emitted: &Schema, contract: Option<&TypeContract>) {
        let others = contract.into_iter().flat_map(|contract| &contract.consumers);
        for (other, expected) in others.filter(|(other, _)| **other != *self.plugin) {
            if let Some(expected) = expected {
                self.compared(
                    (name, Some(other)),
                    &format!("plugin {other}"),
                    &format!("its {name:?}"),
                    expected,
                    emitted,
                );
            }
        }
        if let Some(expected) = self.own(false, name) {
            let own = format!("its own {name:?}");
            self.compared((name, None), "it", &own, &expected, emitted);
        }
    }

    /// Who describes what it expects. Answers whether anybody does.
    fn at_producers(&mut self, name: &str, expected: &Schema, contract: Option<&TypeContract>) -> bool {
        // What it emits itself is compared from the other end.
        let mut is_described = self.own(true, name).is_some();
        if let Some(set) = contract.and_then(|contract| contract.set.as_ref()) {
            is_described = true;
            let what = format!("{name:?} as an operator set it");
            self.compared((name, None), "it", &what, expected, set);
        }
        let others = contract.into_iter().flat_map(|contract| &contract.producers);
        for (other, emitted) in others.filter(|(other, _)| **other != *self.plugin) {
            if let Some(emitted) = emitted {
                is_described = true;
                self.compared(
                    (name, Some(other)),
                    "it",
                    &format!("{name:?} as plugin {other} emits it"),
                    expected,
                    emitted,
                );
            }
        }
        is_described
    }

    /// What is stored of what it expects.
    fn at_stored(&mut self, name: &str, expected: &Schema, is_described: bool) {
        let Some(stored) = self.stored else { return };
        let (mut first, mut worst, mut looked_at) = (None, None, 0);
        stored.each(name, self.until, &mut |offset, event| {
            looked_at += 1;
            if looked_at % AT_A_TIME == 0 {
                give_way();
            }
            let problem = if message_pack::is_json(event.content_type) {
                if expected.plainly_takes(event.data) {
                    return;
                }
                match expected.check(event.data) {
                    Checked::Broken(violation) => (violation.to_string(), violation.at),
                    Checked::Valid | Checked::CantTell => return,
                }
            } else {
                let problem = format!("it is {}, and not JSON", event.content_type);
                (problem, String::new())
            };
            if worst.is_none() && (!is_described || (stored.will_get)(name, offset)) {
                worst = Some((offset, problem));
            } else {
                first.get_or_insert((offset, problem));
            }
        });
        let of = format!("of {looked_at} stored ones that were looked at");
        if let Some((offset, (problem, at))) = worst {
            let problem = format!("it does not accept the {name:?} at offset {offset}: {problem} ({of})");
            self.breach(name, problem);
            if let Some(breach) = self.breaches.last_mut() {
                breach.at = at;
            }
        } else if let Some((offset, (problem, _))) = first {
            self.warnings.push(format!(
                "it does not accept the {name:?} at offset {offset}, which it gets only by a rewind: {problem} ({of})"
            ));
        }
    }

    fn own(&self, emits: bool, name: &str) -> Option<Schema> {
        let mut all = self.offered.schemas.iter();
        let own = all.find(|schema| schema.emits == emits && schema.event_type == name)?;
        own.json.parse().ok()
    }

    fn breach(&mut self, name: &str, problem: String) {
        self.breaches.push(Breach {
            event_type: name.to_owned(),
            plugin: None,
            at: String::new(),
            example: None,
            problem,
        });
    }

    fn compared(
        &mut self,
        (name, other): (&str, Option<&str>),
        who: &str,
        what: &str,
        expected: &Schema,
        given: &Schema,
    ) {
        match accepts(expected, given) {
            Verdict::Safe => {}
            Verdict::Breaking(difference) => self.breaches.push(Breach {
                problem: format!("{who} does not accept {what}: {}", shown(&difference)),
                event_type: name.to_owned(),
                plugin: other.map(str::to_owned),
                at: difference.at,
                example: difference.example,
            }),
            Verdict::CantTell(difference) => {
                let difference = shown(&difference);
                self.warnings.push(format!(
                    "whether {who} accepts {what} can't be told: {difference}"
                ));
            }
        }
    }
}

fn shown(difference: &Difference) -> String {
    let mut text = difference.to_string();
    if text.len() > LONGEST_EXAMPLE {
        text.truncate(text.floor_char_boundary(LONGEST_EXAMPLE));
        text.push('…');
    }
    text
}
