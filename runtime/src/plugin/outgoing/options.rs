//! `[http]` in `NAME.toml`: how a plugin may call somebody outside, where it is granted to.

use serde::Deserialize;

use super::Range;

/// How a plugin may call somebody outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// How long one call may take, in milliseconds. Default 10,000. A delivery may wait `calls` times as long.
    pub time_ms: u64,
    /// Bytes of one request: method, URL, headers and body. Default 1 MiB.
    pub request_bytes: usize,
    /// Bytes of all answers of one delivery, headers included; they are kept in its outcome. Default 4 MiB.
    pub answer_bytes: usize,
    /// Calls of one delivery. Default 16; with more the delivery fails.
    pub calls: usize,
    /// Redirects that the host follows in one call. Default 0: they are answers like any other.
    pub redirects: u32,
    /// Addresses that may be called though they are not public: `127.0.0.1`, `10.1.0.0/16`. Default none.
    pub addresses: Vec<Range>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            time_ms: 10_000,
            request_bytes: 1 << 20,
            answer_bytes: 4 << 20,
            calls: 16,
            redirects: 0,
            addresses: Vec::new(),
        }
    }
}

/// The most that answers may take: they have to fit into one batch of the log.
const MOST_ANSWER_BYTES: usize = 16 << 20;

impl HttpOptions {
    /// What is absurd among them.
    pub fn wrong(&self) -> Option<&'static str> {
        if self.time_ms == 0 || self.time_ms > 600_000 {
            Some("http.time_ms must lie between 1 and 600,000, which are ten minutes")
        } else if self.answer_bytes > MOST_ANSWER_BYTES {
            Some("http.answer_bytes is more than 16 MiB, which is the most that an outcome keeps")
        } else if self.calls > 1000 {
            Some("http.calls is more than 1000: emit an event and go on with it in another delivery")
        } else if self.redirects > 10 {
            Some("http.redirects is more than 10")
        } else {
            None
        }
    }

    /// The limits by the names of their settings.
    pub fn shown(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("http.time_ms", self.time_ms),
            ("http.request_bytes", self.request_bytes as u64),
            ("http.answer_bytes", self.answer_bytes as u64),
            ("http.calls", self.calls as u64),
            ("http.redirects", u64::from(self.redirects)),
        ]
    }
}
