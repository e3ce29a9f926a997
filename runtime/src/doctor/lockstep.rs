//! Long chains in lock-step: one event for one event for one event, through several plugins, always the same way. That is
//! a call through all of them that waits in between.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Id;
use super::report::{Evidence, Finding, listed, median, percent};
use super::{Facts, facts::Fact};

/// Events of a chain, at least.
const LONG: usize = 6;

/// Plugins that emit them, at least.
const PLUGINS: usize = 3;

/// So many chains, at least.
const TIMES: usize = 10;

/// So many percent of all chains that begin with the type, at least.
const SHARE: usize = 80;

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut begun: BTreeMap<Id, usize> = BTreeMap::new();
    let mut ways: BTreeMap<Vec<Id>, Vec<Vec<&Fact>>> = BTreeMap::new();
    for first in facts.events.iter().filter(|fact| begins(facts, fact)) {
        *begun.entry(first.name).or_default() += 1;
        let chain = chain(facts, first);
        let plugins: BTreeSet<Id> = chain.iter().filter_map(|fact| fact.by).collect();
        let types: Vec<Id> = chain.iter().map(|fact| fact.name).collect();
        let distinct: BTreeSet<&Id> = types.iter().collect();
        // What comes round is a symptom of its own.
        if chain.len() >= LONG && plugins.len() >= PLUGINS && distinct.len() == types.len() {
            ways.entry(types).or_default().push(chain);
        }
    }
    let often = |(types, chains): &(&Vec<Id>, &Vec<Vec<&Fact>>)| {
        let begun = begun.get(&types[0]).copied().unwrap_or_default();
        chains.len() >= TIMES && percent(chains.len(), begun) >= SHARE
    };
    ways.iter()
        .filter(often)
        .map(|(types, chains)| told(facts, types, chains, begun[&types[0]]))
        .collect()
}

/// Whether nothing stands before the event that it would be the only consequence of.
fn begins(facts: &Facts, fact: &Fact) -> bool {
    let before = facts.ancestors(*fact).next();
    before.is_none_or(|before| facts.caused_by(before.offset).len() != 1)
}

/// The event, the only one that was emitted for it, and so on.
fn chain<'a>(facts: &'a Facts, first: &'a Fact) -> Vec<&'a Fact> {
    let mut chain = vec![first];
    while let Some(last) = chain.last() {
        let mut next = facts.caused_by(last.offset);
        match next.next() {
            Some(only) if next.len() == 0 => chain.push(only),
            _ => break,
        }
    }
    chain
}

fn told(facts: &Facts, types: &[Id], chains: &[Vec<&Fact>], begun: usize) -> Finding {
    let names: Vec<String> = types.iter().map(|name| facts.name(*name)).collect();
    let mut plugins: Vec<String> = Vec::new();
    for by in chains.first().into_iter().flatten().filter_map(|fact| fact.by) {
        let by = facts.name(by);
        if !plugins.contains(&by) {
            plugins.push(by);
        }
    }
    let ends = |chain: &[&Fact]| Some((chain.first()?.time.0, chain.last()?.time.0));
    let took = chains
        .iter()
        .filter_map(|chain| ends(chain).map(|(from, to)| to.saturating_sub(from)));
    let example = chains
        .last()
        .map(|chain| chain.iter().map(|fact| fact.offset))
        .into_iter()
        .flatten();
    Finding {
        says: format!(
            "{} of {begun} chains that begin with {} go through {} events and {} plugins, each step with one consequence, in {} (median).",
            chains.len(),
            names[0],
            names.len(),
            plugins.len(),
            super::report::time(median(took.collect()))
        ),
        evidence: vec![Evidence::at(names.join(" -> "), example.take(1))],
        remedy: format!(
            "Where a step needs only the first event, let {} subscribe to {} and work beside each other instead of in turn. Steps that only \
             ever come one after the other may be one plugin. Where the order is the business (a saga), keep it, and see that each step \
             has a timer for when no answer comes.",
            listed(&plugins[1..]),
            names[0]
        ),
        plugins,
        types: names,
        ..Finding::default()
    }
}
