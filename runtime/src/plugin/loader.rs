//! From the bytes of a file to a checked version, or to a refusal in words.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Component;

use super::compiler::CompileError;
use super::engine::{Engine, NoPlace, Place};
use super::grants::{BadGrant, Grants, HTTP};
use super::guest::{self, Guest, WasmHandler};
use super::manifest::{BadManifest, Manifest};
use super::name::PluginName;
use super::outgoing::Outgoing;
use super::promised::Promised;
use super::settings::{BadSettings, Settings};
use super::shape::Absurd;
use super::v1::log::escaped;
use super::v1::{self, Instance, Linked};
use super::wasi;
use crate::give_way::give_way;
use crate::log::record::{Asks, Hash, VersionId};
use crate::state::KeyValues;

/// How long `describe` may run.
const DESCRIBE_TIME: Duration = Duration::from_secs(1);

/// A checked version. Cheap to clone.
#[derive(Clone)]
pub struct Loaded(Arc<Checked>);

/// What a checked version is made of.
#[derive(Clone)]
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What the operator says.
    pub settings: Arc<Settings>,
    /// Hash of the file.
    pub component_hash: Hash,
    /// Hash of file and settings.
    pub version: VersionId,
    /// What it was granted.
    pub grants: Grants,
    /// What it asks for beyond that: it must not run before that is empty.
    pub missing: Asks,
    /// Makes its calls; `None` where it does not ask to make any.
    pub outgoing: Option<Arc<Outgoing>>,
    /// What it promises of the events it emits.
    pub(super) promised: Arc<Promised>,
    pub(super) engine: Engine,
    pub(super) linked: Linked,
    _place: Place,
}

impl Deref for Loaded {
    type Target = Checked;

    fn deref(&self) -> &Checked {
        &self.0
    }
}

/// Why a file is no plugin. What ran before goes on.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is too large.
    #[error(
        "the component has {bytes} bytes, and {limit} are allowed; raise limits.component_bytes in {name}.toml"
    )]
    Size {
        /// The plugin.
        name: PluginName,
        /// Its bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// It has an absurd shape.
    #[error(transparent)]
    Shape(#[from] Absurd),
    /// There are too many.
    #[error(transparent)]
    Place(#[from] NoPlace),
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It needs something that is not there.
    #[error("{0}")]
    Interface(String),
    /// Its functions have other types.
    #[error("its interfaces have other types than nerve:plugin@{version}: {cause}; build it with a matching nerve-sdk, or against the wit/ folder of nerve", version = v1::VERSION)]
    Types {
        /// Which.
        cause: String,
    },
    /// Its settings are wrong.
    #[error("{name}.toml: {cause}")]
    Settings {
        /// The plugin.
        name: PluginName,
        /// What is wrong.
        #[source]
        cause: BadSettings,
    },
    /// Its settings are a webhook's.
    #[error(
        "[webhook] is for what has no component: call the file {name}.webhook.toml, and let there be no {name}.wasm"
    )]
    Webhook {
        /// The plugin.
        name: PluginName,
    },
    /// It does not start, or does not describe itself.
    #[error("it does not describe itself: {0}")]
    Describe(String),
    /// Its description is wrong.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// It asks for what there is not.
    #[error("it asks for what can't be granted: {0}")]
    Asks(#[from] BadGrant),
}

/// Load the plugin called `name`, for which an operator approved `approved` beside what its settings grant.
/// Blocks: compiles, and runs the guest's `describe` within limits.
pub fn load(
    engine: &Engine,
    name: &PluginName,
    component: &[u8],
    settings: Option<&str>,
    approved: &Asks,
) -> Result<Loaded, Refusal> {
    let parsed = Settings::parse(settings.unwrap_or_default());
    let settings_text = settings;
    let settings = Arc::new(parsed.map_err(|cause| Refusal::Settings {
        name: name.clone(),
        cause,
    })?);
    if settings.webhook.is_some() {
        return Err(Refusal::Webhook { name: name.clone() });
    }
    let limit = settings.limits.component_bytes;
    if component.len() > limit {
        return Err(Refusal::Size {
            name: name.clone(),
            bytes: component.len(),
            limit,
        });
    }
    settings.limits.shape.check(component)?;
    let place = engine.place()?;
    give_way();
    let compiled = engine.compile(component, &settings.limits)?;
    give_way();
    check_needs(&compiled, &settings)?;
    check_interfaces(engine, &compiled, wasmparser::Parser::is_component(component))?;
    let linked = engine.link(&compiled).map_err(|cause| Refusal::Types {
        cause: format!("{cause:#}"),
    })?;
    let manifest = Manifest::check(name, describe(engine, &linked, &settings)?)?;
    let grants = settings.grants.with(approved)?;
    let missing = grants.missing(&manifest.asks)?;
    let asks_http = manifest.asks.iter().any(|(capability, _)| capability == HTTP);
    let outgoing = asks_http.then(|| Arc::new(Outgoing::new(grants.clone(), settings.http.clone())));
    let promised = Arc::new(Promised::of(&manifest.schemas, settings.contracts.emit));
    give_way();
    let component_hash = Hash::of(component);
    let version = VersionId::of(component_hash, settings_text.unwrap_or_default().as_bytes());
    Ok(Loaded(Arc::new(Checked {
        manifest,
        settings,
        component_hash,
        version,
        grants,
        missing,
        outgoing,
        promised,
        engine: engine.clone(),
        linked,
        _place: place,
    })))
}

impl Loaded {
    /// The same, as if it were granted what it lacks.
    #[must_use]
    pub fn as_if_granted(&self) -> Self {
        let Ok(grants) = self.grants.with(&self.missing) else {
            return self.clone();
        };
        let outgoing = &self.outgoing;
        let outgoing = outgoing
            .is_some()
            .then(|| Arc::new(Outgoing::new(grants.clone(), self.settings.http.clone())));
        Self(Arc::new(Checked {
            grants,
            outgoing,
            ..Checked::clone(&self.0)
        }))
    }

    /// A handler that reads `state`.
    pub fn handler(&self, state: Arc<KeyValues>) -> WasmHandler {
        WasmHandler::new(self.clone(), state)
    }

    /// A fresh instance; the store comes back with the error, for what it recorded.
    pub(super) fn instantiate(
        &self,
        state: Arc<KeyValues>,
    ) -> Result<(Store<Guest>, Instance), (Store<Guest>, wasmtime::Error)> {
        let mut guest = Guest::new(self.settings.clone(), self.manifest.json, state);
        guest.outgoing.clone_from(&self.outgoing);
        guest.promised.clone_from(&self.promised);
        let mut store = guest::store(&self.engine, guest);
        match self.linked.instantiate(&mut store) {
            Ok(instance) => Ok((store, instance)),
            Err(cause) => Err((store, cause)),
        }
    }
}

/// Check that an instance may have as many memories and tables as the component makes.
fn check_needs(component: &Component, settings: &Settings) -> Result<(), Absurd> {
    let Some(needs) = component.resources_required() else {
        return Ok(());
    };
    for (limit, count, most) in [
        ("memories", needs.num_memories, settings.limits.memories),
        ("tables", needs.num_tables, settings.limits.tables),
    ] {
        let (count, most) = (u64::from(count), most as u64);
        if count > most {
            return Err(Absurd { limit, count, most });
        }
    }
    Ok(())
}

/// Check, before anything runs, that it imports only what there is, and exports what it must; whether it came as a
/// component, and not as a core module, is for the words.
fn check_interfaces(engine: &Engine, component: &Component, came_as_one: bool) -> Result<(), Refusal> {
    let kind = component.component_type();
    for (import, _) in kind.imports(engine.wasmtime()) {
        let ours = v1::IMPORTS
            .iter()
            .any(|known| import == format!("nerve:plugin/{known}@{}", v1::VERSION));
        if !ours && !wasi::is_known(import) {
            return Err(Refusal::Interface(import_in_words(import)));
        }
    }
    let export = format!("nerve:plugin/{}@{}", v1::EXPORT, v1::VERSION);
    let exports: Vec<&str> = kind.exports(engine.wasmtime()).map(|(name, _)| name).collect();
    if exports.contains(&&*export) {
        return Ok(());
    }
    let begins = format!("nerve:plugin/{}@", v1::EXPORT);
    let build = "build it with nerve-sdk, or against the wit/ folder of nerve";
    let other = exports.iter().find(|name| name.starts_with(&begins));
    Err(Refusal::Interface(match (other, exports.first()) {
        (Some(other), _) => {
            format!("it exports {other}, and this host speaks {export}: build it with a matching nerve-sdk")
        }
        (None, Some(first)) => {
            let first: String = first.chars().take(80).collect();
            format!("it exports {first}, and does not export {export}, as a plugin does: {build}")
        }
        (None, None) if !came_as_one => {
            format!(
                "it is a core module for no world, and does not export {export}, as a plugin does: {build}"
            )
        }
        (None, None) => format!("it does not export {export}, as a plugin does: {build}"),
    }))
}

fn import_in_words(import: &str) -> String {
    let speaks = format!("nerve:plugin@{}", v1::VERSION);
    match import.split_once('@') {
        Some((name, _))
            if v1::IMPORTS
                .iter()
                .any(|known| name == format!("nerve:plugin/{known}")) =>
        {
            format!("it imports {import}, and this host speaks {speaks}: build it with a matching nerve-sdk")
        }
        _ if import.starts_with("wasi:") => {
            format!(
                "it imports {import}, and of WASI only cli, clocks, filesystem, http, io, random and sockets of \
                 version 0.2 may be imported: use the imports of {speaks} instead"
            )
        }
        _ => format!("it imports {import}, which is not part of {speaks}"),
    }
}

/// Ask the guest what it is, without events or state.
fn describe(
    engine: &Engine,
    linked: &Linked,
    settings: &Arc<Settings>,
) -> Result<v1::exports::nerve::plugin::handler::Manifest, Refusal> {
    let _running = engine.run_guest();
    let guest = Guest::new(settings.clone(), false, Arc::default()).with_limit(DESCRIBE_TIME);
    let mut store = guest::store(engine, guest);
    let described = match linked.start(&mut store) {
        Ok(started) => {
            let instance = linked.exports(&mut store, &started);
            let instance = instance.map_err(|cause| Refusal::Types {
                cause: escaped(format!("{cause:#}")),
            })?;
            instance.describe(&mut store)
        }
        Err(cause) => Err(cause),
    };
    described.map_err(|cause| {
        let limit = store.data_mut().reached_limit(&cause, engine.stack_bytes());
        Refusal::Describe(match cause.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => format!("it took longer than {} s", DESCRIBE_TIME.as_secs()),
            _ => limit.map_or_else(|| escaped(format!("{cause:#}")), |(_, reason)| reason),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::engine::Code;
    use crate::plugin::stack::Stack;

    fn refusal(component: &[u8]) -> String {
        let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
        let name = PluginName::parse("x").unwrap();
        load(&engine, &name, component, None, &Asks::new())
            .map(drop)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn invariant_09_a_component_is_refused_what_it_was_not_given() {
        for (import, says) in [
            ("wasi:filesystem/types@0.3.0", "of version 0.2 may be imported"),
            ("wasi:nn/tensor@0.2.0", "of version 0.2 may be imported"),
            ("nerve:plugin/state@9.0.0", "this host speaks nerve:plugin@1.0.0"),
            ("other:thing/x@1.0.0", "not part of nerve:plugin@1.0.0"),
        ] {
            let text = format!("(component (import \"{import}\" (instance)))");
            let refused = refusal(&wat::parse_str(text).unwrap());
            assert!(refused.contains(import) && refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn what_is_no_plugin_is_refused_in_words() {
        for (bytes, says) in [
            (b"".to_vec(), "no WebAssembly"),
            (b"hello, world".to_vec(), "hello, w"),
            (b"\0asm\x01\0\0\0\xff".to_vec(), "damaged or cut off"),
            (b"\0asm\x0d\0\x01\0\xff".to_vec(), "damaged or cut off"),
            (
                wat::parse_str("(module)").unwrap(),
                "a core module for no world, and does not export nerve:plugin/handler@1.0.0",
            ),
            (
                wat::parse_str("(component)").unwrap(),
                "does not export nerve:plugin/handler@1.0.0",
            ),
            (
                wat::parse_str(
                    "(component (instance $none) (export \"other:thing/x@1.0.0\" (instance $none)))",
                )
                .unwrap(),
                "it exports other:thing/x@1.0.0, and does not export nerve:plugin/handler@1.0.0",
            ),
            (
                wat::parse_str("(module (import \"env\" \"f\" (func)))").unwrap(),
                "nerve-sdk",
            ),
        ] {
            let refused = refusal(&bytes);
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn wrong_settings_are_refused_with_the_file() {
        let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
        let name = PluginName::parse("x").unwrap();
        let refused = load(&engine, &name, b"", Some("strat = 1"), &Asks::new())
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("x.toml: ") && refused.contains("did you mean `start`?"),
            "{refused}"
        );
    }
}
