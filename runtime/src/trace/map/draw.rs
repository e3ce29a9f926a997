//! What is declared and what was observed, as one map.

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::Micros;

use super::cycles::{Place, Ways};
use super::observed::{Got, Id};
use super::{
    Consumer, Cycle, Emitter, Findings, Flow, Map, Observed, Of, PluginNode, TypeNode, Undeclared, Unfed,
    Wanted, older,
};
use crate::delivery::subscription::Pattern;

/// Deliveries of a type after which what a plugin was never seen to emit for it is taken not to come of it.
const ENOUGH: u64 = 20;

/// A plugin as it is now.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// As `nerve plugin list` says it.
    pub status: &'static str,
    /// Whether it has a live version whose file is there.
    pub runs: bool,
    /// What it subscribes to.
    pub subscriptions: Vec<Pattern>,
    /// What it declares to emit.
    pub emits: Vec<String>,
    /// Since when its version is live.
    pub since: Micros,
    /// Events it has not settled.
    pub lag: u64,
    /// Its dead letters.
    pub dead_letters: usize,
    /// Where its events go, where it is a webhook.
    pub webhook: Option<String>,
}

/// The part that is `wanted` of the map of `plugins`, of the types that operators `set` a schema for, and of what was
/// `observed` until `at`.
pub fn draw(
    plugins: &[Declared],
    set: &BTreeSet<String>,
    observed: &Observed,
    at: Micros,
    wanted: &Wanted,
) -> Map {
    let types = types(plugins, set, observed, at);
    let all: Vec<&str> = types.iter().map(|one| &*one.name).collect();
    let nodes = nodes(plugins, observed, at);
    let findings = Findings {
        nobody_consumes: nobody_consumes(&types),
        nobody_emits: nobody_emits(plugins, &types),
        undeclared: undeclared(plugins, observed),
        cycles: cycles(plugins, &all, observed),
        older: older::find(&types),
    };
    let of = Of {
        plugins: nodes.len(),
        types: types.len(),
    };
    let whole = Map {
        at,
        since: observed.since,
        through: observed.through.0,
        missed: observed.missed,
        beyond: observed.beyond,
        of,
        plugins: nodes,
        types,
        findings,
    };
    if wanted.is_all() {
        whole
    } else {
        part(whole, wanted)
    }
}

/// Cycles on the way of which `plugin` stands, where it and the others are as `plugins` says.
pub fn cycles_through(plugin: &str, plugins: &[Declared], observed: &Observed) -> Vec<Cycle> {
    let types = types(plugins, &BTreeSet::new(), observed, observed.time);
    let all: Vec<&str> = types.iter().map(|one| &*one.name).collect();
    let mut cycles = cycles(plugins, &all, observed);
    cycles.retain(|cycle| cycle.steps.iter().any(|step| step.plugin == plugin));
    cycles
}

fn part(mut map: Map, wanted: &Wanted) -> Map {
    let touches = |one: &TypeNode, plugin: &str| {
        one.emitted_by
            .iter()
            .any(|by| by.plugin.as_deref() == Some(plugin))
            || one.consumed_by.iter().any(|by| by.plugin == plugin)
    };
    map.types
        .retain(|one| wanted.wants(&one.name, |plugin| touches(one, plugin)));
    let types: BTreeSet<&str> = map.types.iter().map(|one| &*one.name).collect();
    let mut named: BTreeSet<&str> = wanted.plugin.as_deref().into_iter().collect();
    for one in &map.types {
        named.extend(one.emitted_by.iter().filter_map(|by| by.plugin.as_deref()));
        named.extend(one.consumed_by.iter().map(|by| &*by.plugin));
    }
    map.plugins.retain(|plugin| named.contains(&*plugin.name));
    let found = &mut map.findings;
    found.nobody_consumes.retain(|name| types.contains(&**name));
    found.nobody_emits.retain(|unfed| {
        let mut by = unfed.plugins.iter();
        wanted.wants(&unfed.pattern, |plugin| by.any(|name| name == plugin))
    });
    found.undeclared.retain(|one| types.contains(&*one.r#type));
    found
        .cycles
        .retain(|cycle| cycle.steps.iter().any(|step| types.contains(&*step.r#type)));
    found
        .older
        .retain(|one| types.contains(&*one.r#type) || types.contains(&*one.newest));
    map
}

fn types(plugins: &[Declared], set: &BTreeSet<String>, observed: &Observed, at: Micros) -> Vec<TypeNode> {
    let mut types: BTreeMap<&str, TypeNode> = BTreeMap::new();
    for plugin in plugins.iter().filter(|plugin| plugin.runs) {
        for name in &plugin.emits {
            types.entry(name).or_default().emitted_by.push(Emitter {
                plugin: Some(plugin.name.clone()),
                declared: true,
                ..Emitter::default()
            });
        }
        for pattern in plugin.subscriptions.iter().filter_map(Pattern::exact) {
            types.entry(pattern).or_default();
        }
    }
    for name in set {
        types.entry(name).or_default().emitted_by.push(Emitter {
            declared: true,
            ..Emitter::default()
        });
    }
    for (&(by, name), flow) in &observed.emits {
        let by = Some(observed.name(by)).filter(|by| !by.is_empty());
        let emitters = &mut types.entry(observed.name(name)).or_default().emitted_by;
        let place = emitters.iter().position(|known| known.plugin.as_deref() == by);
        let place = place.unwrap_or_else(|| {
            emitters.push(Emitter {
                plugin: by.map(str::to_owned),
                // Nobody can declare what comes from outside but by a schema.
                declared: by.is_none(),
                ..Emitter::default()
            });
            emitters.len() - 1
        });
        flowed(&mut emitters[place], flow, at);
    }
    consumers(plugins, &mut types);
    for (&(by, name), got) in &observed.gets {
        let by = observed.name(by);
        let consumers = &mut types.entry(observed.name(name)).or_default().consumed_by;
        let place = consumers
            .iter()
            .position(|known| known.plugin == by)
            .unwrap_or_else(|| {
                consumers.push(Consumer {
                    plugin: by.to_owned(),
                    ..Consumer::default()
                });
                consumers.len() - 1
            });
        delivered(&mut consumers[place], got, at);
    }
    let named = types.into_iter().map(|(name, mut one)| {
        name.clone_into(&mut one.name);
        one.emitted_by.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        one.consumed_by.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        one.events = one.emitted_by.iter().map(|by| by.events).sum();
        one.per_minute = rounded(one.emitted_by.iter().map(|by| by.per_minute).sum());
        one.last = one.emitted_by.iter().filter_map(|by| by.last).max();
        one
    });
    named.collect()
}

/// Who subscribes to each type. Names are looked up; only what has a wildcard is held against every type.
fn consumers<'a>(plugins: &'a [Declared], types: &mut BTreeMap<&'a str, TypeNode>) {
    for plugin in plugins.iter().filter(|plugin| plugin.runs) {
        let new = |pattern: &Pattern| Consumer {
            plugin: plugin.name.clone(),
            pattern: Some(pattern.to_string()),
            ..Consumer::default()
        };
        let (exact, wild): (Vec<_>, Vec<_>) = plugin
            .subscriptions
            .iter()
            .partition(|pattern| pattern.exact().is_some());
        for pattern in exact {
            if let Some(one) = pattern.exact().and_then(|name| types.get_mut(name)) {
                one.consumed_by.push(new(pattern));
            }
        }
        for (name, one) in types.iter_mut().filter(|_| !wild.is_empty()) {
            let is_there = || {
                one.consumed_by
                    .last()
                    .is_some_and(|last| last.plugin == plugin.name)
            };
            if let Some(pattern) = wild.iter().find(|pattern| pattern.matches(name))
                && !is_there()
            {
                one.consumed_by.push(new(pattern));
            }
        }
    }
}

fn flowed(emitter: &mut Emitter, flow: &Flow, at: Micros) {
    (emitter.events, emitter.last) = (flow.count, Some(flow.last));
    emitter.per_minute = flow.per_minute(at);
}

fn delivered(consumer: &mut Consumer, got: &Got, at: Micros) {
    consumer.attempts = got.attempts.count;
    (consumer.retries, consumer.dead) = (got.retries, got.dead);
    consumer.per_minute = got.attempts.per_minute(at);
    consumer.mean_us = got.took.checked_div(got.attempts.count).unwrap_or_default();
    consumer.last = Some(got.attempts.last);
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// The plugins, with those that only the log knows.
fn nodes(plugins: &[Declared], observed: &Observed, at: Micros) -> Vec<PluginNode> {
    let mut nodes: BTreeMap<&str, (PluginNode, u64)> = BTreeMap::new();
    for plugin in plugins {
        let node = PluginNode {
            name: plugin.name.clone(),
            status: plugin.status.to_owned(),
            webhook: plugin.webhook.clone(),
            subscriptions: plugin.subscriptions.iter().map(ToString::to_string).collect(),
            emits: plugin.emits.clone(),
            lag: plugin.lag,
            dead_letters: plugin.dead_letters,
            ..PluginNode::default()
        };
        nodes.insert(&plugin.name, (node, 0));
    }
    let gone = |name: &str| PluginNode {
        name: name.to_owned(),
        status: "gone".to_owned(),
        ..PluginNode::default()
    };
    for (&(by, _), got) in &observed.gets {
        let name = observed.name(by);
        let (node, took) = nodes.entry(name).or_insert_with(|| (gone(name), 0));
        node.attempts += got.attempts.count;
        node.retries += got.retries;
        node.dead += got.dead;
        node.per_minute = rounded(node.per_minute + got.attempts.per_minute(at));
        *took += got.took;
        node.mean_us = took.checked_div(node.attempts).unwrap_or_default();
    }
    nodes.into_values().map(|(node, _)| node).collect()
}

fn nobody_consumes(types: &[TypeNode]) -> Vec<String> {
    let consumed = |one: &TypeNode| {
        let mut patterns = one.consumed_by.iter().filter_map(|by| by.pattern.as_deref());
        patterns.any(|pattern| pattern != ">")
    };
    let emitted = |one: &TypeNode| one.emitted_by.iter().any(|by| by.declared || by.events > 0);
    let orphans = types.iter().filter(|one| emitted(one) && !consumed(one));
    orphans.map(|one| one.name.clone()).collect()
}

fn nobody_emits(plugins: &[Declared], types: &[TypeNode]) -> Vec<Unfed> {
    let emitted: BTreeSet<&str> = types
        .iter()
        .filter(|one| !one.emitted_by.is_empty())
        .map(|one| &*one.name)
        .collect();
    let mut unfed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for plugin in plugins.iter().filter(|plugin| plugin.runs) {
        for pattern in &plugin.subscriptions {
            let is_fed = match pattern.exact() {
                Some(name) => emitted.contains(name),
                None => emitted.iter().any(|name| pattern.matches(name)),
            };
            if !is_fed {
                unfed
                    .entry(pattern.to_string())
                    .or_default()
                    .push(plugin.name.clone());
            }
        }
    }
    unfed
        .into_iter()
        .map(|(pattern, plugins)| Unfed { pattern, plugins })
        .collect()
}

/// What was emitted since the version went live. What a version before emitted is no fault of it.
fn undeclared(plugins: &[Declared], observed: &Observed) -> Vec<Undeclared> {
    let by_name: BTreeMap<&str, &Declared> = plugins
        .iter()
        .filter(|plugin| plugin.runs)
        .map(|plugin| (&*plugin.name, plugin))
        .collect();
    let mut found: Vec<Undeclared> = Vec::new();
    for (&(by, name), flow) in &observed.emits {
        let (by, name) = (observed.name(by), observed.name(name));
        let plugin = by_name.get(by).filter(|plugin| flow.last > plugin.since);
        if plugin.is_some_and(|plugin| !plugin.emits.iter().any(|declared| declared == name)) {
            found.push(Undeclared {
                plugin: by.to_owned(),
                r#type: name.to_owned(),
                events: flow.count,
            });
        }
    }
    found.sort_by(|a, b| (&a.plugin, &a.r#type).cmp(&(&b.plugin, &b.r#type)));
    found
}

/// Cycles that were seen, and, among types that are on none of those, cycles that are possible by what is declared.
fn cycles(plugins: &[Declared], types: &[&str], observed: &Observed) -> Vec<Cycle> {
    let mut links: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for &(by, from, to) in observed.links.keys() {
        let key = (observed.name(by), observed.name(from));
        links.entry(key).or_default().push(observed.name(to));
    }
    let known: BTreeMap<(&str, &str), u64> = observed
        .gets
        .iter()
        .map(|(&(by, name), got): (&(Id, Id), &Got)| {
            let failed = got.retries + got.dead;
            (
                (observed.name(by), observed.name(name)),
                got.attempts.count.saturating_sub(failed),
            )
        })
        .collect();
    let (mut seen, mut possible) = (Ways::default(), Ways::default());
    let linked: BTreeSet<&str> = links.keys().map(|(by, _)| *by).collect();
    // Whoever emits nothing is on no cycle, and is often the one who takes everything.
    let emits = |plugin: &&Declared| !plugin.emits.is_empty() || linked.contains(&*plugin.name);
    for plugin in plugins.iter().filter(|plugin| plugin.runs).filter(emits) {
        let name = &*plugin.name;
        for to in &plugin.emits {
            possible.add(Place::Emits(name), Place::Type(to));
        }
        let (exact, wild): (Vec<_>, Vec<_>) = plugin
            .subscriptions
            .iter()
            .partition(|pattern| pattern.exact().is_some());
        let by_pattern = types
            .iter()
            .copied()
            .filter(|one| wild.iter().any(|pattern| pattern.matches(one)));
        for got in exact.into_iter().filter_map(Pattern::exact).chain(by_pattern) {
            let has = Place::Has(name, got);
            possible.add(Place::Type(got), has);
            for to in links.get(&(name, got)).into_iter().flatten() {
                seen.add(Place::Type(got), has);
                seen.add(has, Place::Type(to));
                possible.add(has, Place::Type(to));
            }
            let enough = known.get(&(name, got)).is_some_and(|done| *done >= ENOUGH);
            if !enough {
                possible.add(has, Place::Emits(name));
            }
        }
    }
    let mut cycles = seen.cycles(true);
    let on_seen: BTreeSet<String> = cycles
        .iter()
        .flat_map(|cycle| cycle.steps.iter().map(|step| step.r#type.clone()))
        .collect();
    let mut more = possible.cycles(false);
    more.retain(|cycle| !cycle.steps.iter().any(|step| on_seen.contains(&step.r#type)));
    cycles.append(&mut more);
    cycles
}
