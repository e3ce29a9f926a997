//! Parked keys behind which nothing waits any more, without a delivery that says so.

use serde::{Deserialize, Serialize};

/// What waited behind these keys is of types that the plugin has not subscribed to since: they are parked no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// The plugin.
    pub plugin: String,
    /// The keys.
    pub keys: Vec<String>,
}
