//! Events that a plugin will never see, since it was too far behind when retention took them.

use serde::{Deserialize, Serialize};

/// A gap in what a plugin sees: it is paused, and goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The plugin.
    pub plugin: String,
    /// The first event that it will not see.
    pub from: u64,
    /// Retention takes everything up to here.
    pub through: u64,
    /// Matching events that were not settled, those that waited behind parked keys included.
    pub events: u64,
    /// Why, for people.
    pub why: String,
}
