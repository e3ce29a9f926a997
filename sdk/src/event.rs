//! Events as a plugin sees them: its own types, and the raw event they are read from.

pub(crate) mod piece;
mod raw;

use std::borrow::Cow;
use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Failure, ParseError};
use crate::payload;
use crate::schema::Schema;

pub use self::raw::RawEvent;

/// A type of event: derive it beside `Serialize` and `Deserialize`.
///
/// A plugin declares only the fields that it needs; what else an event carries is ignored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event type",
    note = "write `#[derive(Event, Serialize, Deserialize)]` and `#[event(type = \"some.type\")]` above it"
)]
pub trait Event: Schema + Serialize + DeserializeOwned {
    /// The dotted type, such as `order.placed`.
    const TYPE: &'static str;

    /// What must stay in order; `None` makes the event its own key.
    fn key(&self) -> Option<Cow<'_, str>>;

    /// What the event is about.
    fn subject(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The fields, for naming the one that can't be read. Written by the derive.
    #[doc(hidden)]
    fn fields() -> &'static [payload::Field] {
        &[]
    }

    /// Whether events of type `event_type` are read as this one: of its own type, or of an older one that it upcasts.
    #[doc(hidden)]
    fn takes(event_type: &str) -> bool {
        event_type == Self::TYPE
    }

    /// Read the data of `event`. Data that can't be read is told with the field at fault.
    #[doc(hidden)]
    fn read(event: &RawEvent) -> Result<Self, String> {
        read(event.data())
    }

    /// Declare that the older types that it upcasts are consumed.
    #[doc(hidden)]
    fn declare_older(_manifest: &mut crate::Manifest) {}
}

/// A newer shape of an event that can be made of the older `Old`: `From<Old>` gives it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says that it upcasts `{Old}`, and can't be made of it",
    label = "`From<{Old}>` is missing",
    note = "write `impl From<{Old}> for {Self}`: it makes the new shape of what the old one has"
)]
pub trait Upcasts<Old> {
    /// The new shape of `old`.
    fn upcast(old: Old) -> Self;
}

impl<Old, New: From<Old>> Upcasts<Old> for New {
    fn upcast(old: Old) -> Self {
        old.into()
    }
}

/// What a field must be to serve as an event's key or subject.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the key or subject of an event",
    note = "use a field of a text, integer or boolean type, or an `Option` of one"
)]
pub trait EventKey {
    /// The key as text.
    fn event_key(&self) -> Option<Cow<'_, str>>;
}

impl<T: EventKey> EventKey for Option<T> {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        self.as_ref().and_then(T::event_key)
    }
}

impl EventKey for String {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        Some(self.into())
    }
}

macro_rules! keys {
    ($($ty:ty)*) => {$(
        impl EventKey for $ty {
            fn event_key(&self) -> Option<Cow<'_, str>> {
                Some(self.to_string().into())
            }
        }
    )*};
}
keys!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize bool char);

/// An event that was delivered: its data (reached by `.field`, through `Deref`) and what the host knows of it.
#[derive(Debug, Clone)]
pub struct Delivered<T> {
    data: T,
    raw: RawEvent,
}

impl<T: Event> Delivered<T> {
    /// Parse the data of `raw`. Data that is not a `T` is a reject that names the field.
    #[doc(hidden)]
    pub fn parse(raw: RawEvent) -> Result<Self, Failure> {
        match T::read(&raw) {
            Ok(data) => Ok(Self { data, raw }),
            Err(reason) => Err(unreadable(raw.event_type(), &reason).into()),
        }
    }
}

impl<T> Delivered<T> {
    /// Id, offset, time, attempt and all else that the host says of the event.
    pub fn meta(&self) -> &RawEvent {
        &self.raw
    }

    /// The data, without the rest.
    pub fn into_data(self) -> T {
        self.data
    }
}

impl<T> Deref for Delivered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

/// Read `data` as a `T`, or name the field at fault.
#[doc(hidden)]
pub fn read<T: Event>(data: &[u8]) -> Result<T, String> {
    payload::decode(data).map_err(|reason| payload::blame(data, T::fields()).unwrap_or(reason))
}

#[cold]
fn unreadable(event_type: &str, reason: &str) -> ParseError {
    ParseError(["the data of ", event_type, " can't be read: ", reason].concat())
}
