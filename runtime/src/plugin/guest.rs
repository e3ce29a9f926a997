//! A guest: one instance of a plugin, what it was given, and what it asked for.

mod resources;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nerve_eventlog::Micros;
use wasmtime::{Store, Trap, UpdateDeadline};

use self::resources::Taken;
use super::emits::Emitted;
use super::engine::{Engine, TICK};
use super::loader::Loaded;
use super::outgoing::Outgoing;
use super::outside::Outside;
use super::promised::Promised;
use super::settings::{Isolation, Settings};
use super::v1::log::escaped;
use super::v1::nerve::plugin::types;
use super::v1::{self, Instance};
use super::wasi::Output;
use crate::delivery::handler::{Delivery, Failure, Handled, Handler, SetTimer};
use crate::ingest::message_pack;
use crate::log::record::{FailureClass, Level, VersionId};
use crate::log::trace_context::TraceContext;
use crate::state::KeyValues;

/// Bytes of a failure's reason at most.
const LONGEST_REASON: usize = 4096;

/// What belongs to one instance, and what the current delivery asked for.
pub struct Guest {
    pub(super) settings: Arc<Settings>,
    pub(super) json: bool,
    pub(super) state: Arc<KeyValues>,
    pub(super) started: Micros,
    pub(super) dice: fastrand::Rng,
    pub(super) handled: Handled,
    pub(super) writes: BTreeMap<Box<str>, Option<Bytes>>,
    pub(super) timers: BTreeMap<Box<str>, Option<SetTimer>>,
    pub(super) written_bytes: usize,
    pub(super) emitted: Emitted,
    pub(super) output: Output,
    taken: Taken,
    pub(super) outgoing: Option<Arc<Outgoing>>,
    /// What it promised of the events it emits.
    pub(super) promised: Arc<Promised>,
    pub(super) outside: Outside,
    /// The version that makes the delivery.
    version: VersionId,
    /// From when on what the delivery takes is counted: the instance may have to be made for it.
    counted: Instant,
    /// When it was made or the delivery began, and how long it waited for others since.
    begun: Instant,
    pub(super) waited: Duration,
    /// How long it may run, from when it is made or a delivery begins.
    limit: Duration,
    calls: u64,
    hit: Option<(FailureClass, String)>,
}

impl Guest {
    pub(super) fn new(settings: Arc<Settings>, json: bool, state: Arc<KeyValues>) -> Self {
        let limit = Duration::from_millis(settings.limits.time_ms);
        Self {
            settings,
            json,
            state,
            started: Micros(0),
            dice: fastrand::Rng::with_seed(0),
            handled: Handled::default(),
            writes: BTreeMap::new(),
            timers: BTreeMap::new(),
            written_bytes: 0,
            emitted: Emitted::default(),
            output: Output::default(),
            taken: Taken::default(),
            outgoing: None,
            promised: Arc::default(),
            outside: Outside::default(),
            version: VersionId::default(),
            counted: Instant::now(),
            begun: Instant::now(),
            waited: Duration::ZERO,
            limit,
            calls: 0,
            hit: None,
        }
    }

    /// The same, which may run for `limit`.
    pub(super) fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// One more call of a host function; an error, which ends the guest, beyond the limit.
    pub(super) fn count_call(&mut self) -> wasmtime::Result<()> {
        self.calls += 1;
        if self.calls > self.settings.limits.host_calls {
            let reason = format!(
                "limit host_calls: one delivery may make {} calls",
                self.settings.limits.host_calls
            );
            self.limit_hit(reason.clone());
            return Err(wasmtime::Error::msg(reason));
        }
        Ok(())
    }

    /// A limit was hit: the delivery fails with the first one, whatever the guest does next.
    pub(super) fn limit_hit(&mut self, reason: String) {
        self.hit_as(FailureClass::Limit, reason);
    }

    /// The delivery fails for this reason, where it has none yet.
    pub(super) fn hit_as(&mut self, class: FailureClass, reason: String) {
        self.hit.get_or_insert((class, reason));
    }

    /// Whether it may still run: the time that it waited for others is not its own.
    fn has_time(&self) -> bool {
        self.begun.elapsed().saturating_sub(self.waited) < self.limit
    }

    /// A tick has gone by: whoever runs for half of one says so. What it waits for meanwhile is no time of its own.
    fn takes_long(&mut self) {
        let asked = Instant::now();
        if asked.duration_since(self.begun) > TICK / 2 {
            self.outside.takes_long();
            self.waited += asked.elapsed();
        }
    }

    fn begin(&mut self, delivery: &Delivery<'_>, version: VersionId) {
        self.started = delivery.started;
        self.dice = fastrand::Rng::with_seed(delivery.seed);
        self.outside = Outside::of(delivery, version);
        if self.outgoing.is_some() {
            let context = delivery.event.traceparent;
            self.outside.context = context.and_then(TraceContext::parse);
        }
        self.version = version;
        (self.begun, self.waited) = (Instant::now(), Duration::ZERO);
        self.counted = self.begun;
        (self.written_bytes, self.emitted, self.calls) = (0, Emitted::default(), 0);
    }

    fn end(&mut self) -> Handled {
        self.end_output();
        // It leads to the log, which must not be held by who only waits for another event, or to be dropped.
        self.outside = Outside::default();
        let effects = &mut self.handled.effects;
        effects.writes.extend(std::mem::take(&mut self.writes));
        effects.timers.extend(std::mem::take(&mut self.timers));
        self.handled.took = self.counted.elapsed();
        std::mem::take(&mut self.handled)
    }

    /// The delivery is handled: the event of the next one, in one piece, where there is one that may follow within this call.
    pub(super) fn go_on(&mut self) -> Option<Vec<u8>> {
        let is_plain = self.hit.is_none() && self.writes.is_empty() && self.timers.is_empty();
        let journal = self.outside.journal.take_if(|_| is_plain)?;
        self.end_output();
        self.handled.took = self.counted.elapsed();
        let (handled, most) = (
            std::mem::take(&mut self.handled),
            self.settings.limits.event_bytes,
        );
        let (version, mut piece) = (self.version, Vec::new());
        let back = journal.go_on(handled, most, &mut |delivery| {
            self.begin(delivery, version);
            v1::pack(&event(delivery, delivery.event.data), true, &mut piece);
        });
        self.outside.journal = Some(journal);
        if let Some(handled) = back {
            self.handled = handled;
            return None;
        }
        Some(piece)
    }
}

/// Ticks after which a guest that still runs gives way to whoever waits for the processor.
const GIVES_WAY: u64 = 1;

/// A store for a guest.
pub(super) fn store(engine: &Engine, guest: Guest) -> Store<Guest> {
    let (fuel, handles) = (
        guest.settings.limits.host_call_bytes,
        guest.settings.limits.handles,
    );
    let mut store = Store::new(engine.wasmtime(), guest);
    store.set_hostcall_fuel(fuel);
    store.set_max_component_handles(handles);
    store.limiter(|guest| guest);
    refuel(engine, &mut store);
    store.epoch_deadline_callback(|mut context| {
        let guest = context.data_mut();
        guest.takes_long();
        if !guest.has_time() {
            return Ok(UpdateDeadline::Interrupt);
        }
        // The system would let it run for several ticks more while others wait for the processor.
        std::thread::yield_now();
        Ok(UpdateDeadline::Continue(GIVES_WAY))
    });
    store.set_epoch_deadline(GIVES_WAY);
    store
}

/// Let what a guest runs be counted from here, where its engine counts.
fn refuel(engine: &Engine, store: &mut Store<Guest>) {
    if engine.counts_fuel() {
        store.set_fuel(u64::MAX).expect("the engine counts");
    }
}

/// What a delivery cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Instructions that the guest ran, about; 0 where the engine does not count them.
    pub fuel: u64,
    /// Bytes of memory that its instance had in the end.
    pub memory_bytes: usize,
}

/// Runs deliveries in a guest. The instance is made when it is needed and thrown away after any failure.
pub struct WasmHandler {
    loaded: Loaded,
    state: Arc<KeyValues>,
    instance: Option<Box<(Store<Guest>, Instance)>>,
    cost: Cost,
}

impl WasmHandler {
    pub(super) fn new(loaded: Loaded, state: Arc<KeyValues>) -> Self {
        Self {
            loaded,
            state,
            instance: None,
            cost: Cost::default(),
        }
    }

    /// What the last delivery cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn count(&mut self, store: &Store<Guest>) {
        self.cost = Cost {
            fuel: store.get_fuel().map_or(0, |left| u64::MAX - left),
            memory_bytes: store.data().memory_bytes(),
        };
    }

    fn run(&mut self, delivery: &Delivery<'_>) -> Handled {
        let begun = Instant::now();
        self.cost = Cost::default();
        let (bytes, limit) = (delivery.event.data.len(), self.loaded.settings.limits.event_bytes);
        if bytes > limit {
            let reason =
                format!("limit event_bytes: the event has {bytes} bytes of data, and {limit} are allowed");
            return Failure::new(FailureClass::Limit, reason).into();
        }
        let running = self.loaded.engine.run_guest();
        let mut kept = match self.instance.take() {
            Some(instance) => instance,
            None => match self.loaded.instantiate(self.state.clone()) {
                Ok(instance) => Box::new(instance),
                Err((mut store, cause)) => return self.failed(&mut store, &cause),
            },
        };
        let (store, instance) = &mut *kept;
        store.data_mut().begin(delivery, self.loaded.version);
        store.data_mut().counted = begun;
        store.set_epoch_deadline(GIVES_WAY);
        refuel(&self.loaded.engine, store);
        let text;
        let data = if self.loaded.manifest.json && message_pack::is_json(delivery.event.content_type) {
            match message_pack::to_json(delivery.event.data) {
                Ok(json) => {
                    text = json;
                    &text[..]
                }
                Err(cause) => {
                    return self.failed(store, &wasmtime::Error::msg(cause.to_string()));
                }
            }
        } else {
            delivery.event.data
        };
        let more = delivery
            .outside
            .journal
            .is_some_and(|journal| journal.may_go_on());
        let called = instance.handle(store, event(delivery, data), more);
        drop(running);
        if self.loaded.engine.counts_fuel() {
            self.count(store);
        }
        let answer = match called {
            Ok(answer) => answer,
            Err(cause) => return self.failed(store, &cause),
        };
        let guest = store.data_mut();
        let mut handled = guest.end();
        handled.failure = match (guest.hit.take(), answer) {
            (Some((class, reason)), _) => Some(Failure::new(class, reason)),
            (None, Ok(())) => None,
            (None, Err(failure)) => Some(asked_for(failure)),
        };
        if handled.failure.is_none() && self.loaded.settings.isolation == Isolation::Reuse {
            self.instance = Some(kept);
        }
        handled
    }

    /// The guest ended by a trap or a limit.
    fn failed(&self, store: &mut Store<Guest>, cause: &wasmtime::Error) -> Handled {
        let guest = store.data_mut();
        let mut handled = guest.end();
        let panicked = handled
            .lines
            .iter()
            .rfind(|line| !line.text.trim().is_empty())
            .filter(|line| line.level == Level::Error)
            .map(|line| &*line.text);
        let (class, reason) = guest
            .reached_limit(cause, self.loaded.engine.stack_bytes())
            .unwrap_or_else(|| self.classify(cause, panicked));
        handled.failure = Some(Failure::new(class, cut(reason)));
        handled
    }

    /// What ended the guest. `panicked` is its last line, where it was an error: a panic logs its message before the trap.
    fn classify(&self, cause: &wasmtime::Error, panicked: Option<&str>) -> (FailureClass, String) {
        match cause.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                let limit = self.loaded.settings.limits.time_ms;
                (
                    FailureClass::Time,
                    format!("limit time_ms: it ran longer than {limit} ms"),
                )
            }
            Some(Trap::UnreachableCodeReached) if panicked.is_some() => (
                FailureClass::Trap,
                format!("trap: {}", panicked.unwrap_or_default()),
            ),
            _ => (FailureClass::Trap, trap_in_words(cause)),
        }
    }
}

impl Handler for WasmHandler {
    fn discard(&mut self) {
        self.instance = None;
    }

    fn version(&self) -> VersionId {
        self.loaded.version
    }

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        caught(|| self.run(delivery))
    }

    fn goes_on(&self) -> bool {
        let loaded = &self.loaded;
        loaded.linked.goes_on()
            && !loaded.manifest.json
            && loaded.settings.isolation == Isolation::Reuse
            && !loaded.engine.counts_fuel()
    }
}

/// A panic in a host function is the plugin's failure: its instance was taken out and is gone with it.
fn caught(run: impl FnOnce() -> Handled) -> Handled {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let reason = "the host failed while it ran this delivery; its log says where";
        Failure::new(FailureClass::Host, reason.into()).into()
    })
}

fn event<'a>(delivery: &'a Delivery<'_>, data: &'a [u8]) -> types::Event<'a> {
    let event = delivery.event;
    types::Event {
        id: event.id,
        offset: delivery.offset.0,
        type_: event.r#type,
        source: event.source,
        subject: event.subject,
        key: event.key,
        time: event.happened(delivery.recorded),
        content_type: event.content_type,
        data,
        correlation: event.chain(),
        cause: event.cause.map(|cause| cause.id),
        hops: event.hops(),
        attempt: delivery.attempt,
        replay: delivery.is_replay(),
    }
}

fn asked_for(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Retry(retry) => Failure {
            class: FailureClass::Retry,
            reason: cut(retry.reason),
            retry_after: retry.after.map(Duration::from_millis),
        },
        types::Failure::Reject(reason) => Failure::new(FailureClass::Reject, cut(reason)),
    }
}

/// What a trap says, and where it was.
fn trap_in_words(cause: &wasmtime::Error) -> String {
    let what = cause.root_cause().to_string().replace("wasm trap: ", "");
    let at = cause.downcast_ref::<wasmtime::WasmBacktrace>().and_then(|trace| {
        trace
            .frames()
            .iter()
            .find_map(|frame| frame.func_name().map(str::to_owned))
    });
    match at {
        Some(at) => format!("trap: {what}, in {at}"),
        None => format!("trap: {what}"),
    }
}

/// A guest's words, so that they fit into an outcome and harm no reader.
fn cut(reason: String) -> String {
    let mut reason = escaped(reason);
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    reason
}

#[cfg(test)]
mod tests;
