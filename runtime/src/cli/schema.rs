//! `nerve schema`: what the data of event types must look like, and whether a change of it breaks anybody.

mod asyncapi;
mod check;
mod export;

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::Done;
use super::api::{Api, escaped};
use super::output::{Printer, table, text_at};
use crate::log::record::Mode;

/// See to the schemas of event types
#[derive(Subcommand)]
pub(super) enum Schema {
    /// List event types: who emits them, who consumes them, and whose data was refused
    List,
    /// Show what holds for one event type, and who says so
    Show {
        /// The event type
        event_type: String,
    },
    /// Say whether whoever accepts data of OLD accepts all data of NEW: exit 0 safe, 4 breaking
    Check(check::Check),
    /// Set the schema of events from outside, after holding it against live consumers
    Set {
        /// The event type
        event_type: String,
        /// A JSON Schema; `-` reads standard input [default: the mode alone is set]
        #[arg(required_unless_present = "mode")]
        file: Option<PathBuf>,
        /// What becomes of events from outside that break it: enforce, warn or off [default: as the host says]
        #[arg(long)]
        mode: Option<Mode>,
        /// Set it also where live consumers do not accept it
        #[arg(long)]
        force: bool,
    },
    /// Take back what was set for an event type
    Unset {
        /// The event type
        event_type: String,
    },
    /// Write the schemas of all event types as one document
    Export(export::Export),
}

impl Schema {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        match self {
            Self::List => {
                let all = api.get("/v1/schemas")?;
                printer.print(&all, || list(&all));
            }
            Self::Show { event_type } => {
                let one = api.get(&format!("/v1/schemas/{}", escaped(event_type)))?;
                printer.print(&one, || show(&one));
            }
            Self::Check(check) => check.run(printer)?,
            Self::Set {
                event_type,
                file,
                mode,
                force,
            } => {
                let text = file.as_deref().map(check::text).transpose()?.unwrap_or_default();
                let mode = mode.map(|mode| format!("&mode={mode}")).unwrap_or_default();
                let path = format!("/v1/schemas/{}?force={force}{mode}", escaped(event_type));
                let answer = api
                    .put(&path, "application/schema+json", text.as_bytes())
                    .with_context(|| format!("the schema of {event_type} was not set"))?;
                printer.print(&answer, || format!("{}{}", warnings(&answer), show(&answer)));
            }
            Self::Unset { event_type } => {
                let answer = api.delete(&format!("/v1/schemas/{}", escaped(event_type)))?;
                printer.print(&answer, || show(&answer));
            }
            Self::Export(export) => export.run(api, printer)?,
        }
        Ok(())
    }
}

fn warnings(answer: &Value) -> String {
    let each = answer["warnings"].as_array().into_iter().flatten();
    let line = |warning: &Value| {
        let [plugin, at, problem] = ["/plugin", "/at", "/problem"].map(|at| text_at(warning, at));
        format!("warning: whether plugin {plugin} accepts it is not sure, {at}: {problem}\n")
    };
    each.map(line).collect()
}

/// The plugins of one side, those without a schema marked.
fn plugins(side: &Value) -> String {
    let one = |plugin: &Value| {
        let mark = if plugin["schema"].is_null() { "?" } else { "" };
        format!("{}{mark}", text_at(plugin, "/plugin"))
    };
    let all: Vec<String> = side.as_array().into_iter().flatten().map(one).collect();
    if all.is_empty() {
        "-".into()
    } else {
        all.join(", ")
    }
}

fn list(all: &Value) -> String {
    let types = all["types"].as_array().map(Vec::as_slice).unwrap_or_default();
    if types.is_empty() {
        return "no event type is known: a plugin that names one makes it known, or `nerve schema set`"
            .into();
    }
    let head = [
        "TYPE",
        "EMITTED BY",
        "CONSUMED BY",
        "SET",
        "MODE",
        "REFUSED",
        "WARNED",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(types.iter().map(|one| {
        let set = if one["set"].is_null() { "-" } else { "yes" };
        let [name, mode, refused, warned] =
            ["/type", "/mode", "/refused", "/warned"].map(|at| text_at(one, at));
        vec![
            name,
            plugins(&one["producers"]),
            plugins(&one["consumers"]),
            set.into(),
            mode,
            refused,
            warned,
        ]
    }));
    table(&rows) + "`?` marks who declares no schema\nnext: nerve schema show TYPE"
}

fn show(one: &Value) -> String {
    let schema = |schema: &Value| match schema {
        Value::Null => "no schema".to_owned(),
        schema => serde_json::to_string_pretty(schema).unwrap_or_default(),
    };
    let [name, mode, refused, warned] = ["/type", "/mode", "/refused", "/warned"].map(|at| text_at(one, at));
    let mut parts = vec![format!(
        "{name}  mode {mode}, refused {refused}, let through with a warning {warned}"
    )];
    if !one["set"].is_null() {
        parts.push(format!("set for events from outside:\n{}", schema(&one["set"])));
    }
    for (side, does) in [("producers", "emits"), ("consumers", "expects")] {
        let plugins = one[side].as_array().into_iter().flatten();
        parts.extend(plugins.map(|plugin| {
            let its = schema(&plugin["schema"]);
            format!("{} {does}:\n{its}", text_at(plugin, "/plugin"))
        }));
    }
    parts.join("\n\n")
}
