//! Whether a version may go live, by the contracts of those that are.
//!
//! What it emits must be accepted by every live consumer, and what it expects must accept what live producers and
//! operators say of the type. Stored events are looked at too: they refuse a version that will get them, or whose type
//! nobody describes, so that they are all that is known of it; otherwise they only warn.

use std::time::{Duration, Instant};

use nerve_eventlog::{Offset, Reach};
use parking_lot::MutexGuard;

use super::live::TypeContract;
use super::{Checked, Contracts, Difference, Schema, Verdict, accepts};
use crate::ingest::message_pack;
use crate::log::record::{self, DeclaredSchema, Mode};

/// Stored events that are looked at for one type, and how long that may take for one deployment.
const SAMPLE: usize = 1000;
const SAMPLE_TIME: Duration = Duration::from_millis(250);

/// Bytes of a sentence's example at most.
const LONGEST_EXAMPLE: usize = 400;

/// What a version declares.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Its schemas.
    pub schemas: &'a [DeclaredSchema],
    /// Whether a new plugin starts at the first event of the log.
    pub from_beginning: bool,
    /// What becomes of a breach.
    pub mode: Mode,
}

/// A version may go live: until this is dropped nobody else is decided on, and then its contracts hold.
pub struct Decided<'a> {
    contracts: &'a Contracts,
    /// What was found and let through.
    pub warnings: Vec<String>,
    deciding: Option<MutexGuard<'a, ()>>,
}

impl Drop for Decided<'_> {
    fn drop(&mut self) {
        self.contracts.refresh();
        drop(self.deciding.take());
    }
}

/// One look at what a version would break.
struct Look<'a> {
    contracts: &'a Contracts,
    plugin: &'a str,
    offered: Offered<'a>,
    until: Instant,
    breaches: Vec<String>,
    warnings: Vec<String>,
}

impl Contracts {
    /// Decide whether a version of `plugin` that declares what is `offered` may go live; otherwise why not, in words.
    /// Blocks: compares schemas and reads stored events.
    pub fn decide(&self, plugin: &str, offered: Offered<'_>) -> Result<Decided<'_>, String> {
        let deciding = Some(self.deciding());
        self.refresh();
        let mut look = Look {
            contracts: self,
            plugin,
            offered,
            until: Instant::now() + SAMPLE_TIME,
            breaches: Vec::new(),
            warnings: Vec::new(),
        };
        if offered.mode != Mode::Off {
            look.at_all();
        }
        if !look.breaches.is_empty() && offered.mode == Mode::Enforce {
            return Err(format!(
                "contract: {}. Keep what is needed beside the new, emit a new type beside the old one, or write \
                 `deploy = \"warn\"` under `[contracts]` into {plugin}.toml",
                look.breaches.join("; ")
            ));
        }
        let mut warnings = look.breaches;
        warnings.extend(look.warnings);
        Ok(Decided {
            contracts: self,
            warnings,
            deciding,
        })
    }

    /// Whether the version would get the event at `offset`.
    fn will_get(&self, plugin: &str, offered: Offered<'_>, name: &str, offset: Offset) -> bool {
        let known = self.subscribers.get(plugin);
        let state = known.as_ref().map(|known| known.state.lock());
        match state.as_ref().filter(|state| state.live.is_some()) {
            Some(state) => offset > state.cursor.low && state.subscription.wants(name, offset),
            None => offered.from_beginning,
        }
    }

    /// Show `each` stored events of type `name`: the newest ones in memory, then the oldest, while there is time.
    fn stored(&self, name: &str, until: Instant, each: &mut dyn FnMut(Offset, &record::Event<'_>)) {
        let log = self.sequencer.log();
        let newest = self.sequencer.newest(name, SAMPLE);
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
        let types = self.contracts.types();
        for declared in self.offered.schemas {
            let name = &declared.event_type;
            let schema = match declared.json.parse::<Schema>() {
                Ok(schema) => schema,
                Err(bad) => {
                    self.breaches
                        .push(format!("its schema of {name:?} can't be used: {bad}"));
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
                    &format!("plugin {other}"),
                    &format!("its {name:?}"),
                    expected,
                    emitted,
                );
            }
        }
        if let Some(expected) = self.own(false, name) {
            self.compared("it", &format!("its own {name:?}"), &expected, emitted);
        }
    }

    /// Who describes what it expects. Answers whether anybody does.
    fn at_producers(&mut self, name: &str, expected: &Schema, contract: Option<&TypeContract>) -> bool {
        // What it emits itself is compared from the other end.
        let mut is_described = self.own(true, name).is_some();
        if let Some(set) = contract.and_then(|contract| contract.set.as_ref()) {
            is_described = true;
            self.compared("it", &format!("{name:?} as an operator set it"), expected, set);
        }
        let others = contract.into_iter().flat_map(|contract| &contract.producers);
        for (other, emitted) in others.filter(|(other, _)| **other != *self.plugin) {
            if let Some(emitted) = emitted {
                is_described = true;
                self.compared(
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
        let (mut first, mut worst, mut looked_at) = (None, None, 0);
        self.contracts.stored(name, self.until, &mut |offset, event| {
            looked_at += 1;
            let problem = if message_pack::is_json(event.content_type) {
                match expected.check(event.data) {
                    Checked::Broken(violation) => violation.to_string(),
                    Checked::Valid | Checked::CantTell => return,
                }
            } else {
                format!("it is {}, and not JSON", event.content_type)
            };
            if worst.is_none()
                && (!is_described || self.contracts.will_get(self.plugin, self.offered, name, offset))
            {
                worst = Some((offset, problem));
            } else {
                first.get_or_insert((offset, problem));
            }
        });
        let of = format!("of {looked_at} stored ones that were looked at");
        if let Some((offset, problem)) = worst {
            self.breaches.push(format!(
                "it does not accept the {name:?} at offset {offset}: {problem} ({of})"
            ));
        } else if let Some((offset, problem)) = first {
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

    fn compared(&mut self, who: &str, what: &str, expected: &Schema, given: &Schema) {
        match accepts(expected, given) {
            Verdict::Safe => {}
            Verdict::Breaking(difference) => {
                self.breaches
                    .push(format!("{who} does not accept {what}: {}", shown(&difference)));
            }
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
