//! The checks that every event passes, whichever way it came.

use super::message_pack;
use super::valid_event::{Identity, IdentityKey, ValidEvent};
use crate::delivery::settle::PLUGIN_SOURCE;
use crate::delivery::subscription::{LONGEST_TYPE, check_type};
use crate::log::record::{Attribute, Event, Record};
use crate::log::trace_context::{TraceContext, new_traceparent};

/// What is accepted.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one event's data. Default 1 MiB.
    pub event_bytes: usize,
    /// Bytes of one request. Default 16 MiB.
    pub request_bytes: usize,
    /// Events of one batch. Default 10,000.
    pub batch_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: 1 << 20,
            request_bytes: 16 << 20,
            batch_events: 10_000,
        }
    }
}

/// Bytes of the longest id, key, subject and content type.
pub(crate) const LONGEST_TEXT: usize = 256;

/// Bytes of the longest source, data schema and extension attribute.
const LONGEST_URI: usize = 1024;

/// Extension attributes of one event at most.
const MOST_EXTENSIONS: usize = 64;

/// Attributes that the host sets, which nobody else may.
const SET_BY_HOST: [&str; 3] = ["causationid", "causationoffset", "hops"];

/// Attributes that have a field of their own.
const OWN_FIELDS: [&str; 12] = [
    "specversion",
    "id",
    "source",
    "type",
    "partitionkey",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "correlationid",
    "traceparent",
];

/// Attributes of one event at most, its data in either form among them.
pub(crate) const MOST_ATTRIBUTES: usize = OWN_FIELDS.len() + 1 + MOST_EXTENSIONS;

/// An event as its publisher states it.
#[derive(Debug, Clone, Default)]
pub struct NewEvent<'a> {
    /// 1 to 256 bytes, unique within its source.
    pub id: &'a str,
    /// A URI reference, 1 to 1024 bytes; not one of a plugin (`nerve:…`).
    pub source: &'a str,
    /// Dotted type.
    pub r#type: &'a str,
    /// What must stay in order.
    pub key: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// When it happened, in microseconds since 1970.
    pub time: Option<u64>,
    /// Media type of the data.
    pub content_type: &'a str,
    /// MessagePack where the content type is JSON, else any bytes.
    pub data: &'a [u8],
    /// The causal chain it belongs to outside.
    pub correlation: Option<&'a str>,
    /// W3C trace context; the host makes one where there is none.
    pub traceparent: Option<&'a str>,
    /// `CloudEvents` `dataschema`.
    pub data_schema: Option<&'a str>,
    /// Further attributes, each once: `a-z` and `0-9`, and none that is named here already.
    pub extensions: Vec<(&'a str, Attribute<'a>)>,
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Which event of a batch, from 0.
    pub index: Option<usize>,
    /// The attribute, where it is one.
    pub attribute: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do instead.
    pub hint: String,
    /// Whether it is refused for its size.
    pub too_large: bool,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(index) = self.index {
            write!(f, "event {index} of the batch: ")?;
        }
        if !self.attribute.is_empty() {
            write!(f, "`{}` ", self.attribute)?;
        }
        f.write_str(&self.problem)
    }
}

impl Invalid {
    /// `attribute` has a problem.
    pub fn new(attribute: &str, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        // Whoever sends it chooses the names of attributes: as much of one is shown as a name may have, and a bit.
        let attribute = attribute.chars().take(80).collect();
        let (problem, hint) = (problem.into(), hint.into());
        Self {
            index: None,
            attribute,
            problem,
            hint,
            too_large: false,
        }
    }

    /// The same, in a batch.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }
}

/// Makes valid events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor {
    limits: Limits,
    key: IdentityKey,
}

impl Acceptor {
    /// An acceptor with a key of its own.
    pub fn new(limits: Limits) -> Self {
        Self::with_key(limits, IdentityKey::random())
    }

    /// The same, with the key that the window's identities were made with.
    pub fn with_key(limits: Limits, key: IdentityKey) -> Self {
        Self { limits, key }
    }

    /// What it accepts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The key of its identities.
    pub fn identity_key(&self) -> IdentityKey {
        self.key
    }

    /// Check an event whose data is MessagePack or bytes. Data that claims to be JSON is checked to be MessagePack.
    pub fn event(&self, event: &NewEvent<'_>) -> Result<ValidEvent, Invalid> {
        if message_pack::is_json(event.content_type) {
            message_pack::check(event.data).map_err(|bad| {
                Invalid::new(
                    "data",
                    format!("is no MessagePack: {bad}"),
                    "encode it as MessagePack",
                )
            })?;
        }
        self.checked(event)
    }

    /// Check everything but the encoding of the data.
    pub(crate) fn checked(&self, event: &NewEvent<'_>) -> Result<ValidEvent, Invalid> {
        text("id", event.id, LONGEST_TEXT)?;
        text("source", event.source, LONGEST_URI)?;
        if event.source.starts_with(PLUGIN_SOURCE) {
            let hint = "name the system that states the fact, such as web or https://shop.example/checkout";
            return Err(Invalid::new(
                "source",
                format!("{:?} is reserved for plugins", event.source),
                hint,
            ));
        }
        if event.r#type.len() > LONGEST_TYPE {
            return Err(Invalid::new("type", "is longer than 256 bytes", "shorten it"));
        }
        check_type(event.r#type).map_err(|bad| {
            Invalid::new(
                "type",
                bad.to_string(),
                "use dotted tokens of a-z, A-Z, 0-9, _ and -, such as order.placed",
            )
        })?;
        event
            .key
            .map_or(Ok(()), |key| text("partitionkey", key, LONGEST_TEXT))?;
        event
            .subject
            .map_or(Ok(()), |subject| text("subject", subject, LONGEST_URI))?;
        event
            .data_schema
            .map_or(Ok(()), |schema| text("dataschema", schema, LONGEST_URI))?;
        event
            .correlation
            .map_or(Ok(()), |chain| text("correlationid", chain, LONGEST_TEXT))?;
        text("datacontenttype", event.content_type, LONGEST_TEXT)?;
        if !is_media_type(event.content_type) {
            let hint = "use printable ASCII, such as text/plain; charset=utf-8";
            let problem = "has characters that no media type has";
            return Err(Invalid::new("datacontenttype", problem, hint));
        }
        if event.data.len() > self.limits.event_bytes {
            let problem = format!(
                "has {} bytes, and {} are allowed",
                event.data.len(),
                self.limits.event_bytes
            );
            let hint = "keep large content elsewhere and publish a reference to it";
            return Err(Invalid {
                too_large: true,
                ..Invalid::new("data", problem, hint)
            });
        }
        if event.extensions.len() > MOST_EXTENSIONS {
            return Err(too_many_extensions());
        }
        for (index, (name, value)) in event.extensions.iter().enumerate() {
            extension_name(name)?;
            if event.extensions[..index].iter().any(|(other, _)| other == name) {
                return Err(Invalid::new(name, "is there twice", "state it once"));
            }
            if let Attribute::Text(value) = value
                && value.len() > LONGEST_URI
            {
                return Err(Invalid::new(
                    name,
                    "is longer than 1024 bytes",
                    "put it into the data",
                ));
            }
        }
        let mut traceparent = String::new();
        let given = event
            .traceparent
            .filter(|text| TraceContext::parse(text).is_some());
        let record = Event {
            id: event.id,
            source: event.source,
            r#type: event.r#type,
            key: event.key,
            subject: event.subject,
            time: event.time,
            content_type: event.content_type,
            data: event.data,
            correlation: event.correlation.filter(|chain| *chain != event.id),
            cause: None,
            traceparent: Some(given.unwrap_or_else(|| new_traceparent(&mut traceparent))),
            data_schema: event.data_schema,
            extensions: event.extensions.clone(),
        };
        let mut bytes = Vec::with_capacity(event.data.len() + 256);
        Record::encode_event(&record, &mut bytes);
        Ok(ValidEvent {
            r#type: event.r#type.into(),
            id: event.id.into(),
            source: event.source.into(),
            identity: Identity::of_record(&record, self.key),
            record: bytes,
            key: self.key,
        })
    }
}

/// Why an event is refused that has more extension attributes than it may have.
pub(crate) fn too_many_extensions() -> Invalid {
    let problem = format!("there are more than {MOST_EXTENSIONS} extension attributes");
    Invalid::new("", problem, "put them into the data")
}

/// Whether `text` may be a content type: it has to go into a header as it is.
pub(crate) fn is_media_type(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

/// Names of extension attributes: of lower-case letters and digits, and none that means something else.
fn extension_name(name: &str) -> Result<(), Invalid> {
    if SET_BY_HOST.contains(&name) {
        return Err(Invalid::new(name, "is set by the host alone", "leave it out"));
    }
    let is_plain =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_plain && !OWN_FIELDS.contains(&name) {
        return Ok(());
    }
    let hint = "names of extension attributes are 1 to 64 characters of a-z and 0-9, and none that CloudEvents \
                or nerve gives another meaning";
    let shown: String = name.chars().take(80).collect();
    Err(Invalid::new(&shown, "is no name of an extension attribute", hint))
}

fn text(attribute: &str, text: &str, longest: usize) -> Result<(), Invalid> {
    let invalid = |problem: String| {
        let hint = format!("write 1 to {longest} bytes without control characters");
        Err(Invalid::new(attribute, problem, hint))
    };
    if text.is_empty() {
        return invalid("is missing or empty".into());
    }
    if text.len() > longest {
        return invalid(format!("is longer than {longest} bytes"));
    }
    // Most are plain ASCII, which is seen many bytes at a time.
    let is_plain = text
        .bytes()
        .fold(true, |plain, byte| plain & (b' '..0x7f).contains(&byte));
    if !is_plain && text.chars().any(char::is_control) {
        return invalid("has a control character".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
