//! Which versions of a plugin run, told to whoever has to know whenever that changes.

use std::fmt;
use std::sync::Arc;

use super::PluginState;
use crate::log::record::LiveVersion;

/// Who is told of the versions that run. A copy of a state tells nobody.
#[derive(Default)]
pub(super) struct Tells(Option<Arc<dyn Fn(Vec<LiveVersion>) + Send + Sync>>);

impl Clone for Tells {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Tells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tells")
    }
}

impl PluginState {
    /// The versions that run: the live one, and the one before it as long as keys are its own.
    pub fn running(&self) -> impl Iterator<Item = &LiveVersion> {
        let live = self.live.iter().filter(|_| !self.removed);
        let canary = self.probation.as_ref().filter(|probation| probation.minds_keys());
        let before = canary.and_then(|probation| self.former.get(&probation.before));
        live.map(|live| &live.version).chain(before)
    }

    /// Tell `whom` which versions run, now and whenever that changes.
    pub fn tell_of_versions(&mut self, whom: impl Fn(Vec<LiveVersion>) + Send + Sync + 'static) {
        self.tells = Tells(Some(Arc::new(whom)));
        self.tell();
    }

    /// The versions that run may be others.
    pub(super) fn tell(&self) {
        if let Some(whom) = &self.tells.0 {
            whom(self.running().cloned().collect());
        }
    }
}
