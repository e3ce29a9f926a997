//! Cycles that a deployment closes: told, and let through, for an event may come round to its own type for good reasons.

use super::Deployer;
use super::candidate::Candidate;
use crate::delivery::subscription::Pattern;
use crate::trace::map::{Declared, cycles_through};

/// Cycles that are told at most.
const MOST: usize = 3;

impl Deployer {
    /// What is to be said of the cycles through the plugin `name`, once `loaded` is live.
    pub(super) fn cycles(&self, name: &str, loaded: &Candidate) -> Vec<String> {
        let manifest = &loaded.manifest;
        if manifest.emits.is_empty() {
            return Vec::new();
        }
        let runs = |name: &str, subscriptions: Vec<Pattern>, emits: Vec<String>| Declared {
            name: name.to_owned(),
            runs: true,
            subscriptions,
            emits,
            ..Declared::default()
        };
        let mut plugins = vec![runs(name, manifest.subscriptions.clone(), manifest.emits.clone())];
        let mut before = None;
        for other in self.subscribers.all() {
            let state = other.state.lock();
            let Some(live) = state.live.as_ref().filter(|_| !state.removed) else {
                continue;
            };
            if *other.name == *name {
                before = Some(live.version.emits.clone());
                continue;
            }
            let patterns = state.subscription.patterns().iter();
            let patterns = patterns.map(|(pattern, _)| pattern.clone()).collect();
            plugins.push(runs(&other.name, patterns, live.version.emits.clone()));
        }
        let mut observed = self.observed.lock().clone();
        // What was seen of a version that emitted something else says nothing of this one.
        if before.is_none_or(|before| manifest.emits.iter().any(|name| !before.contains(name))) {
            observed.forget(name);
        }
        let cycles = cycles_through(name, &plugins, &observed);
        let told = cycles.iter().take(MOST).map(|cycle| {
            tracing::warn!(plugin = name, "an event can come round: {cycle}");
            if cycle.seen {
                format!("cycle: events go round, {cycle}; nerve trace shows one, and limits.hops ends it")
            } else {
                format!("cycle: by what is declared an event can come round, {cycle}; nerve map says whether it does")
            }
        });
        told.collect()
    }
}
