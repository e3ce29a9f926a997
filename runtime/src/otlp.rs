//! Deliveries as spans, for whoever collects traces of OpenTelemetry: OTLP over HTTP, as protobuf.
//!
//! A host that is [configured](OtlpOptions) so follows its durable records, as anybody may who reads the log, and makes a span of
//! each outcome ([`spans`]); lanes and records know nothing of it. A thread of its own sends them ([`Sender`]), and nobody waits
//! for it. The log is the queue: what can't be sent waits there, and what falls too far behind is passed over and counted.

mod client;
mod options;
mod sampler;
mod sender;
pub mod spans;

pub use options::{BadOtlp, OtlpOptions};
pub use sampler::Sampler;
pub use sender::{Sender, Sent};
