//! Failures that follow each other: where one plugin's trouble begins, another one's begins soon after, again and again.
//!
//! Trouble is a run of failed attempts; what a plugin rejects is the event's fault and no trouble.

use std::collections::{BTreeMap, BTreeSet};

use nerve_eventlog::Micros;

use super::Facts;
use super::names::Id;
use super::report::{Evidence, Finding, listed, percent};
use crate::trace::map::when;

/// Failures no further apart than this, in microseconds, are one trouble; and trouble that begins no later than this after
/// another one's begin follows it.
const SOON: u64 = 60 * 1_000_000;

/// Failures that make a trouble, at least.
const FAILURES: usize = 3;

/// So often, at least.
const TIMES: usize = 3;

/// So many percent of the troubles of the one that follows, at least.
const SHARE: usize = 75;

/// Troubles that are shown.
const SHOWN: usize = 3;

/// Who follows somebody: each trouble with the one that it follows.
type Follower = (Id, Vec<(Trouble, Trouble)>);

#[derive(Clone, Copy)]
struct Trouble {
    begins: Micros,
    ends: Micros,
    first: u64,
    failures: usize,
}

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut troubles: BTreeMap<Id, Vec<Trouble>> = BTreeMap::new();
    for attempt in facts.attempts.iter().filter(|attempt| attempt.is_trouble()) {
        let of = troubles.entry(attempt.plugin).or_default();
        match of.last_mut().filter(|last| attempt.time.0 <= last.ends.0 + SOON) {
            Some(last) => (last.ends, last.failures) = (attempt.time, last.failures + 1),
            None => of.push(Trouble {
                begins: attempt.time,
                ends: attempt.time,
                first: attempt.offset,
                failures: 1,
            }),
        }
    }
    for of in troubles.values_mut() {
        of.retain(|trouble| trouble.failures >= FAILURES);
    }
    troubles.retain(|_, of| of.len() >= TIMES);
    let mut follow: BTreeMap<Id, Vec<Follower>> = BTreeMap::new();
    for (&first, before) in &troubles {
        for (&second, behind) in troubles.iter().filter(|(second, _)| **second != first) {
            let pairs = followed(before, behind);
            if pairs.len() >= TIMES && percent(pairs.len(), behind.len()) >= SHARE {
                follow.entry(first).or_default().push((second, pairs));
            }
        }
    }
    // Who follows somebody else is told there.
    let followers: BTreeSet<Id> = follow.values().flatten().map(|(second, _)| *second).collect();
    let firsts = follow.iter().filter(|(first, _)| !followers.contains(*first));
    firsts
        .map(|(first, behind)| told(facts, *first, behind))
        .collect()
}

/// Each trouble of `behind` with the one of `before` that it follows.
fn followed(before: &[Trouble], behind: &[Trouble]) -> Vec<(Trouble, Trouble)> {
    let cause = |trouble: &Trouble| {
        let at = before.partition_point(|other| other.begins < trouble.begins);
        let other = before.get(at.checked_sub(1)?)?;
        (trouble.begins.0 <= other.begins.0 + SOON).then_some((*other, *trouble))
    };
    behind.iter().filter_map(cause).collect()
}

fn told(facts: &Facts, first: Id, behind: &[Follower]) -> Finding {
    let name = facts.name(first);
    let names: Vec<String> = behind.iter().map(|(second, _)| facts.name(*second)).collect();
    let mut evidence = Vec::new();
    for (second, pairs) in behind {
        let pairs = pairs.iter().rev().take(SHOWN);
        evidence.extend(pairs.map(|(cause, trouble)| {
            let text = format!(
                "{}: {name} fails, and {} {} later ({} and {} failures)",
                when::text(cause.begins),
                facts.name(*second),
                super::report::time(trouble.begins.0 - cause.begins.0),
                cause.failures,
                trouble.failures
            );
            Evidence::at(text, [cause.first, trouble.first])
        }));
        if let Some(shared) = shared(facts, first, *second) {
            evidence.push(Evidence::of(shared));
        }
    }
    let times = behind
        .iter()
        .map(|(_, pairs)| pairs.len())
        .max()
        .unwrap_or_default();
    Finding {
        says: format!(
            "{times} times {} began to fail within {} s of {name}.",
            listed(&names),
            SOON / 1_000_000
        ),
        evidence,
        remedy: format!(
            "Look for what {name} and {} share: a service outside that both call, or an event that one of them makes badly when it is in trouble. \
             Let the followers keep a copy of what they need, fed by events, instead of asking for it; and let a bad event be rejected \
             by a schema (docs/contracts.md) before others get it.",
            listed(&names)
        ),
        plugins: std::iter::once(name).chain(names).collect(),
        ..Finding::default()
    }
}

/// What ties the two, where something is known.
fn shared(facts: &Facts, first: Id, second: Id) -> Option<String> {
    let called = |plugin| facts.called.get(&plugin).cloned().unwrap_or_default();
    let hosts: Vec<Box<str>> = called(first).intersection(&called(second)).cloned().collect();
    let (one, other) = (facts.name(first), facts.name(second));
    if !hosts.is_empty() {
        return Some(format!("both call {}", listed(&hosts)));
    }
    let emits = facts.plugins.get(&*one).map(|version| &version.emits);
    let fed: Vec<&String> = emits
        .into_iter()
        .flatten()
        .filter(|name| facts.subscribes(&other, name))
        .collect();
    (!fed.is_empty()).then(|| format!("{other} gets {} of {one}", listed(&fed)))
}
