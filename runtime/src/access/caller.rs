//! Somebody who was let in, and what they may do.

use std::sync::Arc;

use super::{Grant, Scope, TokenHash};

/// Who somebody without a token is, where nobody is asked for one. No token is called so.
pub const ANONYMOUS: &str = "anonymous";

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Caller(Option<Arc<Grant>>);

/// What one must be allowed to do for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it shows nothing of events, plugins or people.
    Nothing,
    /// To be somebody, whatever one may do.
    Somebody,
    /// [`Scope::Read`].
    Read,
    /// [`Scope::Operate`].
    Operate,
    /// [`Scope::Publish`], of any types; which they are is looked at when they are known.
    Publish,
}

impl Needs {
    /// The scope that is needed, as a token is made with it.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Nothing | Self::Somebody => "",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Publish => "publish",
        }
    }
}

impl Caller {
    /// Somebody whom nobody asked, and who may do everything.
    pub fn anonymous() -> Self {
        Self(None)
    }

    pub(super) fn with(grant: Arc<Grant>) -> Self {
        Self(Some(grant))
    }

    /// The name of their token.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or(ANONYMOUS, |grant| &grant.name)
    }

    /// The scopes of their token; `None` is everything.
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.0.as_ref().map(|grant| &grant.scopes[..])
    }

    /// Whether they may do what needs this.
    pub fn may(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing | Needs::Somebody => true,
            Needs::Read => self.has(|scope| *scope == Scope::Read),
            Needs::Operate => self.has(|scope| *scope == Scope::Operate),
            Needs::Publish => self.has(|scope| matches!(scope, Scope::Publish(_))),
        }
    }

    /// Whether they may publish events of this type.
    pub fn may_publish(&self, event_type: &str) -> bool {
        self.has(|scope| scope.publishes(event_type))
    }

    pub(super) fn hash(&self) -> Option<TokenHash> {
        self.0.as_ref().map(|grant| grant.hash)
    }

    fn has(&self, scope: impl Fn(&Scope) -> bool) -> bool {
        self.scopes().is_none_or(|scopes| scopes.iter().any(scope))
    }
}
