//! What became of deployments, what operators did, and how versions are named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DeclaredSchema, Merged, Mute, Rewind, StateBack};

/// What became of a request to deploy or remove a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The plugin.
    pub plugin: String,
    /// Hash of the pair of component and `.toml` that was asked for; the removed plugin's has none.
    pub pair: Option<Hash>,
    /// What became of it.
    pub action: DeploymentAction,
    /// Who asked for it.
    #[serde(default)]
    pub by: AskedBy,
    /// What was found of the contracts of a canary that is promoted, and let through.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whose token it was asked with, or `anonymous` where nobody is asked for one; `None` where nobody asked, and before there were tokens.
    #[serde(default)]
    pub who: Option<String>,
}

/// Who asks for something, and how: what its record says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asker {
    /// How it is asked for.
    pub by: AskedBy,
    /// Whose token it is asked with.
    pub who: Option<String>,
}

impl From<AskedBy> for Asker {
    fn from(by: AskedBy) -> Self {
        Self { by, who: None }
    }
}

/// How a deployment is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedBy {
    /// A file in the plugin folder.
    #[default]
    Folder,
    /// Somebody over HTTP.
    Api,
    /// An operator, with a command about what the host has already.
    Operator,
    /// The host, of a version that fails while it is watched.
    Probation,
    /// The host, of what is long past.
    Retention,
}

/// What became of a request to deploy or remove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentAction {
    /// It is live from this record on.
    Live(Box<LiveVersion>),
    /// It was refused; what was live before goes on.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The file is gone: the plugin stops, its cursor and state stay.
    Removed,
    /// It asks for more than it was granted: it waits for an operator, and what was live before goes on.
    Waiting(Box<WaitingVersion>),
    /// It was removed long ago: its cursor and state are given up.
    Forgotten,
    /// A version that ran before is live again from this record on.
    RolledBack(Box<RolledBack>),
    /// The version that is live, so far for a share of the keys only, is so for all of them.
    Promoted(VersionId),
    /// These versions ran long ago and nobody needs them: what was kept of them is given up.
    Collected(Vec<VersionId>),
    /// A canary with a state of its own is promoted.
    Merged(Box<Merged>),
}

impl DeploymentAction {
    /// The version that is live from its record on, where it makes one live.
    pub fn live(&self) -> Option<&LiveVersion> {
        match self {
            Self::Live(version) => Some(version),
            Self::RolledBack(back) => Some(&back.version),
            _ => None,
        }
    }
}

/// A version takes the place of one that came after it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RolledBack {
    /// What is live again.
    pub version: LiveVersion,
    /// What was live until now.
    pub from: VersionId,
    /// Why, for people.
    pub why: String,
    /// Where state and cursor go back with it.
    #[serde(default)]
    pub state: Option<Box<StateBack>>,
    /// What is muted of what a canary did on a state of its own, and is delivered again; what has happened where nothing was
    /// said.
    #[serde(default)]
    pub mute: Option<Mute>,
}

/// What a plugin asks for: capabilities, each with its scopes.
pub type Asks = Vec<(String, Vec<String>)>;

/// A version that waits to be approved. Component and settings are kept, so that it can go live without the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WaitingVersion {
    /// Hash of component and configuration.
    pub version: VersionId,
    /// Hash of the component's bytes, under which they are kept.
    pub component: Hash,
    /// The author's version text.
    pub label: String,
    /// Text of its `NAME.toml`, where there is one.
    pub settings: Option<String>,
    /// What it asks for.
    pub asks: Asks,
    /// What of that is not granted.
    pub missing: Asks,
}

/// A version that went live.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LiveVersion {
    /// Hash of component and configuration.
    pub version: VersionId,
    /// Hash of the component's bytes, under which they are kept.
    pub component: Hash,
    /// The author's version text.
    pub label: String,
    /// Text of the `NAME.toml` it runs with, where there is one. Secrets stand in it by reference only.
    pub settings: Option<String>,
    /// Patterns it subscribes to.
    pub subscriptions: Vec<String>,
    /// Types it declares to emit.
    pub emits: Vec<String>,
    /// Prefixes of state keys that applications may read.
    pub readable: Vec<String>,
    /// What it asks for: capability and scope.
    pub asks: Asks,
    /// Whether a new plugin starts at the first event of the log, instead of here.
    pub from_beginning: bool,
    /// What an operator had approved when it went live.
    #[serde(default)]
    pub approved: Asks,
    /// How it is watched where it takes another one's place; `None` trusts it at once.
    #[serde(default)]
    pub probation: Option<Terms>,
    /// The JSON Schemas that it declares.
    #[serde(default)]
    pub schemas: Vec<DeclaredSchema>,
    /// What was found of its contracts when it went live, and let through.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where its events go, without the query, where it is a webhook: its component is empty then.
    #[serde(default)]
    pub webhook: Option<String>,
}

/// How a version is watched that takes another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// Over so many attempts.
    pub events: u32,
    /// From its first one on, so long at most.
    pub seconds: u32,
    /// Its mean time may be so many times that of the version before; 0 does not compare them.
    pub slower: u32,
    /// Of 10,000 keys it runs for so many, until it is promoted; 0 for all of them.
    #[serde(default)]
    pub share: u32,
    /// Whether such a canary has a state of its own.
    #[serde(default)]
    pub own: bool,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// The plugin it was done to.
    pub plugin: String,
    /// What was done.
    pub action: OperatorAction,
    /// Whose token it was asked with, or `anonymous` where nobody is asked for one; `None` where nobody asked, and before there were tokens.
    #[serde(default)]
    pub who: Option<String>,
}

/// What an operator can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorAction {
    /// Deliver dead letters again: offsets of their events.
    Redrive(Vec<u64>),
    /// Give dead letters up: offsets of their events.
    Drop(Vec<u64>),
    /// Deliver nothing until told to go on.
    Pause,
    /// Go on: where the plugin was paused for its failures, with one event.
    Resume,
    /// Give the plugin what the waiting version asks for, in place of what was approved before.
    Approve {
        /// The pair of component and settings that was shown.
        pair: Hash,
        /// What was shown.
        asks: Asks,
    },
    /// Run history again through the plugin.
    Rewind(Rewind),
    /// Stop the rewind that runs.
    StopRewind,
}

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Hash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl FromStr for Hash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadHash);
        }
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| BadHash)?;
        }
        Ok(Self(hash))
    }
}

/// A text is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits")]
pub struct BadHash;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A version of a plugin: the first 8 bytes of the hash of its component and its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct VersionId(#[serde(with = "serde_bytes")] pub [u8; 8]);

impl VersionId {
    /// The version that a component and its configuration make.
    pub fn of(component: Hash, configuration: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&component.0).update(configuration);
        let mut id = [0; 8];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(id)
    }
}

impl VersionId {
    /// Whether its text begins with `digits`.
    pub fn begins_with(&self, digits: &str) -> bool {
        !digits.is_empty() && self.to_string().starts_with(&digits.to_ascii_lowercase())
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
