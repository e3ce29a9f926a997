//! Who may use a host, and for what: tokens with scopes, kept as hashes in a file of the data folder. Knows no HTTP.
//!
//! [`Access`] looks at the file whenever somebody asks ([`Access::look`] costs one `stat`), so that a token counts from the
//! moment it was made and no longer than until it is revoked. What it saw then lets somebody in (`Look::admit`) as a
//! [`Caller`], who may do what the token's scopes say. The file's being there decides: where it is not, nobody is asked for a
//! token, if the host was told so; a file without tokens lets in nobody.

mod caller;
mod scope;
mod sessions;
mod stamp;
mod token;
mod tokens;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nerve_eventlog::{Clock, Micros};
use parking_lot::Mutex;

pub use self::caller::{ANONYMOUS, Caller, Needs};
pub use self::scope::{BadScope, Scope};
use self::sessions::Sessions;
pub use self::stamp::Stamp;
pub use self::token::{PREFIX, Token, TokenHash};
pub use self::tokens::{FILE, Grant, TokensError, create, read, revoke};

/// Lets callers of one host in.
pub struct Access {
    kept: Option<Kept>,
    /// Whether nobody is asked for a token while none was ever made.
    anonymous: bool,
    clock: Arc<dyn Clock>,
    sessions: Sessions,
}

/// The file of tokens, and what it said when it was last read.
struct Kept {
    path: PathBuf,
    seen: Mutex<Option<(Stamp, Look)>>,
}

/// Who may use the host, as it was when somebody looked.
#[derive(Debug, Clone)]
pub enum Look {
    /// Everybody.
    Everybody,
    /// Nobody: there is no token, and the host must not be used without.
    Nobody,
    /// Who has one of these tokens.
    Tokens(Arc<[Arc<Grant>]>),
    /// Nobody, for the file of tokens can't be read.
    Unreadable,
}

/// Why somebody was not let in. It says nothing of how near a token was to one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is no token in the request.
    #[error("this host answers only who shows a token")]
    NoToken,
    /// It is none of this host's.
    #[error("the token is none of this host's: it is another's, or it has expired or was revoked")]
    Unknown,
    /// The host can't tell.
    #[error("the host can't read its tokens, so that it lets nobody in")]
    Unreadable,
}

impl Access {
    /// Everybody may do everything: for a host within a program, whose own the listener is.
    pub fn everybody(clock: Arc<dyn Clock>) -> Self {
        Self {
            kept: None,
            anonymous: true,
            clock,
            sessions: Sessions::default(),
        }
    }

    /// As the tokens in `folder` say, and where none was ever made, everybody if the host may be used so.
    pub fn by_tokens(folder: &Path, anonymous: bool, clock: Arc<dyn Clock>) -> Self {
        let kept = Kept {
            path: folder.join(FILE),
            seen: Mutex::new(None),
        };
        Self {
            kept: Some(kept),
            anonymous,
            clock,
            sessions: Sessions::default(),
        }
    }

    /// Who may use the host now.
    pub fn look(&self) -> Look {
        let none = if self.anonymous {
            Look::Everybody
        } else {
            Look::Nobody
        };
        let Some(kept) = &self.kept else {
            return none;
        };
        match Stamp::of(&kept.path) {
            Ok(Some(stamp)) => kept.at(stamp),
            Ok(None) => none,
            Err(cause) => {
                tracing::error!(
                    "{} can't be looked at, so nobody is let in: {cause}",
                    kept.path.display()
                );
                Look::Unreadable
            }
        }
    }

    /// Let somebody in who shows this token, or none, by what was seen of the tokens.
    pub fn admit(&self, look: &Look, shown: Option<&str>) -> Result<Caller, AccessError> {
        look.admit(shown.map(Token::hash), self.clock.now())
    }

    /// The same for somebody whose browser shows a session.
    pub fn resume(&self, look: &Look, session: &str) -> Result<Caller, AccessError> {
        let now = self.clock.now();
        let token = self.sessions.token(session, now);
        // One that is over stands for no token.
        look.admit(Some(token.unwrap_or_else(|| Token::hash(""))), now)
    }

    /// Open a session for `caller`, which lets them in as their token does; answers what their browser is to show. Who has no
    /// token gets none.
    pub fn open_session(&self, caller: &Caller) -> Result<Option<Token>, getrandom::Error> {
        let opened = caller
            .hash()
            .map(|token| self.sessions.open(token, self.clock.now()));
        opened.transpose()
    }

    /// Close a session.
    pub fn close_session(&self, session: &str) {
        self.sessions.close(session);
    }

    /// Whether `caller`, who was let in before, still would be.
    pub fn still_admits(&self, caller: &Caller) -> bool {
        self.look().admit(caller.hash(), self.clock.now()).is_ok()
    }
}

impl Kept {
    /// What the file of this stamp says.
    fn at(&self, stamp: Stamp) -> Look {
        let mut seen = self.seen.lock();
        if let Some((known, look)) = &*seen
            && *known == stamp
        {
            return look.clone();
        }
        let (stamp, look) = match tokens::read_file(&self.path) {
            Ok((stamp, grants)) => (stamp, Look::Tokens(grants.into())),
            Err(cause) => {
                tracing::error!("nobody is let in: {cause}");
                (stamp, Look::Unreadable)
            }
        };
        *seen = Some((stamp, look.clone()));
        look
    }
}

impl Look {
    fn admit(&self, shown: Option<TokenHash>, now: Micros) -> Result<Caller, AccessError> {
        let grants = match self {
            Self::Everybody => return Ok(Caller::anonymous()),
            Self::Nobody => &[][..],
            Self::Unreadable => return Err(AccessError::Unreadable),
            Self::Tokens(grants) => grants,
        };
        let shown = shown.ok_or(AccessError::NoToken)?;
        // All of them are looked at, each in constant time: how long it takes tells nothing about any.
        let found = grants.iter().fold(
            None,
            |found, grant| if grant.hash == shown { Some(grant) } else { found },
        );
        let grant = found.ok_or(AccessError::Unknown)?;
        if grant.expires.is_some_and(|expires| expires <= now) {
            tracing::debug!(token = %grant.name, "it has expired");
            return Err(AccessError::Unknown);
        }
        Ok(Caller::with(grant.clone()))
    }
}
