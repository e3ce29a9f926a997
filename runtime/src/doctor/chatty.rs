//! A plugin that talks too much: it says in many events what is one fact, and everybody who listens pays for each.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::names::Id;
use super::report::{Evidence, Finding, percent};

/// Events in one chain, on average, at least.
const EVENTS: usize = 10;

/// Chains in which it emitted something, at least.
const CHAINS: usize = 10;

/// Types that are shown.
const SHOWN: usize = 3;

#[derive(Default)]
struct Said {
    events: usize,
    chains: BTreeSet<u64>,
    types: BTreeMap<Id, usize>,
    last: u64,
}

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut said: BTreeMap<Id, Said> = BTreeMap::new();
    // What comes round is a symptom of its own.
    for fact in facts.events.iter().filter(|fact| !fact.again) {
        if let Some(by) = fact.by {
            let of = said.entry(by).or_default();
            of.events += 1;
            of.last = facts.root(fact);
            of.chains.insert(of.last);
            *of.types.entry(fact.name).or_default() += 1;
        }
    }
    let all = facts.events.len();
    let chatty = said
        .into_iter()
        .filter(|(_, said)| said.chains.len() >= CHAINS && said.events >= EVENTS * said.chains.len());
    chatty
        .map(|(plugin, said)| {
            let name = facts.name(plugin);
            let mut types: Vec<(Id, usize)> = said.types.into_iter().collect();
            types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let shown = types.iter().take(SHOWN).map(|(name, count)| {
                Evidence::at(format!("{count} times {}", facts.name(*name)), [said.last])
            });
            Finding {
                says: format!(
                    "{name} emitted {} events in {} chains, {} in each on average, which is {} % of all events.",
                    said.events,
                    said.chains.len(),
                    said.events / said.chains.len(),
                    percent(said.events, all)
                ),
                evidence: shown.collect(),
                remedy: format!(
                    "Let {name} state one event for what happened, with all of it inside, instead of one for each part; or emit only what \
                     changed. Who needs single parts finds them in the data."
                ),
                plugins: vec![name],
                types: types.iter().take(SHOWN).map(|(name, _)| facts.name(*name)).collect(),
                ..Finding::default()
            }
        })
        .collect()
}
