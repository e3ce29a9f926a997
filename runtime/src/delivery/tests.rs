//! Delivery without WebAssembly: a fake handler, the memory log and a clock that tests advance.

mod away;
mod bed;
mod behind;
mod breaker;
mod canary;
mod conflicts;
mod contracts;
mod going_back;
mod kept_apart;
mod lanes;
mod outside;
mod probation;
mod reads_ahead;
mod rewind;
mod rewind_table;
mod rewinds_at_random;
mod rules;
mod series;
mod shares;
mod simulation;
mod stays_ahead;
mod stepped;
mod stretches;
mod timers;
mod undone;
mod watch;
