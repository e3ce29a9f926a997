//! The attributes of an event on its way in, whatever mode it came in: taken one by one, and accepted together.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::member::{Member, Text};
use super::{cut, time};
use crate::ingest::{
    Acceptor, Invalid, MOST_ATTRIBUTES, NewEvent, ValidEvent, message_pack, too_many_extensions,
};

/// As many attributes as most events have, their data among them.
const OFTEN: usize = 12;

/// What was stated of an event.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    r#type: Cow<'a, str>,
    spec_version: Cow<'a, str>,
    key: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    correlation: Option<Cow<'a, str>>,
    pub(super) traceparent: Option<Cow<'a, str>>,
    data_schema: Option<Cow<'a, str>>,
    extensions: Vec<(Cow<'a, str>, Member<'a>)>,
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
    /// What is wrong with the first attribute that is wrong.
    wrong: Option<Invalid>,
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
                let mut seen: Vec<Cow<'a, str>> = Vec::with_capacity(OFTEN);
                while let Some(Text(name)) = map.next_key()? {
                    if out.wrong.is_some() {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    out.wrong = if seen.contains(&name) {
                        map.next_value::<IgnoredAny>()?;
                        Some(twice(&name))
                    } else if seen.len() == MOST_ATTRIBUTES {
                        map.next_value::<IgnoredAny>()?;
                        Some(too_many_extensions())
                    } else if name == "data" {
                        out.data = Some(map.next_value()?);
                        None
                    } else {
                        out.read(name.clone(), map.next_value()?).err()
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
    /// Take a member of the JSON object that is not its data. An attribute that is `null` is one that is not there.
    fn read(&mut self, name: Cow<'a, str>, value: Member<'a>) -> Result<(), Invalid> {
        match value {
            Member::Null => Ok(()),
            Member::Other => {
                let hint =
                    "write a text, true, false or a 32-bit integer, and put anything else into the data";
                let problem = "is no text, boolean or 32-bit integer";
                Err(Invalid::new(&shown_name(&name), problem, hint))
            }
            text if name == "data_base64" => {
                self.data_base64 = Some(text.text(&name)?);
                Ok(())
            }
            value => self.set(name, value),
        }
    }

    pub(super) fn set(&mut self, name: Cow<'a, str>, value: Member<'a>) -> Result<(), Invalid> {
        let place = match &*name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.r#type,
            "specversion" => &mut self.spec_version,
            _ => {
                let place = match &*name {
                    "partitionkey" => &mut self.key,
                    "subject" => &mut self.subject,
                    "time" => &mut self.time,
                    "datacontenttype" => &mut self.content_type,
                    "correlationid" => &mut self.correlation,
                    "traceparent" => &mut self.traceparent,
                    "dataschema" => &mut self.data_schema,
                    _ => {
                        self.extensions.push((name, value));
                        return Ok(());
                    }
                };
                *place = Some(value.text(&name)?);
                return Ok(());
            }
        };
        *place = value.text(&name)?;
        Ok(())
    }

    /// The event that they are; its data is `body`, where that is no part of them.
    pub(super) fn accept(mut self, acceptor: &Acceptor, body: Option<&[u8]>) -> Result<ValidEvent, Invalid> {
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
                let bytes = BASE64.decode(&**text).map_err(|cause| {
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
                .filter_map(|(name, value)| Some((&**name, value.attribute()?)))
                .collect(),
        })
    }
}

/// `name` may be there once.
pub(super) fn twice(name: &str) -> Invalid {
    Invalid::new(&shown_name(name), "is there twice", "state it once")
}

/// As much of a name as a message shows.
fn shown_name(name: &str) -> String {
    name.chars().take(80).collect()
}
