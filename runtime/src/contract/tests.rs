//! What the rules promise.

mod random;
mod soundness;
mod table;
