//! What a fake plugin tells and does.

use super::*;
use crate::delivery::handler::in_series;

impl Version for Fake {
    fn id(&self) -> VersionId {
        VersionId([self.version; 8])
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn state_bytes(&self) -> usize {
        1 << 20
    }

    fn batch_bytes(&self) -> usize {
        usize::MAX
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits {
            count: 3,
            bytes: 1 << 20,
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.policy
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn handler(&self, state: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(Self {
            state,
            ..self.clone()
        })
    }
}

impl Handler for Fake {
    fn discard(&mut self) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
    }

    fn version(&self) -> VersionId {
        self.id()
    }

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        self.reins.calls.fetch_add(1, Ordering::Relaxed);
        in_series(delivery, |delivery| self.one(delivery))
    }

    fn goes_on(&self) -> bool {
        !self.reins.anew.load(Ordering::Relaxed)
    }
}

impl Fake {
    fn one(&self, delivery: &Delivery<'_>) -> Handled {
        self.saw.lock().push(Saw {
            offset: delivery.offset.0,
            key: delivery.event.key.map(str::to_owned),
            attempt: delivery.attempt,
            replay: delivery.is_replay(),
            version: self.version,
        });
        if self.reins.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reins.stopping.store(true, Ordering::Relaxed);
        }
        (self.script)(delivery, &self.state)
    }
}
