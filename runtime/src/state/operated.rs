//! What operators did to a plugin last, and who they were.

use nerve_eventlog::{Micros, Offset};
use serde::{Deserialize, Serialize};

use super::PluginState;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, Operator, OperatorAction};

/// How many are kept: the log has them all.
const KEPT: usize = 20;

/// Something that an operator did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operated {
    /// The record that says so.
    pub offset: Offset,
    /// When.
    pub time: Micros,
    /// Whose token it was asked with, where that is known.
    pub who: Option<String>,
    /// What, for people.
    pub what: String,
}

impl PluginState {
    /// An operator did something else than to deploy.
    pub(super) fn note_operator(&mut self, offset: Offset, time: Micros, operator: &Operator) {
        self.note(offset, time, operator.who.as_ref(), in_words(&operator.action));
    }

    /// Something became of a deployment, which somebody may have asked for.
    pub(super) fn note_deployment(&mut self, offset: Offset, time: Micros, deployment: &Deployment) {
        if !matches!(deployment.by, AskedBy::Api | AskedBy::Operator) {
            return;
        }
        let what = match &deployment.action {
            DeploymentAction::Live(live) => format!("deployed {}", live.version),
            DeploymentAction::Refused { .. } => "deployed what was refused".to_owned(),
            DeploymentAction::Removed => "removed it".to_owned(),
            DeploymentAction::Waiting(waiting) => {
                format!("deployed {}, which waits for approval", waiting.version)
            }
            DeploymentAction::RolledBack(back) if back.state.is_some() => {
                format!("rolled back to {}, with the state", back.version.version)
            }
            DeploymentAction::RolledBack(back) => format!("rolled back to {}", back.version.version),
            DeploymentAction::Promoted(version) => format!("promoted {version}"),
            DeploymentAction::Merged(merged) => format!("promoted {}, with its own state", merged.version),
            DeploymentAction::Forgotten | DeploymentAction::Collected(_) => return,
        };
        self.note(offset, time, deployment.who.as_ref(), what);
    }

    fn note(&mut self, offset: Offset, time: Micros, who: Option<&String>, what: String) {
        if self.operated.len() >= KEPT {
            self.operated.pop_front();
        }
        self.operated.push_back(Operated {
            offset,
            time,
            who: who.cloned(),
            what,
        });
    }
}

fn in_words(action: &OperatorAction) -> String {
    let letters = |events: &[u64]| match events {
        [one] => format!("the dead letter @{one}"),
        many => format!("{} dead letters", many.len()),
    };
    match action {
        OperatorAction::Redrive(events) => format!("retried {}", letters(events)),
        OperatorAction::Drop(events) => format!("dropped {}", letters(events)),
        OperatorAction::Pause => "paused it".to_owned(),
        OperatorAction::Resume => "resumed it".to_owned(),
        OperatorAction::Approve { .. } => "approved what it asks for".to_owned(),
        OperatorAction::Rewind(rewind) => format!("rewound it to @{}", rewind.from),
        OperatorAction::StopRewind => "stopped its rewind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_things_that_operators_did_are_kept_and_what_the_host_decides_is_none() {
        let mut state = PluginState::default();
        let mut deployment = Deployment {
            plugin: "one".to_owned(),
            pair: None,
            action: DeploymentAction::Removed,
            by: AskedBy::Folder,
            warnings: Vec::new(),
            who: None,
        };
        state.apply_deployment(Offset(1), Micros(1), &deployment);
        assert!(state.operated.is_empty());
        deployment.by = AskedBy::Api;
        state.apply_deployment(Offset(2), Micros(2), &deployment);
        assert_eq!(state.operated[0].what, "removed it");
        for at in 3..=40 {
            let operator = Operator {
                plugin: "one".to_owned(),
                action: OperatorAction::Redrive(vec![7; at]),
                who: Some("ann".to_owned()),
            };
            state.apply_operator(Offset(at as u64), Micros(at as u64), &operator);
        }
        let last = state.operated.back().unwrap();
        assert_eq!(
            (last.who.as_deref(), &*last.what),
            (Some("ann"), "retried 40 dead letters")
        );
        assert_eq!((state.operated.len(), state.operated[0].offset), (20, Offset(21)));
    }
}
