//! 1 ACCEPT: from what a publisher sent to a [`ValidEvent`], or a reason why not.

pub(crate) mod acceptor;
pub mod message_pack;
mod source_rate;
mod valid_event;

pub use acceptor::{Acceptor, Invalid, Limits, NewEvent};
pub use source_rate::{SourceRate, SourceRates, TooFast};
pub use valid_event::{Identity, IdentityKey, ValidEvent};
