//! Random lives of a few plugins, and a slow reading of what they wrote.

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::proof::Dice;
use nerve_eventlog::{Entry, Offset};

use super::{Plugin, came_to, dead, entry, fact, operated, retry, routes};
use crate::log::record::{Fired, OperatorAction, Record, TimerChange, TimerSet, Verdict};
use crate::trace::settled::{Forest, Progress, Ticket};

/// A circle of two, plugins behind it, and one apart.
const PLUGINS: &[Plugin] = &[
    ("a", "x", &["y", "w"]),
    ("b", "y", &["z", "x"]),
    ("c", "z", &["w"]),
    ("d", "w", &[]),
    ("e", "v", &["v"]),
];

/// An event by its offset, and the plugin by its place in [`PLUGINS`].
type Delivery = (usize, u64);

#[derive(Default)]
struct World {
    log: Vec<Entry>,
    waiting: Vec<Delivery>,
    letters: Vec<Delivery>,
    /// Outcomes that set a timer, with the plugin.
    timers: Vec<Delivery>,
}

impl World {
    fn append(&mut self, record: &Record<'_>) -> u64 {
        let offset = self.log.len() as u64 + 1;
        self.log.push(entry(offset, record));
        offset
    }

    fn event(&mut self, name: &str) -> u64 {
        let offset = self.append(&fact(name, None));
        let gets = |(_, (_, gets, _)): &(usize, &Plugin)| *gets == name;
        let waiting = PLUGINS.iter().enumerate().filter(gets);
        self.waiting.extend(waiting.map(|(index, _)| (index, offset)));
        offset
    }

    /// One thing that happens; answers the event where one was published.
    fn step(&mut self, dice: &mut Dice) -> Option<u64> {
        match dice.below(10) {
            0 | 1 => return Some(self.event(["x", "y", "z", "w", "v"][dice.place(5)])),
            2 if !self.letters.is_empty() => {
                let letter = self.letters[dice.place(self.letters.len())];
                let (plugin, event) = (PLUGINS[letter.0].0, vec![letter.1]);
                if dice.one_in(3) {
                    self.append(&operated(plugin, OperatorAction::Drop(event)));
                    self.letters.retain(|one| *one != letter);
                    self.waiting.retain(|one| *one != letter);
                } else {
                    self.append(&operated(plugin, OperatorAction::Redrive(event)));
                    self.waiting.push(letter);
                }
            }
            3 if !self.timers.is_empty() => {
                let (plugin, set_at) = self.timers.swap_remove(dice.place(self.timers.len()));
                let (plugin, _, emits) = PLUGINS[plugin];
                let name = "t";
                self.append(&Record::Fired(Fired { plugin, name, set_at }));
                self.event(emits[dice.place(emits.len())]);
            }
            _ if !self.waiting.is_empty() => self.deliver(dice),
            _ => {}
        }
        None
    }

    fn deliver(&mut self, dice: &mut Dice) {
        let delivery = self.waiting[dice.place(self.waiting.len())];
        let (plugin, event) = delivery;
        let (name, _, emits) = PLUGINS[plugin];
        let how = dice.below(8);
        if how == 0 {
            self.append(&retry(name, event));
            return;
        }
        self.waiting.retain(|one| *one != delivery);
        if how == 1 {
            self.append(&dead(name, event));
            self.letters.push(delivery);
            return;
        }
        self.letters.retain(|one| *one != delivery);
        let emitted = if emits.is_empty() { 0 } else { dice.below(3) };
        let mut outcome = came_to(name, event, Verdict::Done, u32::try_from(emitted).unwrap());
        let sets = how == 2 && !emits.is_empty();
        if sets {
            let set = Some(TimerSet { due: 1, event: &[] });
            outcome.timers = vec![TimerChange { name: "t", set }];
        }
        let offset = self.append(&Record::Outcome(outcome));
        for _ in 0..emitted {
            self.event(emits[dice.place(emits.len())]);
        }
        if sets {
            self.timers.push((plugin, offset));
        }
    }
}

/// Which plugins gave up on which events.
type Failed = BTreeSet<(u64, String)>;

/// What a slow reading of `log` says of the trees of `roots`: whether nothing is open, and what has failed.
fn slowly(log: &[Entry], roots: &[u64], leading: &BTreeSet<&str>) -> (bool, Failed) {
    let records = log.iter().map(|one| Record::decode(&one.payload).unwrap());
    let records: Vec<Record<'_>> = records.collect();
    let at = |offset: u64| records.get(usize::try_from(offset).unwrap() - 1);
    // From outcomes and firings to the events behind them, until the trees grow no more.
    let mut events: BTreeSet<u64> = roots.iter().copied().collect();
    loop {
        let before = events.len();
        for (offset, record) in (1..).zip(&records) {
            let emitted = match record {
                Record::Outcome(outcome) if events.contains(&outcome.event) => outcome.emitted,
                Record::Fired(fired) => match at(fired.set_at) {
                    Some(Record::Outcome(outcome)) if events.contains(&outcome.event) => 1,
                    _ => 0,
                },
                _ => 0,
            };
            events.extend((1..=u64::from(emitted)).map(|place| offset + place));
        }
        if events.len() == before {
            break;
        }
    }
    let (mut is_over, mut failed) = (true, Failed::new());
    for event in events {
        let name = match at(event) {
            Some(Record::Event(fact)) => fact.r#type,
            Some(other) => panic!("{other:?} is no event"),
            None => {
                is_over = false;
                continue;
            }
        };
        for (plugin, gets, _) in PLUGINS {
            if *gets == name && leading.contains(plugin) {
                let (settled, lost) = fate(&records, plugin, event);
                is_over &= settled;
                failed.extend(lost.then(|| (event, (*plugin).to_owned())));
            }
        }
    }
    (is_over, failed)
}

/// Whether `plugin` has settled `event`, and whether it gave it up.
fn fate(records: &[Record<'_>], plugin: &str, event: u64) -> (bool, bool) {
    records
        .iter()
        .fold((false, false), |before, record| match record {
            Record::Outcome(outcome) if outcome.plugin == plugin && outcome.event == event => {
                match outcome.verdict {
                    Verdict::Done => (true, false),
                    Verdict::Retry { .. } => (false, false),
                    Verdict::Dead { .. } => (true, true),
                }
            }
            Record::Operator(operator) if operator.plugin == plugin => match &operator.action {
                OperatorAction::Redrive(events) if events.contains(&event) => (false, false),
                OperatorAction::Drop(events) if events.contains(&event) => (true, true),
                _ => before,
            },
            _ => before,
        })
}

fn failed(progress: &Progress) -> Failed {
    let failed = progress.failed.iter();
    failed.map(|one| (one.event.0, one.plugin.to_string())).collect()
}

/// Let plugins live, and some wait: each wait must end at the very record where a slow reading says so, also when those
/// who wait came late and were caught up in a forest of their own.
pub(super) fn one(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = World::default();
    let mut published = Vec::new();
    for _ in 0..20 + dice.below(60) {
        published.extend(world.step(&mut dice));
    }
    if published.is_empty() {
        return;
    }
    let routes = routes(PLUGINS);
    let mut waits: BTreeMap<Ticket, (Vec<u64>, BTreeSet<&str>)> = BTreeMap::new();
    let mut forests = [(); 2].map(|()| Forest::new(routes.clone()));
    for ticket in 1..=4 {
        let root = |dice: &mut Dice| published[dice.place(published.len())];
        let roots: Vec<u64> = (0..=dice.place(2)).map(|_| root(&mut dice)).collect();
        let names: Vec<Box<str>> = (0..=dice.place(2))
            .map(|_| PLUGINS[dice.place(5)].0.into())
            .collect();
        let offsets: Vec<Offset> = roots.iter().copied().map(Offset).collect();
        forests[dice.place(2)].plant(ticket, &offsets, &names);
        let leads = |plugin: &&str| names.iter().any(|name| routes.leading_to(name).contains(*plugin));
        let leading = PLUGINS.iter().map(|(name, ..)| *name).filter(leads);
        waits.insert(ticket, (roots, leading.collect()));
    }
    let [mut forest, other] = forests;
    let mut other = Some(other);
    let joined = dice.place(world.log.len());
    for count in 1..=world.log.len() {
        let entry = &world.log[count - 1];
        forest.see(entry).unwrap();
        let mut ended: BTreeMap<Ticket, Progress> = forest.ended().into_iter().collect();
        if let Some(other) = &mut other {
            other.see(entry).unwrap();
            ended.extend(other.ended());
        }
        if count > joined
            && let Some(other) = other.take()
        {
            forest.join(other);
        }
        waits.retain(|ticket, (roots, leading)| {
            let (is_over, lost) = slowly(&world.log[..count], roots, leading);
            let progress = ended.get(ticket);
            assert_eq!(
                progress.is_some(),
                is_over,
                "{roots:?} for {leading:?} at record {count}"
            );
            assert!(
                progress.is_none_or(|progress| failed(progress) == lost),
                "{progress:?}"
            );
            !is_over
        });
    }
    for (ticket, (roots, leading)) in waits {
        let progress = forest.fell(ticket).expect("it waits");
        assert_eq!(failed(&progress), slowly(&world.log, &roots, &leading).1);
    }
    assert!(forest.is_empty() && forest.events.is_empty());
    assert!(forest.roots.is_empty() && forest.timers.is_empty());
}
