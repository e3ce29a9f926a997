//! What a plugin is: a manifest and a function. `#[plugin]` writes the implementation.

use crate::bindings::{self, PayloadFormat, Role};
use crate::error::Failure;
use crate::event::{Event, RawEvent};
use crate::schema::text;

pub use crate::bindings::Manifest;

/// A plugin: what `#[plugin]` makes of an `impl` block.
pub trait Plugin: Sized + 'static {
    /// Its name, which is the stem of its file.
    const NAME: &'static str;

    /// What the plugin says of itself. It must be the same at every call.
    fn manifest() -> Manifest;

    /// Handle one event.
    fn dispatch(event: RawEvent) -> Result<(), Failure>;
}

/// Export a type that implements [`Plugin`] by hand. `#[plugin]` does it by itself.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        // So that a native build without tests does not take the handlers for dead code.
        const _: fn($crate::RawEvent) -> ::core::result::Result<(), $crate::Failure> =
            <$plugin as $crate::Plugin>::dispatch;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;
            impl $crate::private::Guest for Exported {
                fn describe() -> $crate::Manifest {
                    <$plugin as $crate::Plugin>::manifest()
                }
                fn handle(
                    event: $crate::private::WireEvent,
                ) -> ::core::result::Result<(), $crate::private::WireFailure> {
                    $crate::private::handle::<$plugin>(event.into())
                }
            }
            impl $crate::private::PackedGuest for Exported {
                fn handle(
                    event: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<(), $crate::private::WireFailure> {
                    $crate::private::handle_packed::<$plugin>(event)
                }
            }
    $crate::private::export_plugin!(Exported with_types_in $crate::private::bindings_root);
        };
    };
}

/// `P` declares that it emits this event type.
#[diagnostic::on_unimplemented(
    message = "`{P}` does not declare that it emits `{Self}`",
    label = "not among the types of `emits(..)`",
    note = "write `#[plugin(emits({Self}))]` above the `impl` block of `{P}`, or add `{Self}` to what is there"
)]
pub trait EmittedBy<P> {}

/// What is said once in a plugin's life is copied in one place, and not with the code of each text beside it.
#[cold]
#[inline(never)]
fn owned(text: &str) -> String {
    text.to_owned()
}

/// A manifest that declares nothing yet.
#[doc(hidden)]
pub fn manifest(name: &str, version: &str) -> Manifest {
    Manifest {
        name: owned(name),
        version: owned(version),
        subscriptions: Vec::new(),
        emits: Vec::new(),
        payload: PayloadFormat::MessagePack,
        schemas: Vec::new(),
        asks: Vec::new(),
        readable: Vec::new(),
    }
}

/// Whether `event` is of this type: for that nobody asks whether its type is text.
#[doc(hidden)]
pub fn has_type(event: &RawEvent, event_type: &str) -> bool {
    event.has_type(event_type)
}

/// The host delivers only what was subscribed to, so this event is not for this plugin.
#[doc(hidden)]
#[cold]
pub fn no_handler(event: &RawEvent) -> Failure {
    Failure::reject(["no handler takes events of type ", event.event_type()].concat())
}

/// Add what the plugin expects of `E`, and of the older types that it is made of.
#[doc(hidden)]
pub fn declare_consumed<E: Event>(manifest: &mut Manifest) {
    if !manifest.subscriptions.iter().any(|pattern| pattern == E::TYPE) {
        manifest.subscriptions.push(owned(E::TYPE));
    }
    let known = |schema: &bindings::Schema| schema.event_type == E::TYPE && schema.role == Role::Consumes;
    if !manifest.schemas.iter().any(known) {
        manifest.schemas.push(schema::<E>(Role::Consumes));
    }
    E::declare_older(manifest);
}

/// Add what the plugin promises of `E`.
#[doc(hidden)]
pub fn declare_emitted<E: Event>(manifest: &mut Manifest) {
    manifest.emits.push(owned(E::TYPE));
    manifest.schemas.push(schema::<E>(Role::Emits));
}

/// Ask for a capability.
#[doc(hidden)]
pub fn ask(manifest: &mut Manifest, capability: &str, scope: &[&str]) {
    manifest.asks.push(bindings::Ask {
        capability: owned(capability),
        scope: scope.iter().map(|scope| owned(scope)).collect(),
    });
}

fn schema<E: Event>(role: Role) -> bindings::Schema {
    bindings::Schema {
        event_type: owned(E::TYPE),
        role,
        json: text::<E>(role == Role::Emits),
    }
}

/// Whether `pattern` (exact, `*` for one token, `>` for the rest) takes events of `event_type`.
#[doc(hidden)]
pub fn matches(pattern: &str, event_type: &str) -> bool {
    let mut tokens = event_type.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", token) => return token.is_some(),
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_take_one_token_or_the_rest() {
        for (pattern, event_type, taken) in [
            ("order.placed", "order.placed", true),
            ("order.placed", "order.placed.twice", false),
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.*", "order.placed.twice", false),
            ("*.placed", "order.placed", true),
            ("order.>", "order.placed.twice", true),
            ("order.>", "order", false),
            (">", "order", true),
            ("order", "orders", false),
        ] {
            assert_eq!(
                matches(pattern, event_type),
                taken,
                "{pattern} against {event_type}"
            );
        }
    }
}
