//! Deployments that always come together: plugins that nobody deploys alone are one program in several files.
//!
//! A plugin's first deployment, which puts it there, does not count, and several of one plugin in a row are one change:
//! somebody tries until it works.

use nerve_eventlog::Micros;

use super::Facts;
use super::report::{Evidence, Finding, listed, percent};
use crate::trace::map::when;

/// Deployments no further apart than this, in microseconds, come together.
const WITHIN: u64 = 10 * 60 * 1_000_000;

/// So often, at least.
const TIMES: usize = 3;

/// So many percent of the deployments of each, at least.
const SHARE: usize = 75;

/// Moments that are shown.
const SHOWN: usize = 3;

struct Changes<'a> {
    name: &'a str,
    at: Vec<(u64, Micros)>,
}

impl Changes<'_> {
    /// What of its changes has one of `other` near it, each with that one.
    fn near(&self, other: &Self) -> Vec<((u64, Micros), (u64, Micros))> {
        let near = |mine: &(u64, Micros)| {
            let from = other.at.partition_point(|(_, time)| time.0 + WITHIN < mine.1.0);
            other
                .at
                .get(from)
                .filter(|(_, time)| time.0 <= mine.1.0 + WITHIN)
                .map(|theirs| (*mine, *theirs))
        };
        self.at.iter().filter_map(near).collect()
    }

    fn comes_with(&self, other: &Self) -> bool {
        let near = self.near(other).len();
        near >= TIMES && percent(near, self.at.len()) >= SHARE
    }
}

/// The first of each row of deployments.
fn in_a_row(all: impl Iterator<Item = (u64, Micros)>) -> Vec<(u64, Micros)> {
    let (mut firsts, mut last) = (Vec::new(), None);
    for (offset, time) in all {
        if last.is_none_or(|last: Micros| last.0 + WITHIN < time.0) {
            firsts.push((offset, time));
        }
        last = Some(time);
    }
    firsts
}

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let changes: Vec<Changes<'_>> = facts
        .deployments
        .iter()
        .map(|(name, all)| Changes {
            name,
            at: in_a_row(all.iter().skip(1).map(|(offset, time)| (*offset, *time))),
        })
        .filter(|changes| changes.at.len() >= TIMES)
        .collect();
    let mut group: Vec<usize> = (0..changes.len()).collect();
    for (a, one) in changes.iter().enumerate() {
        for (b, other) in changes.iter().enumerate().take(a) {
            if group[a] != group[b] && one.comes_with(other) && other.comes_with(one) {
                let (from, to) = (group[a], group[b]);
                group.iter_mut().filter(|of| **of == from).for_each(|of| *of = to);
            }
        }
    }
    let mut findings = Vec::new();
    for of in 0..changes.len() {
        let members = group.iter().zip(&changes).filter(|(group, _)| **group == of);
        let members: Vec<&Changes<'_>> = members.map(|(_, changes)| changes).collect();
        let [first, second, ..] = &members[..] else {
            continue;
        };
        let plugins: Vec<String> = members.iter().map(|changes| changes.name.to_owned()).collect();
        let moments = first.near(second);
        let evidence = moments.iter().rev().take(SHOWN).map(|(mine, theirs)| {
            let apart = mine.1.0.abs_diff(theirs.1.0);
            let text = format!(
                "{}: {} and {}, {} apart",
                when::text(mine.1),
                first.name,
                second.name,
                super::report::time(apart)
            );
            Evidence::at(text, [mine.0, theirs.0])
        });
        let counts = members
            .iter()
            .map(|changes| format!("{} {} times", changes.name, changes.at.len()));
        let counts: Vec<String> = counts.collect();
        findings.push(Finding {
            says: format!(
                "{} were deployed within {} min of each other {} times; in all, {} changed.",
                listed(&plugins),
                WITHIN / 60_000_000,
                moments.len(),
                listed(&counts)
            ),
            evidence: evidence.collect(),
            remedy: format!(
                "Find out what they share that changes: a schema, or a rule that is written in both. Give a changed event a \
                 type of its own beside the old one with an upcast (docs/contracts.md), so that each can go first; or make \
                 {} one plugin, where they are one thing.",
                listed(&plugins)
            ),
            plugins,
            ..Finding::default()
        });
    }
    findings
}
