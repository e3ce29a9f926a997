//! The map: who emits and who consumes what, as plugins declare it and as the log shows it.
//!
//! [`Observed`] is a fold over the durable records: counters of who emitted and who got which type, and which type was
//! emitted for which. It follows the log on its own, is part of the checkpoint, and its size is bounded by numbers of its
//! own, whatever the types are called. [`draw`] holds it against what live plugins declare and answers a [`Map`]. Both are
//! pure: reading the log and asking the plugins is the host's part.

mod cycles;
mod draw;
mod flow;
mod observed;
mod older;
mod wanted;
pub mod when;

#[cfg(test)]
mod tests;

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

pub use cycles::{Cycle, Step};
pub use draw::{Declared, cycles_through, draw};
pub use flow::Flow;
pub use observed::Observed;
pub use older::Older;
pub use wanted::Wanted;

/// Who emits and who consumes what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The time that rates are of.
    #[serde(with = "when")]
    pub at: Micros,
    /// Since when the log was observed; `None` where no record was seen.
    #[serde(with = "when::optional")]
    pub since: Option<Micros>,
    /// The last record that is in it.
    pub through: u64,
    /// Records that are not in it, since they were gone or could not be read when their turn came.
    pub missed: u64,
    /// Counts that were not kept, since more types or ways were seen than are counted.
    pub beyond: u64,
    /// How many plugins and types there are, whatever was asked for.
    pub of: Of,
    /// The plugins, by name.
    pub plugins: Vec<PluginNode>,
    /// The event types, by name.
    pub types: Vec<TypeNode>,
    /// What is worth a look.
    pub findings: Findings,
}

/// How much there is in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Plugins.
    pub plugins: usize,
    /// Event types.
    pub types: usize,
}

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginNode {
    /// Its name.
    pub name: String,
    /// As `nerve plugin list` says it; `gone` where only the log knows it.
    pub status: String,
    /// Where its events go, where it is a webhook.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Patterns it subscribes to.
    pub subscriptions: Vec<String>,
    /// Types it declares to emit.
    pub emits: Vec<String>,
    /// Matching events that it has not settled.
    pub lag: u64,
    /// Its dead letters.
    pub dead_letters: usize,
    /// Attempts that were observed, those that failed, and events it gave up on.
    pub attempts: u64,
    /// Attempts that failed and were tried again.
    pub retries: u64,
    /// Events that it gave up on.
    pub dead: u64,
    /// Attempts in the last minute.
    pub per_minute: f64,
    /// How long an attempt takes on average, in microseconds.
    pub mean_us: u64,
}

/// An event type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TypeNode {
    /// Its name.
    pub name: String,
    /// Who emits it.
    pub emitted_by: Vec<Emitter>,
    /// Who consumes it.
    pub consumed_by: Vec<Consumer>,
    /// Events that were observed.
    pub events: u64,
    /// Events in the last minute.
    pub per_minute: f64,
    /// The last one.
    #[serde(with = "when::optional")]
    pub last: Option<Micros>,
}

/// Who emits a type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Emitter {
    /// The plugin; `None` for publishers outside.
    pub plugin: Option<String>,
    /// Whether a live plugin declares it, or an operator set a schema for what comes from outside.
    pub declared: bool,
    /// Events that were observed.
    pub events: u64,
    /// Events in the last minute.
    pub per_minute: f64,
    /// The last one.
    #[serde(with = "when::optional")]
    pub last: Option<Micros>,
}

/// Who consumes a type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumer {
    /// The plugin.
    pub plugin: String,
    /// The pattern by which it subscribes; `None` where it does so no more.
    pub pattern: Option<String>,
    /// Attempts that were observed.
    pub attempts: u64,
    /// Attempts that failed and were tried again.
    pub retries: u64,
    /// Events that it gave up on.
    pub dead: u64,
    /// Attempts in the last minute.
    pub per_minute: f64,
    /// How long an attempt takes on average, in microseconds.
    pub mean_us: u64,
    /// The last one.
    #[serde(with = "when::optional")]
    pub last: Option<Micros>,
}

/// What is worth a look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Types that somebody emits and nobody consumes, but for those who take everything.
    pub nobody_consumes: Vec<String>,
    /// Types and patterns that a plugin subscribes to, and nobody declares or was seen to emit.
    pub nobody_emits: Vec<Unfed>,
    /// Types that a plugin emitted since its version went live and does not declare.
    pub undeclared: Vec<Undeclared>,
    /// Ways on which an event can come round to its own type.
    pub cycles: Vec<Cycle>,
    /// Types with a newer one beside them, and who still needs them.
    pub older: Vec<Older>,
}

/// A subscription that gets nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unfed {
    /// The pattern.
    pub pattern: String,
    /// Who subscribes to it.
    pub plugins: Vec<String>,
}

/// An emitted type that is not declared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Undeclared {
    /// The plugin.
    pub plugin: String,
    /// The type.
    pub r#type: String,
    /// How often it was seen, also by versions before.
    pub events: u64,
}

impl Findings {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.nobody_consumes.len()
            + self.nobody_emits.len()
            + self.undeclared.len()
            + self.cycles.len()
            + self.older.len()
    }
}
