//! A loaded plugin as contracts and lanes see it.

use std::sync::Arc;

use crate::contract::Offered;
use crate::delivery::handler::{Handler, Version};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::timer::TimerLimits;
use crate::log::record::{Asks, VersionId};
use crate::plugin::loader::Loaded;
use crate::plugin::settings::Start;
use crate::state::KeyValues;

impl Loaded {
    /// What the contracts of others are held against.
    pub(crate) fn offered(&self) -> Offered<'_> {
        Offered {
            schemas: &self.manifest.schemas,
            from_beginning: self.settings.start == Start::Beginning,
            mode: self.settings.contracts.deploy,
        }
    }
}

impl Version for Loaded {
    fn id(&self) -> VersionId {
        self.version
    }

    fn lanes(&self) -> usize {
        self.settings.lanes.get()
    }

    fn state_bytes(&self) -> usize {
        self.settings.limits.state_bytes
    }

    fn batch_bytes(&self) -> usize {
        self.settings.limits.batch_bytes
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits {
            count: self.settings.limits.timers,
            bytes: self.settings.limits.timer_bytes,
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.settings.retry
    }

    fn hops(&self) -> u32 {
        self.settings.limits.hops
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        let mut limits = self.settings.limits.shown();
        limits.push(("stack_bytes", self.engine.stack_bytes() as u64));
        if self.outgoing.is_some() {
            limits.extend(self.settings.http.shown());
        }
        limits.extend(self.settings.lag.shown());
        limits
    }

    fn granted(&self) -> Asks {
        self.grants.shown()
    }

    fn handler(&self, state: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(Loaded::handler(self, state))
    }
}
