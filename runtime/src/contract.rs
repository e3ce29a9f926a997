//! Contracts: what the data of an event type must look like, and whether two sides of it agree.
//!
//! A [`Schema`] is read once; data is checked against it where it lies, and [`accepts`] compares two of them. Both
//! are sound: what is called valid or safe is, what is called breaking comes with an example, and what can't be told
//! is called that. Their work is bounded, whoever wrote the schema.

mod check;
mod compare;
mod deployment;
mod example;
mod given;
mod live;
mod plain;
mod registry;
mod schema;
mod value;

#[cfg(test)]
mod tests;

pub use check::{Checked, Violation};
pub use compare::{Difference, Rule, Verdict, accepts};
pub use deployment::{Breach, Decided, Found, Offered, REFUSED, look_at_rest};
pub use live::{Holding, Parsed, TypeContract, Types, of_running};
pub use registry::{BrokenContract, Contracts, SetRefused};
pub use schema::{BadSchema, Schema};
