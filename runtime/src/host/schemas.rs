//! The contracts of event types: asked for, and set by an operator.

use std::sync::Arc;

use super::{AskError, Host, Stopped};
use crate::contract::{Difference, Found, Offered, SetRefused, Types};
use crate::delivery::subscription::{BadType, check_type};
use crate::log::record::{DeclaredSchema, Mode, SetSchema};

/// Why the schema of an event type was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetSchemaError {
    /// The type is none.
    #[error(transparent)]
    Type(#[from] BadType),
    /// The schema is none.
    #[error("the schema of {event_type:?} can't be used: {cause}")]
    Schema {
        /// The type.
        event_type: String,
        /// Why.
        cause: String,
    },
    /// Live consumers do not accept what it allows.
    #[error("{}", breaks.iter().map(|(plugin, difference)| format!("plugin {plugin} does not accept it: {difference}")).collect::<Vec<_>>().join("; "))]
    Breaks {
        /// Each consumer with the difference.
        breaks: Vec<(Box<str>, Difference)>,
    },
    /// The host is stopping or the log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Host {
    /// What holds for each event type that a live plugin names or an operator set.
    pub async fn schemas(&self) -> Result<Arc<Types>, AskError> {
        let types = self.inner.contracts.types();
        self.durable_now().await?;
        Ok(types)
    }

    /// What a version of `plugin` that declares these `schemas` would break if it were deployed now. Decides nothing.
    pub async fn would_break(
        &self,
        plugin: String,
        schemas: Vec<DeclaredSchema>,
        from_beginning: bool,
        mode: Mode,
    ) -> Result<Found, AskError> {
        let contracts = self.inner.contracts.clone();
        let look = move || {
            let offered = Offered {
                schemas: &schemas,
                from_beginning,
                mode,
            };
            contracts.look(&plugin, offered)
        };
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        self.durable_now().await?;
        Ok(found)
    }

    /// Set what holds for an event type, or take it back. A schema that live consumers do not accept is refused, unless
    /// it is `forced`. Answers, once it is durable, where it can't be told whether consumers accept it, or where they do not.
    pub async fn set_schema(
        &self,
        mut set: SetSchema,
        forced: bool,
    ) -> Result<Vec<(Box<str>, Difference)>, SetSchemaError> {
        check_type(&set.event_type)?;
        set.who = self.who();
        let (contracts, event_type) = (self.inner.contracts.clone(), set.event_type.clone());
        // It waits for a deployment that is being decided on.
        let asked = tokio::task::spawn_blocking(move || contracts.set(set, forced)).await;
        let asked = asked.map_err(|panicked| Stopped::Poisoned(panicked.to_string()))?;
        let unclear = asked.map_err(|refused| match refused {
            SetRefused::Bad(bad) => SetSchemaError::Schema {
                event_type,
                cause: bad.to_string(),
            },
            SetRefused::Unread(keyword) => SetSchemaError::Schema {
                event_type,
                cause: format!(
                    "the keyword `{keyword}` is not understood, so that nothing could be checked by it"
                ),
            },
            SetRefused::Breaks(breaks) => SetSchemaError::Breaks { breaks },
            SetRefused::Stopped(stopped) => stopped.into(),
        })?;
        self.durable_now().await?;
        Ok(unclear)
    }
}
