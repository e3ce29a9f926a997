//! A request of a plugin, checked: what goes out is well-formed, and what frames it is the host's.

use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::Failed;
use crate::log::record::{Asked, CallFailure, Hash};
use crate::plugin::grants::host_of;

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Bytes of what is kept of a URL at most.
const LONGEST_TARGET: usize = 512;

/// Headers that frame a message, speak of its connection or belong to the host.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request as a plugin gives it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Names and values of the headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The longest wait for the answer.
    pub timeout: Option<Duration>,
}

/// A request that may go out.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// As grants name it.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// What the log keeps of it.
    pub fn asked(&self) -> Asked {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.method.as_bytes());
        part(self.url.as_bytes());
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(value);
        }
        part(&self.body);
        let request = Hash(*hasher.finalize().as_bytes());
        let whole = self.url.split(['?', '#']).next().unwrap_or_default();
        // A user and a password are refused, and are not kept either.
        let shown = match whole.split_once("://") {
            Some((scheme, rest)) if rest.split('/').next().unwrap_or_default().contains('@') => {
                let place = rest.split_once('@').unwrap_or_default().1;
                format!("{scheme}://{place}")
            }
            _ => whole.to_owned(),
        };
        let cut = |text: &str, most: usize| {
            text[..text.floor_char_boundary(most)]
                .escape_default()
                .to_string()
        };
        Asked {
            request,
            method: cut(&self.method, 16),
            target: cut(&shown, LONGEST_TARGET),
            bytes: self.body.len() as u64,
        }
    }

    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.method.len() + self.url.len() + headers.sum::<usize>() + self.body.len()
    }
}

impl Prepared {
    /// Check form and size of `request`.
    pub(super) fn check(request: Request, most: usize) -> Result<Self, Failed> {
        let bytes = request.bytes();
        if bytes > most {
            let reason =
                format!("limit http.request_bytes: the request has {bytes} bytes, and {most} are allowed");
            return Err(Failed::new(CallFailure::Limit, reason));
        }
        let method = method(&request.method)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let shown = || name.chars().take(80).collect::<String>();
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let parsed = parsed.map_err(|_| malformed(format!("{:?} is no name of a header", shown())))?;
            if is_reserved(&parsed) {
                return Err(malformed(format!(
                    "the header {parsed} is the host's: leave it out"
                )));
            }
            let value = HeaderValue::from_bytes(value);
            let value = value
                .map_err(|_| malformed(format!("the value of the header {parsed} has control characters")))?;
            headers.append(parsed, value);
        }
        if !request.body.is_empty() && matches!(method, Method::GET | Method::HEAD) {
            return Err(malformed(format!(
                "{method} has no body: use another method, or the query"
            )));
        }
        let (uri, host, port) = place(&request.url)?;
        Ok(Self {
            method,
            uri,
            host,
            port,
            headers,
            body: request.body,
            timeout: request.timeout,
        })
    }

    /// Add a header of the host's own, in place of what it is called so.
    pub(in crate::plugin) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Whether its method goes with a body even where it is empty.
    pub(super) fn method_has_body(&self) -> bool {
        matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// `GET host:port`.
    pub(super) fn in_words(&self) -> String {
        format!("{} {}:{}", self.method, self.host, self.port)
    }

    /// The call to which a redirect with `status` to `location` leads. What is meant for one server alone is left out
    /// for another.
    pub(super) fn redirected(&self, status: u16, location: &str) -> Result<Self, Failed> {
        let own = &self.uri;
        let (scheme, authority) = (own.scheme_str().unwrap_or_default(), own.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        let url = if location.contains("://") {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let folder = own.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        };
        let (uri, host, port) = place(&url)?;
        let mut next = Self {
            uri,
            host,
            port,
            ..self.clone()
        };
        let keeps = matches!(status, 307 | 308) || matches!(next.method, Method::GET | Method::HEAD);
        if !keeps {
            next.method = Method::GET;
            next.body.clear();
            next.headers.remove(header::CONTENT_TYPE);
        }
        if (&*next.host, next.port, next.uri.scheme()) != (&*self.host, self.port, self.uri.scheme()) {
            next.headers.remove(header::AUTHORIZATION);
            next.headers.remove(header::COOKIE);
        }
        Ok(next)
    }
}

fn malformed(reason: String) -> Failed {
    Failed::new(CallFailure::Protocol, reason)
}

fn method(text: &str) -> Result<Method, Failed> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    known
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            malformed(format!(
                "{shown:?} is no method that plugins may use: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"
            ))
        })
}

/// Whether a header frames a message, speaks of its connection or is the host's for another reason.
pub fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
}

/// Where a URL leads.
#[derive(Debug, Clone)]
pub struct Target {
    uri: Uri,
    /// The host as grants name it.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Where `url` leads, or what is wrong with it.
    pub fn of(url: &str) -> Result<Self, Failed> {
        let (uri, host, port) = place(url)?;
        Ok(Self { uri, host, port })
    }

    /// Host and port as grants write them.
    pub fn place(&self) -> String {
        in_brackets(&self.host, self.port)
    }

    /// Scheme, place and path, without the query, which may be secret.
    pub fn shown(&self) -> String {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let scheme = self.uri.scheme_str().unwrap_or_default();
        format!("{scheme}://{authority}{}", self.uri.path())
    }
}

pub(super) fn in_brackets(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The URI in `url`, with its host as grants name it, and its port.
fn place(url: &str) -> Result<(Uri, String, u16), Failed> {
    let shown = || {
        url.split('?')
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect::<String>()
    };
    let bad = |what: &str| malformed(format!("{:?} {what}: write https://HOST/PATH", shown()));
    let uri: Uri = url.parse().map_err(|_| bad("is no URL"))?;
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return Err(bad("begins neither with https:// nor with http://")),
    };
    let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(malformed(
            "a URL with a user and a password is refused: use the header Authorization".into(),
        ));
    }
    let host = host_of(authority.host()).ok_or_else(|| bad("has no host that can be granted"))?;
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if authority.as_str() == authority.host() => usual,
        None => return Err(bad("has a port that is none")),
    };
    Ok((uri, host, port))
}
