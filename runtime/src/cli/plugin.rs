//! `nerve plugin`: make, build and manage plugins.

mod build;
mod check;
mod deploy;
pub(super) mod new;
mod rewind;
mod test;
pub(super) mod tool_chain;
mod versions;

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
        "PLUGIN", "STATUS", "VERSION", "LAG", "PARKED", "DEAD", "DONE", "NOTE",
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

/// A plugin, a line for each thing that is known of it.
pub(super) fn show(plugin: &Value) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    for (name, at) in [
        ("name", "/name"),
        ("status", "/status"),
        ("version", "/version"),
        ("label", "/label"),
        ("component", "/component"),
        ("webhook", "/webhook"),
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
    for warning in plugin["warnings"].as_array().into_iter().flatten() {
        row("warning", text_at(warning, ""));
    }
    row("readable", listed("/readable"));
    row("asks for", asks(&plugin["asks"]));
    row("granted", asks(&plugin["granted"]));
    waits(plugin, &mut row);
    let pairs = |at: &str| pairs(plugin, at);
    let joined = |at: &str| match pairs(at) {
        none if none.is_empty() => "-".to_owned(),
        pairs => pairs.join(", "),
    };
    row(
        "timers",
        format!(
            "{} set, next at {}",
            text_at(plugin, "/timers/count"),
            text_at(plugin, "/timers/next")
        ),
    );
    row("state", joined("/state"));
    row("lanes", text_at(plugin, "/lanes"));
    row("outcomes", joined("/counters"));
    // There are many.
    for (index, few) in pairs("/limits").chunks(4).enumerate() {
        row(if index == 0 { "limits" } else { "" }, few.join(", "));
    }
    row("limits hit", joined("/limits_hit"));
    row("retry", joined("/retry"));
    operated(plugin, &mut row);
    watched(plugin, &mut row);
    runs(plugin, &mut row);
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

/// The version that waits to be approved, where one does.
fn waits(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(waits) = plugin.get("waiting").filter(|waits| !waits.is_null()) else {
        return;
    };
    row(
        "waiting",
        format!(
            "version {} since {}",
            text_at(waits, "/version"),
            text_at(waits, "/since")
        ),
    );
    row("  asks for", asks(&waits["asks"]));
    row("  not granted", asks(&waits["missing"]));
    let (name, pair) = (text_at(plugin, "/name"), text_at(waits, "/pair"));
    row(
        "  next",
        format!("nerve plugin approve {name} --pair {pair}, or [grants] in {name}.toml"),
    );
}

/// The names and values in the object at `at`.
fn pairs(plugin: &Value, at: &str) -> Vec<String> {
    let pairs = plugin.pointer(at).and_then(Value::as_object);
    let pairs = pairs.into_iter().flatten();
    pairs
        .map(|(name, value)| format!("{name} {}", number(value)))
        .collect()
}

/// A number as people write it: whole ones without a fraction, and MiB where it is some.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number >= f64::from(1 << 20) && number % f64::from(1 << 20) == 0.0 => {
            format!("{} MiB", number / f64::from(1 << 20))
        }
        Some(number) => number.to_string(),
        None => text_at(value, ""),
    }
}

/// What holds its live deliveries up, or runs beside or before them.
fn runs(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    for (name, said) in [
        ("paused", paused(plugin)),
        ("rewind", rewind::progress(plugin)),
        ("again", versions::again(plugin)),
    ] {
        row(name, said.unwrap_or_else(|| "-".into()));
    }
}

/// What operators did to it last.
fn operated(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    for one in plugin["operated"].as_array().into_iter().flatten().take(5) {
        let who = one["who"].as_str().unwrap_or("an operator");
        row(
            "operated",
            format!("{} {who} {}", text_at(one, "/at"), text_at(one, "/what")),
        );
    }
}

/// How the version that runs is watched, where it is.
fn watched(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(watch) = plugin.get("probation").filter(|watch| !watch.is_null()) else {
        return;
    };
    if let Some(share) = watch["canary"].as_f64() {
        let name = text_at(plugin, "/name");
        row(
            "canary",
            format!(
                "for {} % of the keys; next: nerve plugin promote {name}, or rollback {name}",
                share * 100.0
            ),
        );
        if let Some(own) = watch.get("own_state").filter(|own| !own.is_null()) {
            row(
                "its state",
                format!(
                    "its own: {} keys, {} bytes, {} keys written; {} keys of events done, of {} at most; what stands as state is the \
                     version before's",
                    text_at(own, "/keys"),
                    text_at(own, "/bytes"),
                    text_at(own, "/wrote"),
                    text_at(own, "/done"),
                    text_at(own, "/limit")
                ),
            );
        }
    }
    row(
        "probation",
        format!(
            "{} done and {} failed of {} until {}; else back to {}",
            text_at(watch, "/done"),
            text_at(watch, "/failed"),
            text_at(watch, "/events"),
            text_at(watch, "/until"),
            text_at(watch, "/before")
        ),
    );
}

fn log_line(line: &Value) -> String {
    ["/at", "/level", "/event", "/text"]
        .map(|at| text_at(line, at))
        .join("  ")
}
