//! The intents of a lane's attempts: durable before the call that each speaks of is made.

use std::fmt;
use std::sync::Arc;

use nerve_eventlog::{AppendError, Batch, Condition, Micros, Offset};

use super::stretch::Stretch;
use crate::delivery::handler::{Delivery, Handled, Journal};
use crate::delivery::subscriber::Subscriber;
use crate::host::Stopped;
use crate::log::record::{Intent, Record};
use crate::log::sequencer::{Sequencer, stopped};
use crate::log::trace_context::DeliverySpan;

/// Appends intents for one plugin, after the outcomes of what its lane handled before. It takes the plugin's state for the append alone, and
/// waits for the disk holding nothing: only the plugin's own gate is held meanwhile, by the lane that delivers.
pub(super) struct LaneJournal {
    pub(super) stretch: Arc<Stretch>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) sequencer: Arc<Sequencer>,
}

impl fmt::Debug for LaneJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneJournal")
            .field("plugin", &self.subscriber.name)
            .finish_non_exhaustive()
    }
}

impl Journal for LaneJournal {
    fn intend(&self, mut intent: Intent) -> Result<(), Stopped> {
        // What was handled before is settled before anybody hears of this.
        self.stretch.break_up()?;
        intent.plugin = self.subscriber.name.to_string();
        let record = Record::Intent(Box::new(intent));
        let mut batch = Batch::new().writer(&self.subscriber.writer);
        batch.push_with(|out| record.encode(out));
        let log = self.sequencer.log();
        let poisoned = |poisoned: nerve_eventlog::Poisoned| Stopped::Poisoned(poisoned.to_string());
        loop {
            let mut state = self.subscriber.state.lock();
            let condition = Condition {
                writer: &self.subscriber.writer,
                last: state.settled_at,
            };
            match self.sequencer.append(batch, Some(condition), std::iter::empty()) {
                Ok(appended) => {
                    if let Record::Intent(intent) = &record {
                        state.apply_intent(appended.first, intent);
                    }
                    drop(state);
                    return log.wait_durable(appended.last).map_err(poisoned);
                }
                Err(AppendError::Full { batch: back, .. }) => {
                    drop(state);
                    batch = back;
                    log.wait_durable(log.bounds().next_durable()).map_err(poisoned)?;
                }
                Err(refused) => return Err(stopped(&refused)),
            }
        }
    }

    fn takes_long(&self) {
        // A log that is poisoned is so for the next append, too.
        self.stretch.break_up().ok();
    }

    fn may_go_on(&self) -> bool {
        self.stretch.may_go_on()
    }

    fn go_on(&self, handled: Handled, most: usize, begin: &mut dyn FnMut(&Delivery<'_>)) -> Option<Handled> {
        self.stretch.go_on(handled, most, begin)
    }

    fn idempotency_key(&self, event: Offset, generation: u64, index: u32) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.sequencer.log().id().to_string().as_bytes());
        hasher.update(&event.0.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.update(self.subscriber.name.as_bytes());
        if generation > 0 {
            hasher.update(&generation.to_le_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    fn span(&self, intent: &Intent, started: Micros) -> u64 {
        let span = DeliverySpan {
            log: self.sequencer.log().id().short(),
            event: intent.event,
            plugin: &self.subscriber.name,
            attempt: intent.attempt,
            generation: (intent.generation > 0).then_some(intent.generation),
            redriven: intent.replay.then_some(started.0),
        };
        span.id()
    }
}
