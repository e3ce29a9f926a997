//! What the last attempt at a dead letter read of its plugin's state.

use serde::{Deserialize, Serialize};

/// What an attempt read: enough to make it again on this alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StateRead<'a> {
    /// Keys that were read or found, ascending, with their values.
    #[serde(borrow)]
    pub values: Vec<ValueRead<'a>>,
    /// Ranges that were looked through; what was found is among the values.
    #[serde(borrow)]
    pub scans: Vec<Scanned<'a>>,
    /// Bytes of all keys and values of the plugin, which a limit counts.
    pub state_bytes: u64,
    /// Whether it was too much to be kept whole.
    pub cut: bool,
}

/// A key that was read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValueRead<'a> {
    /// The key.
    pub key: &'a str,
    /// Its value; `None` where it had none.
    #[serde(with = "serde_bytes")]
    pub value: Option<&'a [u8]>,
}

/// A range that was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned<'a> {
    /// What its keys begin with.
    pub prefix: &'a str,
    /// It begins behind this key.
    pub after: Option<&'a str>,
    /// At most so many entries.
    pub limit: u32,
}
