//! The host's functions: the imports of the world on wasm, the fake of [`testing`](crate::testing) elsewhere.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::fake::{
    config, emit, http_send, log, next, now, random_bytes, random_u64, state_delete, state_get, state_scan,
    state_set, timer_cancel, timer_set,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::bindings::generated::nerve::plugin::{
        clock, config, events, http, log, packed_events, random, series, state, timers,
    };
    use crate::context::{Moment, RawEmit};
    use crate::error::{EmitError, StateError};
    use crate::http::{HttpError, Request, Response};

    pub(crate) fn emit(piece: &[u8]) -> Result<(), EmitError> {
        packed_events::emit(piece).map_err(emit_error)
    }

    pub(crate) fn timer_set(name: &str, moment: Moment, event: &RawEmit<'_>) -> Result<(), EmitError> {
        let moment = match moment {
            Moment::At(micros) => timers::Moment::At(micros),
            Moment::After(millis) => timers::Moment::After(millis),
        };
        timers::set(name, moment, new_event(event)).map_err(emit_error)
    }

    pub(crate) fn timer_cancel(name: &str) -> Result<(), EmitError> {
        timers::cancel(name).map_err(emit_error)
    }

    fn new_event<'a>(event: &RawEmit<'a>) -> events::NewEvent<'a> {
        events::NewEvent {
            type_: event.type_,
            subject: event.subject,
            key: event.key,
            content_type: event.content_type,
            data: event.data,
        }
    }

    fn emit_error(error: events::EmitError) -> EmitError {
        match error {
            events::EmitError::Invalid(text) => EmitError::Invalid(text),
            events::EmitError::Limit(text) => EmitError::Limit(text),
        }
    }

    pub(crate) fn http_send(request: &Request) -> Result<Response, HttpError> {
        let headers = request.headers.iter();
        let headers: Vec<http::HeaderParam<'_>> = headers
            .map(|(name, value)| http::HeaderParam { name, value })
            .collect();
        let answer = http::send(http::Request {
            method: request.method,
            url: &request.url,
            headers: &headers,
            body: &request.body,
            timeout_ms: request
                .timeout
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        });
        match answer {
            Ok(answer) => Ok(Response {
                status: answer.status,
                headers: answer
                    .headers
                    .into_iter()
                    .map(|one| (one.name, one.value))
                    .collect(),
                body: answer.body,
            }),
            Err(http::HttpError::Denied(text)) => Err(HttpError::Denied(text)),
            Err(http::HttpError::Limit(text)) => Err(HttpError::Limit(text)),
            Err(http::HttpError::Timeout(text)) => Err(HttpError::Timeout(text)),
            Err(http::HttpError::Connect(text)) => Err(HttpError::Connect(text)),
            Err(http::HttpError::Protocol(text)) => Err(HttpError::Protocol(text)),
        }
    }

    pub(crate) fn state_get(key: &str) -> Option<Vec<u8>> {
        state::get(key)
    }

    pub(crate) fn state_set(key: &str, value: Vec<u8>) -> Result<(), StateError> {
        state::set(key, &value).map_err(state_error)
    }

    pub(crate) fn state_delete(key: &str) -> Result<(), StateError> {
        state::delete(key).map_err(state_error)
    }

    pub(crate) fn state_scan(prefix: &str, after: Option<&str>, limit: u32) -> Vec<(String, Vec<u8>)> {
        let entries = state::scan(prefix, after, limit);
        entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    pub(crate) fn log(level: log::Level, message: &str) {
        log::write(level, message);
    }

    pub(crate) fn now() -> u64 {
        clock::now()
    }

    pub(crate) fn next() -> Option<Vec<u8>> {
        series::next()
    }

    pub(crate) fn random_u64() -> u64 {
        random::u64()
    }

    pub(crate) fn random_bytes(len: u32) -> Vec<u8> {
        random::bytes(len)
    }

    pub(crate) fn config(key: &str) -> Option<String> {
        config::get(key)
    }

    fn state_error(error: state::StateError) -> StateError {
        match error {
            state::StateError::Key(text) => StateError::Key(text),
            state::StateError::Limit(text) => StateError::Limit(text),
        }
    }
}
