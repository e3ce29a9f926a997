//! MessagePack, as the log keeps it: structs are maps with the names of their fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of `value`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(128);
    write(value, &mut bytes)?;
    Ok(bytes)
}

/// Append the bytes of `value` to `out`.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    value
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .map_err(|error| error.to_string())
}

/// The value in `bytes`; the text of an error names the field where one is at fault.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// A field of an event type: its name in the data, and a function that reads its value alone.
pub type Field = (&'static str, fn(&[u8]) -> Result<(), String>);

/// Whether `bytes` are a `T`.
#[cold]
pub fn reads<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), String> {
    decode::<T>(bytes).map(drop)
}

/// Name the first field of the map in `bytes` whose value can't be read, and why.
#[cold]
pub(crate) fn blame(bytes: &[u8], fields: &[Field]) -> Option<String> {
    let mut rest = bytes;
    for _ in 0..map_len(&mut rest)? {
        let name = take_value(&mut rest)?;
        let value = take_value(&mut rest)?;
        let name = decode::<String>(name).ok()?;
        let Some((name, reads)) = fields.iter().find(|(field, _)| *field == name) else {
            continue;
        };
        if let Err(reason) = reads(value) {
            return Some(["field `", name, "`: ", &reason].concat());
        }
    }
    None
}

/// The entries of the map that `rest` starts with; `rest` goes on behind its head.
fn map_len(rest: &mut &[u8]) -> Option<usize> {
    match take(rest, 1)?[0] {
        head @ 0x80..=0x8f => Some(usize::from(head & 0x0f)),
        0xde => number(rest, 2),
        0xdf => number(rest, 4),
        _ => None,
    }
}

/// The bytes of the one value that `rest` starts with; `rest` goes on behind it.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let start = *rest;
    // Values still to come: a list or map adds its own.
    let mut open = 1_usize;
    while open > 0 {
        open -= 1;
        let (bytes, values) = match take(rest, 1)?[0] {
            0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => (0, 0),
            head @ 0x80..=0x8f => (0, 2 * usize::from(head & 0x0f)),
            head @ 0x90..=0x9f => (0, usize::from(head & 0x0f)),
            head @ 0xa0..=0xbf => (usize::from(head & 0x1f), 0),
            0xc4 | 0xd9 => (number(rest, 1)?, 0),
            0xc5 | 0xda => (number(rest, 2)?, 0),
            0xc6 | 0xdb => (number(rest, 4)?, 0),
            0xc7 => (number(rest, 1)?.checked_add(1)?, 0),
            0xc8 => (number(rest, 2)?.checked_add(1)?, 0),
            0xc9 => (number(rest, 4)?.checked_add(1)?, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xd6 => (5, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (0, number(rest, 2)?),
            0xdd => (0, number(rest, 4)?),
            0xde => (0, number(rest, 2)?.checked_mul(2)?),
            0xdf => (0, number(rest, 4)?.checked_mul(2)?),
        };
        take(rest, bytes)?;
        open = open.checked_add(values)?;
    }
    start.get(..start.len() - rest.len())
}

fn number(rest: &mut &[u8], len: usize) -> Option<usize> {
    let bytes = take(rest, len)?;
    bytes.iter().try_fold(0_usize, |sum, byte| {
        sum.checked_mul(256)?.checked_add(usize::from(*byte))
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(taken)
}
