//! `nerve plugin`: make, build and manage plugins.

mod build;
mod check;
mod deploy;
pub(super) mod new;
mod rewind;
mod show;
mod test;
pub(super) mod tool_chain;
mod versions;

use clap::Subcommand;
use serde_json::Value;

pub(super) use self::show::show;
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
    /// Run a plugin's tests, or the failure in a bundle again
    Test(test::Test),
    /// Try a new version on the events that the running one settled
    Check(check::Check),
    /// Deploy a component or NAME.webhook.toml, as dropping it into the folder does, and say what came of it
    Deploy(deploy::Deploy),
    /// List the versions of a plugin that are kept, and how each fared
    Versions(versions::Versions),
    /// Let a version that ran before go live again, at once
    Rollback(versions::Rollback),
    /// Let the canary of a plugin run for all keys
    Promote(versions::Promote),
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
    /// Deliver nothing to a plugin until it is resumed; its events wait
    Pause {
        /// Its name
        name: String,
    },
    /// Deliver to a paused plugin again
    Resume {
        /// Its name
        name: String,
    },
    /// Run history again through a plugin, beside its live events
    Rewind(rewind::Rewind),
    /// Give a waiting plugin what it asks for, and let it go live
    Approve {
        /// Its name
        name: String,
        /// The pair that `nerve plugin show` showed: refused where something else waits by now. Without it, what waits
        /// now is approved
        #[arg(long)]
        pair: Option<String>,
    },
    /// List what a plugin will emit later, the next timer first
    Timers {
        /// Its name
        name: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
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
            Self::Build(command) => return command.run(api, printer),
            Self::Test(command) => return command.run(printer),
            Self::Check(command) => return command.run(api, printer),
            Self::Deploy(command) => return command.run(api, printer),
            Self::Versions(command) => return command.run(api, printer),
            Self::Rollback(command) => return command.run(api, printer),
            Self::Promote(command) => return command.run(api, printer),
            Self::Rewind(command) => return command.run(api, printer),
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
            Self::Pause { name } => {
                let plugin = api.post(
                    &format!("/v1/plugins/{}/pause", escaped(&name)),
                    "application/json",
                    b"",
                )?;
                printer.print(&plugin, || {
                    format!("{name} is paused; its events wait\nnext: nerve plugin resume {name}")
                });
            }
            Self::Resume { name } => {
                let plugin = api.post(
                    &format!("/v1/plugins/{}/resume", escaped(&name)),
                    "application/json",
                    b"",
                )?;
                printer.print(&plugin, || match paused(&plugin) {
                    Some(why) => {
                        format!("{name} is given one event; it goes on when it succeeds\n  {why}")
                    }
                    None => format!("{name} goes on"),
                });
            }
            Self::Approve { name, pair } => {
                let path = format!("/v1/plugins/{}", escaped(&name));
                let pair = match pair {
                    Some(pair) => pair,
                    // Where nothing waits, the host says so.
                    None => api
                        .get(&path)?
                        .pointer("/waiting/pair")
                        .and_then(Value::as_str)
                        .map_or_else(|| "0".repeat(64), str::to_owned),
                };
                let approve = format!("{path}/approve?pair={}", escaped(&pair));
                let plugin = api.post(&approve, "application/json", b"")?;
                printer.print(&plugin, || {
                    format!(
                        "{name} is {} and granted {}",
                        text_at(&plugin, "/status"),
                        asks(&plugin["granted"])
                    )
                });
            }
            Self::Timers { name, limit } => {
                let timers = api.get(&format!("/v1/plugins/{}/timers?limit={limit}", escaped(&name)))?;
                printer.print(&timers, || set_timers(&name, &timers));
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
                let tell = |one: &Value| {
                    line(&if printer.is_json() {
                        one.to_string()
                    } else {
                        log_line(one)
                    });
                };
                each.iter().for_each(tell);
                api.follow(&format!("{path}?after={}", lines["next"]), |more| {
                    more.as_array().into_iter().flatten().for_each(tell);
                    true
                })?;
            }
        }
        Ok(())
    }
}

fn set_timers(name: &str, timers: &Value) -> String {
    let each = timers["timers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if each.is_empty() {
        return format!("no timer of {name} is set");
    }
    let mut rows = vec![
        ["TIMER", "FIRES", "TYPE", "KEY", "SET AT"]
            .map(String::from)
            .to_vec(),
    ];
    let columns = ["/name", "/due", "/type", "/key", "/set_at"];
    rows.extend(
        each.iter()
            .map(|timer| columns.map(|column| text_at(timer, column)).to_vec()),
    );
    let more = timers["next"]
        .as_u64()
        .map_or(String::new(), |_| "\nand more: --limit".to_owned());
    format!("{}{more}", table(&rows))
}

fn list(plugins: &Value) -> String {
    let plugins = plugins["plugins"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if plugins.is_empty() {
        return "no plugins\nnext: nerve plugin new NAME, or drop NAME.wasm into the plugin folder; nerve webhook new NAME sends events \
                to a service".into();
    }
    let head = [
        "PLUGIN", "KIND", "STATUS", "VERSION", "LAG", "PARKED", "DEAD", "DONE", "NOTE",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(plugins.iter().map(|plugin| {
        let trouble = plugin["trouble"].as_str().map(str::to_owned);
        let refused = plugin.pointer("/refused/reason").and_then(Value::as_str);
        let refused = refused.map(|reason| format!("refused: {reason}"));
        let rewind = rewind::progress(plugin).map(|said| format!("rewind {said}"));
        let again = versions::again(plugin).map(|said| format!("delivers again {said}"));
        let notes = [trouble, paused(plugin), refused, waiting(plugin), rewind, again];
        let note = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let parked = plugin["parked"].as_array().map_or(0, Vec::len).to_string();
        vec![
            text_at(plugin, "/name"),
            kind(plugin).into(),
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

/// What it is; nothing where no version of it ever went live.
fn kind(plugin: &Value) -> &'static str {
    match (&plugin["version"], &plugin["webhook"]) {
        (Value::Null, _) => "-",
        (_, Value::Null) => "plugin",
        _ => "webhook",
    }
}

/// Why a plugin is paused, and when it is tried, where it is paused.
fn paused(plugin: &Value) -> Option<String> {
    let why = match plugin.pointer("/paused/why")?.as_str()? {
        "outage" => "it fails across keys",
        "gap" => {
            return Some(format!(
                "it was too far behind: {}",
                text_at(plugin, "/paused/reason")
            ));
        }
        "exhausted" => "the attempts at an event are used up",
        _ => return Some(text_at(plugin, "/paused/reason")),
    };
    let next = plugin.pointer("/paused/next_try").and_then(Value::as_str);
    let next = next.map_or_else(
        || "until another version or `nerve plugin resume`".to_owned(),
        |at| format!("next try at {at}"),
    );
    Some(format!("{why}, {next}: {}", text_at(plugin, "/paused/reason")))
}

/// What a waiting version asks for beyond its grants, and what to do about it.
fn waiting(plugin: &Value) -> Option<String> {
    let waiting = plugin.get("waiting").filter(|waiting| !waiting.is_null())?;
    Some(format!(
        "version {} waits, for it is not granted {}; next: nerve plugin approve {}",
        text_at(waiting, "/version"),
        asks(&waiting["missing"]),
        text_at(plugin, "/name")
    ))
}

/// Capabilities with their scopes.
fn asks(asks: &Value) -> String {
    let scopes = |ask: &Value| {
        let scopes: Vec<&str> = ask["scope"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        scopes.join("; ")
    };
    let one = |ask: &Value| {
        format!("{} {}", text_at(ask, "/capability"), scopes(ask))
            .trim_end()
            .to_owned()
    };
    let all: Vec<String> = asks.as_array().into_iter().flatten().map(one).collect();
    if all.is_empty() {
        "-".into()
    } else {
        all.join(", ")
    }
}

fn log_line(line: &Value) -> String {
    ["/at", "/level", "/event", "/text"]
        .map(|at| text_at(line, at))
        .join("  ")
}
