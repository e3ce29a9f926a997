//! The map as a graph for Graphviz. Plugins are boxes, event types are ellipses; what was only declared is dashed.

use std::fmt::Write as _;

use crate::trace::map::Map;

/// `map` as a directed graph.
pub(super) fn drawn(map: &Map) -> String {
    let mut out = String::from("digraph nerve {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for plugin in &map.plugins {
        let name = &plugin.name;
        let kind = plugin.webhook.as_ref().map_or("", |_| " (webhook)");
        writeln!(out, "  \"plugin {name}\" [label=\"{name}{kind}\" shape=box];").ok();
    }
    if map
        .types
        .iter()
        .any(|one| one.emitted_by.iter().any(|by| by.plugin.is_none()))
    {
        out.push_str("  \"outside\" [shape=plaintext];\n");
    }
    for one in &map.types {
        writeln!(
            out,
            "  \"type {}\" [label=\"{}\" shape=ellipse];",
            one.name, one.name
        )
        .ok();
        let style = |seen: u64| if seen > 0 { "solid" } else { "dashed" };
        for by in &one.emitted_by {
            let from = by
                .plugin
                .as_ref()
                .map_or("outside".to_owned(), |name| format!("plugin {name}"));
            writeln!(
                out,
                "  \"{from}\" -> \"type {}\" [style={}];",
                one.name,
                style(by.events)
            )
            .ok();
        }
        for by in &one.consumed_by {
            writeln!(
                out,
                "  \"type {}\" -> \"plugin {}\" [style={}];",
                one.name,
                by.plugin,
                style(by.attempts)
            )
            .ok();
        }
    }
    out.push_str("}\n");
    out
}
