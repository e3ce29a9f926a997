//! What may go live: a component that was loaded, or a webhook.

use std::sync::Arc;

use super::Deployer;
use crate::contract::{Holding, Offered};
use crate::delivery::handler::Version;
use crate::log::record::{Asks, Hash, VersionId};
use crate::plugin::engine::Engine;
use crate::plugin::loader;
use crate::plugin::manifest::Manifest;
use crate::plugin::name::PluginName;
use crate::plugin::settings::{Settings, Start};
use crate::plugin::watcher::Pair;
use crate::plugin::webhook;

/// A checked version, whatever runs its deliveries.
pub(super) struct Candidate {
    /// What it says of itself.
    pub(super) manifest: Manifest,
    /// What the operator says.
    pub(super) settings: Arc<Settings>,
    /// Hash of the component.
    pub(super) component: Hash,
    /// Hash of component and settings.
    pub(super) version: VersionId,
    /// What it asks for beyond what it was granted: it must not run before that is empty.
    pub(super) missing: Asks,
    /// What is to be said of it, and lets it through.
    pub(super) warnings: Vec<String>,
    /// What runs.
    pub(super) runs: Arc<dyn Version>,
}

impl Deployer {
    /// Whether there is a place for the component of `pair`: for a plugin that runs some are kept, and a webhook needs none.
    pub(super) fn has_place(&self, pair: &Pair) -> Result<(), String> {
        let known = self.subscribers.get(pair.name.as_str());
        let runs = known.is_some_and(|plugin| {
            let state = plugin.state.lock();
            state.live.is_some() && !state.removed
        });
        if runs || pair.component.is_empty() {
            return Ok(());
        }
        self.engine.has_place().map_err(|none| none.to_string())
    }
}

impl Candidate {
    /// The plugin called `name`, for which an operator approved `approved`. Without a component it is a webhook, and holds
    /// what it is answered with against `contracts`. Blocks: compiles; calls nobody.
    pub(super) fn load(
        engine: &Engine,
        contracts: &Arc<Holding>,
        name: &PluginName,
        component: &[u8],
        settings: Option<&str>,
        approved: &Asks,
    ) -> Result<Self, String> {
        if component.is_empty()
            && let Some(text) = settings
        {
            if webhook::is_another(text) {
                return Err(format!(
                    "{name}.wasm is no WebAssembly: it is empty; and a webhook is {name}.webhook.toml with the table [webhook]"
                ));
            }
            let webhook = webhook::load(name, text, contracts).map_err(|refused| refused.to_string())?;
            return Ok(Self {
                manifest: webhook.manifest(),
                settings: webhook.settings().clone(),
                component: webhook::component(),
                version: webhook.id(),
                missing: Asks::new(),
                warnings: webhook.lacks().into_iter().collect(),
                runs: Arc::new(webhook),
            });
        }
        let loaded = loader::load(engine, name, component, settings, approved)
            .map_err(|refused| refused.to_string())?;
        Ok(Self {
            manifest: loaded.manifest.clone(),
            settings: loaded.settings.clone(),
            component: loaded.component_hash,
            version: loaded.version,
            missing: loaded.missing.clone(),
            warnings: Vec::new(),
            runs: Arc::new(loaded),
        })
    }

    /// Where its events go, where it is a webhook.
    pub(super) fn target(&self) -> Option<String> {
        let hook = self.settings.webhook.as_ref()?;
        Some(hook.target.clone())
    }

    /// What the contracts of others are held against.
    pub(super) fn offered(&self) -> Offered<'_> {
        Offered {
            schemas: &self.manifest.schemas,
            from_beginning: self.settings.start == Start::Beginning,
            mode: self.settings.contracts.deploy,
        }
    }
}
