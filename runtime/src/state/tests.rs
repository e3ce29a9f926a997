//! Tests of the fold on records that nobody meant.

mod checkpoints;
mod fuzz;
mod going_back;
mod history;
