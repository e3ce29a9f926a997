//! Schemas that tie plugins together: consumers that expect nearly all that a producer says, so that it can change
//! nothing, and deployments that were refused for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Facts;
use super::report::{Evidence, Finding, listed, percent};
use crate::log::record::LiveVersion;

/// Members of the data that a consumer names, at least.
const MEMBERS: usize = 6;

/// So many percent of those that the producer emits, at least.
const SHARE: usize = 80;

/// Consumers that do so, at least.
const CONSUMERS: usize = 2;

/// Deployments of a plugin that were refused for a contract, at least.
const REFUSALS: usize = 3;

/// Refusals that are shown.
const SHOWN: usize = 3;

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (producer, version) in &facts.plugins {
        for name in &version.emits {
            let emitted = members(version, true, name);
            let greedy: Vec<(String, usize)> = facts
                .plugins
                .iter()
                .filter(|(consumer, _)| *consumer != producer)
                .map(|(consumer, version)| {
                    let expected = members(version, false, name);
                    (consumer.to_string(), expected.intersection(&emitted).count())
                })
                .filter(|(_, shared)| *shared >= MEMBERS && percent(*shared, emitted.len()) >= SHARE)
                .collect();
            if greedy.len() >= CONSUMERS {
                findings.push(greedily(producer, name, emitted.len(), &greedy));
            }
        }
    }
    findings.extend(refusals(facts));
    findings
}

/// The members that a schema of the type names at its top.
fn members(version: &LiveVersion, emits: bool, name: &str) -> BTreeSet<String> {
    let mut all = version.schemas.iter();
    let declared = all.find(|schema| schema.emits == emits && schema.event_type == name);
    let schema: Option<Value> = declared.and_then(|schema| serde_json::from_str(&schema.json).ok());
    let members = schema
        .as_ref()
        .and_then(|schema| schema["properties"].as_object());
    members
        .into_iter()
        .flat_map(|members| members.keys().cloned())
        .collect()
}

fn greedily(producer: &str, name: &str, emitted: usize, greedy: &[(String, usize)]) -> Finding {
    let shown = greedy.iter().map(|(consumer, shared)| {
        Evidence::of(format!(
            "{consumer} names {shared} of the {emitted} members of {name} in what it expects"
        ))
    });
    let consumers: Vec<String> = greedy.iter().map(|(consumer, _)| consumer.clone()).collect();
    Finding {
        says: format!(
            "{} each expect nearly all of what {producer} says with {name}.",
            listed(&consumers)
        ),
        evidence: shown.collect(),
        remedy: format!(
            "A consumer declares only the members that it reads: take the others out of its event's type (a type that all share is what \
             ties them). What really needs all of {name} may be a part of {producer}."
        ),
        plugins: std::iter::once(producer.to_owned()).chain(consumers).collect(),
        types: vec![name.to_owned()],
        ..Finding::default()
    }
}

fn refusals(facts: &Facts) -> Vec<Finding> {
    let mut refused: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for (offset, plugin, reason) in &facts.refused {
        if let Some(why) = reason.strip_prefix("contract: ") {
            refused.entry(plugin).or_default().push((*offset, why));
        }
    }
    let often = refused.into_iter().filter(|(_, all)| all.len() >= REFUSALS);
    often
        .map(|(plugin, all)| {
            let shown = all.iter().rev().take(SHOWN);
            let sentence = |why: &str| why.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned();
            Finding {
                says: format!("{} deployments of {plugin} were refused, for others need what they change.", all.len()),
                evidence: shown.map(|(offset, why)| Evidence::at(sentence(why), [*offset])).collect(),
                remedy: format!(
                    "Give what {plugin} changes a type of its own beside the old one, with an upcast (docs/contracts.md), and try a version \
                     with `nerve plugin check` before it is deployed."
                ),
                plugins: vec![plugin.to_owned()],
                ..Finding::default()
            }
        })
        .collect()
}
