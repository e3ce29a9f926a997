//! `nerve events`: list events, or follow them.

use serde_json::Value;

use super::Done;
use super::api::{Api, escaped};
use super::output::{Printer, line, table, text_at};

/// List events, or follow them
#[derive(clap::Args)]
pub(super) struct Events {
    /// Only types that match: exact, * for one token, > for the rest
    pattern: Option<String>,
    /// Begin behind this offset
    #[arg(long, default_value_t = 0, value_parser = super::given::offset)]
    after: u64,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Go on as they come
    #[arg(long)]
    follow: bool,
}

impl Events {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let pattern = self
            .pattern
            .as_deref()
            .map(|text| format!("&type={}", escaped(text)))
            .unwrap_or_default();
        if self.follow {
            let path = format!("/v1/events?after={}{pattern}", self.after);
            api.follow(&path, |event| {
                line(&if printer.is_json() {
                    event.to_string()
                } else {
                    row(&event).join("  ")
                });
                true
            })?;
            return Ok(());
        }
        let page = api.get(&format!(
            "/v1/events?after={}&limit={}{pattern}",
            self.after, self.limit
        ))?;
        printer.print(&page, || {
            let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            if events.is_empty() {
                return "no events".into();
            }
            let mut rows = vec![
                ["OFFSET", "RECORDED", "TYPE", "KEY", "SOURCE", "ID"]
                    .map(String::from)
                    .to_vec(),
            ];
            rows.extend(events.iter().map(row));
            let more = if events.len() == self.limit {
                format!("next: nerve events --after {}", page["next"])
            } else {
                String::new()
            };
            table(&rows) + &more
        });
        Ok(())
    }
}

fn row(event: &Value) -> Vec<String> {
    [
        "/offset",
        "/recorded",
        "/event/type",
        "/event/partitionkey",
        "/event/source",
        "/event/id",
    ]
    .map(|pointer| text_at(event, pointer))
    .to_vec()
}
