//! The fold itself: which record changes what.

use std::collections::BTreeMap;

use nerve_eventlog::{Micros, Offset};

use super::PluginState;
use crate::log::record::Record;

/// The state of all plugins, made from the records of the log.
#[derive(Debug, Default)]
pub struct Fold {
    plugins: BTreeMap<String, PluginState>,
}

impl Fold {
    /// What the record at `offset`, appended at `time`, does.
    pub fn apply(&mut self, offset: Offset, time: Micros, record: &Record<'_>) {
        match record {
            Record::Event(_) => {}
            Record::Outcome(outcome) => self.plugin(outcome.plugin).apply_outcome(offset, time, outcome),
            Record::Deployment(deployment) => {
                self.plugin(&deployment.plugin)
                    .apply_deployment(offset, time, deployment);
            }
            Record::Fired(fired) => self.plugin(fired.plugin).apply_fired(offset, fired),
            Record::Operator(operator) => self.plugin(&operator.plugin).apply_operator(time, operator),
        }
    }

    /// The states of the plugins, by name.
    pub fn into_plugins(self) -> BTreeMap<String, PluginState> {
        self.plugins
    }

    fn plugin(&mut self, name: &str) -> &mut PluginState {
        if !self.plugins.contains_key(name) {
            self.plugins.insert(name.to_owned(), PluginState::default());
        }
        self.plugins.get_mut(name).expect("it was inserted above")
    }
}
