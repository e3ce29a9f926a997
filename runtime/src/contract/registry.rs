//! The contracts of a host: what is published is checked against them, and what changes them is decided on one at a
//! time, a version that is about to run or an operator's schema.

use std::sync::Arc;

use nerve_eventlog::Batch;
use parking_lot::{Mutex, MutexGuard};

use super::{BadSchema, Difference, Holding, Schema, Types, Verdict, Violation, accepts};
use crate::delivery::subscribers::Subscribers;
use crate::host::Stopped;
use crate::ingest::ValidEvent;
use crate::log::record::{self, Mode, Record, SetSchema};
use crate::log::sequencer::{Sequencer, stopped};

/// The contracts of a host.
pub struct Contracts {
    holding: Arc<Holding>,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) subscribers: Arc<Subscribers>,
    /// Held from the decision on a version or a schema until it is recorded and holds.
    deciding: Mutex<()>,
}

/// An event is not what its type's schema says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: its data is not what the schema of {event_type:?}, {whose}, says, {violation}")]
pub struct BrokenContract {
    /// Which of the events, from 0.
    pub index: usize,
    /// Its type.
    pub event_type: String,
    /// Who declares the schema.
    pub whose: String,
    /// Where, and what.
    pub violation: Violation,
}

/// What an operator's schema would break.
#[derive(Debug)]
pub enum SetRefused {
    /// It is no schema, or one with something that can't be checked.
    Bad(BadSchema),
    /// A keyword is not understood.
    Unread(String),
    /// Consumers that do not accept what it allows, each with the difference.
    Breaks(Vec<(Box<str>, Difference)>),
    /// The host is stopping or the log is poisoned.
    Stopped(Stopped),
}

impl Contracts {
    /// Those that the plugins `subscribers` and operators make hold.
    pub fn new(sequencer: &Arc<Sequencer>, subscribers: &Arc<Subscribers>) -> Arc<Self> {
        Arc::new(Self {
            holding: subscribers.contracts().clone(),
            sequencer: sequencer.clone(),
            subscribers: subscribers.clone(),
            deciding: Mutex::default(),
        })
    }

    /// What holds for each event type.
    pub fn types(&self) -> Arc<Types> {
        self.holding.types()
    }

    /// What holds, and what operators set.
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Check events from outside before they are appended. One that was published before is let through.
    pub fn check_published(&self, events: &[ValidEvent]) -> Result<(), BrokenContract> {
        let types = self.types();
        if types.is_empty() {
            return Ok(());
        }
        for (index, event) in events.iter().enumerate() {
            let Some(contract) = types
                .get(event.event_type())
                .filter(|contract| contract.mode != Mode::Off)
            else {
                continue;
            };
            if contract.of_outside().next().is_none() {
                continue;
            }
            let Ok(Some(stated)) = record::event(event.record()) else {
                continue;
            };
            let Some((whose, violation)) = contract.violation(stated.content_type, stated.data) else {
                continue;
            };
            if self.sequencer.is_known(event) {
                continue;
            }
            let broken = BrokenContract {
                index,
                event_type: stated.r#type.to_owned(),
                whose,
                violation,
            };
            if contract.refuses() {
                return Err(broken);
            }
            tracing::warn!(id = stated.id, source = stated.source, "let through: {broken}");
        }
        Ok(())
    }

    /// Set what holds for a type, or take it back; a mode without a schema leaves the schema as it was. Answers what can't be told of it, by consumer.
    pub fn set(&self, mut set: SetSchema, force: bool) -> Result<Vec<(Box<str>, Difference)>, SetRefused> {
        let _deciding = self.deciding.lock();
        let json = set.schema.as_ref().and_then(|schema| schema.json.as_deref());
        let mut unclear = Vec::new();
        if let Some(json) = json {
            let schema: Schema = json.parse().map_err(SetRefused::Bad)?;
            if let Some(keyword) = schema.unread() {
                return Err(SetRefused::Unread(keyword.to_owned()));
            }
            let types = self.types();
            let consumers = types.get(&*set.event_type).map(|contract| &contract.consumers);
            let mut breaks = Vec::new();
            for (name, expected) in consumers.into_iter().flatten() {
                match expected.as_ref().map(|expected| accepts(expected, &schema)) {
                    Some(Verdict::Breaking(difference)) => breaks.push((name.clone(), difference)),
                    Some(Verdict::CantTell(difference)) => unclear.push((name.clone(), difference)),
                    Some(Verdict::Safe) | None => {}
                }
            }
            if !breaks.is_empty() && !force {
                return Err(SetRefused::Breaks(breaks));
            }
            unclear.extend(breaks);
        }
        self.holding.change_set(|all| {
            if let Some(schema) = &mut set.schema
                && schema.json.is_none()
            {
                schema.json = all.get(&set.event_type).and_then(|before| before.json.clone());
            }
            let mut batch = Batch::new();
            batch.push_with(|out| Record::Schema(set.clone()).encode(out));
            let appended = self.sequencer.append(batch, None, std::iter::empty());
            appended.map_err(|refused| SetRefused::Stopped(stopped(&refused)))?;
            match set.schema {
                Some(schema) => drop(all.insert(set.event_type, schema)),
                None => drop(all.remove(&set.event_type)),
            }
            Ok(unclear)
        })
    }

    pub(super) fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock()
    }
}
