//! nerve: an event-processing runtime.
//!
//! The modules stand in the order of an event's way; `ARCHITECTURE.md` draws it.

// 1 ACCEPT
pub mod ingest;

// What an event is outside, on its way in and out.
mod cloud_event;

// 2 APPEND, 3 DURABLE
pub mod log;

// 4 DELIVER, 6 SETTLE
pub mod delivery;

// 5 HANDLE
pub mod plugin;

// What the data of events must look like.
pub mod contract;

// What every record does to the host's state.
pub mod state;

// What goes on beside the way.
mod allotment;
mod give_way;

// 7 OBSERVE
pub mod trace;

// Deliveries as spans, for collectors.
pub mod otlp;

// What is wrong with how plugins, or services, depend on each other.
pub mod doctor;

// What one process owns.
pub mod host;

// A new version beside the running one, on the same events.
pub mod trial;

// The measurements of `nerve bench`.
pub mod bench;

// Who may use the API, and for what.
pub mod access;

// The API.
pub mod http;

// The commands.
pub mod cli;

// A whole host, held against its promises.
#[cfg(test)]
mod proof;
