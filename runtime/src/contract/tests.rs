//! What the rules promise.

mod plain;
mod random;
mod soundness;
mod table;
