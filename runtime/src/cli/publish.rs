//! `nerve publish`: publish an event, and say when it is durable.

use std::io::Read;

use anyhow::Context;
use serde_json::{Value, json};

use super::Done;
use super::api::Api;
use super::exit::{Exit, fail};
use super::output::{Printer, text_at};

/// Publish an event, and say when it is durable
#[derive(clap::Args)]
pub(super) struct Publish {
    /// Dotted type, such as order.placed
    r#type: String,
    /// The data: JSON, @FILE, or - for standard input
    data: Option<String>,
    /// What must stay in order
    #[arg(long)]
    key: Option<String>,
    /// Id, unique within the source; publishing it again makes no second event [default: a random one]
    #[arg(long)]
    id: Option<String>,
    /// Who states the fact
    #[arg(long, default_value = "cli")]
    source: String,
    /// What it is about
    #[arg(long)]
    subject: Option<String>,
}

impl Publish {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id.clone().unwrap_or_else(|| format!("{:032x}", fastrand::u128(..))),
            "source": self.source,
            "type": self.r#type,
            "partitionkey": self.key,
            "subject": self.subject,
        });
        if let Some(data) = &self.data {
            event["data"] = read(data)?;
        }
        let answer = api.post(
            "/v1/events",
            "application/cloudevents+json",
            event.to_string().as_bytes(),
        )?;
        printer.print(&answer, || {
            let again = if answer["duplicate"] == true {
                " (it was there before)"
            } else {
                ""
            };
            let id = text_at(&answer, "/id");
            format!(
                "{id} is durable at offset {}{again}\nnext: nerve trace {id}",
                answer["offset"]
            )
        });
        Ok(())
    }
}

fn read(data: &str) -> anyhow::Result<Value> {
    let text = if data == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input can't be read")?;
        text
    } else if let Some(file) = data.strip_prefix('@') {
        std::fs::read_to_string(file).with_context(|| format!("{file} can't be read"))?
    } else {
        data.to_owned()
    };
    serde_json::from_str(&text).map_err(|bad| {
        fail(
            Exit::Usage,
            format!("the data is no JSON ({bad}): quote it for the shell, such as '{{\"user\":\"ann\"}}'"),
        )
    })
}
