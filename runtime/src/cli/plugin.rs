//! `nerve plugin`: make, build and manage plugins.

mod build;
mod new;
mod tool_chain;

use clap::Subcommand;
use serde_json::Value;

use super::Done;
use super::api::{Api, escaped};
use super::output::{Printer, line, table, text_at};

/// Make, build and manage plugins
#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Make a plugin's crate, which builds and passes its test
    New(new::New),
    /// Build a plugin, and with --into drop it
    Build(build::Build),
    /// List plugins
    List,
    /// Show a plugin
    Show {
        /// Its name
        name: String,
    },
    /// Remove a plugin from the folder; its cursor and state are kept
    Remove {
        /// Its name
        name: String,
    },
    /// Show a plugin's last log lines
    Logs {
        /// Its name
        name: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on as they come
        #[arg(long)]
        follow: bool,
    },
}

impl Plugin {
    pub(super) fn run(self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::New(command) => return command.run(printer),
            Self::Build(command) => return command.run(printer),
            Self::List => {
                let plugins = api.get("/v1/plugins")?;
                printer.print(&plugins, || list(&plugins));
            }
            Self::Show { name } => {
                let plugin = api.get(&format!("/v1/plugins/{}", escaped(&name)))?;
                printer.print(&plugin, || show(&plugin));
            }
            Self::Remove { name } => {
                let plugin = api.delete(&format!("/v1/plugins/{}", escaped(&name)))?;
                printer.print(&plugin, || {
                    format!(
                        "{name} is removed; its cursor ({}) and state are kept: put its file back to go on",
                        plugin["cursor"]
                    )
                });
            }
            Self::Logs { name, limit, follow } => {
                let path = format!("/v1/plugins/{}/logs", escaped(&name));
                let lines = api.get(&format!("{path}?limit={limit}"))?;
                let each = lines["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
                if !follow {
                    printer.print(&lines, || {
                        each.iter().map(log_line).collect::<Vec<_>>().join("\n")
                    });
                    return Ok(());
                }
                for one in each {
                    line(&log_line(one));
                }
                api.follow(&format!("{path}?after={}", lines["next"]), |more| {
                    more.as_array()
                        .into_iter()
                        .flatten()
                        .for_each(|one| line(&log_line(one)));
                    true
                })?;
            }
        }
        Ok(())
    }
}

fn list(plugins: &Value) -> String {
    let plugins = plugins["plugins"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if plugins.is_empty() {
        return "no plugins\nnext: nerve plugin new NAME, or drop NAME.wasm into the plugin folder".into();
    }
    let head = [
        "PLUGIN", "STATUS", "VERSION", "LAG", "PARKED", "DEAD", "DONE", "NOTE",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(plugins.iter().map(|plugin| {
        let note = match (plugin.pointer("/refused/reason"), &plugin["trouble"]) {
            (_, Value::String(trouble)) => trouble.clone(),
            (Some(Value::String(reason)), _) => format!("refused: {reason}"),
            _ => String::new(),
        };
        let parked = plugin["parked"].as_array().map_or(0, Vec::len).to_string();
        vec![
            text_at(plugin, "/name"),
            text_at(plugin, "/status"),
            text_at(plugin, "/version").chars().take(8).collect(),
            text_at(plugin, "/lag"),
            parked,
            text_at(plugin, "/dead_letters"),
            text_at(plugin, "/counters/done"),
            note,
        ]
    }));
    table(&rows)
}

fn show(plugin: &Value) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    for (name, at) in [
        ("name", "/name"),
        ("status", "/status"),
        ("version", "/version"),
        ("label", "/label"),
        ("component", "/component"),
        ("live since", "/since"),
        ("cursor", "/cursor"),
        ("lag", "/lag"),
        ("dead letters", "/dead_letters"),
        ("refused", "/refused/reason"),
        ("trouble", "/trouble"),
    ] {
        row(name, text_at(plugin, at));
    }
    let listed = |at: &str| {
        let items = plugin
            .pointer(at)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let items: Vec<String> = items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect();
        if items.is_empty() {
            "-".to_owned()
        } else {
            items.join(", ")
        }
    };
    let patterns = plugin["subscriptions"].as_array().into_iter().flatten();
    let patterns: Vec<String> = patterns
        .map(|one| format!("{} (from {})", text_at(one, "/pattern"), text_at(one, "/from")))
        .collect();
    row("subscribes", patterns.join(", "));
    row("emits", listed("/emits"));
    row("readable", listed("/readable"));
    row("asks for", listed("/asks"));
    row("granted", "events, state, log, clock, random, config".into());
    let pairs = |at: &str| {
        let pairs = plugin
            .pointer(at)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        pairs
            .map(|(name, value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    row("state", pairs("/state"));
    row("outcomes", pairs("/counters"));
    row("limits", pairs("/limits"));
    row("retry", pairs("/retry"));
    for parked in plugin["parked"].as_array().into_iter().flatten() {
        row(
            "parked",
            format!(
                "key {}, event @{}, attempt {}, next at {}: {}",
                text_at(parked, "/key"),
                text_at(parked, "/event"),
                text_at(parked, "/attempt"),
                text_at(parked, "/due"),
                text_at(parked, "/reason")
            ),
        );
    }
    table(&rows)
}

fn log_line(line: &Value) -> String {
    ["/at", "/level", "/event", "/text"]
        .map(|at| text_at(line, at))
        .join("  ")
}
