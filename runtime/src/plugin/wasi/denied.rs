//! What may be imported and is not answered: a call of it fails the delivery, and says what was called.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Descriptor;

use super::{ANSWERED, is_known};
use crate::plugin::engine::Engine;
use crate::plugin::guest::Guest;

/// Add a denial to `linker` for every function of WASI that `component` imports and that is not answered.
pub(in crate::plugin) fn deny(
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<Guest>,
) -> wasmtime::Result<()> {
    let below = engine.wasmtime();
    // An interface that speaks of another's resource repeats it; only its first place is its own.
    let mut resources = Vec::new();
    for (import, item) in component.component_type().imports(below) {
        // Anything but an interface is what linking refuses.
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            continue;
        };
        let name = import.split_once('@').map_or(import, |(name, _)| name);
        if ANSWERED.contains(&name) || !is_known(import) {
            resources.extend(interface.exports(below).filter_map(|(_, item)| match item.ty {
                ComponentItem::Resource(resource) => Some(resource),
                _ => None,
            }));
            continue;
        }
        let mut denials = linker.instance(import)?;
        for (export, item) in interface.exports(below) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let reason = format!(
                        "it called {export} of {import}, which plugins are not given{}",
                        way_out(name)
                    );
                    denials.func_new(export, move |_, _, _, _| {
                        Err(wasmtime::Error::msg(reason.clone()))
                    })?;
                }
                ComponentItem::Resource(resource) if !resources.contains(&resource) => {
                    resources.push(resource);
                    // The answer to which folders there are speaks of this one.
                    let kind = if export == "descriptor" {
                        ResourceType::host::<Descriptor>()
                    } else {
                        ResourceType::host::<()>()
                    };
                    denials.resource(export, kind, |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What to do instead.
fn way_out(interface: &str) -> &'static str {
    if interface.starts_with("wasi:http/") || interface.starts_with("wasi:sockets/") {
        ": what a plugin may call outside goes through nerve:plugin/http"
    } else if interface.starts_with("wasi:filesystem/") {
        ": what a plugin keeps goes through nerve:plugin/state"
    } else {
        ""
    }
}
