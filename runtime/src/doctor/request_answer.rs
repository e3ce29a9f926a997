//! A request and its answer, disguised as events: one plugin says what another one shall do, and only waits for that one
//! to say that it did.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::names::Id;
use super::report::{Evidence, Finding, listed, median, percent};

/// Requests, at least.
const TIMES: usize = 20;

/// So many percent of them are answered, at least.
const SHARE: usize = 90;

/// Answers that are shown.
const SHOWN: usize = 2;

#[derive(Default)]
struct Asked {
    requests: usize,
    emitters: BTreeSet<Option<Id>>,
    /// By answering plugin: requests with an answer, types of answers, times, and records to look at.
    answers: BTreeMap<Id, Answers>,
}

#[derive(Default)]
struct Answers {
    answered: usize,
    types: BTreeSet<Id>,
    took: Vec<u64>,
    shown: Vec<(u64, u64)>,
}

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut asked: BTreeMap<Id, Asked> = BTreeMap::new();
    for request in &facts.events {
        let of = asked.entry(request.name).or_default();
        of.requests += 1;
        of.emitters.insert(request.by);
        let mut by: BTreeSet<Id> = BTreeSet::new();
        for answer in facts.caused_by(request.offset) {
            let Some(plugin) = answer.by.filter(|plugin| Some(*plugin) != request.by) else {
                continue;
            };
            let answers = of.answers.entry(plugin).or_default();
            answers.types.insert(answer.name);
            if by.insert(plugin) {
                answers.answered += 1;
                answers.took.push(answer.time.0.saturating_sub(request.time.0));
                if answers.shown.len() < SHOWN {
                    answers.shown.push((request.offset, answer.offset));
                }
            }
        }
    }
    let mut findings = Vec::new();
    for (name, asked) in asked {
        let name = facts.name(name);
        let [Some(asks)] = asked.emitters.iter().collect::<Vec<_>>()[..] else {
            continue;
        };
        let asks = facts.name(*asks);
        if asked.requests < TIMES {
            continue;
        }
        for (plugin, answers) in asked.answers {
            let answering = facts.name(plugin);
            let types: Vec<String> = answers.types.iter().map(|name| facts.name(*name)).collect();
            let only = |name: &str, plugin: &str| facts.consumers(name) == [plugin];
            let is_private = only(&name, &answering) && types.iter().all(|answer| only(answer, &asks));
            if !is_private || percent(answers.answered, asked.requests) < SHARE {
                continue;
            }
            let took = super::report::time(median(answers.took));
            findings.push(told(
                &asks,
                &answering,
                &name,
                types,
                (answers.answered, asked.requests),
                &took,
                &answers.shown,
            ));
        }
    }
    findings
}

fn told(
    asks: &str,
    answers: &str,
    request: &str,
    types: Vec<String>,
    (answered, requests): (usize, usize),
    took: &str,
    shown: &[(u64, u64)],
) -> Finding {
    let shown = shown
        .iter()
        .map(|(from, to)| Evidence::at(format!("{request} at {from} is answered at {to}"), [*from, *to]));
    Finding {
        says: format!(
            "{asks} emits {request} for {answers} alone, which answers {answered} of {requests} with {} for {asks} alone, after {took} (median).",
            listed(&types)
        ),
        evidence: shown.collect(),
        remedy: format!(
            "Let {asks} state what happened instead of what {answers} shall do, and let {answers} subscribe to that; others can then react to it \
             too. Where {asks} needs what {answers} knows, let it keep a copy, fed by the events of {answers}. Where the answer decides \
             what comes next, it is a step of a saga: keep it, with a timer for when none comes."
        ),
        plugins: vec![asks.to_owned(), answers.to_owned()],
        types: std::iter::once(request.to_owned()).chain(types).collect(),
        ..Finding::default()
    }
}
