//! Whether a history keeps the promises: read off the records alone, and held against the state.

mod kept_apart;
mod rewound;
mod went_back;

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::{Micros, Offset};

use self::kept_apart::Own;
use self::rewound::Again;
use self::went_back::Past;
use super::history::{History, kept, told};
use super::script::number;
use crate::delivery::subscription::Pattern;
use crate::log::record::{DeploymentAction, Event, LiveVersion, OperatorAction, Outcome, Record, Verdict};
use crate::state::{KeyValues, PluginState};

/// What one plugin did so far.
#[derive(Default)]
struct Plugin<'a> {
    patterns: Vec<Pattern>,
    /// Events it subscribes to, by key, in order; an event without a key has one of its own.
    wanted: BTreeMap<String, Vec<u64>>,
    /// Attempts made at each event since it was last taken up, and whether it came to an end.
    tried: BTreeMap<u64, (u32, bool)>,
    done: BTreeSet<u64>,
    redriven: BTreeSet<u64>,
    /// Timers that are set: where, when they are due, and their event.
    timers: BTreeMap<&'a str, (u64, u64, &'a [u8])>,
    counts: Counts<'a>,
    /// The first event that it could want.
    since: u64,
    rewind: Option<Again<'a>>,
    past: Past<'a>,
    own: Option<Own<'a>>,
}

/// What the state must say.
#[derive(Default, Clone)]
struct Counts<'a> {
    /// Names of the events of each key, in the order in which they were done.
    order: BTreeMap<&'a str, String>,
    counted: u64,
}

/// Hold the records of `history` against the promises, and the `states` against the records. `finished` asks besides
/// that every event has come to its end.
pub(super) fn check(history: &History, states: &BTreeMap<String, PluginState>, finished: bool) {
    let seed = history.seed;
    let records: Vec<Record<'_>> = history
        .records
        .iter()
        .map(|(_, bytes)| Record::decode(bytes).unwrap())
        .collect();
    let plugins = follow(history, &records);
    for (offset, sent) in &history.sent {
        let there = history.records.get(usize::try_from(offset.0 - 1).unwrap());
        assert!(
            there.is_some_and(|(_, bytes)| bytes[..] == sent.record[..]),
            "seed {seed}: {} was acknowledged at {offset} and is not there",
            sent.id
        );
    }
    for (name, plugin) in &plugins {
        plugin.state(seed, name, &states[*name]);
        assert!(
            !finished || plugin.rewind.is_none(),
            "seed {seed}: the rewind of {name} never ends"
        );
        let (open, timers) = (plugin.open(), plugin.timers.keys());
        assert!(
            !finished || open.is_empty(),
            "seed {seed}: {name} has events that came to no end: {open:?}"
        );
        assert!(
            !finished || plugin.timers.is_empty(),
            "seed {seed}: timers of {name} never fired: {timers:?}"
        );
    }
    let folded = history.fold(&records);
    for (name, state) in states {
        let folded = folded.get(name);
        // What is kept is compared each time, and what is said of it where that differs, or once at the end.
        if !finished && folded.map(kept) == Some(kept(state)) {
            continue;
        }
        assert_eq!(
            folded.map(told),
            Some(told(state)),
            "seed {seed}: the state of {name} is not what the log says"
        );
        assert_eq!(
            folded.map(kept),
            Some(kept(state)),
            "seed {seed}: the state of {name} is kept otherwise than what the log says"
        );
    }
}

/// Hold the `records` against each other; what each plugin did.
fn follow<'a>(history: &'a History, records: &'a [Record<'a>]) -> BTreeMap<&'a str, Plugin<'a>> {
    let seed = history.seed;
    let event_at = |offset: u64| match &records[usize::try_from(offset - 1).unwrap()] {
        Record::Event(event) => event,
        other => panic!("seed {seed}: offset {offset} is delivered and no event: {other:?}"),
    };
    let mut plugins: BTreeMap<&str, Plugin<'_>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut last = Micros(0);
    // The batch that is open: whose effects the next events are.
    let mut effects: Vec<Effect<'_>> = Vec::new();
    let mut fired: Option<&[u8]> = None;
    for (offset, record) in (1u64..).zip(records) {
        let (time, bytes) = &history.records[usize::try_from(offset - 1).unwrap()];
        assert!(*time >= last, "seed {seed}: time goes back at {offset}");
        last = *time;
        if let Record::Event(event) = record {
            assert!(
                ids.insert((event.source, event.id)),
                "seed {seed}: the event at {offset} is there twice"
            );
            match (fired.take(), effects.pop()) {
                (Some(timers), None) => assert_eq!(
                    timers,
                    &bytes[..],
                    "seed {seed}: {offset} is another event than the timer's"
                ),
                (None, Some(effect)) => emitted(history, event, event_at(effect.cause), &effect, offset),
                (None, None) => {
                    let sent = history.sent.get(&Offset(offset));
                    assert!(
                        sent.is_some_and(|sent| sent.record[..] == bytes[..]),
                        "seed {seed}: nobody published the event at {offset}"
                    );
                }
                (Some(_), Some(_)) => panic!("seed {seed}: {offset} follows two batches"),
            }
            for plugin in plugins.values_mut() {
                plugin.look_at(offset, event);
            }
            continue;
        }
        assert!(
            effects.is_empty() && fired.is_none(),
            "seed {seed}: effects are missing before {offset}"
        );
        let Some(name) = record.plugin() else { continue };
        let plugin = plugins.entry(name).or_default();
        match record {
            Record::Outcome(outcome) => {
                let event = event_at(outcome.event);
                plugin.outcome(seed, offset, outcome, event);
                if outcome.verdict == Verdict::Done {
                    effects = (0..outcome.emitted)
                        .rev()
                        .map(|index| Effect {
                            cause: outcome.event,
                            index,
                            plugin: name,
                            generation: outcome.rewind.as_ref().map(|of| of.generation),
                        })
                        .collect();
                }
            }
            Record::Fired(timer) => {
                let set = plugin.fires(timer.name);
                let (set_at, due, event) =
                    set.unwrap_or_else(|| panic!("seed {seed}: {offset} fires a timer that is not set"));
                assert_eq!(
                    set_at, timer.set_at,
                    "seed {seed}: {offset} fires a timer of another outcome"
                );
                assert!(due <= time.0, "seed {seed}: {offset} fires too early");
                fired = Some(event);
            }
            Record::Operator(operator) => match &operator.action {
                OperatorAction::Redrive(events) => plugin.redriven.extend(events),
                OperatorAction::Rewind(order) => plugin.rewind = Some(Again::new(offset, order)),
                OperatorAction::StopRewind => plugin.rewind = None,
                _ => {}
            },
            Record::Deployment(deployment) => {
                plugin.deployed(seed, offset, &deployment.action);
                if let Some(live) = deployment.action.live() {
                    // What retention had dropped by then is no part of the beginning.
                    let began = history.began.get(&Offset(offset)).map_or(offset, |began| began.0);
                    let before = (began..offset).zip(&records[usize::try_from(began - 1).unwrap()..]);
                    let is_back = matches!(deployment.action, DeploymentAction::RolledBack(_));
                    plugin.goes_live(offset, (live, is_back), before);
                }
            }
            Record::Rewound(rewound) => {
                let before = (1u64..offset).zip(records);
                plugin.rewound(seed, offset, rewound, before);
            }
            _ => {}
        }
    }
    assert!(
        effects.is_empty() && fired.is_none(),
        "seed {seed}: the log ends within a batch"
    );
    plugins
}

/// An event that must follow.
struct Effect<'a> {
    cause: u64,
    index: u32,
    plugin: &'a str,
    generation: Option<u64>,
}

/// Whether `event` at `offset` is the `effect` of handling the event `from`.
fn emitted(history: &History, event: &Event<'_>, from: &Event<'_>, effect: &Effect<'_>, offset: u64) {
    let (seed, cause, index) = (history.seed, effect.cause, effect.index);
    let said = event.cause.map(|said| (said.offset, said.id, said.index));
    assert_eq!(
        said,
        Some((cause, from.id, index)),
        "seed {seed}: {offset} has another cause"
    );
    let again = effect.generation.map_or(String::new(), |of| format!("-{of:x}"));
    let (id, source) = (
        format!("{:08x}-{cause:x}-{index}{again}", history.log),
        format!("nerve:{}", effect.plugin),
    );
    assert_eq!(
        (event.id, event.source),
        (&*id, &*source),
        "seed {seed}: {offset} has another identity"
    );
}

/// What keeps an event in order.
fn order_key(event: &Event<'_>, offset: u64) -> String {
    event
        .key
        .map_or_else(|| format!("own {offset}"), |key| format!("key {key}"))
}

impl<'a> Plugin<'a> {
    /// A version goes live, and finds the records `before` in the log.
    fn goes_live(
        &mut self,
        at: u64,
        (live, is_back): (&LiveVersion, bool),
        before: impl Iterator<Item = (u64, &'a Record<'a>)>,
    ) {
        let is_new = self.patterns.is_empty();
        if is_new {
            self.since = if live.from_beginning { 1 } else { at };
        }
        let patterns = live.subscriptions.iter();
        self.patterns = patterns.map(|text| text.parse().unwrap()).collect();
        let is_canary = live.probation.is_some_and(|terms| terms.own && terms.share > 0);
        if is_canary && !is_new && !is_back && self.rewind.is_none() {
            self.own = Some(Own::new(&self.counts));
        }
        if is_new && live.from_beginning {
            for (offset, record) in before {
                if let Record::Event(event) = record {
                    self.look_at(offset, event);
                }
            }
        }
    }

    /// An event was appended.
    fn look_at(&mut self, offset: u64, event: &Event<'_>) {
        if self.patterns.iter().any(|pattern| pattern.matches(event.r#type)) {
            self.wanted
                .entry(order_key(event, offset))
                .or_default()
                .push(offset);
        }
    }

    fn outcome(&mut self, seed: u64, offset: u64, outcome: &Outcome<'a>, event: &Event<'a>) {
        let at = outcome.event;
        if let Some(of) = outcome.rewind.as_ref().filter(|of| of.historic) {
            self.historic(seed, offset, outcome, of, event);
            return;
        }
        let wanted = self
            .wanted
            .get(&order_key(event, at))
            .map_or(&[][..], Vec::as_slice);
        assert!(
            wanted.contains(&at) || outcome.rewind.is_some(),
            "seed {seed}: {offset} ({} at {at}) handles an event that was not subscribed to",
            outcome.plugin
        );
        let again = outcome.replay && self.redriven.contains(&at);
        let (tried, ended) = self.tried.get(&at).copied().unwrap_or_default();
        assert!(
            !ended || again,
            "seed {seed}: {offset} settles an event that has come to its end"
        );
        assert!(
            !self.done.contains(&at),
            "seed {seed}: {offset} settles an event that is done"
        );
        let tried = if ended { 0 } else { tried };
        assert_eq!(
            outcome.attempt,
            tried + 1,
            "seed {seed}: {offset} has another attempt number"
        );
        if !outcome.replay {
            let before = wanted.iter().take_while(|other| **other < at);
            let open = before
                .copied()
                .find(|other| !self.tried.get(other).is_some_and(|(_, ended)| *ended));
            assert_eq!(
                open, None,
                "seed {seed}: {offset} ({} at {at}) overtakes an event of its key",
                outcome.plugin
            );
        }
        self.happens_once(seed, offset, outcome);
        let ends = !matches!(outcome.verdict, Verdict::Retry { .. });
        self.tried.insert(at, (outcome.attempt, ends));
        if ends {
            self.redriven.remove(&at);
        }
        if outcome.verdict != Verdict::Done {
            assert!(
                outcome.writes.is_empty() && outcome.emitted == 0 && outcome.timers.is_empty(),
                "seed {seed}: {offset} failed and has effects"
            );
            return;
        }
        self.done.insert(at);
        self.counts_done(seed, offset, outcome, event);
        self.set_timers(offset, outcome);
    }

    /// The timer `name` fires: when it was set, for when, and what it emits.
    fn fires(&mut self, name: &str) -> Option<(u64, u64, &'a [u8])> {
        if let Some(own) = &mut self.own {
            own.timers.remove(name);
        }
        self.timers.remove(name)
    }

    fn set_timers(&mut self, offset: u64, outcome: &Outcome<'a>) {
        for timer in &outcome.timers {
            if let Some(own) = &mut self.own {
                own.timers.remove(timer.name);
                if outcome.own && timer.set.is_some() {
                    own.timers.insert(timer.name);
                }
            }
            match timer.set {
                Some(set) => drop(self.timers.insert(timer.name, (offset, set.due, set.event))),
                None => drop(self.timers.remove(timer.name)),
            }
        }
    }

    /// Whether `state` is what was done.
    fn state(&self, seed: u64, name: &str, state: &PluginState) {
        self.counts.hold(seed, name, &state.key_values);
        assert_eq!(
            self.own.is_some(),
            state.own.is_some(),
            "seed {seed}: {name} has a canary with a state of its own"
        );
        if let (Some(own), Some(state)) = (&self.own, &state.own) {
            own.counts.hold(seed, name, &state.key_values);
        }
        let set: Vec<&str> = state.timers.iter().map(|(name, _)| name).collect();
        let kept: Vec<&str> = self.timers.keys().copied().collect();
        assert_eq!(set, kept, "seed {seed}: {name} has other timers");
    }

    /// The events that it wants and that came to no end.
    fn open(&self) -> Vec<u64> {
        let wanted = self.wanted.values().flatten().copied();
        wanted
            .filter(|event| !self.tried.get(event).is_some_and(|(_, ended)| *ended))
            .collect()
    }
}

impl<'a> Counts<'a> {
    /// Whether `key_values` say so.
    fn hold(&self, seed: u64, name: &str, key_values: &KeyValues) {
        let counted = key_values.get("count").map_or(0, |bytes| number(&bytes));
        assert_eq!(
            counted, self.counted,
            "seed {seed}: {name} counts every done event once"
        );
        for (key, order) in &self.order {
            let kept = key_values.get(&format!("order/{key}")).unwrap_or_default();
            assert_eq!(
                std::str::from_utf8(&kept),
                Ok(&**order),
                "seed {seed}: {name} saw {key} in another order"
            );
        }
    }

    /// `event` is done.
    fn add(&mut self, event: &Event<'a>) {
        self.counted += 1;
        let order = self.order.entry(event.key.unwrap_or("-")).or_default();
        order.push_str(event.subject.unwrap_or_default());
        order.push(' ');
    }
}
