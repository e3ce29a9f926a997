//! A member of an event's JSON object, read in one go and copied only where it has escapes.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::ingest::Invalid;
use crate::log::record::Attribute;

/// A text.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What an attribute is stated as.
#[derive(Debug)]
pub(super) enum Member<'a> {
    Null,
    Bool(bool),
    Integer(i32),
    Text(Cow<'a, str>),
    /// Nothing that an attribute may be.
    Other,
}

impl<'a> Member<'a> {
    pub(super) fn text(self, name: &str) -> Result<Cow<'a, str>, Invalid> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Invalid::new(name, "is no text", "write it in quotes")),
        }
    }

    /// As an attribute of its event, where it may be one.
    pub(super) fn attribute(&self) -> Option<Attribute<'_>> {
        match self {
            Self::Bool(flag) => Some(Attribute::Bool(*flag)),
            Self::Integer(number) => Some(Attribute::Integer(*number)),
            Self::Text(text) => Some(Attribute::Text(text)),
            Self::Null | Self::Other => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Value)
    }
}

struct Value;

impl<'de> Visitor<'de> for Value {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Member<'de>, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Member<'de>, E> {
        Ok(Member::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Member<'de>, E> {
        Ok(number.try_into().map_or(Member::Other, Member::Integer))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Member<'de>, E> {
        Ok(number.try_into().map_or(Member::Other, Member::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Member<'de>, E> {
        Ok(Member::Other)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Member<'de>, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member<'de>, E> {
        Ok(Member::Text(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Member<'de>, A::Error> {
        while parts.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Member<'de>, A::Error> {
        while parts.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}
