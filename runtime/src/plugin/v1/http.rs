//! `http`: calls of somebody outside. Each is an intent before it is made, and its answer is recorded.

use std::time::{Duration, Instant};

use super::nerve::plugin::http as wit;
use crate::log::record::{Answer, Asked, Call, CallFailure, FailureClass};
use crate::plugin::grants::HTTP;
use crate::plugin::guest::Guest;
use crate::plugin::outgoing::{Failed, HostHeaders, Outgoing, Request};

impl wit::Host for Guest {
    fn send(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, wit::HttpError>> {
        self.count_call()?;
        let request = Request {
            method: request.method,
            url: request.url,
            headers: request
                .headers
                .into_iter()
                .map(|one| (one.name, one.value))
                .collect(),
            body: request.body,
            timeout: request.timeout_ms.map(Duration::from_millis),
        };
        let asked = request.asked();
        let most = self.settings.http.calls;
        if self.handled.calls.len() >= most {
            let reason = format!("limit http.calls: one delivery may make {most} calls");
            self.limit_hit(reason.clone());
            return Ok(Err(wit::HttpError::Limit(reason)));
        }
        let call = match self.outside.answer_to(&asked, self.handled.calls.len()) {
            Some(call) => call,
            None => self.call(request, asked)?,
        };
        let answer = in_wit(&call.answer);
        self.handled.calls.push(call);
        Ok(answer)
    }
}

impl Guest {
    /// Ask somebody. An error ends the guest: nobody may be asked, or the log takes nothing more.
    fn call(&mut self, request: Request, asked: Asked) -> wasmtime::Result<Call> {
        let failed = |asked, failed: Failed| Call {
            asked,
            took: 0,
            answer: failed.into(),
        };
        let Some(outgoing) = self.outgoing.clone() else {
            let reason =
                format!("the plugin calls somebody outside, and its description does not ask for {HTTP:?}");
            let class = CallFailure::Denied;
            return Ok(failed(asked, Failed { class, reason }));
        };
        if self.outside.muted {
            let reason = "the rewind mutes calls, and no answer is recorded for this one".to_owned();
            let class = CallFailure::Denied;
            return Ok(failed(asked, Failed { class, reason }));
        }
        let prepared = match outgoing.prepare(request) {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(failed(asked, refused)),
        };
        let begun = Instant::now();
        let index = self.handled.calls.len();
        let host = match self
            .outside
            .intend(self.started, index, &asked, &self.handled.calls)
        {
            Ok(key) => HostHeaders {
                idempotency_key: key,
                traceparent: self.outside.traceparent(self.started),
            },
            Err(reason) => {
                self.handled.unanswered = self.outside.calls_nobody().then_some(asked);
                self.hit_as(FailureClass::Host, reason.clone());
                return Err(wasmtime::Error::msg(reason));
            }
        };
        let answer = outgoing.call(prepared, &host, self.bytes_left(&outgoing));
        // Waiting is not the guest's running time.
        let took = begun.elapsed();
        self.waited += took;
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Ok(Call { asked, took, answer })
    }

    /// Bytes that the answers of this delivery may still take.
    fn bytes_left(&self, outgoing: &Outgoing) -> usize {
        let taken: usize = self.handled.calls.iter().map(Call::answer_bytes).sum();
        outgoing.options().answer_bytes.saturating_sub(taken)
    }
}

fn in_wit(answer: &Answer) -> Result<wit::Response, wit::HttpError> {
    match answer {
        Answer::Answered {
            status,
            headers,
            body,
        } => Ok(wit::Response {
            status: *status,
            headers: headers
                .iter()
                .map(|(name, value)| wit::Header {
                    name: name.clone(),
                    value: value.to_vec(),
                })
                .collect(),
            body: body.clone(),
        }),
        Answer::Failed { class, reason } => {
            let reason = reason.clone();
            Err(match class {
                CallFailure::Denied => wit::HttpError::Denied(reason),
                CallFailure::Limit => wit::HttpError::Limit(reason),
                CallFailure::Timeout => wit::HttpError::Timeout(reason),
                CallFailure::Connect => wit::HttpError::Connect(reason),
                CallFailure::Protocol => wit::HttpError::Protocol(reason),
            })
        }
    }
}
