//! The HTTP API: one resource per file. The only place that knows JSON.
