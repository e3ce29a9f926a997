//! Retries that hide an outage: in the end nearly everything is done, so that nobody sees how much of it failed first.

use std::collections::BTreeMap;

use super::Facts;
use super::names::Id;
use super::report::{Evidence, Finding, percent};

/// Deliveries of a plugin that came to an end, at least.
const DELIVERIES: usize = 20;

/// So many percent of them failed at least once before they were done.
const SHARE: usize = 20;

/// No more than so many percent were given up: those can be seen.
const DEAD: usize = 5;

/// Records that are shown.
const SHOWN: usize = 3;

#[derive(Default)]
struct Course {
    first: u64,
    failures: usize,
    waited: u64,
    done: bool,
    dead: bool,
}

pub(super) fn find(facts: &Facts) -> Vec<Finding> {
    let mut courses: BTreeMap<Id, BTreeMap<u64, Course>> = BTreeMap::new();
    for attempt in &facts.attempts {
        let course = courses
            .entry(attempt.plugin)
            .or_default()
            .entry(attempt.event)
            .or_default();
        if attempt.is_trouble() {
            if course.failures == 0 {
                (course.first, course.waited) = (attempt.offset, attempt.time.0);
            }
            course.failures += 1;
        }
        if attempt.failed.is_none() {
            course.waited = if course.failures > 0 {
                attempt.time.0.saturating_sub(course.waited)
            } else {
                0
            };
            course.done = true;
        }
        course.dead |= attempt.dead;
    }
    let mut findings = Vec::new();
    for (plugin, courses) in courses {
        // A breaker makes an outage known.
        if facts.paused.contains(&plugin) {
            continue;
        }
        let ended: Vec<&Course> = courses
            .values()
            .filter(|course| course.done || course.dead)
            .collect();
        let hidden: Vec<&&Course> = ended
            .iter()
            .filter(|course| course.done && course.failures > 0)
            .collect();
        let dead = ended.iter().filter(|course| course.dead && !course.done).count();
        if ended.len() < DELIVERIES
            || percent(hidden.len(), ended.len()) < SHARE
            || percent(dead, ended.len()) > DEAD
        {
            continue;
        }
        let name = facts.name(plugin);
        let failures: usize = hidden.iter().map(|course| course.failures).sum();
        let longest = hidden.iter().max_by_key(|course| course.waited);
        let (wait, at) = longest.map_or((0, 0), |course| (course.waited, course.first));
        let mut evidence = vec![Evidence::at(
            format!(
                "the longest waited {} from its first failure until it was done",
                super::report::time(wait)
            ),
            [at],
        )];
        let mut reasons: Vec<_> = facts.reasons.get(&plugin).into_iter().flatten().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        evidence.extend(
            reasons
                .into_iter()
                .take(SHOWN)
                .map(|(reason, count)| Evidence::of(format!("{count} times: {reason}"))),
        );
        findings.push(Finding {
            says: format!(
                "{name} failed {failures} times and gave up nearly nothing: {} of {} deliveries ({} %) were done only at a later attempt, and {dead} are dead letters.",
                hidden.len(),
                ended.len(),
                percent(hidden.len(), ended.len())
            ),
            evidence,
            remedy: format!(
                "Something that {name} needs is away again and again. Mend that, or let {name} do without it: keep what it asks for in its \
                 own state, fed by events. Watch its retries beside its dead letters; `retry.outage_keys` says when an outage pauses it, so \
                 that it is seen."
            ),
            plugins: vec![name],
            ..Finding::default()
        });
    }
    findings
}
