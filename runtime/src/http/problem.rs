//! Errors as RFC 9457 problems: each names the thing, the cause and the way out.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::host::{AskError, PublishError, RewindError, SetSchemaError, Stopped};
use crate::ingest::{Invalid, TooFast};
use crate::plugin::deploy::{RollBackError, StateBackError};

/// How a canary ends.
const CANARY_HINT: &str = "`nerve plugin promote NAME`, POST /v1/plugins/NAME/promote, or `nerve plugin rollback NAME`, POST \
                           /v1/plugins/NAME/rollback, ends it";

/// What to do where the state does not go back with a version.
const STATE_HINT: &str = "roll back without the state, and build one anew: nerve plugin rewind NAME --to start --fresh; \
                          `nerve plugin versions NAME`, GET /v1/plugins/NAME/versions, says as `state` where it goes back to with each";

/// A problem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// Which problem.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The place in an event's data, as a JSON pointer, where the data breaks its type's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The first offset that is left, where a position is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// How to show who one is, where that is what is missing.
    #[serde(skip)]
    pub challenge: Option<String>,
}

impl Problem {
    /// A problem with this status and code.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            code: code.into(),
            detail: detail.into(),
            hint: None,
            at: None,
            first: None,
            retry_after: None,
            challenge: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What was asked for is not there any more.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", detail)
    }

    /// A query parameter or path is wrong.
    pub fn query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "query-invalid", detail)
    }
}

/// The code of the problem that a response tells: it stands among its extensions.
#[derive(Debug, Clone)]
pub(super) struct Code(pub(super) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Code(self.code));
        let challenge = self.challenge.and_then(|text| text.parse().ok());
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let (status, code) = if invalid.too_large {
            (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
        } else {
            (StatusCode::BAD_REQUEST, "event-invalid")
        };
        Self::new(status, code, invalid.to_string()).hint(invalid.hint)
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        let (code, hint) = match stopped {
            Stopped::Stopping => (
                "stopping",
                "publish it again, with the same id, when the host is up",
            ),
            Stopped::Poisoned(_) => (
                "log-poisoned",
                "see to the disk, restart the host, and publish it again with the same id: whether it was kept is unknown",
            ),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, stopped.to_string()).hint(hint)
    }
}

impl From<PublishError> for Problem {
    fn from(refused: PublishError) -> Self {
        let detail = refused.to_string();
        let again = |wait: Duration| wait.as_millis().div_ceil(1000).try_into().ok();
        match refused {
            PublishError::Busy { retry_after, .. } => Self {
                retry_after: again(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail)
                    .hint("try again after Retry-After seconds")
            },
            // 507 and not 503, which also says that it is unknown what became of the events: none was kept.
            PublishError::NoRoom { retry_after } => Self {
                retry_after: again(retry_after),
                ..Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", detail).hint(
                    "none of the events was kept: free room on the host's disk, and publish again after Retry-After \
                     seconds",
                )
            },
            PublishError::TooFast(TooFast { retry_after, .. }) => Self {
                retry_after: again(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", detail)
                    .hint("none of the events was kept: publish them again after Retry-After seconds, and slower")
            },
            PublishError::Contract(broken) => Self {
                at: Some(broken.violation.at),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "contract-broken", detail).hint(format!(
                    "`nerve schema show {}` shows the schema; an operator may set another one, or \
                     `nerve schema set {0} --mode warn`",
                    broken.event_type
                ))
            },
            PublishError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "identity-conflict", detail)
                .hint("id and source identify an event: give another event another id"),
            PublishError::Stopped(stopped) => stopped.into(),
            PublishError::Size { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
                .hint("publish it in smaller batches"),
        }
    }
}

impl From<SetSchemaError> for Problem {
    fn from(refused: SetSchemaError) -> Self {
        let detail = refused.to_string();
        match refused {
            SetSchemaError::Type(_) | SetSchemaError::Schema { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "schema-invalid", detail)
                    .hint("docs/contracts.md says what a schema may have")
            }
            SetSchemaError::Breaks { .. } => Self::new(StatusCode::CONFLICT, "schema-breaks", detail).hint(
                "keep what they need, deploy consumers that accept it first, give the new shape a type of its own, or \
                 set it all the same with ?force=true",
            ),
            SetSchemaError::Stopped(stopped) => stopped.into(),
        }
    }
}

impl From<AskError> for Problem {
    fn from(refused: AskError) -> Self {
        let detail = refused.to_string();
        let not_found = |code| Self::new(StatusCode::NOT_FOUND, code, detail.clone());
        match refused {
            AskError::NoPlugin(_) => not_found("plugin-not-found").hint("`nerve plugin list`, GET /v1/plugins, lists them"),
            AskError::NoDeadLetter { .. } => {
                not_found("dead-letter-not-found").hint("`nerve dead list`, GET /v1/dead-letters, lists them")
            }
            AskError::NotReadable { .. } => Self::new(StatusCode::FORBIDDEN, "not-readable", detail)
                .hint("the plugin's author declares readable prefixes; `nerve plugin show NAME`, GET /v1/plugins/NAME, shows them"),
            AskError::TimedOut { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "wait-timed-out", detail)
                .hint("ask again, or with a longer timeout_ms"),
            AskError::Folder { .. } => Self::new(StatusCode::FORBIDDEN, "folder-denied", detail)
                .hint("give the host the right to change its plugin folder"),
            AskError::Approval { .. } => Self::new(StatusCode::CONFLICT, "approval-conflict", detail)
                .hint("see what waits now: `nerve plugin show NAME`, GET /v1/plugins/NAME"),
            AskError::RollBack { cause, .. } => match cause {
                RollBackError::NoVersion { .. } => not_found("version-not-found")
                    .hint("`nerve plugin versions NAME`, GET /v1/plugins/NAME/versions, lists those that are kept"),
                RollBackError::NoCanary => Self::new(StatusCode::CONFLICT, "no-canary", detail).hint(
                    "`nerve plugin show NAME`, GET /v1/plugins/NAME, shows what runs; `canary` in NAME.toml makes the next version one",
                ),
                RollBackError::NothingAgain => Self::new(StatusCode::CONFLICT, "nothing-again", detail).hint(
                    "leave out `--unmute`, ?mute=, or let state and cursor go back as well: `--state`, ?state=true",
                ),
                RollBackError::OwnState(_) => Self::new(StatusCode::CONFLICT, "canary-running", detail).hint(CANARY_HINT),
                RollBackError::BothWrote { .. } => {
                    Self::new(StatusCode::CONFLICT, "state-written-twice", detail).hint(
                        "GET /v1/plugins/NAME/state/KEY, with and without ?canary=true, shows both values; ?prefer=canary or \
                         ?prefer=before says which stay",
                    )
                }
                RollBackError::Ambiguous { .. } => {
                    Self::query(detail).hint("write more digits of the version")
                }
                RollBackError::Contract { .. } => Self::new(StatusCode::CONFLICT, "version-breaks", detail).hint(
                    "take back what needs the other shape first, or insist: `--force`, ?force=true",
                ),
                RollBackError::State(cause) => match *cause {
                    StateBackError::Gone { first, .. } => Self {
                        first: Some(first.0),
                        ..Self::new(StatusCode::GONE, "position-gone", detail).hint(STATE_HINT)
                    },
                    StateBackError::Rewinding(_) => Self::new(StatusCode::CONFLICT, "rewind-running", detail)
                        .hint("`nerve plugin rewind NAME --stop`, DELETE /v1/plugins/NAME/rewind, stops it"),
                    _ => Self::new(StatusCode::CONFLICT, "rollback-refused", detail).hint(STATE_HINT),
                },
                RollBackError::Load { .. } => Self::new(StatusCode::CONFLICT, "rollback-refused", detail)
                    .hint("deploy its component again, or roll back to another version"),
                _ => Self::new(StatusCode::CONFLICT, "rollback-refused", detail).hint(
                    "`nerve plugin versions NAME`, GET /v1/plugins/NAME/versions, lists those that are kept, and says which is live",
                ),
            },
            AskError::NoCanaryState(_) => Self::new(StatusCode::CONFLICT, "no-canary", detail)
                .hint("`canary_state = \"own\"` in NAME.toml gives the next canary one"),
            AskError::Name(_) => Self::query(detail),
            AskError::NoFolder => Self::new(StatusCode::CONFLICT, "nothing-on-disk", detail)
                .hint("start the host with a data folder"),
            AskError::Rewind { cause, .. } => match *cause {
                RewindError::Running(_) => Self::new(StatusCode::CONFLICT, "rewind-running", detail)
                    .hint("`nerve plugin rewind NAME --stop`, DELETE /v1/plugins/NAME/rewind, stops it"),
                RewindError::OwnState => Self::new(StatusCode::CONFLICT, "canary-running", detail).hint(CANARY_HINT),
                RewindError::NotRunning => not_found("rewind-not-found")
                    .hint("`nerve plugin show NAME`, GET /v1/plugins/NAME, shows what runs"),
                RewindError::NoEvent(_) => not_found("event-not-found")
                    .hint("name an offset, or a time such as 2026-01-31T12:00:00Z"),
                RewindError::Gone { first, .. } => Self {
                    first: Some(first.0),
                    ..Self::new(StatusCode::GONE, "position-gone", detail)
                        .hint("rewind to the offset `first`, or to `start`")
                },
                RewindError::NeverLive | RewindError::Nothing { .. } | RewindError::Several { .. } => {
                    Self::new(StatusCode::CONFLICT, "no-history", detail)
                        .hint("name an event that it has settled, or `start`; `nerve plugin show NAME` shows its cursor")
                }
                RewindError::Read(cause) => super::events::unreadable(&cause),
            },
            AskError::Stopped(stopped) => stopped.into(),
        }
    }
}

/// No resource of this path.
pub(super) async fn no_route(uri: axum::http::Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        format!("there is nothing at {}", uri.path()),
    )
    .hint("the resources are under /v1: events, plugins, dead-letters, schemas and log")
}

/// The resource has no such method.
pub(super) async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let detail = format!("{} has no {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
