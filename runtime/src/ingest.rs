//! 1 ACCEPT: from what a publisher sent to a [`ValidEvent`], or a reason why not.

mod acceptor;
pub mod message_pack;
mod source_rate;
mod valid_event;

pub use acceptor::{Acceptor, Invalid, Limits, NewEvent};
pub(crate) use acceptor::{LONGEST_TEXT, MOST_ATTRIBUTES, is_media_type, too_many_extensions};
pub use source_rate::{SourceRate, SourceRates, TooFast};
pub use valid_event::{Identity, IdentityKey, ValidEvent};
