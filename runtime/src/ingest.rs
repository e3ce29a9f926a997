//! 1 ACCEPT: from what a publisher sent to a [`ValidEvent`], or a reason why not.

mod acceptor;
pub mod message_pack;
mod source_rate;
mod valid_event;

pub use acceptor::{Acceptor, Invalid, Limits, NewEvent};
pub(crate) use acceptor::{LONGEST_TEXT, is_media_type};
pub use source_rate::{SourceRate, SourceRates, TooFast};
pub use valid_event::{Identity, IdentityKey, ValidEvent};
