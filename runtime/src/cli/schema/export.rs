//! `nerve schema export`: all event types as one document.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::asyncapi;
use crate::cli::Done;
use crate::cli::api::Api;
use crate::cli::output::Printer;

/// What the document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A JSON Schema with a definition for each type.
    JsonSchema,
    /// An `AsyncAPI` 3.0 document: types, and who sends and receives them.
    Asyncapi,
}

#[derive(clap::Args)]
pub(crate) struct Export {
    /// What to write
    #[arg(long, value_enum, default_value = "json-schema")]
    format: Format,
    /// Write it into this file [default: print it]
    #[arg(short = 'o', long)]
    file: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let all = api.get("/v1/schemas")?;
        let types = all["types"].as_array().map(Vec::as_slice).unwrap_or_default();
        let document = match self.format {
            Format::JsonSchema => definitions(types),
            Format::Asyncapi => asyncapi::document(types),
        };
        let Some(file) = &self.file else {
            printer.print(&document, || {
                serde_json::to_string_pretty(&document).unwrap_or_default()
            });
            return Ok(());
        };
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
        printer.print(&json!({ "file": file, "types": types.len() }), || {
            format!("{} ({} event types)", file.display(), types.len())
        });
        Ok(())
    }
}

fn definitions(types: &[Value]) -> Value {
    let each = types.iter().filter_map(|one| {
        let name = one["type"].as_str()?;
        Some((name.to_owned(), schema_of(one)?))
    });
    json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": each.collect::<Map<_, _>>() })
}

/// The schema of a type: the operator's, or that of its producers, or of any of them; else of all who expect it.
pub(super) fn schema_of(one: &Value) -> Option<Value> {
    let of = |side: &str| -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        for plugin in one[side].as_array().into_iter().flatten() {
            let schema = &plugin["schema"];
            if !schema.is_null() && !all.contains(schema) {
                all.push(schema.clone());
            }
        }
        all
    };
    if !one["set"].is_null() {
        return Some(named(one, one["set"].clone()));
    }
    let (mut producers, mut consumers) = (of("producers"), of("consumers"));
    match (producers.len(), consumers.len()) {
        (0, 0) => None,
        (0, 1) => consumers.pop(),
        (0, _) => Some(json!({ "allOf": consumers })),
        (1, _) => producers.pop().map(|schema| named(one, schema)),
        _ => Some(json!({ "anyOf": producers })),
    }
}

/// The schema with an id of its own, so that what refers to a place within it still does in a larger document.
fn named(one: &Value, mut schema: Value) -> Value {
    if let (Some(map), Some(name)) = (schema.as_object_mut(), one["type"].as_str())
        && map.contains_key("$defs")
    {
        map.entry("$id").or_insert_with(|| format!("nerve:{name}").into());
    }
    schema
}
