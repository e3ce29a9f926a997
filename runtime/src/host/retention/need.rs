//! What a plugin still needs of the log: matching events that it has not settled, those behind parked keys included.

use std::sync::atomic::Ordering;

use nerve_eventlog::{Log, Offset, Reach, ReadError};

use crate::delivery::cursor::{Cursor, OrderKey};
use crate::delivery::subscriber::Subscriber;
use crate::delivery::subscription::Subscription;
use crate::log::record;
use crate::plugin::settings::Lag;
use crate::state::OwnState;

/// Bytes that are read from the log at a time.
const READ_BYTES: usize = 1 << 20;

/// What a plugin needed when it was looked at; it never needs anything older later, for its cursor goes back only while
/// retention stands still.
pub(super) struct Need {
    subscription: Subscription,
    cursor: Cursor,
    /// What a canary did on a state of its own: it is delivered again where the canary is taken back.
    own: Option<Box<OwnState>>,
    /// Where the history begins that a rewind has not settled.
    history: Option<Offset>,
    /// Whether anything was ever live.
    lives: bool,
    lag: Option<Lag>,
}

impl Need {
    pub(super) fn of(subscriber: &Subscriber) -> Self {
        let state = subscriber.state.lock();
        let settings = state
            .live
            .as_ref()
            .and_then(|live| live.version.settings.as_deref());
        Self {
            subscription: state.subscription.clone(),
            cursor: state.cursor.clone(),
            own: state.own.clone(),
            history: state
                .rewinding
                .as_deref()
                .map(|rewinding| rewinding.cursor.needs_from()),
            lives: state.live.is_some(),
            lag: (!state.removed).then(|| super::lag_of(settings)),
        }
    }

    /// How far behind it may be; `None` where it is removed, and waited for no longer.
    pub(super) fn lag(&self) -> Option<Lag> {
        self.lag
    }

    /// The first event below `target` that it or its rewind needs. What was found to be needed by nobody is not read again.
    pub(super) fn first(
        &self,
        log: &dyn Log,
        subscriber: &Subscriber,
        target: Offset,
    ) -> Result<Option<Offset>, ReadError> {
        let from = Offset(subscriber.needs_nothing_below.load(Ordering::Relaxed));
        let found = self.unsettled(log, from, target, &mut |_| false)?;
        if self.lives {
            let clear = found.unwrap_or(target);
            subscriber
                .needs_nothing_below
                .fetch_max(clear.0, Ordering::Relaxed);
        }
        let history = self.history.filter(|from| *from < target);
        Ok([found, history].into_iter().flatten().min())
    }

    /// Whether a rewind needs anything below `target`.
    pub(super) fn rewinds_below(&self, target: Offset) -> bool {
        self.history.is_some_and(|from| from < target)
    }

    /// The first event below `target` that it needs for its live deliveries, and how many there are.
    pub(super) fn count(&self, log: &dyn Log, target: Offset) -> Result<Option<(Offset, u64)>, ReadError> {
        let mut count = 0;
        let first = self.unsettled(log, Offset(1), target, &mut |_| {
            count += 1;
            true
        })?;
        Ok(first.map(|first| (first, count)))
    }

    /// The first unsettled event from `from` on and below `target`; `go_on` is called with each, and says whether
    /// another one is wanted.
    fn unsettled(
        &self,
        log: &dyn Log,
        from: Offset,
        target: Offset,
        go_on: &mut dyn FnMut(Offset) -> bool,
    ) -> Result<Option<Offset>, ReadError> {
        let own = self.own.as_ref().and_then(|own| own.needs_from());
        let mut at = own
            .into_iter()
            .fold(self.cursor.needs_from(), Offset::min)
            .max(from)
            .max(log.bounds().first);
        let mut first = None;
        while self.lives && at < target {
            let entries = log.read(at, READ_BYTES, Reach::Appended)?;
            let Some(last) = entries.last().map(|entry| entry.offset) else {
                break;
            };
            for entry in entries.iter().take_while(|entry| entry.offset < target) {
                let Ok(Some(event)) = record::event(&entry.payload) else {
                    continue;
                };
                let offset = entry.offset;
                if self.subscription.wants(event.r#type, offset) && self.is_unsettled(event.key, offset) {
                    first.get_or_insert(offset);
                    if !go_on(offset) {
                        return Ok(first);
                    }
                }
            }
            at = last.next();
        }
        Ok(first)
    }

    fn is_unsettled(&self, key: Option<&str>, offset: Offset) -> bool {
        if self.own.as_ref().is_some_and(|own| own.needs(key, offset)) {
            return true;
        }
        let parked = self.cursor.parked.get(&OrderKey::of(key, offset));
        let head = parked.and_then(|parked| parked.head.as_ref());
        if head.is_some_and(|head| head.event == offset && head.kept.is_none()) {
            return true;
        }
        if offset > self.cursor.low {
            return !self.cursor.above.contains(&offset);
        }
        parked.is_some_and(|parked| key.is_some() && parked.waits(offset, self.cursor.low))
    }
}
