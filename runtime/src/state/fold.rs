//! The fold itself: which record changes what.

use std::collections::BTreeMap;

use nerve_eventlog::{Micros, Offset};

use super::PluginState;
use crate::log::record::{DeploymentAction, Record, TypeSchema};

/// The state of all plugins, made from the records of the log.
#[derive(Debug, Default)]
pub struct Fold {
    plugins: BTreeMap<String, PluginState>,
    schemas: BTreeMap<String, TypeSchema>,
}

impl Fold {
    /// The state that a checkpoint holds.
    pub fn new(plugins: BTreeMap<String, PluginState>, schemas: BTreeMap<String, TypeSchema>) -> Self {
        Self { plugins, schemas }
    }

    /// What the record at `offset`, appended at `time`, does.
    pub fn apply(&mut self, offset: Offset, time: Micros, record: &Record<'_>) {
        if let Record::Schema(set) = record {
            match &set.schema {
                Some(schema) => drop(self.schemas.insert(set.event_type.clone(), schema.clone())),
                None => drop(self.schemas.remove(&set.event_type)),
            }
        }
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
            Record::Event(_) | Record::Schema(_) => {}
            Record::Outcome(outcome) => plugin.apply_outcome(offset, time, outcome),
            Record::Deployment(deployment) => plugin.apply_deployment(offset, time, deployment),
            Record::Fired(fired) => plugin.apply_fired(offset, fired),
            Record::Intent(intent) => plugin.apply_intent(offset, intent),
            Record::Gap(gap) => plugin.apply_gap(time, gap),
            Record::Operator(operator) => plugin.apply_operator(offset, time, operator),
            Record::Rewound(rewound) => plugin.apply_rewound(offset, rewound),
            Record::Freed(freed) => plugin.apply_freed(freed),
        }
    }

    /// What operators set for event types.
    pub fn schemas(&self) -> &BTreeMap<String, TypeSchema> {
        &self.schemas
    }

    /// The states of the plugins, by name.
    pub fn into_plugins(self) -> BTreeMap<String, PluginState> {
        self.plugins
    }
}
