//! An event that everybody depends on: whoever changes it changes all of them.

use std::collections::BTreeMap;

use super::Facts;
use super::report::{Evidence, Finding, listed, percent};

/// Plugins that subscribe to the type by more than taking everything, at least.
const CONSUMERS: usize = 5;

/// So many percent of the plugins that run, at least.
const SHARE: usize = 50;

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut seen: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for fact in &facts.events {
        let (count, last) = seen.entry(facts.names.name(fact.name)).or_default();
        (*count, *last) = (*count + 1, fact.offset);
    }
    for version in facts.plugins.values() {
        for name in version
            .emits
            .iter()
            .chain(&version.subscriptions)
            .filter(|name| !name.contains(['*', '>']))
        {
            seen.entry(name).or_default();
        }
    }
    let all = facts.plugins.len();
    let mut findings = Vec::new();
    for (name, (count, last)) in seen {
        let consumers = facts.consumers(name);
        if consumers.len() < CONSUMERS || percent(consumers.len(), all) < SHARE {
            continue;
        }
        let emits =
            |version: &crate::log::record::LiveVersion| version.emits.iter().any(|emitted| emitted == name);
        let emitters = facts.plugins.iter().filter(|(_, version)| emits(version));
        let emitters: Vec<String> = emitters.map(|(name, _)| name.to_string()).collect();
        let from = if emitters.is_empty() {
            "publishers outside".to_owned()
        } else {
            listed(&emitters)
        };
        let text = format!("{} subscribe to it; {count} events were seen", listed(&consumers));
        findings.push(Finding {
            says: format!("{} of {all} plugins consume {name}, which comes from {from}.", consumers.len()),
            evidence: vec![if count > 0 { Evidence::at(text, [last]) } else { Evidence::of(text) }],
            remedy: format!(
                "Ask what each of them needs of {name}, and state the smaller facts that they need as events of their own. Until then change it \
                 only by adding optional fields, and anything else by a new type with an upcast: `nerve map {name}` shows who still needs the old one."
            ),
            plugins: consumers,
            types: vec![name.to_owned()],
            ..Finding::default()
        });
    }
    findings
}
