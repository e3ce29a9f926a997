//! 4 DELIVER and 6 SETTLE: which event goes to which plugin when, and what comes of it.
//!
//! A [`lane`] works for one plugin, one delivery at a time: it chooses the next one ([`queue`]: retries that
//! are due, events behind a parked key, redrives, fresh events), hands it to a [`handler`], lets [`settle`]
//! decide what it came to, and appends the outcome with all effects in one batch, quick ones together with others. A plugin may have several
//! lanes; they share the queue, and what one of them [`reads`] must still hold when it settles. What is
//! remembered over a restart is the fold's [`cursor`].

pub mod breaker;
pub mod cursor;
pub mod handler;
pub mod history;
mod holds;
pub mod kept;
pub mod lane;
mod opened;
pub mod pace;
pub mod probation;
pub mod queue;
pub mod reads;
pub mod retry;
pub mod settle;
pub mod subscriber;
pub mod subscribers;
pub mod subscription;
pub mod timer;
pub mod took;

#[cfg(test)]
mod tests;
