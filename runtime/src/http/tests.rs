//! The API as its clients see it, against the real router and a host whose log is in memory.

mod access;
mod bed;
mod contracts;
mod dashboard;
mod events;
mod fuzz;
mod history;
mod kept;
mod lanes;
mod map;
mod metrics;
mod openapi;
mod plugins;
mod refusals;
mod restart;
mod retention;
mod rewind;
mod scrub;
mod server;
mod stored;
mod streamed;
mod stuck;
mod timers;
mod traces;
mod wait;
