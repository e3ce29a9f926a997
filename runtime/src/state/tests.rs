//! Tests of the fold on records that nobody meant.

mod fuzz;
mod going_back;
mod history;
