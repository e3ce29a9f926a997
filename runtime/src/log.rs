//! 2 APPEND and 3 DURABLE: the one place where records enter the log.
//!
//! [`sequencer`] puts every record into the one total order; under its lock live the two things that must
//! agree with that order: which identities were published ([`window`]), and which offsets each event type has
//! ([`index`]), from which the plugins that subscribe to it are woken. [`turns`] keeps large batches of several plugins apart.
//! [`durable`] wakes who waits for the disk.
//! [`trace_context`] says to which trace an event belongs, and `text` whether bytes are text.

pub mod durable;
pub mod index;
#[cfg(test)]
pub(crate) mod looked_at;
pub mod record;
pub mod sequencer;
pub(crate) mod text;
pub mod trace_context;
pub mod turns;
pub mod window;
