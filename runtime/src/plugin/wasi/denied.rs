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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugin::engine::Code;
    use crate::plugin::guest;
    use crate::plugin::settings::{Limits, Settings};
    use crate::plugin::stack::Stack;

    /// Of other patch versions than the answers are, as tool chains of another year have them.
    const CALLER: &str = r#"(component
        (import "wasi:cli/exit@0.2.0" (instance $process
            (export "exit" (func (param "status" (result))))))
        (import "wasi:sockets/network@0.2.1" (instance $sockets
            (export "network" (type (sub resource)))))
        (alias export $sockets "network" (type $network))
        (import "wasi:sockets/instance-network@0.2.1" (instance $instance
            (alias outer 1 $network (type $repeated))
            (export "network" (type $same (eq $repeated)))
            (export "instance-network" (func (result (own $same))))))
        (core func $exit (canon lower (func $process "exit")))
        (core func $connect (canon lower (func $instance "instance-network")))
        (core module $calls
            (import "host" "exit" (func $exit (param i32)))
            (import "host" "connect" (func $connect (result i32)))
            (func (export "exits") (call $exit (i32.const 0)))
            (func (export "connects") (drop (call $connect))))
        (core instance $calls (instantiate $calls
            (with "host" (instance
                (export "exit" (func $exit))
                (export "connect" (func $connect))))))
        (func (export "exits") (canon lift (core func $calls "exits")))
        (func (export "connects") (canon lift (core func $calls "connects"))))"#;

    #[test]
    fn invariant_09_what_is_denied_can_be_imported_and_fails_where_it_is_called() {
        let engine = Engine::new(None, None, Stack::default(), Code::default()).unwrap();
        let component = engine
            .compile(&wat::parse_str(CALLER).unwrap(), &Limits::default())
            .unwrap();
        let mut linker = Linker::new(engine.wasmtime());
        crate::plugin::wasi::add_to_linker(&mut linker).unwrap();
        let made = |from: &Linker<Guest>| from.instantiate_pre(&component);
        assert!(made(&linker).is_err(), "sockets are not answered");
        deny(&engine, &component, &mut linker).unwrap();
        let ready = made(&linker).unwrap();
        let called = |name: &str| {
            let guest = Guest::new(Arc::new(Settings::default()), false, Arc::default());
            let mut store = guest::store(&engine, guest);
            let instance = ready.instantiate(&mut store).unwrap();
            let function = instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
            let failed = function.call(&mut store, ()).unwrap_err();
            failed.root_cause().to_string()
        };
        assert_eq!(called("exits"), "it called exit, with success: a handler returns");
        assert_eq!(
            called("connects"),
            "it called instance-network of wasi:sockets/instance-network@0.2.1, which plugins are not given: what a \
             plugin may call outside goes through nerve:plugin/http"
        );
    }
}
