//! A series: deliveries of a stretch that a guest makes within one call.
//!
//! To call a guest and to come back takes as long as a quick handler runs. A guest that can go on asks, once it has handled an event, for
//! the next one of the stretch, and gets it where nothing is to be decided of the one before. Each is the delivery that it would be in a
//! call of its own, with a clock, a seed, limits and effects of its own; and what ends the call ends the delivery that is under way
//! then, and no other.

use std::sync::atomic::Ordering;

use nerve_eventlog::{Entry, Micros};

use super::stretch::{Inner, Stretch, is_plain};
use super::{Running, Turned, UnderWay};
use crate::delivery::handler::{Delivery, Handled};
use crate::delivery::opened::Opened;
use crate::delivery::pace::SHARE;
use crate::delivery::settle;
use crate::log::record::VersionId;

/// The delivery under way of a series, with its clock and its seed.
pub(in crate::delivery) type Last = (Opened, UnderWay, Micros, u64);

/// A series under way.
pub(super) struct Series {
    last: Last,
    /// Whether that is not the one that the guest was called with.
    went_on: bool,
    version: VersionId,
    lanes: usize,
    batch_bytes: usize,
    hops: u32,
}

impl Series {
    /// The delivery under way.
    fn delivery(&self) -> Delivery<'_> {
        let (opened, under_way, started, seed) = &self.last;
        under_way.delivery(opened.entry(), opened.event(), *started, *seed)
    }

    /// It is settled with others of its stretch.
    fn settle_later(&self, inner: &mut Inner, handled: Handled) {
        let (opened, under_way, ..) = &self.last;
        let (hold, version) = (under_way.hold, self.version);
        inner.settle_later(opened.entry(), &self.delivery(), hold, version, handled);
    }
}

impl Stretch {
    /// The handler of `running` is called with the event in `entry`, and may go on with others, where there are some.
    pub(super) fn begin(
        &self,
        running: &Running,
        entry: &Entry,
        under_way: &UnderWay,
        started: Micros,
        seed: u64,
    ) {
        let mut inner = self.inner.lock();
        inner.series = None;
        let has_more = under_way.in_stretch && !inner.ahead.is_empty();
        if !has_more || !under_way.is_ordinary() || !running.handler.goes_on() {
            return;
        }
        let under_way = UnderWay {
            in_stretch: true,
            ..UnderWay::new(Turned::FIRST, under_way.hold, under_way.settled_at)
        };
        inner.series = Opened::read(entry.clone()).ok().map(|opened| Series {
            last: (opened, under_way, started, seed),
            went_on: false,
            version: running.handler.version(),
            lanes: running.lanes,
            batch_bytes: running.batch_bytes,
            hops: running.hops,
        });
    }

    /// Whether a series is under way, and has more.
    pub(super) fn may_go_on(&self) -> bool {
        let inner = self.inner.lock();
        inner.series.is_some() && !inner.ahead.is_empty()
    }

    /// The delivery of the series came to `handled`: hand the next one to `begin`. Gives `handled` back where that is to be settled by
    /// itself, where nothing follows, or what follows is not for the guest.
    pub(super) fn go_on(
        &self,
        handled: Handled,
        most: usize,
        begin: &mut dyn FnMut(&Delivery<'_>),
    ) -> Option<Handled> {
        if self.stopping.load(Ordering::Relaxed)
            || self.subscriber.pace.is_ahead(&**self.sequencer.log(), SHARE)
        {
            return Some(handled);
        }
        let inner = &mut *self.inner.lock();
        let Some(mut series) = inner.series.take_if(|series| {
            handled.took <= inner.longest && is_plain(&handled, series.lanes, series.batch_bytes)
        }) else {
            return Some(handled);
        };
        let Some((entry, under_way)) = inner.ahead.pop_front() else {
            inner.series = Some(series);
            return Some(handled);
        };
        let fits = |opened: &Opened| {
            opened.event().data.len() <= most && settle::looped(opened.event(), series.hops).is_none()
        };
        let opened = match Opened::read(entry) {
            Ok(opened) if fits(&opened) => opened,
            other => {
                let entry = other.map_or_else(|entry| entry, Opened::into_owner);
                inner.ahead.push_front((entry, under_way));
                inner.series = Some(series);
                return Some(handled);
            }
        };
        let took = handled.took;
        series.settle_later(inner, handled);
        // Before the next one begins: it is not its time. Where it fails, whatever is settled next fails, too.
        if inner.ran(took) {
            inner.settle(&self.subscriber, &self.sequencer).ok();
        }
        let (started, seed) = (self.clock.now(), inner.dice.u64(..));
        series.last = (opened, under_way, started, seed);
        series.went_on = true;
        begin(&inner.series.insert(series).delivery());
        None
    }

    /// The call is over: the delivery that was under way in the end, where that is not the one that it began with.
    pub(in crate::delivery) fn went_on(&self) -> Option<Last> {
        let series = self.inner.lock().series.take()?;
        series.went_on.then_some(series.last)
    }
}
