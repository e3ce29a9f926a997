//! The source of plugins that a plan proposes: events with their key alone, a handler for each event that a plugin reacts
//! to, and a test. What the operation did is for its author to move there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::operation::words;
use super::plan::{Plan, PlannedPlugin};

/// The `src/lib.rs` of each plugin of `plan`, by the plugin's name.
pub fn sources(plan: &Plan) -> BTreeMap<String, String> {
    plan.plugins
        .iter()
        .map(|plugin| (plugin.name.clone(), source(plan, plugin)))
        .collect()
}

fn source(plan: &Plan, plugin: &PlannedPlugin) -> String {
    let consumed: BTreeSet<&str> = plugin.reactions.iter().map(|reaction| &*reaction.to).collect();
    let emitted: BTreeSet<&str> = plugin
        .reactions
        .iter()
        .flat_map(|reaction| &reaction.with)
        .map(|(name, _)| &**name)
        .collect();
    let mut out = format!(
        "//! The plugin `{}`: what the service `{}` did when `{}` of `{}` called it.\n\nuse nerve_sdk::prelude::*;\n",
        plugin.name,
        in_comment(&plugin.service),
        in_comment(&plan.operation),
        in_comment(&plan.service)
    );
    for name in consumed.union(&emitted) {
        let derives = if emitted.contains(name) {
            "Event, Serialize, Deserialize, Debug, PartialEq"
        } else {
            "Event, Serialize, Deserialize"
        };
        let does = if consumed.contains(name) {
            "consumes: declare the members of its data that it needs"
        } else {
            "emits: add what others need to know"
        };
        write!(
            out,
            "\n/// An event that this plugin {does}.\n#[derive({derives})]\n#[event(type = \"{name}\", key = \"id\")]\nstruct {} {{\n    id: String,\n}}\n",
            camel(name)
        )
        .ok();
    }
    let who = camel(&format!("{}.plugin", plugin.name));
    let emits: Vec<String> = emitted.iter().map(|name| camel(name)).collect();
    write!(
        out,
        "\nstruct {who};\n\n#[plugin(emits({}))]\nimpl {who} {{\n",
        emits.join(", ")
    )
    .ok();
    for (n, reaction) in plugin.reactions.iter().enumerate() {
        let gap = if n > 0 { "\n" } else { "" };
        write!(
            out,
            "{gap}    #[on]\n    fn {}(ctx: &mut Context<Self>, event: Delivered<{}>) -> Result<(), Failure> {{\n\
             \x20       if event.id.is_empty() {{\n            return Err(Failure::reject(\"an event without an id\"));\n        }}\n\
             \x20       let id = event.into_data().id;\n",
            snake(&reaction.to),
            camel(&reaction.to)
        )
        .ok();
        for (k, (name, instead_of)) in reaction.with.iter().enumerate() {
            let id = if k + 1 < reaction.with.len() {
                "id: id.clone()"
            } else {
                "id"
            };
            write!(
                out,
                "        // What `{}` did goes here; what it asked others for, keep in `ctx.state()`.\n        ctx.emit(&{} {{ {id} }})?;\n",
                in_comment(instead_of),
                camel(name)
            )
            .ok();
        }
        out.push_str("        Ok(())\n    }\n");
    }
    out.push_str("}\n");
    tests(plugin, &who, &mut out);
    out
}

/// What a trace says, so that it stays in its line of a comment.
fn in_comment(text: &str) -> String {
    text.replace('`', "'").replace(char::is_control, " ")
}

fn tests(plugin: &PlannedPlugin, who: &str, out: &mut String) {
    out.push_str("\n#[cfg(test)]\nmod tests {\n    use nerve_sdk::testing::Host;\n\n    use super::*;\n");
    for reaction in &plugin.reactions {
        let (to, of) = (snake(&reaction.to), camel(&reaction.to));
        write!(
            out,
            "\n    #[test]\n    fn {to}_is_reacted_to() {{\n        let mut host = Host::<{who}>::new();\n\
             \x20       let outcome = host.deliver(&{of} {{ id: \"a\".into() }});\n        outcome.expect_done();\n"
        )
        .ok();
        for (name, _) in &reaction.with {
            let emitted = camel(name);
            writeln!(
                out,
                "        assert_eq!(outcome.emitted::<{emitted}>(), [{emitted} {{ id: \"a\".into() }}]);"
            )
            .ok();
        }
        write!(
            out,
            "    }}\n\n    #[test]\n    fn {to}_without_an_id_is_rejected() {{\n        let mut host = Host::<{who}>::new();\n\
             \x20       let outcome = host.deliver(&{of} {{ id: String::new() }});\n        outcome.expect_failure();\n    }}\n"
        )
        .ok();
    }
    out.push_str("}\n");
}

/// A type's name as that of a Rust type.
fn camel(name: &str) -> String {
    let words = words(name).into_iter().map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    });
    let name = words.collect::<String>();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("E{name}")
    } else {
        name
    }
}

/// A type's name as that of a function.
fn snake(name: &str) -> String {
    format!("on_{}", words(name).join("_"))
}
