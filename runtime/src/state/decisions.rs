//! What was decided of a plugin's versions, and how often, since the log began.

use serde::{Deserialize, Serialize};

use crate::log::record::{AskedBy, DeploymentAction};

/// How often each was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decisions {
    /// A version went live.
    pub live: u64,
    /// A version was refused.
    pub refused: u64,
    /// A version has to wait for an approval.
    pub waiting: u64,
    /// The plugin was removed.
    pub removed: u64,
    /// A canary was promoted.
    pub promoted: u64,
    /// An operator went back to a version.
    pub rolled_back: u64,
    /// A version failed on probation, and was rolled back.
    pub failed_probation: u64,
}

impl Decisions {
    pub(super) fn count(&mut self, action: &DeploymentAction, by: AskedBy) {
        let count = match action {
            DeploymentAction::Live(_) => &mut self.live,
            DeploymentAction::Refused { .. } => &mut self.refused,
            DeploymentAction::Waiting(_) => &mut self.waiting,
            DeploymentAction::Removed => &mut self.removed,
            DeploymentAction::Promoted(_) | DeploymentAction::Merged(_) => &mut self.promoted,
            DeploymentAction::RolledBack(_) if by == AskedBy::Probation => &mut self.failed_probation,
            DeploymentAction::RolledBack(_) => &mut self.rolled_back,
            DeploymentAction::Forgotten | DeploymentAction::Collected(_) => return,
        };
        *count += 1;
    }
}
