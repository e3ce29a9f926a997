//! Talking to a running host: the one way of all commands to it, and to show it who asks.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;
use ureq::RequestBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::access::PREFIX;
use crate::http::problem::Problem;

/// The variable that holds a token.
pub(super) const TOKEN: &str = "NERVE_TOKEN";

/// A host's API.
#[derive(Clone)]
pub(super) struct Api {
    server: String,
    agent: ureq::Agent,
    /// The value of `Authorization`, or why nobody can be asked: only who asks a host needs to know.
    authorization: Result<Option<String>, String>,
}

/// Why a host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Nobody answers.
    #[error(
        "no host answers at {server} ({cause}): start one with `nerve run`, or name another with --server"
    )]
    Unreachable {
        /// Where.
        server: String,
        /// Why.
        cause: Box<ureq::Error>,
    },
    /// Nobody vouches for who answers.
    #[error(
        "whoever answers at {server} can't show that it is the host ({cause}): --ca-file names the certificate of who signed the \
         host's"
    )]
    Untrusted {
        /// Where.
        server: String,
        /// Why.
        cause: String,
    },
    /// It refused.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The token can't be shown.
    #[error("{0}")]
    Credentials(String),
    /// What it said makes no sense.
    #[error("the answer of the host can't be read: {0}")]
    Odd(String),
}

impl Api {
    /// The API of the host at `server`, to which the token in `token_file` is shown, or else that of the environment. Over TLS it
    /// is trusted where those in `ca_file` vouch for it, or else those whom the public trusts.
    pub(super) fn new(server: &str, token_file: Option<&Path>, ca_file: Option<&Path>) -> Self {
        let token = shown(token_file, std::env::var(TOKEN).ok());
        let trusted = ca_file.map(trusted).transpose();
        let (authorization, agent) = match (token, trusted) {
            (Ok(token), Ok(trusted)) => (Ok(token.map(|token| format!("Bearer {token}"))), agent(trusted)),
            (Err(why), _) | (_, Err(why)) => (Err(why), agent(None)),
        };
        Self {
            server: server.trim_end_matches('/').to_owned(),
            agent,
            authorization,
        }
    }

    /// The API of the host at `server`, to which no token is shown.
    pub(super) fn open(server: &str) -> Self {
        Self {
            server: server.trim_end_matches('/').to_owned(),
            agent: agent(None),
            authorization: Ok(None),
        }
    }

    /// That of the host at `server`, with the same token.
    pub(super) fn at(&self, server: &str) -> Self {
        Self {
            server: server.to_owned(),
            ..self.clone()
        }
    }

    /// Where the host is.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// `request` with who asks.
    fn signed<B>(&self, request: RequestBuilder<B>) -> Result<RequestBuilder<B>, ApiError> {
        match &self.authorization {
            Ok(None) => Ok(request),
            Ok(Some(authorization)) => Ok(request.header("authorization", authorization)),
            Err(why) => Err(ApiError::Credentials(why.clone())),
        }
    }

    /// `GET` a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.answer(self.signed(self.agent.get(self.url(path)))?.call())
    }

    /// `GET` a path whose answer is written to `out` as it comes; answers its bytes.
    pub(super) fn fetch(&self, path: &str, out: &mut dyn Write) -> Result<u64, ApiError> {
        let response = self.signed(self.agent.get(self.url(path)))?.call();
        let response = response.map_err(|cause| self.unreachable(cause))?;
        if !response.status().is_success() {
            return self.answer(Ok(response)).map(|_| 0);
        }
        std::io::copy(&mut response.into_body().into_reader(), out)
            .map_err(|cause| ApiError::Odd(format!("it was cut off: {cause}")))
    }

    /// `GET` a path whose answer is read as it comes.
    pub(super) fn read(&self, path: &str) -> Result<impl BufRead + use<>, ApiError> {
        let response = self.signed(self.agent.get(self.url(path)))?.call();
        let response = response.map_err(|cause| self.unreachable(cause))?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            return Err(ApiError::Odd("it is neither an answer nor a refusal".into()));
        }
        Ok(BufReader::new(response.into_body().into_reader()))
    }

    /// `DELETE` a path.
    pub(super) fn delete(&self, path: &str) -> Result<Value, ApiError> {
        self.answer(self.signed(self.agent.delete(self.url(path)))?.call())
    }

    /// `PUT` a body.
    pub(super) fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Value, ApiError> {
        let request = self.signed(self.agent.put(self.url(path)))?;
        let request = request.header("content-type", content_type);
        self.answer(request.send(body))
    }

    /// `POST` a body.
    pub(super) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Value, ApiError> {
        let request = self.signed(self.agent.post(self.url(path)))?;
        let request = request.header("content-type", content_type);
        self.answer(request.send(body))
    }

    /// Follow a stream: `each` gets the data of every event, until it answers false or the stream ends.
    pub(super) fn follow(&self, path: &str, mut each: impl FnMut(Value) -> bool) -> Result<(), ApiError> {
        let request = self.signed(self.agent.get(self.url(path)))?;
        let request = request.header("accept", "text/event-stream");
        let response = request.call().map_err(|cause| self.unreachable(cause))?;
        if !response.status().is_success() {
            return self.answer(Ok(response)).map(drop);
        }
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.map_err(|cause| ApiError::Odd(cause.to_string()))?;
            if let Some(data) = line.strip_prefix("data:") {
                let value =
                    serde_json::from_str(data.trim_start()).map_err(|bad| ApiError::Odd(bad.to_string()))?;
                if !each(value) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn answer(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, ApiError> {
        let mut response = response.map_err(|cause| self.unreachable(cause))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(256 << 20)
            .read_to_string()
            .map_err(|cause| ApiError::Odd(cause.to_string()))?;
        if response.status().is_success() {
            return whole(&text).map_err(|bad| ApiError::Odd(bad.to_string()));
        }
        Err(match serde_json::from_str(&text) {
            Ok(problem) => ApiError::Refused(problem),
            Err(_) => ApiError::Odd(format!("{}: {text}", response.status())),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    fn unreachable(&self, cause: ureq::Error) -> ApiError {
        let text = cause.to_string();
        if text.contains("certificate") {
            return ApiError::Untrusted {
                server: self.server.clone(),
                cause: text,
            };
        }
        ApiError::Unreachable {
            server: self.server.clone(),
            cause: Box::new(cause),
        }
    }
}

/// What makes connections, to whom these vouch for, or else those whom the public trusts.
fn agent(trusted: Option<Vec<Certificate<'static>>>) -> ureq::Agent {
    let roots = trusted.map_or(RootCerts::WebPki, |trusted| RootCerts::new_with_certs(&trusted));
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .new_agent()
}

/// The certificates in `file`.
fn trusted(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|cause| {
        format!("whom to trust can't be read: {name}: {cause}; name another file with --ca-file")
    })?;
    let items: Vec<PemItem<'static>> = parse_pem(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|bad| format!("{name} is no PEM file: {bad}"))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!(
            "{name} has no certificate in PEM form; --ca-file names those who vouch for the host"
        ));
    }
    Ok(certificates)
}

/// The token that is shown: the one in `file`, where one is named, or that of the `variable`.
fn shown(file: Option<&Path>, variable: Option<String>) -> Result<Option<String>, String> {
    let (text, from) = match (file, variable) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|cause| {
                format!(
                    "the token can't be read: {}: {cause}; name another file with --token-file",
                    file.display()
                )
            })?;
            (text, file.display().to_string())
        }
        (None, Some(text)) => (text, TOKEN.to_owned()),
        (None, None) => return Ok(None),
    };
    let token = text.trim();
    if token.starts_with(PREFIX) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(token.to_owned()));
    }
    Err(format!(
        "{from} holds no token: one begins with {PREFIX}, and `nerve token create` prints it"
    ))
}

/// The answer of a host, however deep it is: a trace nests four levels for each event of a causal chain, which has at
/// most 64, and the data below them has at most 100.
pub(super) fn whole(text: &str) -> serde_json::Result<Value> {
    let mut input = serde_json::Deserializer::from_str(text);
    input.disable_recursion_limit();
    let value = Value::deserialize(&mut input)?;
    input.end()?;
    Ok(value)
}

/// `text` as one segment of a path, or a value of a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
                out.push(char::from(byte));
            } else {
                write!(out, "%{byte:02X}").expect("a string takes everything");
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_stands_before_the_variable_and_what_is_no_token_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "nrv_file\n").unwrap();
        let variable = || Some("nrv_variable".to_owned());
        assert_eq!(shown(Some(&path), variable()), Ok(Some("nrv_file".to_owned())));
        assert_eq!(shown(None, variable()), Ok(variable()));
        assert_eq!(shown(None, None), Ok(None));
        for bad in ["", "secret", "nrv_a\nX-Other: b"] {
            std::fs::write(&path, bad).unwrap();
            let refused = shown(Some(&path), variable()).unwrap_err();
            assert!(refused.contains("holds no token"), "{refused}");
        }
        assert!(
            shown(Some(&folder.path().join("none")), None)
                .unwrap_err()
                .contains("--token-file")
        );
    }

    #[test]
    fn the_trace_of_the_longest_chain_with_the_deepest_data_can_be_read() {
        let depth = 64 * 4 + 100 + 10;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(serde_json::from_str::<Value>(&deep).is_err(), "this is why");
        assert_eq!(whole(&deep).unwrap().to_string(), deep);
        assert!(whole("[] []").is_err());
    }
}
