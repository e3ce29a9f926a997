//! Webhooks: subscribers without a component, which get their events by HTTP.
//!
//! `NAME.webhook.toml` in the plugin folder says where events go and which: it is a plugin's settings with the table
//! `[webhook]`, and its component is empty. So everything that holds of a plugin holds of it: versions, cursor, order per
//! key, retries, breaker, dead letters, rewinds. Only what runs a delivery is another: `deliver` makes one call of the
//! same kind as plugins make, an intent first and its answer recorded, signed as Standard Webhooks says (`signature`);
//! and what it emits is what the receiver answers with (`emitted`), where the settings let it.

mod answer;
mod deliver;
mod emitted;
mod secret;
mod settings;
mod signature;

use std::sync::Arc;

use super::manifest::Manifest;
use super::name::PluginName;
use super::settings::{BadSettings, Settings};
use crate::contract::Holding;
use crate::delivery::handler::{Handler, Version};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::timer::TimerLimits;
use crate::log::record::{Asks, Hash, VersionId};
use crate::state::KeyValues;

pub use secret::Reference;
pub use settings::{Hook, Mode};
pub(in crate::plugin) use settings::{is_another, is_one, settings};
pub use signature::{BadSecret, Key};

/// What the file of a webhook called `x` ends with.
pub const ENDING: &str = ".webhook.toml";

/// A checked version of a webhook. Cheap to clone.
#[derive(Clone)]
pub struct Webhook(Arc<Checked>);

struct Checked {
    settings: Arc<Settings>,
    hook: Hook,
    version: VersionId,
    contracts: Arc<Holding>,
}

/// Why the file of a webhook makes none. What ran before goes on.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its settings are wrong.
    #[error("{name}{ENDING}: {cause}")]
    Settings {
        /// Its name.
        name: PluginName,
        /// What is wrong.
        #[source]
        cause: BadSettings,
    },
}

/// The webhook called `name`, whose file says `text`; what it is answered with is held against `contracts`.
pub(super) fn load(name: &PluginName, text: &str, contracts: &Arc<Holding>) -> Result<Webhook, Refusal> {
    let refused = |cause| Refusal::Settings {
        name: name.clone(),
        cause,
    };
    let settings = Arc::new(settings(text).map_err(refused)?);
    let wrong = |what: String| refused(BadSettings(what));
    let hook = settings.webhook.clone();
    let hook = hook.ok_or_else(|| wrong("it has no table [webhook]".into()))?;
    Ok(Webhook(Arc::new(Checked {
        version: VersionId::of(component(), text.as_bytes()),
        contracts: contracts.clone(),
        settings,
        hook,
    })))
}

/// The hash of the component that webhooks have: nothing.
pub fn component() -> Hash {
    Hash::of(b"")
}

impl Webhook {
    /// Its settings.
    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.0.settings
    }

    /// What it says of itself in place of a component.
    pub(super) fn manifest(&self) -> Manifest {
        Manifest {
            version: "webhook".into(),
            subscriptions: self.0.hook.subscriptions.clone(),
            emits: self.0.hook.emits.clone(),
            json: false,
            schemas: Vec::new(),
            asks: self.granted(),
            readable: Vec::new(),
        }
    }

    /// What is secret and can't be had now. That refuses nothing: it is looked for again with each delivery, and until it is
    /// there events wait.
    pub(super) fn lacks(&self) -> Option<String> {
        let hook = &self.0.hook;
        let missing = hook.keys().err().or_else(|| hook.own_headers().err())?;
        Some(format!("its events wait: {missing}"))
    }
}

impl Version for Webhook {
    fn id(&self) -> VersionId {
        self.0.version
    }

    fn lanes(&self) -> usize {
        self.0.settings.lanes.get()
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn timer_limits(&self) -> TimerLimits {
        TimerLimits { count: 0, bytes: 0 }
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.0.settings.retry
    }

    fn batch_bytes(&self) -> usize {
        self.0.settings.limits.batch_bytes
    }

    fn hops(&self) -> u32 {
        self.0.settings.limits.hops
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        let Settings {
            limits, http, lag, ..
        } = &*self.0.settings;
        let mut shown = vec![
            ("event_bytes", limits.event_bytes as u64),
            ("hops", u64::from(limits.hops)),
            ("http.time_ms", http.time_ms),
            ("http.request_bytes", http.request_bytes as u64),
        ];
        if !self.0.hook.emits.is_empty() {
            shown.extend([
                ("emits", limits.emits as u64),
                ("emit_bytes", limits.emit_bytes as u64),
                ("batch_bytes", limits.batch_bytes as u64),
                ("http.answer_bytes", http.answer_bytes as u64),
            ]);
        }
        shown.extend(lag.shown());
        shown
    }

    fn granted(&self) -> Asks {
        self.0.settings.grants.shown()
    }

    fn handler(&self, _: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(deliver::Sender::of(self))
    }
}
