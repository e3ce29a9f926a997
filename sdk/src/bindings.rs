//! The generated code under the SDK: the types and functions of `wit/`, hidden from plugin authors.

#[expect(missing_docs, clippy::pedantic, reason = "generated from wit/")]
pub mod generated {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package nerve:sdk;
            world plugin {
                include nerve:plugin/plugin@1.0.0;
                export nerve:plugin/packed@1.0.0;
            }
        ",
        world: "nerve:sdk/plugin",
        generate_all,
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "::nerve_sdk::private::bindings_root",
    });
}

pub use generated::export_plugin;
pub(crate) use generated::exports::nerve::plugin::handler::{Ask, PayloadFormat, Role, Schema};
pub use generated::exports::nerve::plugin::handler::{Event, Failure, Manifest};
