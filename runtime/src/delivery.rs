//! 4 DELIVER and 6 SETTLE: which event goes to which plugin when, and what comes of it.

pub mod handler;
