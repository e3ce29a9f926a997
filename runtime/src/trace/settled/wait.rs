//! One wait: which events of its trees are open, for whom, and what was given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nerve_eventlog::Offset;

use crate::log::record::{FailureClass, Gap, Outcome, Verdict};
use crate::trace::routes::{Leading, Routes};

/// Events of the trees of one wait at most.
pub(super) const MOST_EVENTS: usize = 10_000;

/// How far a wait is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that were waited for, and were not seen yet.
    pub unseen: Vec<Offset>,
    /// Events of the trees that are not settled.
    pub open: Vec<Open>,
    /// Events of the trees that a plugin gave up on, or will never see.
    pub failed: Vec<Failed>,
    /// Plugins that none of the events can reach.
    pub unreached: Vec<Box<str>>,
    /// Whether the trees have more events than are followed.
    pub is_cut: bool,
    /// What it says of plugins holds when the log is durable up to here.
    pub through: Offset,
}

/// An event that a plugin has not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The plugin.
    pub plugin: Box<str>,
    /// The event.
    pub event: Offset,
    /// Its key.
    pub key: Option<Box<str>>,
}

/// An event that a plugin gave up on, or will never see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The plugin.
    pub plugin: Box<str>,
    /// The event.
    pub event: Offset,
    /// Class of its last failure; `None` where it will never see the event.
    pub class: Option<FailureClass>,
    /// Why.
    pub reason: String,
}

impl Progress {
    /// Whether everything is settled.
    pub fn is_settled(&self) -> bool {
        let nothing = self.unseen.is_empty() && self.open.is_empty() && self.failed.is_empty();
        nothing && self.unreached.is_empty() && !self.is_cut
    }
}

#[derive(Debug)]
pub(super) struct Wait {
    /// Events that are not seen yet.
    pub(super) roots: BTreeSet<Offset>,
    /// Events of its trees.
    pub(super) events: Vec<Offset>,
    /// Outcomes of its trees that set timers.
    pub(super) timers: Vec<Offset>,
    /// Emitted events that come next.
    pub(super) to_come: u32,
    plugins: Vec<Wanted>,
    open: BTreeMap<(Offset, Box<str>), Pending>,
    failed: BTreeMap<(Offset, Box<str>), Lost>,
    is_cut: bool,
}

/// A plugin that is waited for.
#[derive(Debug)]
struct Wanted {
    name: Box<str>,
    leading: Leading,
    reached: bool,
}

/// Why a plugin has settled an event without its effects, or will never see it.
#[derive(Debug)]
struct Lost {
    class: Option<FailureClass>,
    reason: String,
    /// What is open again when an operator has it delivered again.
    pending: Pending,
}

#[derive(Debug, Default)]
struct Pending {
    r#type: Box<str>,
    key: Option<Box<str>>,
    tried: bool,
}

impl Wait {
    pub(super) fn new(roots: &[Offset], plugins: &[Box<str>], routes: &Routes) -> Self {
        let wanted = |name: &str| Wanted {
            name: name.into(),
            leading: routes.leading_to(name),
            reached: false,
        };
        Self {
            roots: roots.iter().copied().collect(),
            events: Vec::new(),
            timers: Vec::new(),
            to_come: 0,
            plugins: plugins.iter().map(|name| wanted(name)).collect(),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            is_cut: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_cut || (self.roots.is_empty() && self.to_come == 0 && self.open.is_empty())
    }

    pub(super) fn progress(self, routes: &Routes) -> Progress {
        let open = |((event, plugin), pending): ((Offset, Box<str>), Pending)| Open {
            plugin,
            event,
            key: pending.key,
        };
        let failed = |((event, plugin), lost): ((Offset, Box<str>), Lost)| Failed {
            plugin,
            event,
            class: lost.class,
            reason: lost.reason,
        };
        let all_seen = self.roots.is_empty();
        let unreached = self
            .plugins
            .into_iter()
            .filter(|wanted| all_seen && !wanted.reached);
        Progress {
            unseen: self.roots.into_iter().collect(),
            open: self.open.into_iter().map(open).collect(),
            failed: self.failed.into_iter().map(failed).collect(),
            unreached: unreached.map(|wanted| wanted.name).collect(),
            is_cut: self.is_cut,
            through: routes.through,
        }
    }

    /// An event that was published: whom may it reach?
    pub(super) fn reach(&mut self, name: &str, offset: Offset, routes: &Routes) {
        for wanted in &mut self.plugins {
            let mut leading = wanted.leading.iter();
            wanted.reached |= leading.any(|plugin| routes.gets(plugin, name, offset));
        }
    }

    /// An event of its trees.
    pub(super) fn event(&mut self, offset: Offset, name: &str, key: Option<&str>, routes: &Routes) {
        if self.events.len() == MOST_EVENTS {
            self.is_cut = true;
            return;
        }
        self.events.push(offset);
        for wanted in &mut self.plugins {
            for plugin in &*wanted.leading {
                if routes.gets(plugin, name, offset) {
                    wanted.reached = true;
                    let pending = Pending {
                        r#type: name.into(),
                        key: key.map(Box::from),
                        tried: false,
                    };
                    self.open.insert((offset, plugin.clone()), pending);
                }
            }
        }
    }

    /// What the delivery of an event of its trees came to.
    pub(super) fn outcome(&mut self, offset: Offset, outcome: &Outcome<'_>) {
        if !outcome.timers.is_empty() {
            self.timers.push(offset);
        }
        let plugin = outcome.plugin;
        let mut plugins = self.plugins.iter();
        if !plugins.any(|wanted| wanted.leading.contains(plugin)) {
            return;
        }
        let at = (outcome.event(), Box::from(plugin));
        match outcome.verdict {
            Verdict::Done => {
                self.open.remove(&at);
                self.failed.remove(&at);
            }
            Verdict::Retry { .. } => self.reopen(at),
            Verdict::Dead { failure } => {
                self.reopen(at.clone());
                self.lose(&at, Some(failure.class), failure.reason.to_owned());
            }
        }
    }

    /// An operator has the dead letter of `event` delivered again.
    pub(super) fn redriven(&mut self, plugin: &str, event: Offset) {
        let at = (event, Box::from(plugin));
        if self.failed.contains_key(&at) {
            self.reopen(at);
        }
    }

    /// An operator dropped the dead letter of `event`, which may have been on its way again.
    pub(super) fn dropped(&mut self, plugin: &str, event: Offset) {
        let at = (event, Box::from(plugin));
        self.lose(&at, None, "an operator dropped it".to_owned());
    }

    /// A plugin will never see what it has not settled up to the gap's end, but for what it has tried.
    pub(super) fn passed_over(&mut self, gap: &Gap) {
        let lost = |((event, plugin), pending): &(&(Offset, Box<str>), &Pending)| {
            **plugin == *gap.plugin && event.0 <= gap.through && !pending.tried
        };
        let lost: Vec<_> = self.open.iter().filter(lost).map(|(at, _)| at.clone()).collect();
        for at in lost {
            self.lose(&at, None, format!("it was too far behind: {}", gap.why));
        }
    }

    /// An attempt was made, or will be, and nothing has come of it yet.
    fn reopen(&mut self, at: (Offset, Box<str>)) {
        let known = self.failed.remove(&at).map(|lost| lost.pending);
        let pending = self.open.entry(at).or_insert(known.unwrap_or_default());
        pending.tried = true;
    }

    /// Nothing will come of it, unless an operator has it delivered again.
    fn lose(&mut self, at: &(Offset, Box<str>), class: Option<FailureClass>, reason: String) {
        if let Some(pending) = self.open.remove(at) {
            let lost = Lost {
                class,
                reason,
                pending,
            };
            self.failed.insert(at.clone(), lost);
        }
    }

    /// Other plugins run now, or other versions of them.
    pub(super) fn reroute(&mut self, routes: &Arc<Routes>) {
        for wanted in &mut self.plugins {
            wanted.leading = routes.leading_to(&wanted.name);
        }
        let (plugins, open) = (&self.plugins, &mut self.open);
        open.retain(|(event, plugin), pending| {
            if !routes.has(plugin) {
                // What it was to settle waits until it is back; who only leads to others leads nowhere now.
                return plugins.iter().any(|wanted| wanted.name == *plugin);
            }
            let leads = plugins.iter().any(|wanted| wanted.leading.contains(plugin));
            leads && (pending.tried || routes.gets(plugin, &pending.r#type, *event))
        });
    }
}
