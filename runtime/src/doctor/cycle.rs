//! Events that come round to their own type: for an event of a type, on a way through other plugins, another one of that
//! type. Timers of a second and more begin anew, and are a schedule.

use std::collections::BTreeMap;

use super::names::Id;
use super::report::{Evidence, Finding};
use super::{Facts, facts::Fact};
use crate::log::record::FailureClass;

/// So often, at least.
const TIMES: usize = 3;

/// Records that are shown.
const SHOWN: usize = 2;

/// A type, and who emitted it.
type Step = (Id, Option<Id>);

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut rounds: BTreeMap<Vec<Step>, Vec<&Fact>> = BTreeMap::new();
    for fact in facts.events.iter().filter(|fact| fact.again) {
        let mut steps: Vec<Step> = vec![(fact.name, fact.by)];
        steps.extend(
            facts
                .ancestors(*fact)
                .take_while(|before| before.name != fact.name)
                .map(|before| (before.name, before.by)),
        );
        steps.reverse();
        // The same round looks the same wherever one stands in it.
        let first = (0..steps.len()).min_by_key(|at| steps[*at]).unwrap_or_default();
        steps.rotate_left(first);
        rounds.entry(steps).or_default().push(fact);
    }
    let loops = facts
        .attempts
        .iter()
        .filter(|attempt| attempt.failed == Some(FailureClass::Loop));
    let loops: Vec<u64> = loops.map(|attempt| attempt.offset).collect();
    let often = rounds.into_iter().filter(|(_, facts)| facts.len() >= TIMES);
    often
        .map(|(steps, round)| told(facts, &steps, &round, &loops))
        .collect()
}

fn told(facts: &Facts, steps: &[Step], round: &[&Fact], loops: &[u64]) -> Finding {
    let types: Vec<String> = steps.iter().map(|(name, _)| facts.name(*name)).collect();
    let mut plugins: Vec<String> = steps
        .iter()
        .filter_map(|(_, by)| by.map(|by| facts.name(by)))
        .collect();
    plugins.sort();
    plugins.dedup();
    let way: Vec<String> = steps
        .iter()
        .map(|(name, by)| {
            format!(
                "{} (by {})",
                facts.name(*name),
                by.map_or("outside".to_owned(), |by| facts.name(by))
            )
        })
        .collect();
    let longest = round.iter().max_by_key(|fact| fact.hops);
    let mut evidence = vec![Evidence::at(
        format!("{} -> {}", way.join(" -> "), types[0]),
        round.iter().rev().take(SHOWN).map(|fact| fact.offset),
    )];
    if let Some(longest) = longest {
        evidence.push(Evidence::at(
            format!("the longest chain has {} events", longest.hops + 1),
            [longest.offset],
        ));
    }
    if !loops.is_empty() {
        let text = format!(
            "{} deliveries ended since their chain was too long (limits.hops)",
            loops.len()
        );
        evidence.push(Evidence::at(text, loops.iter().rev().take(SHOWN).copied()));
    }
    Finding {
        says: format!(
            "{} times an event of type {} came of another one.",
            round.len(),
            types[0]
        ),
        evidence,
        remedy: format!(
            "Let one of {} see that nothing changed, and emit nothing then; or tell the request from the result by two types. `limits.hops` ends \
             a chain that does not end by itself; `nerve trace` shows one.",
            super::report::listed(&plugins)
        ),
        plugins,
        types,
        ..Finding::default()
    }
}
