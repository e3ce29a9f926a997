//! The host's state: a fold over the log.
//!
//! [`Fold::apply`] is the only thing that changes it, at start with every record that recovery reads and later
//! with every record just appended, so that a restart finds exactly what was there. Nothing in the fold was
//! decided here: records say what happened, the fold only keeps count.

pub mod checkpoint;
mod dead;
mod decisions;
mod fold;
mod freed;
mod going_back;
pub mod history;
mod key_values;
mod operated;
mod own;
mod plugin_state;
mod rewinding;
mod running;
mod versions;

pub use dead::Dead;
pub use decisions::Decisions;
pub use fold::Fold;
pub use going_back::{Again, Left, MOST_AGAIN};
pub use key_values::KeyValues;
pub use operated::Operated;
pub use own::{MOST_SPANS, OwnState};
pub use plugin_state::{Live, OpenAttempt, PluginState};
pub use rewinding::{OfRewind, Rewinding};
pub use versions::{FolderPair, Ran};

#[cfg(test)]
mod tests;
