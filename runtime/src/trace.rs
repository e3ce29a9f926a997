//! 7 OBSERVE: what records say about the way of an event. Reads only; never blocks or fails the way.

mod find;
pub mod map;
pub mod routes;
pub mod settled;
mod slow;
mod tree;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod written;

pub use find::{Roots, find, roots};
pub use tree::{Delivery, Node, Operated, Tree, tree};
