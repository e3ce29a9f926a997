//! Fuzzing of `CloudEvents` in their three modes: nothing panics, a refusal says what to do, and what was accepted is
//! shown again as it was accepted.

use bytes::Bytes;
use nerve_eventlog::proof::{Mutator, fuzz};
use nerve_eventlog::{Entry, Micros, Offset};
use serde_json::Value;

use super::super::cloud_event;
use crate::ingest::{Acceptor, Invalid, Limits, ValidEvent};
use crate::log::record::Attribute;
use crate::log::record::{self, Event};

/// When the events are taken to be appended.
const RECORDED: Micros = Micros(1_767_323_045_000_000);

/// An input is a byte that names the mode, and the body; in binary mode headers come first, one a line, and an empty
/// line behind them.
fn accept(acceptor: &Acceptor, input: &[u8]) -> Result<Vec<ValidEvent>, Invalid> {
    let (mode, body) = input
        .split_first()
        .map_or((0, input), |(mode, body)| (*mode, body));
    match mode % 3 {
        0 => cloud_event::structured(acceptor, body).map(|event| vec![event]),
        1 => cloud_event::batch(acceptor, body),
        _ => {
            let split = body.windows(2).position(|two| two == b"\n\n");
            let (head, body) = split.map_or((body, &b""[..]), |at| (&body[..at], &body[at + 2..]));
            let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
                let at = line.iter().position(|byte| *byte == b':')?;
                Some((std::str::from_utf8(&line[..at]).ok()?, &line[at + 1..]))
            });
            cloud_event::binary(acceptor, headers, body).map(|event| vec![event])
        }
    }
}

fn entry(event: &ValidEvent) -> Entry {
    Entry {
        offset: Offset(1),
        time: RECORDED,
        payload: Bytes::copy_from_slice(&event.record),
    }
}

/// What an event says, in the form in which two are compared: attributes have no order.
fn said(event: &Event<'_>) -> String {
    let mut event = event.clone();
    event.extensions.sort_by_key(|(name, _)| *name);
    event.time = Some(event.happened(RECORDED));
    format!("{event:?}")
}

/// Hold what is shown of an accepted event against the event.
fn shown_again(acceptor: &Acceptor, accepted: &ValidEvent, show: impl Fn(Value) -> Value) {
    let entry = entry(accepted);
    let event = record::event(&entry.payload).unwrap().unwrap();
    let shown = show(cloud_event::shown(entry.time, &event)).to_string();
    let again = cloud_event::structured(acceptor, shown.as_bytes())
        .unwrap_or_else(|invalid| panic!("{shown} was accepted, shown and refused: {invalid}"));
    let again_event = record::event(&again.record).unwrap().unwrap();
    assert_eq!(said(&again_event), said(&event), "{shown} says something else");
    if event.time.is_some() {
        assert_eq!(
            again.identity, accepted.identity,
            "{shown} is a duplicate of its event"
        );
    }
    sent_again(acceptor, &event);
}

/// Hold an event in binary mode against the event. There all attributes are texts.
fn sent_again(acceptor: &Acceptor, event: &Event<'_>) {
    let (headers, body) = cloud_event::headers(RECORDED, event).unwrap();
    assert!(
        headers
            .iter()
            .all(|(_, value)| value.bytes().all(|byte| (b' '..0x7f).contains(&byte))),
        "{headers:?} are no headers"
    );
    let sent = headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    let again = cloud_event::binary(acceptor, sent, &body)
        .unwrap_or_else(|invalid| panic!("{headers:?} were made of an event and refused: {invalid}"));
    let again = record::event(&again.record).unwrap().unwrap();
    let as_text = |event: &Event<'_>| {
        let mut event = event.clone();
        let texts: Vec<(String, String)> = event
            .extensions
            .drain(..)
            .map(|(name, value)| {
                let text = match value {
                    Attribute::Bool(flag) => flag.to_string(),
                    Attribute::Integer(number) => number.to_string(),
                    Attribute::Text(text) => text.to_owned(),
                };
                (name.to_owned(), text)
            })
            .collect();
        format!("{} {texts:?}", said(&event))
    };
    assert_eq!(as_text(&again), as_text(event), "{headers:?} say something else");
}

fn outcome(acceptor: &Acceptor, input: &[u8]) -> String {
    match accept(acceptor, input) {
        Ok(events) => {
            let mut kinds = Vec::new();
            for accepted in &events {
                shown_again(acceptor, accepted, |shown| shown);
                let event = record::event(&accepted.record).unwrap().unwrap();
                let there = [
                    event.key.is_some(),
                    event.subject.is_some(),
                    event.time.is_some(),
                    event.data_schema.is_some(),
                    event.correlation.is_some(),
                ];
                let data = event.data.first().map_or(0, |marker| marker >> 4);
                let extensions = event
                    .extensions
                    .first()
                    .map(|(_, value)| std::mem::discriminant(value));
                kinds.push(format!("{there:?} {data} {extensions:?}"));
            }
            kinds.join("\n")
        }
        Err(invalid) => {
            let text = format!("{invalid} {}", invalid.hint);
            assert!(!invalid.problem.is_empty() && !invalid.hint.is_empty(), "{text}");
            assert!(text.len() < 2048, "a refusal of {} bytes: {text}", text.len());
            text.chars().filter(char::is_ascii_lowercase).take(60).collect()
        }
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let structured = [
        r#"{"specversion":"1.0","id":"a","source":"web","type":"order.placed"}"#.to_owned(),
        format!(
            r#"{{"specversion":"1.0","id":"a","source":"web","type":"t","time":"2026-01-02T03:04:05.5Z","subject":"s",
            "partitionkey":"k","correlationid":"c","traceparent":"{parent}","dataschema":"x:y","flag":true,"number":-7,
            "text":"ü","data":{{"b":[1,-2.5e-7,null,"\u00fc\n",18446744073709551615,{{}}],"a":1e22}}}}"#
        ),
        r#"{"specversion":"1.0","id":"a","source":"web","type":"t","datacontenttype":"image/png","data_base64":"iVBORw=="}"#.to_owned(),
        r#"{"specversion":"1.0","id":"a","source":"w","type":"t","datacontenttype":"text/plain; charset=utf-8","data":"x"}"#.to_owned(),
        r#"{"specversion":"1.0","id":"a","source":"w","type":"t","datacontenttype":"application/x+json","data_base64":"eyJhIjoxfQ=="}"#.to_owned(),
        r#"{"specversion":"1.0","id":"a","source":"w","type":"t","data":{"a":1,"a":{"b":[0.1,1e-7,-0.0,123456789.123456789]}}}"#.to_owned(),
        format!(r#"{{"specversion":"{}","id":"a"}}"#, "9".repeat(5000)),
        format!(r#"{{"specversion":"1.0","id":"a","source":"w","type":"t","datacontenttype":"{}","data":1}}"#, "x".repeat(5000)),
        format!(r#"{{"specversion":"1.0","id":"a","source":"w","type":"t","time":"{}"}}"#, "1".repeat(5000)),
        format!(r#"{{"specversion":"1.0","id":"a","source":"w","type":"t","data":{}1{}}}"#, "[".repeat(99), "]".repeat(99)),
    ];
    let mut all: Vec<Vec<u8>> = structured
        .iter()
        .map(|text| [b"\0", text.as_bytes()].concat())
        .collect();
    all.push(format!("\x01[{},{}]", structured[0], structured[1]).into_bytes());
    let headers = format!(
        "\x02ce-specversion:1.0\nce-id:a\nce-source:web\nce-type:t\nce-partitionkey:%C3%BC\nce-x:1\ntraceparent:{parent}\n\
         content-type:application/json\n\n{{\"a\":[1,2]}}"
    );
    all.push(headers.into_bytes());
    all.push(
        b"\x02ce-specversion:1.0\nce-id:a\nce-source:web\nce-type:t\ncontent-type:image/png\n\n\x89PNG"
            .to_vec(),
    );
    all
}

#[test]
fn fuzz_cloud_events() {
    let acceptor = Acceptor::new(Limits {
        event_bytes: 4096,
        batch_events: 20,
        ..Limits::default()
    });
    let words = [
        "\"data\":",
        "\"data_base64\":",
        "\"time\":",
        "\"id\":",
        "\"hops\":",
        "\"causationid\":",
        "\\ud800",
        "\\u0000",
        "1e400",
        "-0.0",
        "0.1",
        "1e-400",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775808",
        "3.0e5",
        "2.2250738585072014e-308",
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "\"datacontenttype\":\"application/json\",",
        "null",
        "true",
        "text/plain",
        "application/json",
        "+json",
        "9999-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:00",
        "\u{202e}",
        "%ff",
        "ce-",
        "nerve:p",
        "[[[[[[[[",
        "]]]]]]]]",
    ];
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let fuzzed = fuzz(
        "fuzz: CloudEvents",
        Mutator::new(&words),
        corpus(),
        move |input| outcome(&acceptor, input),
    );
    assert!(fuzzed.outcomes > 30, "{fuzzed:?}");
}

#[test]
#[should_panic(expected = "says something else")]
fn the_fuzzer_notices_an_event_that_is_shown_otherwise() {
    let acceptor = Acceptor::new(Limits::default());
    let accepted = accept(&acceptor, &corpus()[1]).unwrap();
    shown_again(&acceptor, &accepted[0], |mut shown| {
        shown["subject"] = "another".into();
        shown
    });
}
