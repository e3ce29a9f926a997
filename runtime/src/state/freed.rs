//! Keys that are parked no more without a delivery that says so.
//!
//! What waits behind a parked key is found in the log, by what the plugin subscribes to. A version that subscribes to less may
//! find nothing there, of a key whose oldest event was settled; then no outcome is left that could free it.

use super::PluginState;
use crate::delivery::cursor::OrderKey;
use crate::log::record::Freed;

impl PluginState {
    /// Keys are parked no more behind which nothing waits.
    pub fn apply_freed(&mut self, freed: &Freed) {
        for key in &freed.keys {
            let key = OrderKey::Key(key.as_str().into());
            if self
                .cursor
                .parked
                .get(&key)
                .is_some_and(|parked| parked.head.is_none())
            {
                self.cursor.parked.remove(&key);
            }
        }
        self.follow_again();
        self.let_go_of_keys();
    }

    /// The version before has no key for being parked that is parked no more.
    pub(super) fn let_go_of_keys(&mut self) {
        if let Some(probation) = &mut self.probation
            && probation.minds_keys()
        {
            probation.retain_held(|key| self.cursor.parked.contains_key(key));
            self.tell();
        }
    }
}
