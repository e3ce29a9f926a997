//! Data as schemas see it: MessagePack, looked at where it lies.
//!
//! The bytes were checked where they entered. Binary data is an array of numbers here, as it is shown.

use std::cmp::Ordering;

/// One value; what is inside an array or object is looked at when it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    /// A text, whose UTF-8 was checked where it entered.
    Text(&'a [u8]),
    /// Binary data.
    Bytes(&'a [u8]),
    /// How many items follow.
    Array(usize),
    /// How many pairs follow.
    Object(usize),
}

/// A number, compared as mathematics does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    /// The number in a schema.
    pub(super) fn of(number: &serde_json::Number) -> Self {
        let whole = number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from));
        whole.map_or_else(
            || Self::Float(number.as_f64().unwrap_or(f64::NAN)).plain(),
            Self::Integer,
        )
    }

    /// Whole floats as integers.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and far from the ends of the range"
    )]
    pub(super) fn plain(self) -> Self {
        match self {
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 1e30 => Self::Integer(float as i128),
            other => other,
        }
    }

    pub(super) fn is_whole(self) -> bool {
        match self.plain() {
            Self::Integer(_) => true,
            Self::Float(float) => float.fract() == 0.0,
        }
    }

    /// `None` where one of them is not a number.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self.plain(), other.plain()) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Integer(a), Self::Float(b)) => against(a, b),
            (Self::Float(a), Self::Integer(b)) => against(b, a).map(Ordering::reverse),
        }
    }

    /// Whether it is a multiple of `of`. Of floats only what their decimal digits say is known.
    pub(super) fn is_multiple(self, of: Self) -> bool {
        match (self.plain(), of.plain()) {
            (Self::Integer(a), Self::Integer(b)) => b != 0 && a % b == 0,
            (a, b) => {
                let ratio = a.float() / b.float();
                ratio.is_finite() && (ratio - ratio.round()).abs() < 1e-9 * ratio.abs().max(1.0)
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "near enough for a ratio")]
    fn float(self) -> f64 {
        match self {
            Self::Integer(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }
}

/// An integer against a float that is not whole, or very large.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float outside the range of integers is told apart before"
)]
fn against(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        None
    } else if float >= 1e30 {
        Some(Ordering::Less)
    } else if float <= -1e30 {
        Some(Ordering::Greater)
    } else {
        // Not whole: an integer is never equal to it.
        Some(if whole <= float.floor() as i128 {
            Ordering::Less
        } else {
            Ordering::Greater
        })
    }
}

/// The value that `rest` begins with; `rest` goes on behind it, or behind the head of an array or object. `None` where it is no
/// MessagePack.
pub(super) fn read<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let (marker, behind) = rest.split_first()?;
    *rest = behind;
    Some(match *marker {
        0xc0 => Value::Null,
        0xc2 => Value::Bool(false),
        0xc3 => Value::Bool(true),
        small @ 0x00..=0x7f => whole(i128::from(small)),
        small @ 0xe0..=0xff => whole(i128::from(small.cast_signed())),
        head @ 0xcc..=0xcf => whole(i128::from(unsigned(rest, 1 << (head - 0xcc))?)),
        0xd0 => whole(i128::from(i8::from_be_bytes(bytes(rest)?))),
        0xd1 => whole(i128::from(i16::from_be_bytes(bytes(rest)?))),
        0xd2 => whole(i128::from(i32::from_be_bytes(bytes(rest)?))),
        0xd3 => whole(i128::from(i64::from_be_bytes(bytes(rest)?))),
        0xca => Value::Number(Number::Float(f64::from(f32::from_be_bytes(bytes(rest)?)))),
        0xcb => Value::Number(Number::Float(f64::from_be_bytes(bytes(rest)?))),
        head @ 0xa0..=0xbf => Value::Text(take(rest, usize::from(head & 0x1f))?),
        head @ 0xd9..=0xdb => {
            let length = length(rest, 1 << (head - 0xd9))?;
            Value::Text(take(rest, length)?)
        }
        head @ 0xc4..=0xc6 => {
            let length = length(rest, 1 << (head - 0xc4))?;
            Value::Bytes(take(rest, length)?)
        }
        head @ 0x90..=0x9f => Value::Array(usize::from(head & 0x0f)),
        head @ (0xdc | 0xdd) => Value::Array(length(rest, 2 << (head - 0xdc))?),
        head @ 0x80..=0x8f => Value::Object(usize::from(head & 0x0f)),
        head @ (0xde | 0xdf) => Value::Object(length(rest, 2 << (head - 0xde))?),
        0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return None,
    })
}

/// The name of a property, which `rest` begins with: a text, whose UTF-8 was checked where it entered.
pub(super) fn name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    match rest.split_first()? {
        // Most are short.
        (head @ 0xa0..=0xbf, behind) => {
            *rest = behind;
            take(rest, usize::from(head & 0x1f))
        }
        _ => match read(rest)? {
            Value::Text(name) => Some(name),
            _ => None,
        },
    }
}

fn whole(number: i128) -> Value<'static> {
    Value::Number(Number::Integer(number))
}

fn bytes<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    take(rest, COUNT)?.try_into().ok()
}

/// The number of 1, 2, 4 or 8 bytes that `rest` begins with.
pub(super) fn unsigned(rest: &mut &[u8], count: usize) -> Option<u64> {
    Some(match count {
        1 => u8::from_be_bytes(bytes(rest)?).into(),
        2 => u16::from_be_bytes(bytes(rest)?).into(),
        4 => u32::from_be_bytes(bytes(rest)?).into(),
        _ => u64::from_be_bytes(bytes(rest)?),
    })
}

fn length(rest: &mut &[u8], bytes: usize) -> Option<usize> {
    usize::try_from(unsigned(rest, bytes)?).ok()
}

pub(super) fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

/// Let `rest` go on behind the `count` values that it begins with; `None` where there are not so many.
pub(super) fn skip(count: usize, rest: &mut &[u8]) -> Option<()> {
    let mut open = count;
    while open > 0 {
        open -= 1;
        open = match read(rest)? {
            Value::Array(count) => open.checked_add(count)?,
            Value::Object(count) => open.checked_add(count.checked_mul(2)?)?,
            _ => open,
        };
    }
    Some(())
}

/// The bytes of the one value that `rest` begins with; `rest` goes on behind it.
fn split<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let all = *rest;
    skip(1, rest)?;
    all.get(..all.len() - rest.len())
}

/// The values of an array of `count`, whose first begins `rest`.
pub(super) fn items(count: usize, mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..count).map_while(move |_| split(&mut rest))
}

/// The names and values of an object of `count` pairs, whose first begins `rest`.
pub(super) fn pairs(count: usize, mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    (0..count).map_while(move |_| Some((name(&mut rest)?, split(&mut rest)?)))
}

/// Whether the value in `bytes` is `wanted`.
pub(super) fn equals(mut bytes: &[u8], wanted: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (read(&mut bytes), wanted) {
        (Some(Value::Null), Json::Null) => true,
        (Some(Value::Bool(a)), Json::Bool(b)) => a == *b,
        (Some(Value::Number(a)), Json::Number(b)) => a.compare(Number::of(b)) == Some(Ordering::Equal),
        (Some(Value::Text(a)), Json::String(b)) => a == b.as_bytes(),
        (Some(Value::Bytes(a)), Json::Array(b)) => {
            let same = |(byte, wanted): (&u8, &Json)| wanted.as_u64() == Some(u64::from(*byte));
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        (Some(Value::Array(count)), Json::Array(b)) => {
            count == b.len() && items(count, bytes).zip(b).all(|(a, b)| equals(a, b))
        }
        (Some(Value::Object(count)), Json::Object(b)) => {
            let same = |(name, value): (&[u8], &[u8])| {
                let wanted = std::str::from_utf8(name).ok().and_then(|name| b.get(name));
                wanted.is_some_and(|wanted| equals(value, wanted))
            };
            count == b.len() && pairs(count, bytes).all(same)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_mathematics_does() {
        use Number::{Float, Integer};
        for (a, b, order) in [
            (Integer(1), Float(1.0), Some(Ordering::Equal)),
            (Integer(1), Float(1.5), Some(Ordering::Less)),
            (Integer(-1), Float(-1.5), Some(Ordering::Greater)),
            (Float(0.5), Integer(1), Some(Ordering::Less)),
            (Integer(i128::from(u64::MAX)), Float(1e300), Some(Ordering::Less)),
            (Float(f64::NEG_INFINITY), Integer(0), Some(Ordering::Less)),
            (Float(f64::NAN), Integer(0), None),
        ] {
            assert_eq!(a.compare(b), order, "{a:?} {b:?}");
        }
        assert!(Float(0.3).is_multiple(Float(0.1)) && !Float(0.35).is_multiple(Float(0.1)));
        assert!(Integer(6).is_multiple(Float(3.0)) && !Integer(7).is_multiple(Integer(3)));
    }

    #[test]
    fn every_kind_of_value_is_read_and_passed_over() {
        let json = serde_json::json!([null, true, -1, -200, 70_000, 1.5, "a", "x".repeat(40), [1], {"a": {"b": []}}, u64::MAX]);
        let bytes = crate::ingest::message_pack::from_json(json.to_string().as_bytes()).unwrap();
        let mut rest = &bytes[..];
        assert_eq!(split(&mut rest), Some(&bytes[..]));
        assert!(rest.is_empty() && equals(&bytes, &json));
        assert!(!equals(&bytes, &serde_json::json!([])));
        assert!((0..bytes.len()).all(|end| split(&mut &bytes[..end]).is_none()));
    }
}
