//! Write plugins for nerve.
//!
//! A plugin says which events it handles, and handles them one at a time. Everything it asks for (events
//! to emit, state to write) is settled together with the outcome of the delivery, or not at all.
//!
//! ```
//! use nerve_sdk::prelude::*;
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "user.registered", key = "user")]
//! struct UserRegistered {
//!     user: String,
//!     email: String,
//! }
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "mail.sent", key = "user")]
//! struct MailSent {
//!     user: String,
//! }
//!
//! struct Greeter;
//!
//! #[plugin(name = "greeter", emits(MailSent))]
//! impl Greeter {
//!     #[on]
//!     fn greet(ctx: &mut Context<Self>, event: Delivered<UserRegistered>) -> Result<(), Failure> {
//!         if event.email.is_empty() {
//!             return Err(Failure::reject("a user without an email can't be greeted"));
//!         }
//!         info!("welcome, {}", event.user);
//!         ctx.emit(&MailSent { user: event.user.clone() })?;
//!         Ok(())
//!     }
//! }
//!
//! // A test needs no wasm:
//! let mut host = nerve_sdk::testing::Host::<Greeter>::new();
//! let outcome = host.deliver(&UserRegistered { user: "ada".into(), email: "ada@example.com".into() });
//! outcome.expect_done();
//! assert_eq!(outcome.emitted::<MailSent>()[0].user, "ada");
//! ```

mod bindings;
mod context;
mod error;
mod event;
mod guest;
mod host;
pub mod http;
pub mod log;
mod payload;
mod plugin;
mod schema;
mod state;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use context::{Context, Moment, RawEmit, Timer};
pub use error::{EmitError, Failure, ParseError, StateError};
pub use event::{Delivered, Event, EventKey, RawEvent, Upcasts};
pub use log::Level;
pub use nerve_sdk_macros::{Event, Schema, plugin};
pub use plugin::{EmittedBy, Manifest, Plugin};
pub use schema::{Schema, SchemaText};
pub use state::{Scan, State};

/// What a plugin needs, in one line: `use nerve_sdk::prelude::*;`
pub mod prelude {
    pub use crate::log::{debug, error, info, trace, warn};
    pub use crate::{Context, Delivered, Event, Failure, Plugin, RawEvent, Schema, plugin};
    pub use serde::{Deserialize, Serialize};
}

/// What the macros' code refers to. Not for authors: it changes without notice.
#[doc(hidden)]
pub mod private {
    pub use crate::bindings::{
        Event as WireEvent, Failure as WireFailure, export_plugin, generated as bindings_root,
    };
    pub use crate::event::read;
    pub use crate::guest::{Guest, PackedGuest, context, handle, handle_packed};
    pub use crate::log::write;
    pub use crate::payload::{Field, reads};
    pub use crate::plugin::{
        ask, declare_consumed, declare_emitted, has_type, manifest, matches, no_handler,
    };
}
