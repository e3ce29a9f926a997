//! `nerve publish`: publish an event, and say when it is durable, or when plugins have settled it.

use std::io::Read;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Done;
use super::api::{Api, escaped};
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
    /// Wait until these plugins have settled the event and what it caused; exit code 9 where they have not
    #[arg(long, value_delimiter = ',', value_name = "PLUGIN,..")]
    wait: Vec<String>,
    /// How long to wait for them, 60 at most
    #[arg(long, requires = "wait", default_value_t = 10, value_name = "SECONDS")]
    wait_seconds: u64,
}

impl Publish {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let body = self.body()?;
        let path = if self.wait.is_empty() {
            "/v1/events".to_owned()
        } else {
            let names: Vec<String> = self.wait.iter().map(|name| escaped(name)).collect();
            let time = self.wait_seconds.saturating_mul(1000);
            format!("/v1/events?wait_for={}&timeout_ms={time}", names.join(","))
        };
        let answer = api.post(&path, "application/cloudevents+json", &body)?;
        let id = text_at(&answer, "/id");
        let again = if answer["duplicate"] == true {
            " (it was there before)"
        } else {
            ""
        };
        let durable = format!("{id} is durable at offset {}{again}", answer["offset"]);
        let next = format!("next: nerve trace {id}");
        if self.wait.is_empty() {
            printer.print(&answer, || format!("{durable}\n{next}"));
        } else if answer["settled"] == true {
            let who = self.wait.join(", ");
            printer.print(&answer, || {
                format!("{durable}\n{who} settled it, and what it caused\n{next}")
            });
        } else {
            let message = format!("not settled, but {durable}\n{}{next}", unsettled(&answer));
            return Err(printer.fail_with(answer, Exit::Unsettled, &message));
        }
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

/// Who gave up and who is behind, a line each.
fn unsettled(answer: &Value) -> String {
    let each = |at: &str| answer[at].as_array().cloned().unwrap_or_default();
    let failed = each("failed").into_iter().map(|one| {
        let (plugin, event) = (text_at(&one, "/plugin"), text_at(&one, "/event"));
        let class = one["class"].as_str().map(|class| format!("{class}: "));
        format!(
            "  {plugin} (gave up on the event at offset {event}): {}{}\n",
            class.unwrap_or_default(),
            text_at(&one, "/reason")
        )
    });
    let behind = each("behind").into_iter().map(|one| {
        let next = one["next_try"].as_str().map(|at| format!("; next try at {at}"));
        format!(
            "  {} ({}): {}{}\n",
            text_at(&one, "/plugin"),
            text_at(&one, "/why"),
            text_at(&one, "/detail"),
            next.unwrap_or_default()
        )
    });
    failed.chain(behind).collect()
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
        std::fs::read_to_string(file).with_context(|| {
            format!("{file} can't be read; name a file with the data as @FILE, or write the data itself")
        })?
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
            wait: vec![],
            wait_seconds: 10,
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
