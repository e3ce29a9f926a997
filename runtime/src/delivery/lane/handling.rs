//! 5 HANDLE, as a lane does it: hand the event to the version that is to have it, and see that what comes of it is settled.

use std::sync::Arc;

use nerve_eventlog::{Entry, Micros};

use super::interrupted::Interrupted;
use super::{Lane, LaneError, Running, UnderWay, event_of};
use crate::delivery::handler::{Delivery, Handled, Handler, Outside};
use crate::delivery::settle;
use crate::delivery::subscriber::Subscriber;
use crate::log::record::Event;
use crate::state::KeyValues;

impl Lane {
    /// Hand one event to the handler and settle what comes of it; again, while what it read is changed by others.
    pub(super) fn deliver(
        &mut self,
        subscriber: &Subscriber,
        entry: &Entry,
        mut under_way: UnderWay,
    ) -> Result<(), LaneError> {
        let event = event_of(entry)?;
        loop {
            let alone = under_way.runs_alone().then(|| subscriber.shared.lock());
            let (delivery, handled) = self.handle(entry, &event, &under_way);
            if let Some(last) = self.stretch.went_on() {
                let (opened, mut under_way, started, seed) = last;
                let delivery = under_way.delivery(opened.entry(), opened.event(), started, seed);
                if self.end(
                    subscriber,
                    alone,
                    opened.entry(),
                    &mut under_way,
                    &delivery,
                    handled,
                )? {
                    return Ok(());
                }
                return self.deliver(subscriber, opened.entry(), under_way);
            }
            if self.end(subscriber, alone, entry, &mut under_way, &delivery, handled)? {
                return Ok(());
            }
        }
    }

    /// Run the handler.
    pub(in crate::delivery) fn handle<'a>(
        &mut self,
        entry: &'a Entry,
        event: &'a Event<'a>,
        under_way: &UnderWay,
    ) -> (Delivery<'a>, Handled) {
        let running = under_way.side.of(&mut self.running, &mut self.before);
        let interrupted = under_way.interrupted.as_deref();
        let (started, seed) = match interrupted {
            Some(before) => (before.started, before.seed),
            None => (self.clock.now(), self.dice.u64(..)),
        };
        let delivery = under_way.delivery(entry, event, started, seed);
        if let Some(version) = under_way.awaits {
            return (delivery, settle::awaited(version, self.missing.as_deref()));
        }
        let calls = delivery.rewind.is_none_or(|of| !of.mute.http);
        if let Some(handled) = settle::looped(event, running.hops) {
            return (delivery, handled);
        }
        self.stretch.begin(running, entry, under_way, started, seed);
        let runs = running.handler_on(under_way.shadow.as_ref());
        let handled = runs.handle(&Delivery {
            outside: Outside {
                journal: Some(&self.journal).filter(|_| calls),
                ..interrupted.map(Interrupted::outside).unwrap_or_default()
            },
            ..delivery
        });
        (delivery, handled)
    }
}

impl UnderWay {
    /// The delivery of `event`, which is in `entry`.
    pub(in crate::delivery) fn delivery<'a>(
        &self,
        entry: &'a Entry,
        event: &'a Event<'a>,
        started: Micros,
        seed: u64,
    ) -> Delivery<'a> {
        Delivery {
            offset: entry.offset,
            recorded: entry.time,
            event,
            record: &entry.payload,
            attempt: self.turned.attempt,
            replay: self.turned.replay,
            rewind: self.turned.rewind,
            historic: self.turned.historic,
            started,
            seed,
            outside: Outside::default(),
        }
    }
}

impl Running {
    /// The handler on the plugin's state, or on `shadow`.
    pub(super) fn handler_on(&mut self, shadow: Option<&Arc<KeyValues>>) -> &mut dyn Handler {
        let Some(shadow) = shadow else {
            return &mut *self.handler;
        };
        let apart = self.apart.take().filter(|(on, _)| Arc::ptr_eq(on, shadow));
        let apart = apart.unwrap_or_else(|| (shadow.clone(), self.version.handler(shadow.clone())));
        &mut *self.apart.insert(apart).1
    }
}
