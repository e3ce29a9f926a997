//! Guests that handle several events within one call.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use nerve_eventlog::{Micros, Offset};
use parking_lot::Mutex;

use crate::delivery::handler::{Delivery, Handled, Handler, Journal, Outside};
use crate::host::Stopped;
use crate::log::record::{Asks, Event, FailureClass, Intent};
use crate::plugin::engine::{Code, Engine};
use crate::plugin::guest::WasmHandler;
use crate::plugin::loader;
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;

/// A lane: what data the events have that follow, and what came of those that were handled.
#[derive(Debug, Default)]
struct Ahead {
    ahead: Mutex<VecDeque<Vec<u8>>>,
    handled: Mutex<Vec<Handled>>,
}

impl Journal for Ahead {
    fn intend(&self, _: Intent) -> Result<(), Stopped> {
        Ok(())
    }
    fn takes_long(&self) {}
    fn idempotency_key(&self, _: Offset, _: u64, _: u32) -> String {
        String::new()
    }
    fn span(&self, _: &Intent, _: Micros) -> u64 {
        0
    }
    fn may_go_on(&self) -> bool {
        !self.ahead.lock().is_empty()
    }
    fn go_on(&self, handled: Handled, most: usize, begin: &mut dyn FnMut(&Delivery<'_>)) -> Option<Handled> {
        let next = self.ahead.lock().pop_front_if(|data| data.len() <= most);
        let Some(data) = next else { return Some(handled) };
        self.handled.lock().push(handled);
        begin(&delivery(&event(&data), None));
        None
    }
}

fn event(data: &[u8]) -> Event<'_> {
    Event {
        id: "e",
        source: "s",
        r#type: "in",
        key: None,
        subject: None,
        time: None,
        content_type: "text/plain",
        data,
        correlation: None,
        cause: None,
        traceparent: None,
        data_schema: None,
        extensions: Vec::new(),
    }
}

fn delivery<'a>(event: &'a Event<'a>, journal: Option<&'a Arc<dyn Journal>>) -> Delivery<'a> {
    Delivery {
        outside: Outside {
            journal,
            ..Outside::default()
        },
        ..Delivery::first(event, &[])
    }
}

/// The guest of `series.wat`, with these settings.
fn guest(settings: &str) -> WasmHandler {
    let mut module = wat::parse_str(include_str!("series.wat")).unwrap();
    let mut types = wit_parser::Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    types.push_dir(wit).unwrap();
    let both = "package tests:plugin;
        world both { include nerve:plugin/plugin@1.0.0; export nerve:plugin/packed@1.0.0; }";
    let package = types.push_str("both.wit", both).unwrap();
    let world = types.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &types, world, encoding, false).unwrap();
    let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
    let name = PluginName::parse("g").unwrap();
    let loaded = loader::load(&engine, &name, &module, Some(settings), &Asks::new()).unwrap();
    loaded.handler(Arc::default())
}

/// Call `guest` once with the first of these, where the others follow: what came of all that began, in order, and how many did not begin.
fn called(guest: &mut WasmHandler, all: &[&[u8]]) -> (Vec<Handled>, usize) {
    let lane = Arc::new(Ahead::default());
    lane.ahead
        .lock()
        .extend(all[1..].iter().map(|data| data.to_vec()));
    let journal: Arc<dyn Journal> = lane.clone();
    let last = guest.handle(&delivery(&event(all[0]), Some(&journal)));
    let mut handled = std::mem::take(&mut *lane.handled.lock());
    handled.push(last);
    let left = lane.ahead.lock().len();
    assert_eq!(
        Arc::strong_count(&journal),
        2,
        "it holds no lane when it is not called"
    );
    (handled, left)
}

/// The data of what each emitted.
fn emitted(handled: &[Handled]) -> Vec<Vec<u8>> {
    let emits = handled.iter().map(|handled| &handled.effects.emits);
    emits
        .map(|emits| emits.iter().flat_map(|emit| emit.data.clone()).collect())
        .collect()
}

fn failures(handled: &[Handled]) -> Vec<Option<FailureClass>> {
    let failures = handled.iter().map(|handled| handled.failure.as_ref());
    failures
        .map(|failure| failure.map(|failure| failure.class))
        .collect()
}

#[test]
fn a_guest_that_asks_gets_the_next_event_within_the_call() {
    let mut guest = guest("");
    assert!(guest.goes_on());
    let (handled, left) = called(&mut guest, &[b"\0", b"\0", b"\0"]);
    assert_eq!((failures(&handled), left), (vec![None; 3], 0));
    assert_eq!(
        emitted(&handled),
        [[1], [1], [1]],
        "one call, and an effect of each"
    );
    let (handled, _) = called(&mut guest, &[b"\0"]);
    assert_eq!(emitted(&handled), [[2]], "the same instance goes on");
}

#[test]
fn what_ends_the_call_is_the_last_ones_alone() {
    let mut guest = guest("[limits]\nemits = 5");
    for (what, class) in [
        (b"\x01", FailureClass::Trap),
        (b"\x02", FailureClass::Retry),
        (b"\x03", FailureClass::Limit),
    ] {
        let (handled, left) = called(&mut guest, &[b"\0", b"\0", what, b"\0"]);
        assert_eq!(failures(&handled), [None, None, Some(class)]);
        assert_eq!(left, 1, "what follows is for another call");
        assert_eq!(emitted(&handled[..2]), [[1], [1]]);
        let (handled, _) = called(&mut guest, &[b"\x01"]);
        assert_eq!(emitted(&handled), [[1]], "it begins anew");
    }
}

#[test]
fn each_has_limits_of_its_own() {
    let mut guest = guest("[limits]\nhost_calls = 1\nemits = 1\nevent_bytes = 3");
    let (handled, left) = called(&mut guest, &[b"\0", b"\0", b"\0", b"1234", b"\0"]);
    assert_eq!((failures(&handled), left), (vec![None; 3], 2));
    assert_eq!(emitted(&handled), [[1], [1], [1]]);
}

#[test]
fn an_event_that_is_passed_over_did_nothing() {
    let mut guest = guest("");
    let (handled, left) = called(&mut guest, &[b"\x04", b"\0", b"\0"]);
    assert_eq!((failures(&handled), left), (vec![None; 3], 0));
    assert_eq!(emitted(&handled), [vec![1], vec![], vec![1]]);
}

#[test]
fn who_gets_a_fresh_instance_for_each_event_is_called_for_each() {
    let guest = guest("isolation = \"event\"");
    assert!(!guest.goes_on());
}
