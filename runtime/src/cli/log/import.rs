//! `nerve log import`: publish the events in JSON lines, as `nerve log export` writes them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Done;
use crate::cli::api::{Api, ApiError, whole};
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;

/// Events of one request at most.
const MOST_EVENTS: usize = 500;

/// Bytes of one request, beyond which no further event is taken in.
const MOST_BYTES: usize = 4 << 20;

/// Bytes of the longest line: what a host takes in a request.
const LONGEST_LINE: u64 = 16 << 20;

/// Refused lines that are told one by one.
const MOST_TOLD: usize = 20;

/// How often a busy host is asked again, and when.
const TRIES: (usize, Duration) = (120, Duration::from_secs(1));

/// What a source is called whose events a plugin emitted elsewhere.
const IMPORTED: &str = "imported:";

/// Publish the events in JSON lines
#[derive(clap::Args)]
pub(in crate::cli) struct Import {
    /// The file, or - for standard input
    file: String,
    /// Also what plugins emitted, under a source of its own; by default their plugins are left to emit it again
    #[arg(long)]
    all: bool,
}

/// How it went so far.
#[derive(Default)]
struct Tally {
    published: u64,
    duplicates: u64,
    left_out: u64,
    refused: u64,
    told: Vec<(u64, String)>,
}

impl Import {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        let input: Box<dyn BufRead> = match &*self.file {
            "-" => Box::new(io::stdin().lock()),
            file => Box::new(BufReader::new(File::open(file).with_context(|| {
                format!("{file} can't be read; `nerve log export -o FILE` writes one")
            })?)),
        };
        let mut tally = Tally::default();
        self.publish(api, printer, input, &mut tally)?;
        let refused = tally.told.iter();
        let value = json!({
            "published": tally.published, "duplicates": tally.duplicates, "left_out": tally.left_out,
            "refused": tally.refused,
            "lines": refused.map(|(line, why)| json!({ "line": line, "why": why })).collect::<Vec<_>>(),
        });
        let left_out = if tally.left_out == 0 {
            String::new()
        } else {
            format!(
                "; {} that plugins emitted were left out (--all takes them)",
                tally.left_out
            )
        };
        let summary = format!(
            "{} events are durable, {} were there before{left_out}",
            tally.published, tally.duplicates
        );
        if tally.refused == 0 {
            printer.print(&value, || summary);
            return Ok(());
        }
        let told = tally
            .told
            .iter()
            .map(|(line, why)| format!("\n  line {line}: {why}"));
        let message = format!(
            "{summary}; {} were refused:{}\nnext: mend them and import the file again, for what is in is not published twice",
            tally.refused,
            told.collect::<String>()
        );
        Err(printer.fail_with(value, Exit::Failed, &message))
    }

    fn publish(&self, api: &Api, printer: &Printer, mut input: Box<dyn BufRead>, tally: &mut Tally) -> Done {
        let (mut events, mut bytes): (Vec<(u64, Value)>, usize) = (Vec::new(), 0);
        for number in 1.. {
            let mut line = Vec::new();
            let read = input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
            let read = read.with_context(|| format!("{} can't be read", self.file))?;
            if read as u64 == LONGEST_LINE {
                return Err(fail(
                    Exit::Usage,
                    format!("line {number} is longer than {LONGEST_LINE} bytes"),
                ));
            }
            match self.event(&line) {
                _ if line.trim_ascii().is_empty() => {}
                Ok(Some(event)) => {
                    bytes += line.len();
                    events.push((number, event));
                }
                Ok(None) => tally.left_out += 1,
                Err(why) => tally.refuse(number, why),
            }
            if (read == 0 || events.len() == MOST_EVENTS || bytes >= MOST_BYTES) && !events.is_empty() {
                let first = events[0].0;
                send(api, &events, tally).with_context(|| {
                    format!("line {first} and what follows was not taken; import the file again to go on")
                })?;
                printer.progress(&format!("{} lines", number - u64::from(read == 0)));
                (events, bytes) = (Vec::new(), 0);
            }
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The event in a line as it is published; `None` where it is left out.
    fn event(&self, line: &[u8]) -> Result<Option<Value>, String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut event = whole(text).map_err(|bad| format!("it is no JSON: {bad}"))?;
        let Some(attributes) = event.as_object_mut() else {
            return Err("it is no JSON object".to_owned());
        };
        let of_plugin = attributes
            .get("source")
            .and_then(Value::as_str)
            .filter(|source| source.starts_with("nerve:"));
        let Some(source) = of_plugin.map(|source| format!("{IMPORTED}{source}")) else {
            return Ok(Some(event));
        };
        if !self.all {
            return Ok(None);
        }
        attributes.insert("source".to_owned(), source.into());
        for set_by_host in ["causationid", "causationoffset", "hops"] {
            attributes.shift_remove(set_by_host);
        }
        Ok(Some(event))
    }
}

/// Publish some events at once, or, where one of them is refused, each by itself.
fn send(api: &Api, events: &[(u64, Value)], tally: &mut Tally) -> Done {
    match post(api, events) {
        Err(ApiError::Refused(problem)) if is_about_an_event(problem.status) && events.len() > 1 => events
            .iter()
            .try_for_each(|event| send(api, std::slice::from_ref(event), tally)),
        Err(ApiError::Refused(problem)) if is_about_an_event(problem.status) => {
            tally.refuse(events[0].0, problem.detail);
            Ok(())
        }
        Err(other) => Err(other.into()),
        Ok(answer) => {
            let published = answer["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            let duplicates = published.iter().filter(|one| one["duplicate"] == true).count() as u64;
            tally.duplicates += duplicates;
            tally.published += published.len() as u64 - duplicates;
            Ok(())
        }
    }
}

/// Whether a problem with this status is one of the events, and not of the host.
fn is_about_an_event(status: u16) -> bool {
    matches!(status, 400 | 409 | 413 | 422)
}

/// Publish, and wait for a host that is busy.
fn post(api: &Api, events: &[(u64, Value)]) -> Result<Value, ApiError> {
    let all: Vec<&Value> = events.iter().map(|(_, event)| event).collect();
    let body = serde_json::to_vec(&all).map_err(|bad| ApiError::Odd(bad.to_string()))?;
    let (tries, wait) = TRIES;
    let mut answer = api.post("/v1/events", "application/cloudevents-batch+json", &body);
    for _ in 0..tries {
        match &answer {
            Err(ApiError::Refused(problem)) if problem.status == 429 => std::thread::park_timeout(wait),
            _ => break,
        }
        answer = api.post("/v1/events", "application/cloudevents-batch+json", &body);
    }
    answer
}

impl Tally {
    fn refuse(&mut self, line: u64, why: String) {
        self.refused += 1;
        if self.told.len() < MOST_TOLD {
            self.told.push((line, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_emitted_is_left_out_or_gets_a_source_of_its_own() {
        let line = json!({
            "specversion": "1.0", "id": "1-2-0", "source": "nerve:shipping", "type": "t", "correlationid": "a",
            "causationid": "a", "causationoffset": 7, "hops": 1,
        });
        let line = line.to_string().into_bytes();
        let mut import = Import {
            file: "-".into(),
            all: false,
        };
        assert_eq!(import.event(&line), Ok(None));
        import.all = true;
        let expected = json!({
            "specversion": "1.0", "id": "1-2-0", "source": "imported:nerve:shipping", "type": "t", "correlationid": "a",
        });
        assert_eq!(import.event(&line), Ok(Some(expected)));
        assert!(
            import.event(b"{").is_err() && import.event(b"[]").is_err() && import.event(b"\xff").is_err()
        );
    }
}
