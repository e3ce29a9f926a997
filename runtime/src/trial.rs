//! Trials: a new version of a plugin beside the running one, on the same real events, with all effects kept inside.
//!
//! [`read`] finds in a log what the plugin settled in a [`range`](Against), and gives it as a [`history`]: the version
//! that is live, the state as it was before the first delivery, and then each delivery with its event, its clock, seed
//! and answers, and what it came to. It reads any log, of a running host or of a folder that nobody uses, and appends
//! nothing. A [`Trial`] takes the history step by step and runs both versions on it, each a [`side`] with a state of its
//! own; the [`differ`] says in what they differ, and the [`report`] counts it and keeps the first example of each kind.
//!
//! Results come from fresh instances, so that they depend on nothing but event, state, configuration and answers.
//! Beside it each delivery runs on an instance that is used again, as a host does it: this one is measured, and where it
//! does something else, the report says that the version depends on its memory.

mod against;
mod came;
pub mod differ;
pub mod history;
pub mod read;
pub mod report;
mod run;
pub mod side;

pub use against::{Against, BadAgainst};
pub use came::Came;
pub use run::{Ran, Trial, TrialError, run};

#[cfg(test)]
mod tests;
