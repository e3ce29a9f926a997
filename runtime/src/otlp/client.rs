//! The HTTP client of the exporter: one that blocks, on the exporter's own thread. It is the one that the commands have.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use parking_lot::Mutex;
use prost::Message as _;

/// Bytes of an answer that are read.
const MOST_BYTES: u64 = 1 << 20;

/// How the last request ended: with this answer, or without one for this reason.
pub(super) type Ended = Arc<Mutex<Result<Answered, String>>>;

/// What of an answer matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Spans that were not taken, though the request was.
    pub(super) rejected: u64,
    /// Why, or what else the receiver has to say.
    pub(super) says: String,
}

impl Answered {
    fn of(response: &Response<Bytes>) -> Self {
        let status = response.status().as_u16();
        let body = ExportTraceServiceResponse::decode(&response.body()[..]).ok();
        // Only a request that was taken may have been taken in part.
        let part = body
            .filter(|_| status == 200)
            .and_then(|body| body.partial_success);
        let part = part.unwrap_or_default();
        Self {
            status,
            rejected: u64::try_from(part.rejected_spans).unwrap_or_default(),
            says: part.error_message,
        }
    }
}

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
            Ok(response) => Ok(Answered::of(response)),
            Err(cause) => Err(cause.to_string()),
        };
        Ok(answer?)
    }
}
