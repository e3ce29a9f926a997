//! 1 ACCEPT: from what a publisher sent to a [`ValidEvent`], or a reason why not.

mod valid_event;

pub use valid_event::{Identity, ValidEvent};
