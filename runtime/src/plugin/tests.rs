//! Tests of what plugins and their operators hand over.

mod fuzz;
mod page;
mod probation;
mod series;
