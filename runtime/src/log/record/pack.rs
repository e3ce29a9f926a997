//! Writes records, and the data of events that come as JSON, into memory as MessagePack, byte for byte as `rmp_serde` does: every
//! event and outcome goes through here, and what is generic over any writer costs several times as much.
//!
//! A struct is an array of its fields. A variant without content is its name, and one with content a map of its name to that.
#![expect(
    clippy::cast_possible_truncation,
    reason = "each is behind a match on what fits"
)]

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Append `value` to `out`.
pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    value
        .serialize(Pack(out))
        .expect("writing plain fields into memory can't fail");
}

/// Why a value can't be written: what it is read from fails.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unwritable(String);

impl serde::ser::Error for Unwritable {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

/// Appends one value to what it holds.
pub(crate) struct Pack<'a>(pub(crate) &'a mut Vec<u8>);

/// The markers before a length of up to 15, of two bytes and of four.
type Heads = [u8; 3];
const LIST: Heads = [0x90, 0xdc, 0xdd];
const MAP: Heads = [0x80, 0xde, 0xdf];

/// A list or a map whose parts are being written.
pub(crate) struct Open<'a> {
    pack: Pack<'a>,
    heads: Heads,
    /// Where its head belongs, and how many parts it has so far; `None` where the length was known and is written.
    counted: Option<(usize, usize)>,
}

impl<'a> Pack<'a> {
    #[inline]
    fn marked<const N: usize>(&mut self, marker: u8, number: [u8; N]) {
        self.0.push(marker);
        self.0.extend_from_slice(&number);
    }

    #[inline]
    fn uint(&mut self, value: u64) {
        if let Ok(small) = u8::try_from(value) {
            if small >= 0x80 {
                self.0.push(0xcc);
            }
            self.0.push(small);
        } else if let Ok(value) = u16::try_from(value) {
            self.marked(0xcd, value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.marked(0xce, value.to_be_bytes());
        } else {
            self.marked(0xcf, value.to_be_bytes());
        }
    }

    #[inline]
    fn int(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.uint(value);
        } else if value >= -32 {
            self.0.extend_from_slice(&(value as i8).to_be_bytes());
        } else if let Ok(value) = i8::try_from(value) {
            self.marked(0xd0, value.to_be_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.marked(0xd1, value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.marked(0xd2, value.to_be_bytes());
        } else {
            self.marked(0xd3, value.to_be_bytes());
        }
    }

    /// The head of an array or a map of `length` parts.
    #[inline]
    fn head(&mut self, [small, middle, large]: Heads, length: usize) {
        match u32::try_from(length).expect("a record is shorter than 4 GiB") {
            length @ 0..16 => self.0.push(small | length as u8),
            length @ 16..0x1_0000 => self.marked(middle, (length as u16).to_be_bytes()),
            length => self.marked(large, length.to_be_bytes()),
        }
    }

    #[inline]
    fn array(mut self, length: usize) -> Self {
        self.head(LIST, length);
        self
    }

    /// The head of `length` parts; of a length that is not known yet, room for the shortest.
    #[inline]
    fn open(mut self, heads: Heads, length: Option<usize>) -> Open<'a> {
        let counted = if let Some(length) = length {
            self.head(heads, length);
            None
        } else {
            self.0.push(0);
            Some((self.0.len() - 1, 0))
        };
        Open {
            pack: self,
            heads,
            counted,
        }
    }

    #[inline]
    fn variant(mut self, name: &str) -> Self {
        self.0.push(0x81);
        self.text(name);
        self
    }

    #[inline]
    fn text(&mut self, text: &str) {
        match u32::try_from(text.len()).expect("a record is shorter than 4 GiB") {
            length @ 0..32 => self.0.push(0xa0 | length as u8),
            length @ 32..0x100 => self.marked(0xd9, [length as u8]),
            length @ 0x100..0x1_0000 => self.marked(0xda, (length as u16).to_be_bytes()),
            length => self.marked(0xdb, length.to_be_bytes()),
        }
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl<'a> Serializer for Pack<'a> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Open<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Unwritable> {
        self.0.push(0xc2 | u8::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Unwritable> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Unwritable> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Unwritable> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(mut self, value: i64) -> Result<(), Unwritable> {
        self.int(value);
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Unwritable> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Unwritable> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Unwritable> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(mut self, value: u64) -> Result<(), Unwritable> {
        self.uint(value);
        Ok(())
    }

    fn serialize_f32(mut self, value: f32) -> Result<(), Unwritable> {
        self.marked(0xca, value.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(mut self, value: f64) -> Result<(), Unwritable> {
        self.marked(0xcb, value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unwritable> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(mut self, text: &str) -> Result<(), Unwritable> {
        self.text(text);
        Ok(())
    }

    #[inline]
    fn serialize_bytes(mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        match u32::try_from(bytes.len()).expect("a record is shorter than 4 GiB") {
            length @ 0..0x100 => self.marked(0xc4, [length as u8]),
            length @ 0x100..0x1_0000 => self.marked(0xc5, (length as u16).to_be_bytes()),
            length => self.marked(0xc6, length.to_be_bytes()),
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.0.push(0xc0);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Unwritable> {
        self.array(0);
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        value.serialize(self.variant(variant))
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Open<'a>, Unwritable> {
        Ok(self.open(LIST, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self, Unwritable> {
        Ok(self.array(length))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<Self, Unwritable> {
        Ok(self.array(length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self, Unwritable> {
        Ok(self.variant(variant).array(length))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Open<'a>, Unwritable> {
        Ok(self.open(MAP, length))
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Self, Unwritable> {
        Ok(self.array(length))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self, Unwritable> {
        Ok(self.variant(variant).array(length))
    }
}

/// The parts of whatever has parts follow its head, one after the other.
macro_rules! parts {
    ($($of:ident: $write:ident($($name:ty)?)),+) => {$(
        impl $of for Pack<'_> {
            type Ok = ();
            type Error = Unwritable;

            #[inline]
            fn $write<T: ?Sized + Serialize>(&mut self, $(_name: $name,)? part: &T) -> Result<(), Unwritable> {
                part.serialize(Pack(self.0))
            }

            #[inline]
            fn end(self) -> Result<(), Unwritable> {
                Ok(())
            }
        }
    )+};
}

parts! {
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str)
}

impl Open<'_> {
    #[inline]
    fn part<T: ?Sized + Serialize>(&mut self, part: &T) -> Result<(), Unwritable> {
        part.serialize(Pack(self.pack.0))
    }

    #[inline]
    fn counts(&mut self) {
        if let Some((_, count)) = &mut self.counted {
            *count += 1;
        }
    }

    /// Write the head where it belongs, where that was to come.
    fn close(self) {
        let Some((at, count)) = self.counted else {
            return;
        };
        let out = self.pack.0;
        if count < 16 {
            out[at] = self.heads[0] | count as u8;
        } else {
            let mut head = Vec::with_capacity(5);
            Pack(&mut head).head(self.heads, count);
            out.splice(at..=at, head);
        }
    }
}

impl SerializeSeq for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    #[inline]
    fn serialize_element<T: ?Sized + Serialize>(&mut self, part: &T) -> Result<(), Unwritable> {
        self.counts();
        self.part(part)
    }

    #[inline]
    fn end(self) -> Result<(), Unwritable> {
        self.close();
        Ok(())
    }
}

impl SerializeMap for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    #[inline]
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.counts();
        self.part(key)
    }

    #[inline]
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), Unwritable> {
        self.close();
        Ok(())
    }
}
