//! What a plugin settled, for a trial of another version of it: read from the log beside everything else.

use nerve_eventlog::Poisoned;

use super::{Host, Stopped};
use crate::trial::read::{Asked, HistoryError, Sink, Source};

impl Host {
    /// Hand what the history of `plugin` is about to `sink`, with its component, or else what is asked for of it. Blocks
    /// as long as `sink` and the log do; call it on a thread that stands behind the others. Appends nothing.
    pub fn history(
        &self,
        plugin: &str,
        asked: Option<Asked<'_>>,
        sink: Sink<'_>,
    ) -> Result<(), HistoryError> {
        let subscriber = self.inner.subscribers.get(plugin);
        let (state, through) = match &subscriber {
            None => (None, self.log().bounds().last),
            Some(subscriber) => {
                let state = subscriber.state.lock();
                let through = self.log().bounds().last;
                (Some(state.snapshot(through)), through)
            }
        };
        let poisoned = |poisoned: Poisoned| Stopped::Poisoned(poisoned.to_string());
        self.log().wait_durable(through).map_err(poisoned)?;
        let live = state.as_ref().and_then(|state| state.live.as_ref());
        let live = live.filter(|_| asked.is_none());
        let component = live
            .zip(self.inner.deployer.as_ref())
            .and_then(|(live, deployer)| {
                let read = deployer.components().read(live.version.component);
                read.inspect_err(|refused| {
                    tracing::warn!("a trial goes without the running version: {refused}");
                })
                .ok()
            });
        let source = Source {
            log: &**self.log(),
            plugin,
            state,
            through,
            component,
        };
        source.read(asked, sink)
    }
}
