//! The spans of logs that are written by hand.

use nerve_eventlog::Reach;

use super::*;
use crate::log::record::Replay;
use crate::trace::written::{Failing, Written};

fn made(written: &Written) -> Made {
    let entries = written.log.read(Offset(1), usize::MAX, Reach::Appended).unwrap();
    Spans::new(written.log.id().short(), Sampler::default()).of(&written.log, &entries)
}

/// The spans with this name.
fn named<'a>(made: &'a Made, name: &str) -> Vec<&'a SpanData> {
    made.spans.iter().filter(|span| span.name == name).collect()
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|one| one.key.as_str() == key);
    found.map(|one| one.value.to_string()).unwrap_or_default()
}

#[test]
fn each_attempt_is_a_span_below_its_event_and_a_retry_has_a_link_to_the_one_before() {
    let mut written = Written::traced();
    let placed = written.outside("order.placed");
    written.pass(3);
    written.failed("orders", placed, &Failing::retried());
    written.pass(5);
    written.done_with("orders", placed, &[], |outcome| outcome.attempt = 2);
    let made = made(&written);
    let [root] = named(&made, "publish order.placed")[..] else {
        panic!("{made:?}");
    };
    let [first, second] = named(&made, "orders order.placed")[..] else {
        panic!("{made:?}");
    };
    assert_eq!(
        (root.span_kind.clone(), root.parent_span_id),
        (SpanKind::Producer, SpanId::INVALID)
    );
    for span in [first, second] {
        assert_eq!(span.span_kind, SpanKind::Consumer);
        assert_eq!(span.parent_span_id, root.span_context.span_id());
        assert_eq!(span.span_context.trace_id(), root.span_context.trace_id());
        assert_eq!(attribute(span, "messaging.consumer.group.name"), "orders");
    }
    assert_eq!(first.status, Status::error("nobody answers"));
    assert_eq!(attribute(first, "error.type"), "retry");
    assert_eq!(attribute(first, "nerve.waited_us"), "3000");
    assert_eq!(
        (second.status.clone(), first.links.len(), second.links.len()),
        (Status::Unset, 0, 1)
    );
    assert_eq!(
        second.links[0].span_context.span_id(),
        first.span_context.span_id()
    );
    let ran = second.end_time.duration_since(second.start_time).unwrap();
    assert_eq!((ran.as_micros(), made.missed), (500, 0));
}

#[test]
fn the_same_records_give_the_same_spans_and_history_that_runs_again_others() {
    let written = Written::traced();
    let placed = written.outside("order.placed");
    written.done("orders", placed, &[]);
    written.done_with("orders", placed, &[], |outcome| outcome.replay = true);
    written.done_with("orders", placed, &[], |outcome| {
        outcome.rewind = Some(Replay {
            generation: 9,
            ..Replay::default()
        });
    });
    let (once, again) = (made(&written), made(&written));
    assert_eq!(once.spans, again.spans);
    let mut ids: Vec<String> = once
        .spans
        .iter()
        .map(|span| span.span_context.span_id().to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{once:?}");
}

#[test]
fn a_context_from_outside_is_the_parent_and_no_span_of_ours() {
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (traceparent, spans) in [
        (Some(given), 1),
        (Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), 0),
        (None, 0),
    ] {
        let written = Written::new();
        let placed = written.outside_in("order.placed", traceparent);
        written.done("orders", placed, &[]);
        let made = made(&written);
        assert_eq!(made.spans.len(), spans, "{traceparent:?}");
        for span in &made.spans {
            let parent = span.parent_span_id.to_string();
            assert_eq!((&*parent, span.parent_span_is_remote), ("b7ad6b7169203331", true));
        }
    }
}

#[test]
fn a_delivery_whose_event_is_in_an_earlier_chunk_is_looked_up_and_one_whose_event_is_gone_is_counted() {
    let written = Written::traced();
    let placed = written.outside("order.placed");
    written.done("orders", placed, &[]);
    written.done_with("mails", placed, &[], |outcome| outcome.event = 99);
    let entries = written.log.read(Offset(2), usize::MAX, Reach::Appended).unwrap();
    let made = Spans::new(written.log.id().short(), Sampler::default()).of(&written.log, &entries);
    assert_eq!(
        (made.spans.len(), &*made.spans[0].name, made.missed),
        (1, "orders order.placed", 1)
    );
}
