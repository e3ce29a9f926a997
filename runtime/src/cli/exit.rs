//! Exit codes.

use std::process::ExitCode;

use crate::access::TokensError;
use crate::cli::api::ApiError;
use crate::host::{OpenError, RestoreError};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// What it is about is not there.
    NotFound = 3,
    /// Something else is in the way.
    Conflict = 4,
    /// It is not allowed.
    Denied = 5,
    /// No host answers.
    Unreachable = 6,
    /// Data is damaged.
    Damaged = 7,
    /// A limit was hit.
    Limit = 8,
    /// It is done and durable, and those that were waited for have not settled it.
    Unsettled = 9,
}

/// A failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    /// The code.
    pub exit: Exit,
    /// What went wrong, and the way out.
    pub message: String,
}

/// The command has told all there is, and ends with this code.
#[derive(Debug, thiserror::Error)]
#[error("it ends with exit code {}", *.0 as u8)]
pub(super) struct Told(Exit);

/// An end with this code, and with nothing more to tell.
pub(super) fn told(exit: Exit) -> anyhow::Error {
    Told(exit).into()
}

/// A failure with this code and message.
pub(super) fn fail(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Failure {
        exit,
        message: message.into(),
    }
    .into()
}

impl Exit {
    /// The word for programs.
    pub(super) fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The exit code of a failure: of the first cause in its chain that has one.
    pub fn of(cause: &anyhow::Error) -> Self {
        cause.chain().find_map(Self::of_one).unwrap_or(Self::Failed)
    }

    fn of_one(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(Told(exit)) = cause.downcast_ref::<Told>() {
            return Some(*exit);
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        if let Some(api) = cause.downcast_ref::<ApiError>() {
            return Some(match api {
                ApiError::Unreachable { .. } | ApiError::Untrusted { .. } => Self::Unreachable,
                ApiError::Odd(_) => Self::Failed,
                ApiError::Credentials(_) => Self::Usage,
                ApiError::Refused(problem) => match problem.status {
                    400 | 415 => Self::Usage,
                    401 | 403 => Self::Denied,
                    404 | 410 => Self::NotFound,
                    409 | 422 => Self::Conflict,
                    413 | 429 | 507 => Self::Limit,
                    _ => Self::Failed,
                },
            });
        }
        if let Some(open) = cause.downcast_ref::<OpenError>() {
            return Some(match open {
                OpenError::Log(nerve_eventlog::OpenError::InUse { .. }) => Self::Conflict,
                OpenError::Log(
                    nerve_eventlog::OpenError::Damaged { .. }
                    | nerve_eventlog::OpenError::Behind { .. }
                    | nerve_eventlog::OpenError::Format { .. },
                )
                | OpenError::Record { .. }
                | OpenError::Format { .. }
                | OpenError::NoCheckpoint { .. } => Self::Damaged,
                _ => return None,
            });
        }
        if let Some(refused) = cause.downcast_ref::<RestoreError>() {
            return match refused {
                RestoreError::Damaged { .. } => Some(Self::Damaged),
                RestoreError::Taken { .. } => Some(Self::Conflict),
                RestoreError::Io { .. } => None,
            };
        }
        match cause.downcast_ref::<TokensError>() {
            Some(TokensError::NoFolder(_) | TokensError::NotFound(_)) => return Some(Self::NotFound),
            Some(TokensError::Taken(_)) => return Some(Self::Conflict),
            Some(TokensError::Name(_)) => return Some(Self::Usage),
            Some(TokensError::Mode(_)) => return Some(Self::Denied),
            Some(TokensError::Io { .. } | TokensError::Content { .. }) | None => {}
        }
        let io = cause.downcast_ref::<std::io::Error>()?;
        Some(match io.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Denied,
            std::io::ErrorKind::NotFound => Self::NotFound,
            std::io::ErrorKind::AddrInUse | std::io::ErrorKind::AlreadyExists => Self::Conflict,
            _ => return None,
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
