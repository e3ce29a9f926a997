//! A version that fell is taken back: the version before stands in its slot again, between two events.

use std::sync::atomic::Ordering;

use nerve_eventlog::Batch;

use super::{Lane, LaneError};
use crate::delivery::subscriber::Subscriber;
use crate::log::record::{AskedBy, Deployment, DeploymentAction, Record, RolledBack};
use crate::state::PluginState;

impl Lane {
    /// Where the watched version fell, roll it back; where its probation is over, let go of the version before.
    pub(super) fn end_probation(&mut self, subscriber: &Subscriber) -> Result<(), LaneError> {
        if !subscriber.judged.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let between = subscriber.between_events();
        let mut state = subscriber.state.lock();
        let Some(probation) = &state.probation else {
            drop(state);
            between.let_go_of_before();
            return Ok(());
        };
        let Some(mut back) = fallen(&state).filter(|_| between.find(probation.before).is_some()) else {
            return Ok(());
        };
        // A version that fails goes, whatever that breaks: but it is said.
        let broken = subscriber
            .contracts
            .broken_by(&subscriber.name, &back.version.schemas);
        back.version.warnings = broken.into_iter().map(|breach| breach.problem).collect();
        for problem in &back.version.warnings {
            tracing::warn!(plugin = %subscriber.name, "version {}, which runs again, breaks a contract: {problem}", back.version.version);
        }
        tracing::warn!(plugin = %subscriber.name, "version {} is rolled back: {}", back.from, back.why);
        let deployment = Deployment {
            who: None,
            plugin: subscriber.name.to_string(),
            pair: state.pair,
            action: DeploymentAction::RolledBack(Box::new(back)),
            by: AskedBy::Probation,
            warnings: Vec::new(),
        };
        let mut batch = Batch::new();
        batch.push_with(|out| Record::Deployment(deployment.clone()).encode(out));
        let appended = self.sequencer.append_in_turn(batch)?;
        let unsettles = state.own.is_some();
        state.apply_deployment(appended.first, appended.time, &deployment);
        self.sequencer
            .subscribe(subscriber.id, state.subscription.clone());
        between.swap_to_before(state, unsettles);
        Ok(())
    }
}

/// What a rollback of the version that is watched says, where it fell.
fn fallen(state: &PluginState) -> Option<RolledBack> {
    let probation = state.probation.as_ref()?;
    Some(RolledBack {
        version: state.former.get(&probation.before)?.clone(),
        from: probation.watched,
        why: probation.fallen()?.to_owned(),
        state: None,
        mute: None,
    })
}
