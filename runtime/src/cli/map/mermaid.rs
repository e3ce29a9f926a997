//! The map as a Mermaid flowchart. Plugins are boxes, webhooks too and said to be, event types are rounded; what was only declared is a dotted line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::trace::map::Map;

/// `map` as a flowchart.
pub(super) fn drawn(map: &Map) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut ids = BTreeMap::new();
    let webhooks = map.plugins.iter().filter(|plugin| plugin.webhook.is_some());
    let webhooks: BTreeSet<&str> = webhooks.map(|plugin| &*plugin.name).collect();
    let mut node = |out: &mut String, name: &str, is_type: bool| {
        let next = ids.len();
        let id = *ids.entry((is_type, name.to_owned())).or_insert(next);
        if id == next {
            // Names of types and plugins have no character that means anything here.
            let shape = if is_type {
                format!("([\"{name}\"])")
            } else if webhooks.contains(name) {
                format!("[\"{name} (webhook)\"]")
            } else {
                format!("[\"{name}\"]")
            };
            writeln!(out, "  n{id}{shape}").ok();
        }
        format!("n{id}")
    };
    for one in &map.types {
        let of_type = node(&mut out, &one.name, true);
        for by in &one.emitted_by {
            let emitter = node(&mut out, by.plugin.as_deref().unwrap_or("outside"), false);
            let arrow = if by.events > 0 { "-->" } else { "-.->" };
            writeln!(out, "  {emitter} {arrow} {of_type}").ok();
        }
        for by in &one.consumed_by {
            let consumer = node(&mut out, &by.plugin, false);
            let arrow = if by.attempts > 0 { "-->" } else { "-.->" };
            writeln!(out, "  {of_type} {arrow} {consumer}").ok();
        }
    }
    out
}
