//! State and cursor that go back with a version, and the state of a canary that is taken over.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Mute, VersionId};

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

/// A canary with a state of its own is promoted, and the plugin's state takes over what it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merged {
    /// The canary.
    pub version: VersionId,
    /// Whose values stay where both had written a key of the state, where there are such keys.
    pub prefer: Option<Prefer>,
    /// How many there are.
    pub both: u64,
    /// What the keys hold from here on whose value is another one now, in the order of the keys.
    pub writes: Vec<WriteBack>,
}

/// Whose value of a key of the state stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The canary's.
    Canary,
    /// That of the version before.
    Before,
}
