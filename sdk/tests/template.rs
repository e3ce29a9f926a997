//! The template of `nerve plugin new` compiles, and its own tests pass.

#[path = "../template/src/lib.rs.in"]
mod template;

#[test]
fn the_manifests_of_the_template_name_the_plugin_and_only_one_is_a_workspace() {
    let alone = include_str!("../template/Cargo.toml.in");
    let member = include_str!("../template/Cargo.member.toml.in");
    for manifest in [alone, member] {
        assert!(manifest.contains("name = \"{{name}}\""));
        assert!(manifest.contains("crate-type = [\"cdylib\"]"));
    }
    assert!(alone.contains("\n[workspace]\n") && alone.contains("path = \"{{sdk}}\""));
    assert!(!member.contains("[workspace]"));
}
