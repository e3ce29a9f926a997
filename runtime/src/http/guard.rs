//! Who may ask: requests whose `Host` or `Origin` is another's are refused, so that no web page can drive the host
//! through its visitor's browser (DNS rebinding, cross-site requests).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The names that the host answers to.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<[String]>);

impl Guard {
    pub(super) fn new(address: SocketAddr) -> Self {
        let port = address.port();
        let loopback = ["localhost", "127.0.0.1", "[::1]"];
        let names = loopback.map(|name| format!("{name}:{port}"));
        // Clients leave out the port that a scheme has anyway.
        let bare = loopback.into_iter().filter(|_| port == 80).map(str::to_owned);
        Self(
            names
                .into_iter()
                .chain([address.to_string()])
                .chain(bare)
                .collect(),
        )
    }

    fn refusal(&self, headers: &HeaderMap, authority: Option<&str>) -> Option<Problem> {
        let named = headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
            .or(authority)
            .unwrap_or_default();
        if !self.0.iter().any(|own| own.eq_ignore_ascii_case(named)) {
            let detail = format!("the request is for host {named:?}, and this one is {}", self.0[0]);
            return Some(
                Problem::new(StatusCode::FORBIDDEN, "host-refused", detail)
                    .hint("ask by a loopback name and the port"),
            );
        }
        let origin = headers.get(header::ORIGIN)?;
        let from = origin.to_str().unwrap_or_default();
        let own = from
            .strip_prefix("http://")
            .is_some_and(|from| self.0.iter().any(|own| own.eq_ignore_ascii_case(from)));
        (!own).then(|| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "origin-refused",
                format!("pages of {from:?} may not use this host"),
            )
            .hint("ask from a program, not from a page of another site")
        })
    }
}

pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    match guard.refusal(request.headers(), authority) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_by_a_loopback_name_and_from_no_other_site_pass() {
        let guard = Guard::new("127.0.0.1:7117".parse().unwrap());
        let code = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            guard
                .refusal(&headers, None)
                .map_or_else(|| "ok".to_owned(), |problem| problem.code)
        };
        assert_eq!(code("127.0.0.1:7117", None), "ok");
        assert_eq!(code("LOCALHOST:7117", Some("http://localhost:7117")), "ok");
        assert_eq!(code("evil.example:7117", None), "host-refused");
        assert_eq!(code("127.0.0.1", None), "host-refused");
        assert_eq!(
            code("127.0.0.1:7117", Some("http://evil.example")),
            "origin-refused"
        );
        assert_eq!(
            code("127.0.0.1:7117", Some("http://localhost:8080")),
            "origin-refused"
        );
        assert_eq!(code("127.0.0.1:7117", Some("null")), "origin-refused");
        let guard = Guard::new("127.0.0.1:80".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        assert!(guard.refusal(&headers, None).is_none());
    }
}
