//! The HTTP client of the exporter: one that blocks, on the exporter's own thread. It is the one that the commands have.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes of an answer that are read.
const MOST_BYTES: u64 = 1 << 20;

/// How the last request ended: with this status, or without an answer for this reason.
pub(super) type Ended = Arc<Mutex<Result<u16, String>>>;

/// Sends requests, and keeps how the last one ended: the exporter's own errors don't say.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
    ended: Ended,
}

impl Client {
    pub(super) fn new(timeout: Duration, ended: Ended) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("nerve/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
            ended,
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let response = self.agent.run(Request::from_parts(parts, &body[..]))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(MOST_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        *self.ended.lock() = match &answer {
            Ok(response) => Ok(response.status().as_u16()),
            Err(cause) => Err(cause.to_string()),
        };
        Ok(answer?)
    }
}
