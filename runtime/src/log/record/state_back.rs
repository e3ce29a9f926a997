//! State and cursor that go back with a version.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Mute;

/// A rollback takes state and cursor back to where the version left them. What the plugin settled since is delivered again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateBack {
    /// The record with which the version stopped to be live.
    pub to: u64,
    /// What does not happen again.
    pub mute: Mute,
    /// What the keys held then whose value is another one now, in the order of the keys.
    pub writes: Vec<WriteBack>,
}

/// A key's value goes back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WriteBack {
    /// The key.
    pub key: String,
    /// What it held; `None` where it was not there.
    pub value: Option<ByteBuf>,
    /// What it held until now.
    pub previous: Option<ByteBuf>,
}
