//! Plugins whose handlers are WebAssembly guests, and that keep the same state as those that are functions.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::script::Scripted;
use super::world::PLUGINS;
use crate::delivery::handler::{Delivery, Handled, Handler, Version};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::timer::TimerLimits;
use crate::log::record::{Asks, VersionId};
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader::{self, Loaded};
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;
use crate::state::KeyValues;

/// The guest, in which X is the plugin's name.
const TEXT: &str = include_str!("guest.wat");

/// A version whose handler is a guest. All else is as the version has it that is a function.
pub(super) struct GuestVersion {
    scripted: Scripted,
    loaded: Loaded,
    /// Whether what the guest writes is dropped: what a host must not do.
    forgets: bool,
}

/// A guest, whose running time is no matter of the clock.
struct Guest {
    version: VersionId,
    scripted: Scripted,
    inner: Box<dyn Handler>,
    forgets: bool,
}

/// The components of a plugin: one that is sound, and one that traps at every event.
type Components = [Loaded; 2];

fn components() -> &'static [Components] {
    static MADE: OnceLock<Vec<Components>> = OnceLock::new();
    MADE.get_or_init(|| {
        let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
        let made = PLUGINS.iter().map(|(plugin, _)| {
            let component = component(plugin);
            let name = PluginName::parse(plugin).unwrap();
            // A busy machine must not end a guest: a seed is one life.
            ["", "[config]\nbroken = true\n"].map(|config| {
                let settings = format!("[limits]\ntime_ms = 600000\n{config}");
                loader::load(&engine, &name, &component, Some(&settings), &Asks::new()).unwrap()
            })
        });
        made.collect()
    })
}

/// The guest as a module that carries the world's types, as tool chains make them.
fn component(plugin: &str) -> Vec<u8> {
    let text = TEXT
        .replace("out.X", &format!("out.{plugin}"))
        .replace("tick.X", &format!("tick.{plugin}"))
        .replace("\"X>\"", &format!("\"{plugin}>\""));
    let mut module = wat::parse_str(text).unwrap();
    let mut types = wit_parser::Resolve::default();
    let (package, _) = types
        .push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit"))
        .unwrap();
    let world = types.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &types, world, encoding, false).unwrap();
    module
}

impl GuestVersion {
    pub(super) fn new(scripted: Scripted, forgets: bool) -> Self {
        let at = PLUGINS
            .iter()
            .position(|(name, _)| *name == scripted.plugin)
            .unwrap();
        let [sound, broken] = &components()[at];
        let loaded = if scripted.is_broken() { broken } else { sound };
        Self {
            loaded: loaded.clone(),
            scripted,
            forgets,
        }
    }
}

impl Version for GuestVersion {
    fn id(&self) -> VersionId {
        self.scripted.id()
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.scripted.retry_policy()
    }

    fn lanes(&self) -> usize {
        self.scripted.lanes()
    }

    fn timer_limits(&self) -> TimerLimits {
        self.scripted.timer_limits()
    }

    fn state_bytes(&self) -> usize {
        self.scripted.state_bytes()
    }

    fn limits(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn handler(&self, state: Arc<KeyValues>) -> Box<dyn Handler> {
        Box::new(Guest {
            version: self.id(),
            scripted: self.scripted.clone(),
            inner: Box::new(Loaded::handler(&self.loaded, state)),
            forgets: self.forgets,
        })
    }
}

impl Handler for Guest {
    fn version(&self) -> VersionId {
        self.version
    }

    fn discard(&mut self) {
        self.inner.discard();
    }

    fn handle(&mut self, delivery: &Delivery<'_>) -> Handled {
        (self.scripted.before)();
        let mut handled = self.inner.handle(delivery);
        handled.took = Duration::from_micros(delivery.seed % 2000);
        if self.forgets {
            handled.effects.writes.clear();
        }
        handled
    }
}
