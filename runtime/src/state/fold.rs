//! The fold itself: which record changes what.

use std::collections::BTreeMap;

use nerve_eventlog::{Micros, Offset};

use super::PluginState;
use crate::log::record::{DeploymentAction, Record};

/// The state of all plugins, made from the records of the log.
#[derive(Debug, Default)]
pub struct Fold {
    plugins: BTreeMap<String, PluginState>,
}

impl Fold {
    /// The state that a checkpoint holds.
    pub fn new(plugins: BTreeMap<String, PluginState>) -> Self {
        Self { plugins }
    }

    /// What the record at `offset`, appended at `time`, does.
    pub fn apply(&mut self, offset: Offset, time: Micros, record: &Record<'_>) {
        let Some(name) = record.plugin() else { return };
        if let Record::Deployment(deployment) = record
            && deployment.action == DeploymentAction::Forgotten
        {
            self.plugins.remove(name);
            return;
        }
        // Looked up twice, so that no name is copied for a plugin that is there.
        let plugin = match self.plugins.get_mut(name) {
            Some(plugin) => plugin,
            None => self.plugins.entry(name.to_owned()).or_default(),
        };
        if offset <= plugin.through {
            return;
        }
        match record {
            Record::Event(_) => {}
            Record::Outcome(outcome) => plugin.apply_outcome(offset, time, outcome),
            Record::Deployment(deployment) => plugin.apply_deployment(offset, time, deployment),
            Record::Fired(fired) => plugin.apply_fired(offset, fired),
            Record::Intent(intent) => plugin.apply_intent(offset, intent),
            Record::Gap(gap) => plugin.apply_gap(time, gap),
            Record::Operator(operator) => plugin.apply_operator(time, operator),
        }
    }

    /// The states of the plugins, by name.
    pub fn into_plugins(self) -> BTreeMap<String, PluginState> {
        self.plugins
    }
}
