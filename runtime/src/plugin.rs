//! 5 HANDLE: plugins, from a file in the folder to a guest that handles events inside its limits.
//!
//! [`watcher`] sees that a file changed, [`deploy`] decides whether it is a request, [`loader`] makes a checked
//! version of it with the [`engine`] and the [`compiler`], and [`guest`] runs deliveries in it; [`rerun`] runs one again from its records. What a guest may call is in [`v1`], a file
//! for each WIT interface. A [`webhook`] is a plugin without a component: its handler is one HTTP call.

pub mod cache;
pub mod compiler;
pub mod components;
pub mod deploy;
mod emits;
pub mod engine;
pub mod grants;
pub mod guest;
pub mod loader;
pub mod manifest;
pub mod name;
pub mod outgoing;
mod outside;
mod promised;
pub mod rerun;
pub mod settings;
pub mod shape;
pub mod stack;
pub mod v1;
mod wasi;
pub mod watcher;
pub mod webhook;

#[cfg(test)]
mod tests;
