//! What a log says that symptoms are looked for in, gathered in one pass over records.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use nerve_eventlog::{Entry, Micros};

use super::names::{Id, Names};
use super::report::Examined;
use crate::delivery::settle::PLUGIN_SOURCE;
use crate::delivery::subscription::Pattern;
use crate::log::record::{
    AskedBy, Deployment, DeploymentAction, Event, FailureClass, LiveVersion, Outcome, Record, Verdict,
};

/// Reasons of failures that are told apart, for each plugin.
const MOST_REASONS: usize = 50;

/// What happened.
#[derive(Debug, Default)]
pub struct Facts {
    /// What it was gathered from.
    pub examined: Examined,
    pub(super) names: Names,
    /// Events, by offset.
    pub(super) events: Vec<Fact>,
    /// Attempts, in their order; not those of rewinds.
    pub(super) attempts: Vec<Attempt>,
    /// Versions that went live because somebody asked for it, by time: first the plugin's first.
    pub(super) deployments: BTreeMap<Box<str>, BTreeMap<u64, Micros>>,
    /// Deployments that were refused, with their reasons.
    pub(super) refused: Vec<(u64, Box<str>, Box<str>)>,
    /// What runs.
    pub(super) plugins: BTreeMap<Box<str>, LiveVersion>,
    /// Hosts that each plugin called.
    pub(super) called: BTreeMap<Id, BTreeSet<Box<str>>>,
    /// Why attempts failed, by plugin.
    pub(super) reasons: BTreeMap<Id, BTreeMap<Box<str>, u64>>,
    /// Plugins that a breaker paused for an outage.
    pub(super) paused: BTreeSet<Id>,
    by_cause: HashMap<u64, Vec<u32>>,
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact {
    pub(super) offset: u64,
    pub(super) time: Micros,
    pub(super) name: Id,
    /// The plugin that emitted it.
    pub(super) by: Option<Id>,
    /// The event for which it was emitted, where that is among the facts; not of slow timers, which begin anew.
    pub(super) cause: Option<u32>,
    /// Events between it and the first of its chain.
    pub(super) hops: u32,
    /// Whether an event before it in its chain has its type.
    pub(super) again: bool,
}

/// One attempt at a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) offset: u64,
    pub(super) time: Micros,
    pub(super) plugin: Id,
    pub(super) event: u64,
    pub(super) failed: Option<FailureClass>,
    pub(super) dead: bool,
}

impl Attempt {
    /// Whether it failed for a reason that may lie outside the event.
    pub(super) fn is_trouble(&self) -> bool {
        !matches!(
            self.failed,
            None | Some(FailureClass::Reject | FailureClass::Loop | FailureClass::Contract)
        )
    }
}

/// What is known of a plugin besides the records.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// What runs.
    pub live: Option<LiveVersion>,
    /// When versions went live, with the record that said so, and who asked.
    pub deployed: Vec<(u64, Micros, AskedBy)>,
}

/// Gathers facts.
#[derive(Debug, Default)]
pub struct Gatherer {
    facts: Facts,
    at: HashMap<u64, u32>,
}

impl Gatherer {
    /// What `entry` says. Entries come in the order of the log.
    pub fn see(&mut self, entry: &Entry) {
        let examined = &mut self.facts.examined;
        if examined.records == 0 {
            (examined.first, examined.since) = (entry.offset.0, Some(entry.time));
        }
        (examined.last, examined.until) = (entry.offset.0, Some(entry.time));
        examined.records += 1;
        match Record::decode(&entry.payload) {
            Ok(Record::Event(event)) => self.see_event(entry, &event),
            Ok(Record::Outcome(outcome)) => self.see_outcome(entry, &outcome),
            Ok(Record::Deployment(deployment)) => self.see_deployment(entry, &deployment),
            Ok(_) => {}
            Err(_) => examined.unread += 1,
        }
    }

    fn see_event(&mut self, entry: &Entry, event: &Event<'_>) {
        let facts = &mut self.facts;
        facts.examined.events += 1;
        let cause = event.cause.filter(|cause| cause.hops > 0);
        let cause = cause.and_then(|cause| self.at.get(&cause.offset).copied());
        let place = u32::try_from(facts.events.len()).unwrap_or(u32::MAX);
        let name = facts.names.id(event.r#type);
        let mut fact = Fact {
            offset: entry.offset.0,
            time: entry.time,
            name,
            by: event
                .source
                .strip_prefix(PLUGIN_SOURCE)
                .map(|by| facts.names.id(by)),
            cause,
            hops: event.hops(),
            again: false,
        };
        fact.again = facts.ancestors(fact).any(|before| before.name == name);
        facts.events.push(fact);
        self.at.insert(entry.offset.0, place);
        if let Some(cause) = cause {
            let offset = facts.events[cause as usize].offset;
            facts.by_cause.entry(offset).or_default().push(place);
        }
    }

    fn see_outcome(&mut self, entry: &Entry, outcome: &Outcome<'_>) {
        if outcome.rewind.as_ref().is_some_and(|of| of.historic) {
            return;
        }
        let facts = &mut self.facts;
        facts.examined.attempts += 1;
        let plugin = facts.names.id(outcome.plugin);
        let failure = match outcome.verdict {
            Verdict::Done => None,
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => Some(failure),
        };
        facts.attempts.push(Attempt {
            offset: entry.offset.0,
            time: entry.time,
            plugin,
            event: outcome.event,
            failed: failure.map(|failure| failure.class),
            dead: matches!(outcome.verdict, Verdict::Dead { .. }),
        });
        if let Some(failure) = failure {
            let reasons = facts.reasons.entry(plugin).or_default();
            if reasons.len() < MOST_REASONS || reasons.contains_key(failure.reason) {
                *reasons.entry(failure.reason.into()).or_default() += 1;
            }
        }
        if outcome
            .opens
            .is_some_and(|opens| opens.why == crate::log::record::OpenReason::Outage)
        {
            facts.paused.insert(plugin);
        }
        for call in outcome.calls.iter() {
            let host = call.asked.target.split('/').nth(2).unwrap_or_default();
            facts.called.entry(plugin).or_default().insert(host.into());
        }
    }

    fn see_deployment(&mut self, entry: &Entry, deployment: &Deployment) {
        let facts = &mut self.facts;
        let name = &*deployment.plugin;
        if let Some(version) = deployment.action.live() {
            facts.plugins.insert(name.into(), version.clone());
        }
        match &deployment.action {
            DeploymentAction::Live(_) if is_asked(deployment.by) => {
                facts
                    .deployments
                    .entry(name.into())
                    .or_default()
                    .insert(entry.offset.0, entry.time);
            }
            DeploymentAction::Refused { reason } => {
                facts
                    .refused
                    .push((entry.offset.0, name.into(), reason.as_str().into()));
            }
            DeploymentAction::Removed | DeploymentAction::Forgotten => drop(facts.plugins.remove(name)),
            _ => {}
        }
    }

    /// The facts, where `known` says which plugins there are; without it the records do.
    pub fn facts(self, known: Option<Vec<Known>>) -> Facts {
        let mut facts = self.facts;
        if let Some(known) = known {
            facts.plugins.clear();
            for Known { name, live, deployed } in known {
                let all = facts.deployments.entry(name.as_str().into()).or_default();
                let asked = deployed.into_iter().filter(|(.., by)| is_asked(*by));
                all.extend(asked.map(|(offset, time, _)| (offset, time)));
                if let Some(live) = live {
                    facts.plugins.insert(name.into(), live);
                }
            }
        }
        let deployments: usize = facts.deployments.values().map(BTreeMap::len).sum();
        facts.examined.deployments = deployments as u64;
        facts.examined.plugins = facts.plugins.len() as u64;
        let webhooks = facts
            .plugins
            .iter()
            .filter(|(_, version)| version.webhook.is_some());
        facts.examined.webhooks = webhooks.map(|(name, _)| name.to_string()).collect();
        facts
    }
}

/// Whether somebody wanted it, and the host did not do it by itself.
fn is_asked(by: AskedBy) -> bool {
    matches!(by, AskedBy::Folder | AskedBy::Api)
}

impl Facts {
    /// The events before `fact` in its chain, the nearest first.
    pub(super) fn ancestors(&self, fact: Fact) -> impl Iterator<Item = &Fact> {
        let mut cause = fact.cause;
        std::iter::from_fn(move || {
            let before = self.events.get(cause? as usize)?;
            cause = before.cause;
            Some(before)
        })
    }

    /// The events that were emitted for the one at `offset`.
    pub(super) fn caused_by(&self, offset: u64) -> impl ExactSizeIterator<Item = &Fact> {
        let places = self.by_cause.get(&offset).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|place| &self.events[*place as usize])
    }

    /// The first event of the chain of `fact` that is among the facts.
    pub(super) fn root(&self, fact: &Fact) -> u64 {
        self.ancestors(*fact)
            .last()
            .map_or(fact.offset, |first| first.offset)
    }

    pub(super) fn name(&self, id: Id) -> String {
        self.names.name(id).to_owned()
    }

    /// The pattern by which `plugin` subscribes to a type, unless it is one that takes everything.
    pub(super) fn subscribes(&self, plugin: &str, name: &str) -> bool {
        let patterns = self.plugins.get(plugin).map(|version| &version.subscriptions);
        let mut patterns = patterns.into_iter().flatten().filter(|text| *text != ">");
        patterns.any(|text| text.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(name)))
    }

    /// The plugins that run and subscribe to a type, without those that take everything.
    pub(super) fn consumers(&self, name: &str) -> Vec<String> {
        let names = self.plugins.keys().filter(|plugin| self.subscribes(plugin, name));
        names.map(ToString::to_string).collect()
    }
}
