//! Outgoing calls: what a plugin asked of somebody outside, and what it was answered.

use serde::{Deserialize, Serialize};

use super::{Hash, VersionId};

/// A plugin is about to call somebody outside. It is durable before the call is made.
///
/// After a crash the attempt that it belongs to goes on: with the same attempt number, clock and seed, and with
/// the answers that were recorded. Its outcome ends it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Intent {
    /// The plugin.
    pub plugin: String,
    /// The version that runs.
    pub version: VersionId,
    /// Offset of the event that is delivered.
    pub event: u64,
    /// From 1.
    pub attempt: u32,
    /// Whether an operator's redrive or rewind asked for this delivery.
    pub replay: bool,
    /// Wall-clock start of the attempt, in microseconds.
    pub started: u64,
    /// Seed of the plugin's randomness.
    pub seed: u64,
    /// Which of the attempt's calls is about to be made, from 0.
    pub index: u32,
    /// What is asked.
    pub asked: Asked,
    /// The calls just before this one that no intent of the attempt has named yet, with their answers.
    pub calls: Vec<Call>,
    /// The rewind that it is of; 0 where it is of none.
    #[serde(default)]
    pub generation: u64,
    /// Whether that rewind is under way.
    #[serde(default)]
    pub historic: bool,
}

/// What was asked of somebody outside. Headers and body are in the hash alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// Hash of the whole request.
    pub request: Hash,
    /// Its method.
    pub method: String,
    /// Scheme, host, port and path; without the query, which may hold secrets.
    pub target: String,
    /// Bytes of its body.
    pub bytes: u64,
}

/// A call, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// What was asked.
    pub asked: Asked,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It was answered.
    Answered {
        /// The status.
        status: u16,
        /// Names and values of the headers.
        headers: Vec<(String, serde_bytes::ByteBuf)>,
        /// The body.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// It was not.
    Failed {
        /// How.
        class: CallFailure,
        /// For people.
        reason: String,
    },
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallFailure {
    /// It is not granted; nobody was asked.
    Denied,
    /// A limit would be passed.
    Limit,
    /// The answer did not come in time.
    Timeout,
    /// There was no connection.
    Connect,
    /// The request or the answer was malformed, or the connection broke.
    Protocol,
}

impl Call {
    /// Bytes that its answer takes.
    pub fn answer_bytes(&self) -> usize {
        match &self.answer {
            Answer::Answered { headers, body, .. } => {
                let headers = headers.iter().map(|(name, value)| name.len() + value.len());
                body.len() + headers.sum::<usize>()
            }
            Answer::Failed { reason, .. } => reason.len(),
        }
    }
}
