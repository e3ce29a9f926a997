//! 7 OBSERVE: what records say about the way of an event. Reads only; never blocks or fails the way.

mod find;
pub mod routes;
pub mod settled;
mod tree;

#[cfg(test)]
mod tests;

pub use find::find;
pub use tree::{Delivery, Node, Tree, tree};
