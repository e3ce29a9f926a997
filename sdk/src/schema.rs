//! JSON Schemas of event data, written by `#[derive(Event)]` and `#[derive(Schema)]`.
//!
//! The SDK writes them itself: a library that builds schemas at run time makes a plugin several times larger
//! than the plugin's own code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How deep nested types are spelled out; what lies deeper may be anything. It ends recursive types.
#[doc(hidden)]
pub const MAX_DEPTH: u32 = 12;

/// A type whose values have a JSON Schema (draft 2020-12).
///
/// Derive it for types that events are made of; `#[derive(Event)]` implies it. The serde attributes
/// `rename`, `rename_all`, `default` and `skip` are understood; where `tag`, `untagged`, `with` or other
/// attributes change the shape, the schema says "anything" for that part.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no JSON Schema",
    note = "write `#[derive(Schema)]` above it, or implement `nerve_sdk::Schema` for it"
)]
pub trait Schema {
    /// Whether a field of this type must be there.
    const REQUIRED: bool = true;

    /// Append the schema as JSON text. `depth` counts the types around this one.
    fn schema(out: &mut String, depth: u32);
}

/// Append one property; `first` says whether it is the first of its object.
#[doc(hidden)]
pub fn field<T: Schema>(out: &mut String, first: bool, name: &str, depth: u32) {
    if !first {
        out.push(',');
    }
    string(out, name);
    out.push(':');
    if depth < MAX_DEPTH {
        T::schema(out, depth + 1);
    } else {
        out.push_str("{}");
    }
}

/// Append `text` as a JSON string. Names come from Rust source, so control characters are only escaped by
/// their number.
#[doc(hidden)]
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[(c as usize) >> 4]));
                out.push(char::from(HEX[(c as usize) & 15]));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

macro_rules! plain {
    ($($json:literal: $($ty:ty)*;)*) => {$($(
        impl Schema for $ty {
            fn schema(out: &mut String, _depth: u32) {
                out.push_str($json);
            }
        }
    )*)*};
}
plain! {
    r#"{"type":"string"}"#: String char;
    r#"{"type":"boolean"}"#: bool;
    r#"{"type":"number"}"#: f32 f64;
    r#"{"type":"integer"}"#: i8 i16 i32 i64 i128 isize;
    r#"{"type":"integer","minimum":0}"#: u8 u16 u32 u64 u128 usize;
    r#"{"type":"null"}"#: ();
}

fn around<T: Schema>(out: &mut String, depth: u32, before: &str, after: &str) {
    out.push_str(before);
    if depth < MAX_DEPTH {
        T::schema(out, depth + 1);
    } else {
        out.push_str("{}");
    }
    out.push_str(after);
}

impl<T: Schema> Schema for Option<T> {
    const REQUIRED: bool = false;

    fn schema(out: &mut String, depth: u32) {
        around::<T>(out, depth, r#"{"anyOf":["#, r#",{"type":"null"}]}"#);
    }
}

macro_rules! wrapped {
    ($($before:literal $after:literal: $(<$($p:ident),*> $ty:ty => $item:ident;)*)*) => {$($(
        impl<$($p: Schema),*> Schema for $ty {
            fn schema(out: &mut String, depth: u32) {
                around::<$item>(out, depth, $before, $after);
            }
        }
    )*)*};
}
wrapped! {
    r#"{"type":"array","items":"# "}":
        <T> Vec<T> => T;
        <T> BTreeSet<T> => T;
    "" "":
        <T> Box<T> => T;
    r#"{"type":"object","additionalProperties":"# "}":
        <V> BTreeMap<String, V> => V;
}

impl<T: Schema, S> Schema for HashSet<T, S> {
    fn schema(out: &mut String, depth: u32) {
        Vec::<T>::schema(out, depth);
    }
}

impl<V: Schema, S> Schema for HashMap<String, V, S> {
    fn schema(out: &mut String, depth: u32) {
        BTreeMap::<String, V>::schema(out, depth);
    }
}
