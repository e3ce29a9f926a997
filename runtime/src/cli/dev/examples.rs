//! The events of `--publish`: a JSON object in each line.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::cli::api::Api;
use crate::cli::exit::{Exit, fail};

/// The events in `file`, as structured `CloudEvents`: what a line leaves out is filled in.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    events(&text).map_err(|bad| fail(Exit::Usage, format!("{}, {bad}", file.display())))
}

fn events(text: &str) -> Result<Vec<Value>, String> {
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let mut event: Map<String, Value> =
                serde_json::from_str(line).map_err(|bad| format!("line {number}: {bad}"))?;
            if !event.contains_key("type") {
                return Err(format!(
                    "line {number}: it has no `type`, such as \"order.placed\""
                ));
            }
            if let Some(key) = event.remove("key") {
                event.insert("partitionkey".into(), key);
            }
            for (name, value) in [
                ("specversion", "1.0".to_owned()),
                ("id", format!("{:032x}", fastrand::u128(..))),
                ("source", "dev".to_owned()),
            ] {
                event.entry(name).or_insert_with(|| value.into());
            }
            Ok(event.into())
        })
        .collect()
}

/// Publish the events in `file`, all or none, and say how many. Blocks.
pub(super) fn publish(file: &Path, api: &Api) -> anyhow::Result<usize> {
    let events = read(file)?;
    if !events.is_empty() {
        let body = serde_json::to_vec(&events)?;
        api.post("/v1/events", "application/cloudevents-batch+json", &body)?;
    }
    Ok(events.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_leaves_out_is_filled_in_and_what_is_wrong_is_named_by_its_line() {
        let read = events("{\"type\":\"a\",\"key\":\"k\"}\n\n{\"type\":\"b\",\"id\":\"own\",\"data\":[1]}\n")
            .unwrap();
        assert_eq!(
            (&read[0]["partitionkey"], &read[0]["source"]),
            (&"k".into(), &"dev".into())
        );
        assert_eq!(read[0]["id"].as_str().unwrap().len(), 32);
        assert_eq!((&read[1]["id"], &read[1]["data"][0]), (&"own".into(), &1.into()));
        for (text, wrong) in [
            ("{\"type\":\"a\"}\n{", "line 2: "),
            ("[]", "line 1: "),
            ("{}", "no `type`"),
        ] {
            let bad = events(text).unwrap_err();
            assert!(bad.contains(wrong), "{bad}");
        }
    }
}
