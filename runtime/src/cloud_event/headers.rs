//! Events of the log in binary mode: attributes as headers, data as the body.

use std::fmt::Write as _;

use nerve_eventlog::Micros;
use serde_json::Value;

use super::shown::attributes;
use crate::ingest::message_pack::{self, BadData};
use crate::log::record::Event;

/// Names and values of headers.
pub(super) type Headers = Vec<(String, String)>;

/// The headers and the body of an event that was appended at `recorded`. Values are ASCII: what is not is percent-encoded,
/// as the specification says.
pub(crate) fn headers(recorded: Micros, event: &Event<'_>) -> Result<(Headers, Vec<u8>), BadData> {
    let attributes = attributes(recorded, event).into_iter();
    let headers = attributes.map(|(name, value)| match (name, value) {
        ("datacontenttype", Value::String(text)) => ("content-type".to_owned(), text),
        (name, Value::String(text)) => (format!("ce-{name}"), encoded(&text)),
        (name, value) => (format!("ce-{name}"), value.to_string()),
    });
    let headers = headers.collect();
    let body = if message_pack::is_json(event.content_type) {
        message_pack::to_json(event.data)?
    } else {
        event.data.to_vec()
    };
    Ok((headers, body))
}

/// Space, quotes, percent signs and whatever is not printable ASCII become `%` and two digits for each byte.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}
