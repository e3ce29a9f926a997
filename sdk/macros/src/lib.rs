//! The macros of `nerve-sdk`: what an author writes above a type and above an `impl` block.
//!
//! Each collects every mistake it finds, says for each what to write instead, and always gives the author's
//! item back, so that one mistake does not hide behind a hundred others.

mod attribute;
mod event;
mod event_type;
mod plugin;
mod schema;

use proc_macro::TokenStream;

/// Makes a type an event type: `#[event(type = "order.placed", key = "order", subject = "order")]`, where
/// `key` and `subject` (both optional) name fields. Implies [`macro@Schema`].
///
/// `upcasts = OrderPlacedV1` names the event type that this one takes the place of, of which it can be made
/// (`From<OrderPlacedV1>`): whoever handles this one gets events of both types, all in the new shape.
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn derive_event(item: TokenStream) -> TokenStream {
    event::derive(&syn::parse_macro_input!(item as syn::DeriveInput)).into()
}

/// Gives a type its JSON Schema, so that it can be a part of an event type.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn derive_schema(item: TokenStream) -> TokenStream {
    schema::derive(&syn::parse_macro_input!(item as syn::DeriveInput)).into()
}

/// Makes an `impl` block a plugin; its functions marked with `#[on]` are the handlers.
///
/// - `name = "greeter"` and `version = "1.2.0"` default to those of the package;
/// - `emits(MailSent, "some.type")` lists what the plugin emits, as event types or by their text;
/// - `readable("profile/")` lists the prefixes of state keys that applications may read;
/// - `asks(http("GET,POST api.example.com:443"))` asks the operator for what is denied otherwise; `asks(http)` leaves
///   it to the operator where the plugin may call.
///
/// `#[on]` subscribes a handler to the event type of its second parameter, `Delivered<T>`;
/// `#[on("order.*", "user.>")]` subscribes it to patterns, and its second parameter is a `RawEvent`.
/// One event goes to one handler: that of its exact type, or else the first whose pattern takes it.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(arguments.into(), &item.into()).into()
}
