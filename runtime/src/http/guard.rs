//! Who may ask. A web page must not drive the host through its visitor's browser: requests from pages of other sites are
//! refused by their `Origin`, and where nobody is asked for a token, those for another `Host` too, under which a site may have
//! rebound its own name to this address. Then it is looked who asks; what they may is seen to where the route is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Code, Problem};
use super::routes::Admitted;
use super::session;
use crate::access::{Access, Look};
use crate::host::Host;

/// The names that the host answers to, and whom it lets in.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    own: Vec<String>,
    is_loopback: bool,
    /// Cookies know no ports: each host has its own name for one.
    cookie: Arc<str>,
    access: Arc<Access>,
}

impl Guard {
    pub(super) fn new(address: SocketAddr, access: Arc<Access>) -> Self {
        let port = address.port();
        let loopback = ["localhost", "127.0.0.1", "[::1]"];
        let names = loopback.map(|name| format!("{name}:{port}"));
        // Clients leave out the port that a scheme has anyway.
        let bare = loopback
            .into_iter()
            .filter(|_| [80, 443].contains(&port))
            .map(str::to_owned);
        let own = names.into_iter().chain([address.to_string()]).chain(bare);
        Self(Arc::new(Inner {
            own: own.collect(),
            is_loopback: address.ip().is_loopback(),
            cookie: format!("nerve-{port}").into(),
            access,
        }))
    }

    /// Why a request for this host, from a page of that origin, is refused, where `everybody` may ask.
    fn refusal(&self, everybody: bool, host: &str, origin: Option<&str>) -> Option<Problem> {
        if everybody && !self.answers_to(host) {
            let detail = format!(
                "the request is for host {host:?}, and this one is {}",
                self.0.own[0]
            );
            return Some(
                Problem::new(StatusCode::FORBIDDEN, "host-refused", detail).hint(
                    "ask by a loopback name or an address, and the port; a host that has tokens answers to every name",
                ),
            );
        }
        let origin = origin?;
        let from = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        let is_own = from.is_some_and(|from| from.eq_ignore_ascii_case(host));
        (!is_own).then(|| {
            let detail = format!("pages of {origin:?} may not use this host");
            Problem::new(StatusCode::FORBIDDEN, "origin-refused", detail)
                .hint("ask from a program, not from a page of another site")
        })
    }

    /// Whether no site can have made `host` its own name of this address. Beyond loopback these are addresses, and names
    /// without a dot, which nobody can register.
    fn answers_to(&self, host: &str) -> bool {
        if self.0.own.iter().any(|own| own.eq_ignore_ascii_case(host)) {
            return true;
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        !self.0.is_loopback && !name.is_empty() && (address.parse::<IpAddr>().is_ok() || !name.contains('.'))
    }
}

/// Count who is not let in, or may not do what they ask for.
pub(super) async fn count(State(host): State<Host>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN = response.status()
        && let Some(Code(code)) = response.extensions().get()
    {
        host.count_denied(code);
    }
    response
}

pub(super) async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let look = guard.0.access.look();
    let headers = request.headers();
    let host = text(headers, &header::HOST)
        .or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str))
        .unwrap_or_default();
    // An origin that is no text is one that nobody has.
    let origin = headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or_default());
    if let Some(refused) = guard.refusal(matches!(look, Look::Everybody), host, origin) {
        return refused.into_response();
    }
    let (access, cookie) = (guard.0.access.clone(), guard.0.cookie.clone());
    let caller = match (bearer(headers), session::cookie(headers, &cookie)) {
        // A browser says from which page it changes something: what does not say so is none.
        (None, Some(_)) if origin.is_none() && !request.method().is_safe() => {
            return no_origin().into_response();
        }
        (None, Some(session)) => access.resume(&look, session),
        (token, _) => access.admit(&look, token),
    };
    request.extensions_mut().insert(Admitted {
        access,
        caller,
        cookie,
    });
    next.run(request).await
}

fn no_origin() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "origin-refused",
        "a session is for pages of this host, and the request does not say of which page it is",
    )
    .hint("show a token instead of a session")
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The token in `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use nerve_eventlog::SystemClock;

    use super::*;

    fn guard(address: &str) -> Guard {
        let access = Access::everybody(Arc::new(SystemClock));
        Guard::new(address.parse().unwrap(), Arc::new(access))
    }

    fn code(guard: &Guard, everybody: bool, host: &str, origin: Option<&str>) -> String {
        let refused = guard.refusal(everybody, host, origin);
        refused.map_or_else(|| "ok".to_owned(), |problem| problem.code)
    }

    #[test]
    fn only_requests_by_a_loopback_name_and_from_no_other_site_pass() {
        let loopback = guard("127.0.0.1:7117");
        for (host, origin, expected) in [
            ("127.0.0.1:7117", None, "ok"),
            ("LOCALHOST:7117", Some("http://localhost:7117"), "ok"),
            ("evil.example:7117", None, "host-refused"),
            (
                "evil.example:7117",
                Some("http://evil.example:7117"),
                "host-refused",
            ),
            ("nerve:7117", None, "host-refused"),
            ("10.0.0.1:7117", None, "host-refused"),
            ("", None, "host-refused"),
            ("127.0.0.1", None, "host-refused"),
            ("127.0.0.1:7117", Some("http://evil.example"), "origin-refused"),
            ("127.0.0.1:7117", Some("http://localhost:8080"), "origin-refused"),
            ("127.0.0.1:7117", Some("null"), "origin-refused"),
            ("127.0.0.1:7117", Some(""), "origin-refused"),
        ] {
            assert_eq!(code(&loopback, true, host, origin), expected, "{host} {origin:?}");
        }
        assert_eq!(code(&guard("127.0.0.1:80"), true, "localhost", None), "ok");
    }

    #[test]
    fn beyond_loopback_a_name_that_a_site_can_have_needs_a_token() {
        let wide = guard("0.0.0.0:7117");
        for (host, expected) in [
            ("10.0.0.1:7117", "ok"),
            ("[fe80::1]:7117", "ok"),
            ("nerve:7117", "ok"),
            ("nerve", "ok"),
            ("evil.example:7117", "host-refused"),
            ("", "host-refused"),
        ] {
            assert_eq!(code(&wide, true, host, None), expected, "{host}");
        }
        assert_eq!(code(&wide, false, "nerve.example.com", None), "ok");
        let own = Some("https://nerve.example.com");
        assert_eq!(code(&wide, false, "nerve.example.com", own), "ok");
        assert_eq!(
            code(&wide, false, "nerve.example.com", Some("https://evil.example")),
            "origin-refused"
        );
    }
}
