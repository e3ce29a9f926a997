//! Whether events, and all that they cause, are settled by some plugins: told by the records alone, one after the other.
//!
//! A [`Forest`] is shown every record in order, and holds the causal trees that somebody waits for. Each event of a tree
//! is *open* for every plugin that gets it and that is waited for, or that leads to one which is: by what plugins declare
//! to emit, the event may reach it through them. An outcome closes it and lets the tree grow by what was emitted. So a
//! wait ends when no event of its trees is open, and what a timer emits belongs to it from when it has fired.
//!
//! What one record costs does not depend on how many wait: a record that belongs to no tree is looked up once.

mod wait;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;

use nerve_eventlog::{Entry, Offset};

use self::wait::Wait;
use super::routes::Routes;
use crate::log::record::{DecodeError, Event, Kind, OperatorAction, Outcome, Record, kind};

pub use self::wait::{Failed, Open, Progress};

/// Names one wait.
pub type Ticket = u64;

/// The trees that somebody waits for.
#[derive(Debug)]
pub struct Forest {
    routes: Arc<Routes>,
    waits: BTreeMap<Ticket, Wait>,
    /// Events that were published and are not seen yet.
    roots: HashMap<Offset, Vec<Ticket>>,
    /// Events of the trees.
    events: HashMap<Offset, Vec<Ticket>>,
    /// Outcomes of the trees that set timers.
    timers: HashMap<Offset, Vec<Ticket>>,
    /// To which trees the next events belong, since an outcome or a timer emitted them, and how many there are.
    emitted: (Vec<Ticket>, u32),
    /// Waits that may have ended.
    touched: Vec<Ticket>,
}

impl Forest {
    /// No trees yet.
    pub fn new(routes: Arc<Routes>) -> Self {
        Self {
            routes,
            waits: BTreeMap::new(),
            roots: HashMap::new(),
            events: HashMap::new(),
            timers: HashMap::new(),
            emitted: (Vec::new(), 0),
            touched: Vec::new(),
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// Wait until `plugins` have settled the events at `roots`, which are not seen yet, and what they cause.
    pub fn plant(&mut self, ticket: Ticket, roots: &[Offset], plugins: &[Box<str>]) {
        let wait = Wait::new(roots, plugins, &self.routes);
        for root in &wait.roots {
            self.roots.entry(*root).or_default().push(ticket);
        }
        self.waits.insert(ticket, wait);
        self.touched.push(ticket);
    }

    /// End a wait, and say how far it is; `None` where it has ended.
    pub fn fell(&mut self, ticket: Ticket) -> Option<Progress> {
        let wait = self.waits.remove(&ticket)?;
        let forget = |map: &mut HashMap<Offset, Vec<Ticket>>, offset: &Offset| {
            if let Some(tickets) = map.get_mut(offset) {
                tickets.retain(|one| *one != ticket);
                if tickets.is_empty() {
                    map.remove(offset);
                }
            }
        };
        wait.roots
            .iter()
            .for_each(|offset| forget(&mut self.roots, offset));
        wait.events
            .iter()
            .for_each(|offset| forget(&mut self.events, offset));
        wait.timers
            .iter()
            .for_each(|offset| forget(&mut self.timers, offset));
        self.emitted.0.retain(|one| *one != ticket);
        Some(wait.progress(&self.routes))
    }

    /// The waits that have ended since this was asked last, each with what it came to.
    pub fn ended(&mut self) -> Vec<(Ticket, Progress)> {
        let mut touched = mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|ticket| self.waits.get(ticket).is_some_and(Wait::is_over));
        touched
            .into_iter()
            .filter_map(|ticket| Some((ticket, self.fell(ticket)?)))
            .collect()
    }

    /// End all waits.
    pub fn clear(&mut self) -> Vec<(Ticket, Progress)> {
        let tickets: Vec<Ticket> = self.waits.keys().copied().collect();
        tickets
            .into_iter()
            .filter_map(|ticket| Some((ticket, self.fell(ticket)?)))
            .collect()
    }

    /// The trees of `other`, which has seen the same records.
    pub fn join(&mut self, other: Self) {
        self.waits.extend(other.waits);
        for (mine, theirs) in [
            (&mut self.roots, other.roots),
            (&mut self.events, other.events),
            (&mut self.timers, other.timers),
        ] {
            for (offset, tickets) in theirs {
                mine.entry(offset).or_default().extend(tickets);
            }
        }
        // Both stand at the same record, so that what follows was emitted by the same outcome.
        self.emitted.0.extend(other.emitted.0);
        self.emitted.1 = self.emitted.1.max(other.emitted.1);
        self.touched.extend(other.touched);
    }

    /// Plugins were deployed or removed: these run now.
    pub fn reroute(&mut self, routes: &Arc<Routes>) {
        if Arc::ptr_eq(&self.routes, routes) {
            return;
        }
        self.routes = routes.clone();
        for (ticket, wait) in &mut self.waits {
            wait.reroute(routes);
            self.touched.push(*ticket);
        }
    }

    /// The next record.
    pub fn see(&mut self, entry: &Entry) -> Result<(), DecodeError> {
        let offset = entry.offset;
        let is_event = kind(&entry.payload) == Some(Kind::Event as u8);
        let emitted_for = if is_event && self.emitted.1 > 0 {
            self.emitted.1 -= 1;
            self.emitted.0.clone()
        } else {
            self.emitted = (Vec::new(), 0);
            Vec::new()
        };
        let roots = self.roots.remove(&offset).unwrap_or_default();
        if is_event && emitted_for.is_empty() && roots.is_empty() {
            return Ok(());
        }
        match Record::decode(&entry.payload)? {
            Record::Event(event) => self.grow(offset, &event, &emitted_for, roots),
            // History that runs again is nothing that the event caused; nor is what is delivered again since the state went back.
            Record::Outcome(outcome)
                if outcome
                    .rewind
                    .as_ref()
                    .is_some_and(|of| of.historic || !outcome.replay) => {}
            Record::Outcome(outcome) => self.settle(offset, &outcome),
            Record::Fired(fired) => {
                if let Some(tickets) = self.timers.get(&Offset(fired.set_at)) {
                    self.expect(tickets.clone(), 1);
                }
            }
            Record::Operator(operator) => {
                let plugin = &operator.plugin;
                match &operator.action {
                    OperatorAction::Redrive(events) => {
                        self.each_wait_of(events, |wait, event| wait.redriven(plugin, event));
                    }
                    OperatorAction::Drop(events) => {
                        self.each_wait_of(events, |wait, event| wait.dropped(plugin, event));
                    }
                    _ => {}
                }
            }
            Record::Gap(gap) => {
                for (ticket, wait) in &mut self.waits {
                    wait.passed_over(&gap);
                    self.touched.push(*ticket);
                }
            }
            Record::Deployment(_)
            | Record::Intent(_)
            | Record::Rewound(_)
            | Record::Schema(_)
            | Record::Freed(_) => {}
        }
        Ok(())
    }

    /// An event of a tree.
    fn grow(&mut self, offset: Offset, event: &Event<'_>, emitted_for: &[Ticket], roots: Vec<Ticket>) {
        let routes = self.routes.clone();
        for ticket in emitted_for {
            if let Some(wait) = self.waits.get_mut(ticket) {
                wait.to_come -= 1;
            }
        }
        let mut tickets = roots;
        for ticket in &tickets {
            if let Some(wait) = self.waits.get_mut(ticket) {
                wait.roots.remove(&offset);
                wait.reach(event.r#type, offset, &routes);
            }
        }
        tickets.extend(emitted_for);
        for ticket in &tickets {
            if let Some(wait) = self.waits.get_mut(ticket) {
                wait.event(offset, event.r#type, event.key, &routes);
                self.touched.push(*ticket);
            }
        }
        self.events.entry(offset).or_default().extend(tickets);
    }

    /// What a delivery of an event of a tree came to.
    fn settle(&mut self, offset: Offset, outcome: &Outcome<'_>) {
        let Some(tickets) = self.events.get(&outcome.event()) else {
            return;
        };
        let tickets = tickets.clone();
        self.each_wait_of(&[outcome.event], |wait, _| wait.outcome(offset, outcome));
        if !outcome.timers.is_empty() {
            self.timers.insert(offset, tickets.clone());
        }
        if outcome.emitted > 0 {
            self.expect(tickets, outcome.emitted);
        }
    }

    /// The next `count` events belong to the trees of `tickets`.
    fn expect(&mut self, tickets: Vec<Ticket>, count: u32) {
        for ticket in &tickets {
            if let Some(wait) = self.waits.get_mut(ticket) {
                wait.to_come += count;
            }
        }
        self.emitted = (tickets, count);
    }

    fn each_wait_of(&mut self, events: &[u64], mut does: impl FnMut(&mut Wait, Offset)) {
        for event in events.iter().copied().map(Offset) {
            for ticket in self.events.get(&event).into_iter().flatten() {
                if let Some(wait) = self.waits.get_mut(ticket) {
                    does(wait, event);
                    self.touched.push(*ticket);
                }
            }
        }
    }
}
