//! `nerve publish`: publish an event, and say when it is durable.

use std::io::Read;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;

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
        let body = self.body()?;
        let answer = api.post("/v1/events", "application/cloudevents+json", &body)?;
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

    fn body(&self) -> anyhow::Result<Vec<u8>> {
        let random = || format!("{:032x}", fastrand::u128(..));
        let stated = Stated {
            specversion: "1.0",
            id: self.id.clone().unwrap_or_else(random),
            source: &self.source,
            r#type: &self.r#type,
            partitionkey: self.key.as_deref(),
            subject: self.subject.as_deref(),
            data: self.data.as_deref().map(read).transpose()?,
        };
        Ok(serde_json::to_vec(&stated)?)
    }
}

/// The event in structured mode. Its data goes to the host as it was written, so that the host, which knows what would
/// be lost, refuses it.
#[derive(Serialize)]
struct Stated<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'a str,
    partitionkey: Option<&'a str>,
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

fn read(data: &str) -> anyhow::Result<Box<RawValue>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_goes_to_the_host_as_it_was_written() {
        let mut publish = Publish {
            r#type: "t".into(),
            data: Some(r#"{"n": 18446744073709551616}"#.into()),
            key: None,
            id: Some("a".into()),
            source: "cli".into(),
            subject: None,
        };
        let body = String::from_utf8(publish.body().unwrap()).unwrap();
        assert!(
            body.ends_with(
                r#""type":"t","partitionkey":null,"subject":null,"data":{"n": 18446744073709551616}}"#
            ),
            "{body}"
        );
        publish.data = Some("{user: ann}".into());
        assert!(
            publish
                .body()
                .unwrap_err()
                .to_string()
                .contains("quote it for the shell")
        );
    }
}
