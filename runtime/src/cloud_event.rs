//! `CloudEvents` 1.0, in and out: as JSON (structured mode), as an array of it (batched) and as headers (binary mode).
//!
//! What comes in is a [`ValidEvent`], or an [`Invalid`] that says which attribute is wrong; what goes out is made of an
//! event of the log. Nothing here knows where either travels: over the API, or to a webhook.

mod attributes;
mod headers;
mod member;
mod shown;
pub(crate) mod time;

use std::borrow::Cow;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};

use crate::ingest::{Acceptor, Invalid, ValidEvent};

use self::attributes::{Attributes, twice};
use self::member::Member;
pub(crate) use headers::headers;
pub(crate) use shown::{json_of, logged, shown};

/// One structured event.
pub(crate) fn structured(acceptor: &Acceptor, body: &[u8]) -> Result<ValidEvent, Invalid> {
    let attributes: Attributes<'_> = serde_json::from_slice(body).map_err(|cause| bad_json(&cause))?;
    attributes.accept(acceptor, None)
}

/// A batch of structured events.
pub(crate) fn batch(acceptor: &Acceptor, body: &[u8]) -> Result<Vec<ValidEvent>, Invalid> {
    let mut refused = None;
    let mut input = serde_json::Deserializer::from_slice(body);
    let events = Events {
        acceptor,
        refused: &mut refused,
    };
    let events = input
        .deserialize_seq(events)
        .and_then(|events| input.end().map(|()| events));
    events.map_err(|cause| match refused {
        Some(Refused::Invalid(invalid)) => invalid,
        Some(Refused::Reading(index)) if cause.is_data() => bad_json(&cause).at(index),
        _ => {
            let hint = "send a JSON array of CloudEvents in structured mode";
            let problem = format!("the body is no batch of CloudEvents: {}", cut(&cause));
            Invalid::new("", problem, hint)
        }
    })
}

/// Reads an array of events, and takes each before it reads the next, up to the first that is refused.
struct Events<'a> {
    acceptor: &'a Acceptor,
    refused: &'a mut Option<Refused>,
}

/// Why a batch was not read to its end.
enum Refused {
    /// An event is refused, or how many there are.
    Invalid(Invalid),
    /// Whatever the reader found in the event at this index.
    Reading(usize),
}

impl Events<'_> {
    fn refuse<E: serde::de::Error>(self, invalid: Invalid) -> E {
        *self.refused = Some(Refused::Invalid(invalid));
        E::custom("it is refused")
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = Vec<ValidEvent>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of CloudEvents")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
        let most = self.acceptor.limits().batch_events;
        let hint = || format!("send 1 to {most} events at a time");
        let mut events = Vec::new();
        loop {
            *self.refused = Some(Refused::Reading(events.len()));
            let Some(attributes) = elements.next_element::<Attributes<'_>>()? else {
                break;
            };
            if events.len() == most {
                let problem = format!("the batch has more than {most} events");
                return Err(self.refuse(Invalid::new("", problem, hint())));
            }
            match attributes.accept(self.acceptor, None) {
                Ok(event) => events.push(event),
                Err(invalid) => return Err(self.refuse(invalid.at(events.len()))),
            }
        }
        *self.refused = None;
        if events.is_empty() {
            return Err(self.refuse(Invalid::new("", "the batch has no events", hint())));
        }
        Ok(events)
    }
}

/// An event in binary mode: attributes in `ce-` headers, data in the body.
pub(crate) fn binary<'h>(
    acceptor: &Acceptor,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
) -> Result<ValidEvent, Invalid> {
    let mut attributes = Attributes::default();
    let mut seen: Vec<String> = Vec::new();
    // The request's own trace context, where the event states none.
    let mut of_request = None;
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let (name, value) = match lower.strip_prefix("ce-") {
            Some(name) => (name, percent_decoded(value)),
            None if lower == "content-type" => ("datacontenttype", String::from_utf8(value.to_vec()).ok()),
            None if lower == "traceparent" => {
                of_request = std::str::from_utf8(value).ok().map(str::to_owned);
                continue;
            }
            None => continue,
        };
        let value =
            value.ok_or_else(|| Invalid::new(name, "is not UTF-8", "percent-encode its UTF-8 bytes"))?;
        if seen.iter().any(|seen| seen == name) {
            return Err(twice(name));
        }
        attributes.set(Cow::Owned(name.to_owned()), Member::Text(value.into()))?;
        seen.push(name.to_owned());
    }
    attributes.traceparent = attributes.traceparent.or(of_request.map(Cow::Owned));
    attributes.accept(acceptor, Some(body))
}

/// As much of what was sent, or of what is said about it, as a message shows.
fn cut(text: &impl std::fmt::Display) -> String {
    text.to_string().chars().take(200).collect()
}

fn bad_json(cause: &serde_json::Error) -> Invalid {
    let hint =
        "send a CloudEvent as JSON: {\"specversion\":\"1.0\",\"id\":…,\"source\":…,\"type\":…,\"data\":…}";
    Invalid::new("", format!("the body is no CloudEvent: {}", cut(cause)), hint)
}

fn percent_decoded(value: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let hex = value.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let decoded = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(decoded.unwrap_or(*byte));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Limits;
    use crate::log::record::{self, Attribute};
    use nerve_eventlog::{Entry, Micros, Offset};
    use serde_json::{Value, json};

    fn acceptor() -> Acceptor {
        Acceptor::new(Limits::default())
    }

    fn round_trip(json: &Value) -> Value {
        let valid = structured(&acceptor(), json.to_string().as_bytes()).unwrap();
        let payload = bytes::Bytes::from(valid.record);
        let entry = Entry {
            offset: Offset(1),
            time: Micros(0),
            payload: payload.clone(),
        };
        shown(entry.time, &record::event(&payload).unwrap().unwrap())
    }

    #[test]
    fn a_structured_event_comes_out_as_it_went_in() {
        let event = json!({
            "specversion": "1.0", "id": "a", "source": "web", "type": "order.placed", "time": "2026-01-02T03:04:05Z",
            "datacontenttype": "application/json", "subject": "s", "partitionkey": "k", "correlationid": "c",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "flag": true, "number": 7,
            "text": "x", "data": {"b": [1, 2.5, null, "ü"]},
        });
        assert_eq!(round_trip(&event), event);
        let bytes = json!({
            "specversion": "1.0", "id": "a", "source": "web", "type": "t", "datacontenttype": "image/png",
            "data_base64": "iVBORw==", "time": "2026-01-02T03:04:05Z",
        });
        assert_eq!(round_trip(&bytes)["data_base64"], "iVBORw==");
    }

    #[test]
    fn what_is_no_cloud_event_is_refused_with_the_attribute_and_the_way_out() {
        let good = json!({"specversion": "1.0", "id": "a", "source": "web", "type": "t"});
        for (name, value, says) in [
            ("specversion", json!("0.3"), "only \"1.0\""),
            ("id", json!(""), "`id` is missing"),
            ("id", json!(7), "`id` is no text"),
            ("source", json!("nerve:shipping"), "reserved for plugins"),
            ("type", json!("order placed"), "it has a space"),
            ("time", json!("yesterday"), "`time` is no time"),
            ("hops", json!(3), "set by the host alone"),
            ("Upper", json!("x"), "no name of an extension attribute"),
            (
                "ext",
                json!({"a": 1}),
                "`ext` is no text, boolean or 32-bit integer",
            ),
            ("ext", json!([1]), "`ext` is no text, boolean or 32-bit integer"),
            ("ext", json!(1.0), "`ext` is no text, boolean or 32-bit integer"),
            (
                "ext",
                json!(2_147_483_648_u32),
                "`ext` is no text, boolean or 32-bit integer",
            ),
            (
                "ext",
                json!(-2_147_483_649_i64),
                "`ext` is no text, boolean or 32-bit integer",
            ),
            ("data_base64", json!("%%%"), "no base64"),
            ("data_base64", json!(7), "`data_base64` is no text"),
        ] {
            let mut event = good.clone();
            event[name] = value;
            let refused = structured(&acceptor(), event.to_string().as_bytes()).unwrap_err();
            assert!(refused.to_string().contains(says), "{name}: {refused}");
            assert!(!refused.hint.is_empty(), "{name}");
        }
        for body in [
            &b""[..],
            b"[",
            b"7",
            b"\xff\xfe",
            b"{\"id\":\"a\",\"id\":\"b\"}",
            &vec![b'['; 100_000],
        ] {
            structured(&acceptor(), body).unwrap_err();
            batch(&acceptor(), body).unwrap_err();
        }
    }

    #[test]
    fn a_batch_is_refused_with_the_first_event_that_is_wrong() {
        let good = json!({"specversion": "1.0", "id": "a", "source": "web", "type": "t"});
        let acceptor = Acceptor::new(Limits {
            batch_events: 3,
            ..Limits::default()
        });
        let refused = |body: &str| {
            let refused = batch(&acceptor, body.as_bytes()).unwrap_err();
            assert!(!refused.hint.is_empty(), "{refused}");
            (refused.index, refused.to_string())
        };
        for (body, index, says) in [
            (
                json!([good, {"specversion": "1.0"}]).to_string(),
                Some(1),
                "`id` is missing",
            ),
            (
                json!([good, good, 7, {}]).to_string(),
                Some(2),
                "the body is no CloudEvent: invalid type: integer",
            ),
            (
                json!([good, {"specversion": "1.0", "id": []}]).to_string(),
                Some(1),
                "`id` is no text",
            ),
            (json!([]).to_string(), None, "the batch has no events"),
            (
                json!([good, good, good, good]).to_string(),
                None,
                "more than 3 events",
            ),
            (
                json!({"a": 1}).to_string(),
                None,
                "no batch of CloudEvents: invalid type: map",
            ),
            (format!("[{good},{good}"), None, "no batch of CloudEvents: EOF"),
            (
                format!("[{good},}}]"),
                None,
                "no batch of CloudEvents: expected value",
            ),
            (
                format!("[{good}] 7"),
                None,
                "no batch of CloudEvents: trailing characters",
            ),
        ] {
            let (at, said) = refused(&body);
            assert!(at == index && said.contains(says), "{body}: {at:?} {said}");
        }
        let taken = batch(&acceptor, json!([good, good, good]).to_string().as_bytes()).unwrap();
        assert_eq!(taken.len(), 3);
    }

    #[test]
    fn attributes_are_read_to_the_last_digit_and_past_every_escape() {
        let event = json!({
            "specversion": "1.0", "id": "\"\u{fc}\\", "source": "web", "type": "t", "time": "2026-01-02T03:04:05Z",
            "least": i32::MIN, "most": i32::MAX, "off": false, "data": null,
        });
        let escaped = event
            .to_string()
            .replace('\u{fc}', "\\u00fc")
            .replace("\"most\"", "\"m\\u006fst\"");
        let valid = structured(&acceptor(), escaped.as_bytes()).unwrap();
        let read = record::event(&valid.record).unwrap().unwrap();
        let expected = [
            ("least", Attribute::Integer(i32::MIN)),
            ("most", Attribute::Integer(i32::MAX)),
            ("off", Attribute::Bool(false)),
        ];
        assert_eq!((read.id, &read.extensions[..]), ("\"\u{fc}\\", &expected[..]));
        let absent = r#"{"specversion":"1.0","id":"a","source":"web","type":"t","subject":null,"ext":null}"#;
        let valid = structured(&acceptor(), absent.as_bytes()).unwrap();
        let read = record::event(&valid.record).unwrap().unwrap();
        assert_eq!((read.subject, read.extensions), (None, Vec::new()));
    }

    /// Looking whether each was there before takes time that grows with the square of how many there are.
    #[test]
    fn however_many_attributes_there_are_only_so_many_are_looked_at() {
        let event = |extensions: usize| {
            let names = (0..extensions).map(|n| format!(",\"x{n}\":true"));
            let names: String = names.collect();
            let json =
                format!("{{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"web\",\"type\":\"t\"{names}}}");
            structured(&acceptor(), json.as_bytes())
        };
        event(64).unwrap();
        for extensions in [65, 500, 1_000_000] {
            let refused = event(extensions).unwrap_err().to_string();
            assert!(refused.contains("more than 64 extension attributes"), "{refused}");
        }
    }

    #[test]
    fn binary_mode_takes_attributes_from_headers_and_decodes_them() {
        let headers = [
            ("ce-specversion", &b"1.0"[..]),
            ("ce-id", b"a%20b"),
            ("ce-source", b"web"),
            ("CE-Type", b"t"),
            ("ce-subject", b"%C3%BC %+f 100%"),
            ("content-type", b"text/plain"),
            ("accept", b"ignored"),
        ];
        let valid = binary(&acceptor(), headers.into_iter(), b"hello").unwrap();
        let event = record::event(&valid.record).unwrap().unwrap();
        assert_eq!(
            (event.id, event.subject, event.data),
            ("a b", Some("ü %+f 100%"), &b"hello"[..])
        );
        let broken = [("ce-id", &b"%ff"[..])];
        assert!(
            binary(&acceptor(), broken.into_iter(), b"")
                .unwrap_err()
                .to_string()
                .contains("not UTF-8")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            drop(structured(&acceptor(), &body));
            drop(batch(&acceptor(), &body));
            drop(binary(&acceptor(), [("ce-id", &body[..])].into_iter(), &body));
        }
    }
}
