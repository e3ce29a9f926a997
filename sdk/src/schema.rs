//! JSON Schemas of event data, written by `#[derive(Event)]` and `#[derive(Schema)]`.
//!
//! The SDK writes them itself: a library that builds schemas at run time makes a plugin several times larger
//! than the plugin's own code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How deep nested types are spelled out; what lies deeper may be anything. It ends recursive types.
const MAX_DEPTH: u32 = 12;

/// The text of a schema while it is written.
///
/// Data that is emitted has the fields that it has and no others, while of data that is consumed only what is
/// needed is described: so a type's schema is closed where it is emitted, and open where it is consumed.
pub struct SchemaText {
    text: String,
    depth: u32,
    emitted: bool,
}

/// A type whose values have a JSON Schema (draft 2020-12).
///
/// Derive it for types that events are made of; `#[derive(Event)]` implies it. The serde attributes `rename`,
/// `rename_all`, `default`, `alias`, `skip`, `skip_serializing_if` and `deny_unknown_fields` are understood; where
/// `tag`, `untagged`, `with` or other attributes change the shape, the schema says "anything" for that part.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no JSON Schema",
    note = "write `#[derive(Schema)]` above it, or implement `nerve_sdk::Schema` for it"
)]
pub trait Schema {
    /// Whether a field of this type must be there.
    const REQUIRED: bool = true;

    /// Append the schema as JSON text.
    fn schema(out: &mut SchemaText);
}

/// The schema of `T`, as JSON text.
pub(crate) fn text<T: Schema>(emitted: bool) -> String {
    let mut out = SchemaText {
        text: String::new(),
        depth: 0,
        emitted,
    };
    T::schema(&mut out);
    out.text
}

impl SchemaText {
    /// Append JSON text.
    pub fn push_str(&mut self, json: &str) {
        self.text.push_str(json);
    }

    /// Append the schema of a part of the type.
    pub fn nested<T: Schema>(&mut self) {
        if self.depth < MAX_DEPTH {
            self.depth += 1;
            T::schema(self);
            self.depth -= 1;
        } else {
            self.push_str("{}");
        }
    }

    /// Append one property; `first` says whether it is the first of its object.
    #[doc(hidden)]
    pub fn field<T: Schema>(&mut self, first: bool, name: &str) {
        if !first {
            self.push_str(",");
        }
        self.string(name);
        self.push_str(":");
        self.nested::<T>();
    }

    /// Append the name of a property to the list of those that must be there, where it must: when it is emitted,
    /// and when it is consumed. `any` says whether the list has names already.
    #[doc(hidden)]
    pub fn required<T: Schema>(&mut self, any: &mut bool, name: &str, emitted: bool, consumed: bool) {
        if T::REQUIRED && (if self.emitted { emitted } else { consumed }) {
            if *any {
                self.push_str(",");
            }
            *any = true;
            self.string(name);
        }
    }

    /// End an object, which has no other properties where it is emitted, or `closed`.
    #[doc(hidden)]
    pub fn end_object(&mut self, closed: bool) {
        self.push_str(if closed || self.emitted {
            ",\"additionalProperties\":false}"
        } else {
            "}"
        });
    }

    /// Append `text` as a JSON string.
    #[doc(hidden)]
    pub fn string(&mut self, text: &str) {
        string(&mut self.text, text);
    }
}

/// Append `text` as a JSON string. Names come from Rust source, so control characters are only escaped by
/// their number.
fn string(out: &mut String, text: &str) {
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
            fn schema(out: &mut SchemaText) {
                out.push_str($json);
            }
        }
    )*)*};
}
plain! {
    r#"{"type":"string"}"#: String char;
    r#"{"type":"boolean"}"#: bool;
    r#"{"type":"number"}"#: f32 f64;
    r#"{"type":"integer","minimum":-128,"maximum":127}"#: i8;
    r#"{"type":"integer","minimum":-32768,"maximum":32767}"#: i16;
    r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#: i32;
    r#"{"type":"integer"}"#: i64 i128 isize;
    r#"{"type":"integer","minimum":0,"maximum":255}"#: u8;
    r#"{"type":"integer","minimum":0,"maximum":65535}"#: u16;
    r#"{"type":"integer","minimum":0,"maximum":4294967295}"#: u32;
    r#"{"type":"integer","minimum":0}"#: u64 u128 usize;
    r#"{"type":"null"}"#: ();
}

macro_rules! around {
    ($($before:literal $after:literal: $(<$($p:ident),*> $ty:ty => $item:ident;)*)*) => {$($(
        impl<$($p: Schema),*> Schema for $ty {
            fn schema(out: &mut SchemaText) {
                out.push_str($before);
                out.nested::<$item>();
                out.push_str($after);
            }
        }
    )*)*};
}
around! {
    r#"{"type":"array","items":"# "}":
        <T> Vec<T> => T;
        <T> BTreeSet<T> => T;
    "" "":
        <T> Box<T> => T;
    r#"{"type":"object","additionalProperties":"# "}":
        <V> BTreeMap<String, V> => V;
}

impl<T: Schema> Schema for Option<T> {
    const REQUIRED: bool = false;

    fn schema(out: &mut SchemaText) {
        out.push_str(r#"{"anyOf":["#);
        out.nested::<T>();
        out.push_str(r#",{"type":"null"}]}"#);
    }
}

impl<T: Schema, S> Schema for HashSet<T, S> {
    fn schema(out: &mut SchemaText) {
        Vec::<T>::schema(out);
    }
}

impl<V: Schema, S> Schema for HashMap<String, V, S> {
    fn schema(out: &mut SchemaText) {
        BTreeMap::<String, V>::schema(out);
    }
}
