//! Times of the map as texts: RFC 3339, in UTC.

use jiff::Timestamp;
use nerve_eventlog::Micros;
use serde::{Deserialize, Deserializer, Serializer, de};

/// `micros` as text.
pub fn text(micros: Micros) -> String {
    let micros = i64::try_from(micros.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros)
        .map_or_else(|_| "beyond the calendar".to_owned(), |time| time.to_string())
}

fn parse<E: de::Error>(text: &str) -> Result<Micros, E> {
    let time: Timestamp = text.parse().map_err(E::custom)?;
    Ok(Micros(u64::try_from(time.as_microsecond()).map_err(E::custom)?))
}

/// As serde asks for it.
pub fn serialize<S: Serializer>(micros: &Micros, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*micros))
}

/// As serde asks for it.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Micros, D::Error> {
    parse(&String::deserialize(from)?)
}

/// A time that may not be there.
pub mod optional {
    use super::{Deserialize, Deserializer, Micros, Serializer, parse, text};

    /// As serde asks for it.
    pub fn serialize<S: Serializer>(micros: &Option<Micros>, to: S) -> Result<S::Ok, S::Error> {
        match micros {
            Some(micros) => to.serialize_some(&text(*micros)),
            None => to.serialize_none(),
        }
    }

    /// As serde asks for it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Micros>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| parse(&text))
            .transpose()
    }
}
