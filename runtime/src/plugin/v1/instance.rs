//! A linked component, the instances that are made of it, and how each is handed its events.

use wasmtime::Store;
use wasmtime::component::{self, InstancePre};

use super::nerve::plugin::types::{Event, Failure};
use super::packed::{self, Packed, PackedIndices};
use super::{Plugin, PluginIndices};
use crate::plugin::guest::Guest;

/// A component whose imports are there, with the types that they must have.
#[derive(Clone)]
pub(in crate::plugin) struct Linked {
    pre: InstancePre<Guest>,
    plugin: PluginIndices,
    packed: Option<PackedIndices>,
    goes_on: bool,
}

/// An instance of it.
pub(in crate::plugin) struct Instance {
    plugin: Plugin,
    packed: Option<Packed>,
    /// Reused from one event to the next.
    piece: Vec<u8>,
}

/// The interface that a guest imports which may go on within a call.
const SERIES: &str = "nerve:plugin/series@1.0.0";

/// Bytes that are kept for the next event at most.
const LARGEST_PIECE: usize = 64 << 10;

impl Linked {
    /// Look up what the component exports.
    pub(in crate::plugin) fn new(pre: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let plugin = PluginIndices::new(&pre)?;
        let component = pre.component();
        let packed = component
            .get_export_index(None, packed::NAME)
            .map(|_| PackedIndices::new(&pre))
            .transpose()?;
        let kind = component.component_type();
        let asks_for_more = kind.imports(component.engine()).any(|(name, _)| name == SERIES);
        let goes_on = packed.is_some() && asks_for_more;
        Ok(Self {
            pre,
            plugin,
            packed,
            goes_on,
        })
    }

    /// Whether its instances take their events in one piece, and may ask for more of them.
    pub(in crate::plugin) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// A fresh instance.
    pub(in crate::plugin) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        let started = self.start(store)?;
        self.exports(store, &started)
    }

    /// Start one: runs the guest.
    pub(in crate::plugin) fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<component::Instance> {
        self.pre.instantiate(store)
    }

    /// What it exports; an error where that has other types.
    pub(in crate::plugin) fn exports(
        &self,
        store: &mut Store<Guest>,
        instance: &component::Instance,
    ) -> wasmtime::Result<Instance> {
        let packed = self.packed.as_ref();
        Ok(Instance {
            plugin: self.plugin.load(&mut *store, instance)?,
            packed: packed
                .map(|packed| packed.load(&mut *store, instance))
                .transpose()?,
            piece: Vec::new(),
        })
    }
}

impl Instance {
    /// What the plugin says of itself.
    pub(in crate::plugin) fn describe(
        &self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<super::exports::nerve::plugin::handler::Manifest> {
        self.plugin.nerve_plugin_handler().call_describe(store)
    }

    /// Let it handle `event`: in one piece, where it takes that. It may ask for `more` then.
    pub(in crate::plugin) fn handle(
        &mut self,
        store: &mut Store<Guest>,
        event: Event<'_>,
        more: bool,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let Some(packed) = &self.packed else {
            return self.plugin.nerve_plugin_handler().call_handle(store, event);
        };
        packed::pack(&event, more, &mut self.piece);
        let answer = packed.nerve_plugin_packed().call_handle(store, &self.piece);
        self.piece.clear();
        self.piece.shrink_to(LARGEST_PIECE);
        answer
    }
}
