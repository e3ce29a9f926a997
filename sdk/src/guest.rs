//! The way from the host's call into the plugin and back.

use std::sync::Once;

use crate::bindings::{self, generated::nerve::plugin::types::Retry};
use crate::context::Context;
use crate::error::Failure;
use crate::log::Level;
use crate::plugin::Plugin;
use crate::{event::RawEvent, host};

pub use crate::bindings::generated::exports::nerve::plugin::handler::Guest;
pub use crate::bindings::generated::exports::nerve::plugin::packed::Guest as PackedGuest;

static SAY_WHY: Once = Once::new();

/// Answer `handle`. A panic leaves its message in the log lines of the outcome before it traps.
pub fn handle<P: Plugin>(event: RawEvent) -> Result<(), bindings::Failure> {
    SAY_WHY.call_once(|| {
        std::panic::set_hook(Box::new(|info| host::log(Level::Error, &info.to_string())));
    });
    P::dispatch(event).map_err(|failure| match failure {
        Failure::Retry { reason, after } => bindings::Failure::Retry(Retry {
            reason,
            after: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }),
        Failure::Reject { reason } => bindings::Failure::Reject(reason),
    })
}

/// Answer `handle` for an event in one piece, and for those that follow within the call.
///
/// # Panics
/// Where one is cut off, which no host does.
pub fn handle_packed<P: Plugin>(event: Vec<u8>) -> Result<(), bindings::Failure> {
    let mut next = Some(event);
    while let Some(event) = next {
        let event = RawEvent::unpack(event).expect("the host hands over whole events");
        let more = event.has_more();
        handle::<P>(event)?;
        next = more.then(host::next).flatten();
    }
    Ok(())
}

/// A context for one delivery.
pub fn context<P>() -> Context<P> {
    Context::new()
}
