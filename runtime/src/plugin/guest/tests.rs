//! A guest without a plugin: what ends it, whom it tells, and what it says.

use std::sync::atomic::{AtomicUsize, Ordering};

use nerve_eventlog::Offset;

use super::*;
use crate::delivery::handler::Journal;
use crate::host::Stopped;
use crate::log::record::{Event, Intent};
use crate::plugin::engine::Code;
use crate::plugin::stack::Stack;

#[test]
fn a_panic_in_a_host_function_is_the_failure_of_one_delivery() {
    let engine = wasmtime::Engine::default();
    let text = r#"(module (import "host" "f" (func $f)) (func (export "run") (call $f)))"#;
    let module = wasmtime::Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    let mut linker = wasmtime::Linker::new(&engine);
    linker
        .func_wrap("host", "f", || -> () { panic!("a fault of the host") })
        .unwrap();
    let handled = caught(|| {
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap();
        Handled::default()
    });
    assert_eq!(handled.failure.unwrap().class, FailureClass::Host);
}

/// Counts how often it was told that an attempt takes long.
#[derive(Debug, Default)]
struct Nobody(AtomicUsize);

impl Journal for Nobody {
    fn intend(&self, _: Intent) -> Result<(), Stopped> {
        Ok(())
    }
    fn takes_long(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn idempotency_key(&self, _: Offset, _: u64, _: u32) -> String {
        String::new()
    }
    fn span(&self, _: &Intent, _: Micros) -> u64 {
        0
    }
}

const EVENT: Event<'_> = Event {
    id: "e",
    source: "s",
    r#type: "in",
    key: None,
    subject: None,
    time: None,
    content_type: "",
    data: &[],
    correlation: None,
    cause: None,
    traceparent: None,
    data_schema: None,
    extensions: Vec::new(),
};

/// The beginning of a delivery that may call somebody, in a guest that may run for `time_ms`.
fn began(time_ms: u64, journal: &Arc<dyn Journal>) -> Guest {
    let event = EVENT;
    let delivery = Delivery {
        outside: crate::delivery::handler::Outside {
            journal: Some(journal),
            ..Default::default()
        },
        ..Delivery::first(&event, &[])
    };
    let settings = Settings::parse(&format!("[limits]\ntime_ms = {time_ms}")).unwrap();
    let mut guest = Guest::new(Arc::new(settings), false, Arc::default());
    guest.begin(&delivery, VersionId::default());
    guest
}

#[test]
fn an_instance_that_waits_for_another_event_does_not_hold_the_log() {
    let journal: Arc<dyn Journal> = Arc::new(Nobody::default());
    let mut guest = began(1000, &journal);
    assert_eq!(Arc::strong_count(&journal), 2);
    guest.end();
    assert_eq!(Arc::strong_count(&journal), 1);
}

#[test]
fn whoever_waits_is_told_of_a_guest_that_runs_through_ticks() {
    let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
    let told = Arc::new(Nobody::default());
    let journal: Arc<dyn Journal> = told.clone();
    let text = r#"(module (func (export "run") (loop $on (br $on))))"#;
    let module = wasmtime::Module::new(engine.wasmtime(), wat::parse_str(text).unwrap()).unwrap();
    let mut store = store(&engine, began(50, &journal));
    let _running = engine.run_guest();
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
    run.call(&mut store, ()).unwrap_err();
    assert!(told.0.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_piece_that_is_no_event_fails_the_delivery_and_one_that_is_an_event_is_emitted() {
    use crate::plugin::v1::nerve::plugin::{events::EmitError, packed_events::Host};

    let journal: Arc<dyn Journal> = Arc::new(Nobody::default());
    let mut guest = began(1000, &journal);
    let absent = u32::MAX.to_le_bytes();
    let piece = |length: u32| {
        [
            &length.to_le_bytes()[..],
            &absent,
            &absent,
            &absent,
            b"a.b",
            b"\xc0",
        ]
        .concat()
    };
    guest.emit(piece(3)).unwrap().unwrap();
    assert_eq!(guest.handled.effects.emits.len(), 1);
    assert_eq!(guest.hit, None);
    let Err(EmitError::Invalid(why)) = guest.emit(piece(5)).unwrap() else {
        panic!("a text that goes on behind the end was taken");
    };
    let (class, reason) = guest.hit.unwrap();
    assert_eq!((class, &reason), (FailureClass::Limit, &why));
    assert!(why.contains("cut off"), "{why}");
}

#[test]
fn a_guests_words_are_escaped_and_cut() {
    assert_eq!(cut("a\u{1b}[2Jb".into()), "a\\u{1b}[2Jb");
    assert_eq!(cut("\u{202e}".repeat(10_000)).len(), LONGEST_REASON);
}
