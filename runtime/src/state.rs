//! The host's state: a fold over the log.

mod key_values;

pub use key_values::KeyValues;
