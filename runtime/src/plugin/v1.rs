//! The world `nerve:plugin@1.0.0`: what guests of this version may call, and what they must export.

mod clock;
mod config;
mod events;
mod http;
mod instance;
pub(crate) mod log;
mod packed;
mod random;
mod series;
mod state;
mod timers;

use super::guest::Guest;

#[expect(
    missing_docs,
    reason = "generated from the files in wit/, which document each item"
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        imports: { default: trappable },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub use bindings::*;

pub(super) use self::instance::{Instance, Linked};
pub(super) use self::packed::pack;

impl nerve::plugin::types::Host for Guest {}

/// The version of the world.
pub const VERSION: &str = "1.0.0";

/// The interfaces of the world that a guest may import.
pub const IMPORTS: [&str; 11] = [
    "types",
    "events",
    "packed-events",
    "state",
    "timers",
    "log",
    "clock",
    "random",
    "config",
    "http",
    "series",
];

/// The interface that a guest must export.
pub const EXPORT: &str = "handler";
