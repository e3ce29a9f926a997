//! `CloudEvents` 1.0, in and out: as JSON (structured mode), as an array of it (batched) and as headers (binary mode).
//!
//! What comes in is a [`ValidEvent`], or an [`Invalid`] that says which attribute is wrong; what goes out is made of an
//! event of the log. Nothing here knows where either travels: over the API, or to a webhook.

mod headers;
mod shown;
pub(crate) mod time;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;

use crate::ingest::{Acceptor, Invalid, NewEvent, ValidEvent, message_pack};
use crate::log::record::Attribute;

pub(crate) use headers::headers;
pub(crate) use shown::{json_of, logged, shown};

/// The attributes of an event on its way in, whatever mode it came in.
#[derive(Debug, Default)]
struct Attributes<'a> {
    id: String,
    source: String,
    r#type: String,
    spec_version: String,
    key: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    content_type: Option<String>,
    correlation: Option<String>,
    traceparent: Option<String>,
    data_schema: Option<String>,
    extensions: Vec<(String, Extension)>,
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    /// What is wrong with the first attribute that is wrong.
    wrong: Option<Invalid>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Extension {
    Bool(bool),
    Integer(i32),
    Text(String),
}

/// One structured event.
pub(crate) fn structured(acceptor: &Acceptor, body: &[u8]) -> Result<ValidEvent, Invalid> {
    let attributes: Attributes<'_> = serde_json::from_slice(body).map_err(|cause| bad_json(&cause))?;
    attributes.accept(acceptor, None)
}

/// A batch of structured events.
pub(crate) fn batch(acceptor: &Acceptor, body: &[u8]) -> Result<Vec<ValidEvent>, Invalid> {
    let most = acceptor.limits().batch_events;
    let mut input = serde_json::Deserializer::from_slice(body);
    let events = input
        .deserialize_seq(Few(most))
        .and_then(|events| input.end().map(|()| events));
    let events = events.map_err(|cause| {
        let hint = "send a JSON array of CloudEvents in structured mode";
        Invalid::new(
            "",
            format!("the body is no batch of CloudEvents: {}", cut(&cause)),
            hint,
        )
    })?;
    let hint = format!("send 1 to {most} events at a time");
    if events.is_empty() {
        return Err(Invalid::new("", "the batch has no events", hint));
    }
    if events.len() > most {
        return Err(Invalid::new(
            "",
            format!("the batch has more than {most} events"),
            hint,
        ));
    }
    let each = events.iter().enumerate();
    each.map(|(index, event)| {
        structured(acceptor, event.get().as_bytes()).map_err(|invalid| invalid.at(index))
    })
    .collect()
}

/// Reads the elements of an array, but keeps no more than one above the most: that is enough to refuse them.
struct Few(usize);

impl<'de> Visitor<'de> for Few {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of CloudEvents")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
        let mut kept = Vec::new();
        while kept.len() <= self.0 {
            match elements.next_element()? {
                Some(event) => kept.push(event),
                None => return Ok(kept),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
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
        attributes.set(name, Extension::Text(value))?;
        seen.push(name.to_owned());
    }
    attributes.traceparent = attributes.traceparent.or(of_request);
    attributes.accept(acceptor, Some(body))
}

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Attributes<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a CloudEvent: an object with id, source, type and specversion")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Attributes<'a>, M::Error> {
                let mut out = Attributes::default();
                let mut seen: Vec<String> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value()?;
                    if out.wrong.is_some() {
                        continue;
                    }
                    out.wrong = if seen.contains(&name) {
                        Some(twice(&name))
                    } else {
                        out.read(&name, value).err()
                    };
                    seen.push(name);
                }
                Ok(out)
            }
        }
        input.deserialize_map(Object(std::marker::PhantomData))
    }
}

impl<'a> Attributes<'a> {
    /// Take a member of the JSON object. An attribute that is `null` is one that is not there.
    fn read(&mut self, name: &str, value: &'a RawValue) -> Result<(), Invalid> {
        if name == "data" {
            self.data = Some(value);
            return Ok(());
        }
        let value: Option<Extension> = serde_json::from_str(value.get()).map_err(|_| {
            let hint = "write a text, true, false or a 32-bit integer, and put anything else into the data";
            Invalid::new(&shown_name(name), "is no text, boolean or 32-bit integer", hint)
        })?;
        match value {
            None => Ok(()),
            Some(text) if name == "data_base64" => {
                self.data_base64 = Some(text.text(name)?);
                Ok(())
            }
            Some(value) => self.set(name, value),
        }
    }

    fn set(&mut self, name: &str, value: Extension) -> Result<(), Invalid> {
        let place = match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.r#type,
            "specversion" => &mut self.spec_version,
            _ => {
                let place = match name {
                    "partitionkey" => &mut self.key,
                    "subject" => &mut self.subject,
                    "time" => &mut self.time,
                    "datacontenttype" => &mut self.content_type,
                    "correlationid" => &mut self.correlation,
                    "traceparent" => &mut self.traceparent,
                    "dataschema" => &mut self.data_schema,
                    _ => {
                        self.extensions.push((name.to_owned(), value));
                        return Ok(());
                    }
                };
                *place = Some(value.text(name)?);
                return Ok(());
            }
        };
        *place = value.text(name)?;
        Ok(())
    }

    fn accept(mut self, acceptor: &Acceptor, body: Option<&[u8]>) -> Result<ValidEvent, Invalid> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        if self.spec_version != "1.0" {
            let problem = format!("is {:?}, and only \"1.0\" is known", cut(&self.spec_version));
            return Err(Invalid::new(
                "specversion",
                problem,
                "send CloudEvents 1.0, with specversion \"1.0\"",
            ));
        }
        let time = self
            .time
            .as_deref()
            .map(time::parse)
            .transpose()
            .map_err(|cause| {
                Invalid::new(
                    "time",
                    format!("is no time: {}", cut(&cause)),
                    "write RFC 3339, such as 2026-01-02T03:04:05Z",
                )
            })?;
        let content_type = self.content_type.as_deref().unwrap_or("application/json");
        let is_json = message_pack::is_json(content_type);
        let no_json = |cause: message_pack::BadData| {
            Invalid::new(
                "data",
                format!("is no JSON: {}", cut(&cause)),
                "send JSON, or name another datacontenttype",
            )
        };
        let data = match (body, self.data, &self.data_base64) {
            (_, Some(_), Some(_)) => {
                return Err(Invalid::new(
                    "data",
                    "is there beside data_base64",
                    "send one of them",
                ));
            }
            (Some(body), ..) if is_json && body.is_empty() => vec![0xc0],
            (Some(body), ..) if is_json => message_pack::from_json(body).map_err(no_json)?,
            (Some(body), ..) => body.to_vec(),
            (None, Some(raw), None) if is_json => {
                message_pack::from_json(raw.get().as_bytes()).map_err(no_json)?
            }
            (None, Some(raw), None) => {
                if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
                    text.into_bytes()
                } else {
                    let problem = format!("is no text, and its datacontenttype is {:?}", cut(&content_type));
                    return Err(Invalid::new(
                        "data",
                        problem,
                        "send data_base64, or datacontenttype application/json",
                    ));
                }
            }
            (None, None, Some(text)) => {
                let bytes = BASE64.decode(text).map_err(|cause| {
                    Invalid::new(
                        "data_base64",
                        format!("is no base64: {cause}"),
                        "use the standard alphabet, padded",
                    )
                })?;
                if is_json {
                    message_pack::from_json(&bytes).map_err(no_json)?
                } else {
                    bytes
                }
            }
            (None, None, None) if is_json => vec![0xc0],
            (None, None, None) => Vec::new(),
        };
        let extensions = self.extensions.iter();
        acceptor.checked(&NewEvent {
            id: &self.id,
            source: &self.source,
            r#type: &self.r#type,
            key: self.key.as_deref(),
            subject: self.subject.as_deref(),
            time,
            content_type,
            data: &data,
            correlation: self.correlation.as_deref(),
            traceparent: self.traceparent.as_deref(),
            data_schema: self.data_schema.as_deref(),
            extensions: extensions
                .map(|(name, value)| {
                    let value = match value {
                        Extension::Bool(flag) => Attribute::Bool(*flag),
                        Extension::Integer(number) => Attribute::Integer(*number),
                        Extension::Text(text) => Attribute::Text(text),
                    };
                    (&**name, value)
                })
                .collect(),
        })
    }
}

impl Extension {
    fn text(self, name: &str) -> Result<String, Invalid> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Invalid::new(name, "is no text", "write it in quotes")),
        }
    }
}

fn twice(name: &str) -> Invalid {
    Invalid::new(&shown_name(name), "is there twice", "state it once")
}

/// As much of a name as a message shows.
fn shown_name(name: &str) -> String {
    name.chars().take(80).collect()
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
    use crate::log::record;
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
            ("data_base64", json!("%%%"), "no base64"),
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
        let second_is_bad = json!([good, {"specversion": "1.0"}]).to_string();
        assert_eq!(
            batch(&acceptor(), second_is_bad.as_bytes()).unwrap_err().index,
            Some(1)
        );
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
