//! Outgoing HTTP: what may be called, and the calls.
//!
//! A call is [`prepared`](Outgoing::prepare) first, which asks nobody, not even for the address of a name; then,
//! when the intent is durable, it is [`made`](Outgoing::call). The name is looked up once, every address that it
//! leads to is checked, and the connection is made to one of just these. Redirects are followed only where the
//! operator granted it, and each is checked as a call of its own. There is no proxy. A plugin's calls keep no
//! connection; a webhook's, which go to one place one after the other, [do](Outgoing::tell).

mod address;
mod options;
mod request;
mod tell;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ureq::http::{Response, header};
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::{Agent, Body, Error};

use super::grants::{Grants, HTTP};
use crate::log::record::{Answer, CallFailure};

pub use address::{BadRange, Range};
pub use options::HttpOptions;
pub use request::{Prepared, Request, Target, is_reserved};
pub use tell::Told;

use address::Checked;
use tell::Counting;

/// Makes the calls of one version of a plugin.
#[derive(Debug)]
pub struct Outgoing {
    agent: Agent,
    /// Connections that it made.
    made: Arc<AtomicU64>,
    grants: Grants,
    options: HttpOptions,
}

/// What the host adds to a call.
#[derive(Debug, Clone, Default)]
pub struct HostHeaders {
    /// `Idempotency-Key`.
    pub idempotency_key: String,
    /// `traceparent`, where the call has none of its own: the delivery that calls.
    pub traceparent: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// How it failed.
    pub class: CallFailure,
    /// For people: what was asked, and what to do.
    pub reason: String,
}

impl Failed {
    fn new(class: CallFailure, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
        }
    }
}

impl From<Failed> for Answer {
    fn from(failed: Failed) -> Self {
        Self::Failed {
            class: failed.class,
            reason: failed.reason,
        }
    }
}

impl Outgoing {
    /// Calls within `grants` and `options`.
    pub fn new(grants: Grants, options: HttpOptions) -> Self {
        Self::with_lookup(grants, options, 0, DefaultResolver::default())
    }

    /// The same, where the connection is kept for the next call. For calls one after the other.
    pub fn keeping(grants: Grants, options: HttpOptions) -> Self {
        Self::with_lookup(grants, options, 1, DefaultResolver::default())
    }

    /// The same, with `kept` connections and another way to find the addresses of names.
    fn with_lookup(grants: Grants, options: HttpOptions, kept: usize, lookup: impl Resolver) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(kept)
            .max_idle_age(tell::KEPT)
            .user_agent(concat!("nerve/", env!("CARGO_PKG_VERSION")))
            .build();
        let checked = Checked {
            lookup,
            listed: options.addresses.clone(),
        };
        let made = Arc::new(AtomicU64::new(0));
        Self {
            agent: Agent::with_parts(config, Counting::new(made.clone()), checked),
            made,
            grants,
            options,
        }
    }

    /// Its options.
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// Check `request` against form, limits and grants. Asks nobody.
    pub fn prepare(&self, request: Request) -> Result<Prepared, Failed> {
        let prepared = Prepared::check(request, self.options.request_bytes)?;
        self.granted(&prepared)?;
        Ok(prepared)
    }

    fn granted(&self, prepared: &Prepared) -> Result<(), Failed> {
        let (method, host, port) = (prepared.method.as_str(), &prepared.host, prepared.port);
        if self.grants.allow_call(method, host, port) {
            return Ok(());
        }
        let scope = format!("{method} {}", request::in_brackets(host, port));
        Err(Failed::new(
            CallFailure::Denied,
            format!(
                "{scope} is not granted: {HTTP} = [{scope:?}] in [grants] of the plugin's settings grants it"
            ),
        ))
    }

    /// Make the call, with the `host`'s headers, and take at most `answer_bytes`. Blocks until there is an answer, at
    /// most for the time that the options allow.
    pub fn call(&self, prepared: Prepared, host: &HostHeaders, answer_bytes: usize) -> Answer {
        let longest = Duration::from_millis(self.options.time_ms);
        let allowed = prepared.timeout.map_or(longest, |wait| wait.min(longest));
        let until = Instant::now() + allowed;
        let mut call = prepared;
        let mut hops = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answered = self.exchange(&call, host, left);
            let mut response = match answered {
                Ok(response) => response,
                Err(error) => return failed(&call, &error, allowed).into(),
            };
            if hops < self.options.redirects
                && let Some(location) = redirect(&response)
            {
                hops += 1;
                match call
                    .redirected(response.status().as_u16(), location)
                    .and_then(|next| {
                        self.granted(&next)?;
                        Ok(next)
                    }) {
                    Ok(next) => call = next,
                    Err(refused) => {
                        let reason = format!("{} redirects: {}", call.in_words(), refused.reason);
                        return Failed::new(refused.class, reason).into();
                    }
                }
                continue;
            }
            return match take(&mut response, answer_bytes) {
                Ok(answer) => answer,
                Err(Error::BodyExceedsLimit(_)) => too_large(&call, self.options.answer_bytes).into(),
                Err(error) => failed(&call, &error, allowed).into(),
            };
        }
    }

    fn exchange(&self, call: &Prepared, host: &HostHeaders, left: Duration) -> Result<Response<Body>, Error> {
        let mut request = ureq::http::Request::new(());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        *request.headers_mut() = call.headers.clone();
        let value = |text: &str| header::HeaderValue::from_str(text).map_err(|bad| Error::Http(bad.into()));
        let headers = request.headers_mut();
        headers.insert(request::IDEMPOTENCY_KEY, value(&host.idempotency_key)?);
        // A plugin that traces by itself says more.
        if let Some(context) = &host.traceparent
            && !headers.contains_key(request::TRACEPARENT)
        {
            headers.insert(request::TRACEPARENT, value(context)?);
        }
        if call.body.is_empty() && !call.method_has_body() {
            let request = self.agent.configure_request(request);
            return self.agent.run(request.timeout_global(Some(left)).build());
        }
        let request = self.agent.configure_request(request.map(|()| &call.body[..]));
        self.agent.run(request.timeout_global(Some(left)).build())
    }
}

/// Where a redirect leads.
fn redirect(response: &Response<Body>) -> Option<&str> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    response.headers().get(header::LOCATION)?.to_str().ok()
}

fn headers(response: &Response<Body>) -> Vec<(String, serde_bytes::ByteBuf)> {
    let headers = response.headers().iter();
    headers
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                serde_bytes::ByteBuf::from(value.as_bytes()),
            )
        })
        .collect()
}

fn take(response: &mut Response<Body>, answer_bytes: usize) -> Result<Answer, Error> {
    let headers = headers(response);
    let taken: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let left = answer_bytes
        .checked_sub(taken)
        .ok_or(Error::BodyExceedsLimit(0))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(left as u64)
        .read_to_vec()?;
    Ok(Answer::Answered {
        status: response.status().as_u16(),
        headers,
        body,
    })
}

fn too_large(call: &Prepared, limit: usize) -> Failed {
    let reason = format!(
        "limit http.answer_bytes: with the answer of {} the answers of one delivery would pass {limit} bytes",
        call.in_words()
    );
    Failed::new(CallFailure::Limit, reason)
}

/// What an error of the client is in ours.
fn failed(call: &Prepared, error: &Error, allowed: Duration) -> Failed {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, TimedOut, UnexpectedEof,
    };
    let asked = call.in_words();
    let class = match error {
        Error::Timeout(_) => CallFailure::Timeout,
        Error::Io(cause) if cause.kind() == TimedOut => CallFailure::Timeout,
        Error::Io(cause)
            if matches!(
                cause.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | InvalidData | UnexpectedEof
            ) =>
        {
            CallFailure::Protocol
        }
        Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed | Error::Tls(_) | Error::Rustls(_) => {
            CallFailure::Connect
        }
        Error::LargeResponseHeader(..) => CallFailure::Limit,
        Error::Other(cause) if cause.is::<address::NotPublic>() => CallFailure::Denied,
        _ => CallFailure::Protocol,
    };
    let reason = match class {
        CallFailure::Timeout => format!(
            "limit http.time_ms: {asked} was not answered within {} ms",
            allowed.as_millis()
        ),
        _ => format!("{asked}: {error}"),
    };
    Failed::new(class, reason)
}

#[cfg(test)]
mod tests;
