//! Calling somebody outside over HTTP: see [`Context::http`](crate::Context::http).
//!
//! Every call is recorded with its answer. What the host does about crashes, retries and limits is said in
//! `wit/http.wit` and the plugin guide.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Failure, ParseError};
use crate::host;

/// A handler's way to call somebody outside.
#[derive(Debug)]
pub struct Http(pub(crate) ());

impl Http {
    /// A `GET` of `url`.
    pub fn get(&mut self, url: impl Into<String>) -> Request {
        Request::new("GET", url)
    }

    /// A `HEAD` of `url`.
    pub fn head(&mut self, url: impl Into<String>) -> Request {
        Request::new("HEAD", url)
    }

    /// A `POST` to `url`.
    pub fn post(&mut self, url: impl Into<String>) -> Request {
        Request::new("POST", url)
    }

    /// A `PUT` to `url`.
    pub fn put(&mut self, url: impl Into<String>) -> Request {
        Request::new("PUT", url)
    }

    /// A `PATCH` of `url`.
    pub fn patch(&mut self, url: impl Into<String>) -> Request {
        Request::new("PATCH", url)
    }

    /// A `DELETE` of `url`.
    pub fn delete(&mut self, url: impl Into<String>) -> Request {
        Request::new("DELETE", url)
    }
}

/// A request that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is asked before `.send()`"]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The URL.
    pub url: String,
    /// Names and values of the headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// The longest wait for the whole answer; the operator's limit holds where it is shorter.
    pub timeout: Option<Duration>,
}

impl Request {
    fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
        }
    }

    /// With a header. `Idempotency-Key` and those that frame the message are the host's.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With `value` as JSON, and the header that says so.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, HttpError> {
        let body = serde_json::to_vec(value).map_err(|bad| HttpError::Protocol(bad.to_string()))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Wait for the whole answer at most so long.
    pub fn timeout(mut self, wait: Duration) -> Self {
        self.timeout = Some(wait);
        self
    }

    /// Call, and wait for the answer: an answer of any status is `Ok`.
    pub fn send(self) -> Result<Response, HttpError> {
        host::http_send(&self)
    }
}

/// What was answered, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names, in lower case, and values of the headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without headers and body: for tests.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With a header: for tests.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// With a body: for tests.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The first header of this name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str, ParseError> {
        str::from_utf8(&self.body)
            .map_err(|bad| ParseError(["the answer is no text: ", &bad.to_string()].concat()))
    }

    /// The body read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ParseError> {
        serde_json::from_slice(&self.body)
            .map_err(|bad| ParseError(["the answer is not as expected: ", &bad.to_string()].concat()))
    }

    /// The answer, where its status is 2xx. 408, 425, 429 and 5xx fail as a retry, after `Retry-After` where it gives
    /// seconds; every other status as a reject.
    pub fn success(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let reason = ["the answer has status ", &self.status.to_string()].concat();
        if !matches!(self.status, 408 | 425 | 429 | 500..) {
            return Err(Failure::reject(reason));
        }
        let after = self
            .header("retry-after")
            .and_then(|text| text.trim().parse().ok());
        Err(match after {
            Some(seconds) => Failure::retry_after(Duration::from_secs(seconds), reason),
            None => Failure::retry(reason),
        })
    }
}

/// Why there is no answer. Each text says what was asked and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The call is not granted, or leads to an address that is not. Nobody was asked.
    Denied(String),
    /// A limit would be passed.
    Limit(String),
    /// The answer did not come in time; whether the request was acted upon is unknown.
    Timeout(String),
    /// There was no connection.
    Connect(String),
    /// The request or the answer was malformed, or the connection broke.
    Protocol(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Denied(text)
        | Self::Limit(text)
        | Self::Timeout(text)
        | Self::Connect(text)
        | Self::Protocol(text)) = self;
        f.write_str("http: ")?;
        f.write_str(text)
    }
}

impl std::error::Error for HttpError {}

/// A later attempt may be answered, or be granted: so a retry.
impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::retry(error.to_string())
    }
}
