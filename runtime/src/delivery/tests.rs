//! Delivery without WebAssembly: a fake handler, the memory log and a clock that tests advance.

mod bed;
mod breaker;
mod rules;
mod simulation;
mod timers;
