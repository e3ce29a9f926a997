//! Events of the log in structured mode, as the API shows them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nerve_eventlog::{Entry, Micros};
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::time;
use crate::ingest::message_pack;
use crate::log::record::{Attribute, Event};

/// A logged event as the API shows it.
pub(crate) fn logged(entry: &Entry, event: &Event<'_>) -> Value {
    json!({
        "offset": entry.offset.0,
        "recorded": time::text(entry.time),
        "event": shown(entry.time, event),
    })
}

/// An event in structured mode.
pub(crate) fn shown(recorded: Micros, event: &Event<'_>) -> Value {
    let mut out = Map::new();
    for (name, value) in attributes(recorded, event) {
        out.insert(name.to_owned(), value);
    }
    let (name, data) = data(event);
    out.insert(name.to_owned(), data);
    Value::Object(out)
}

/// The attributes of an event that was appended at `recorded`: those of the specification first.
pub(super) fn attributes<'a>(recorded: Micros, event: &Event<'a>) -> Vec<(&'a str, Value)> {
    let mut out: Vec<(&str, Value)> = vec![
        ("specversion", "1.0".into()),
        ("id", event.id.into()),
        ("source", event.source.into()),
        ("type", event.r#type.into()),
        ("time", time::text(Micros(event.happened(recorded))).into()),
        ("datacontenttype", event.content_type.into()),
    ];
    let texts = [
        ("subject", event.subject),
        ("dataschema", event.data_schema),
        ("partitionkey", event.key),
        ("correlationid", Some(event.chain())),
        ("causationid", event.cause.map(|cause| cause.id)),
        ("traceparent", event.traceparent),
    ];
    out.extend(
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?.into()))),
    );
    if let Some(cause) = event.cause {
        out.push(("causationoffset", whole(cause.offset)));
        out.push(("hops", cause.hops.into()));
    }
    out.extend(event.extensions.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Bool(flag) => (*flag).into(),
            Attribute::Integer(number) => (*number).into(),
            Attribute::Text(text) => (*text).into(),
        };
        (*name, value)
    }));
    out
}

/// A number as an attribute: an integer of `CloudEvents` has 32 bits, so that what is larger is a text.
fn whole(number: u64) -> Value {
    i32::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

fn data(event: &Event<'_>) -> (&'static str, Value) {
    if message_pack::is_json(event.content_type) {
        return ("data", json_of(event.data));
    }
    match std::str::from_utf8(event.data) {
        Ok(text) if event.content_type.starts_with("text/") => ("data", text.into()),
        _ => ("data_base64", BASE64.encode(event.data).into()),
    }
}

/// MessagePack as JSON; bytes that are none as base64.
pub(crate) fn json_of(bytes: &[u8]) -> Value {
    let value = message_pack::check(bytes).ok().and_then(|()| {
        let mut input = rmp_serde::Deserializer::from_read_ref(bytes);
        input.set_max_depth(message_pack::DEEPEST + 28);
        Plain.deserialize(&mut input).ok()
    });
    value.unwrap_or_else(|| json!({ "base64": BASE64.encode(bytes) }))
}

/// A value as it is. `Value` itself takes some keys for messages of its own.
struct Plain;

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON could have")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(bytes.into())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Value, S::Error> {
        let mut out = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            out.push(element);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut pairs: M) -> Result<Value, M::Error> {
        let mut out = Map::new();
        while let Some(key) = pairs.next_key::<String>()? {
            out.insert(key, pairs.next_value_seed(Self)?);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::Cause;

    #[test]
    fn an_offset_that_no_integer_of_cloud_events_holds_is_a_text_in_every_mode() {
        for (offset, shows) in [
            (7, json!(7)),
            (2_147_483_647, json!(2_147_483_647)),
            (2_147_483_648, json!("2147483648")),
            (u64::MAX, json!("18446744073709551615")),
        ] {
            let event = Event {
                id: "a",
                source: "nerve:p",
                r#type: "t",
                key: None,
                subject: None,
                time: None,
                content_type: "application/json",
                data: &[0xc0],
                correlation: None,
                cause: Some(Cause {
                    id: "b",
                    offset,
                    hops: 1,
                    index: 0,
                }),
                traceparent: None,
                data_schema: None,
                extensions: Vec::new(),
            };
            assert_eq!(shown(Micros(0), &event)["causationoffset"], shows);
            let (headers, _) = super::super::headers(Micros(0), &event).unwrap();
            let header = headers.iter().find(|(name, _)| name == "ce-causationoffset");
            assert_eq!(header.unwrap().1, offset.to_string());
        }
    }
}
