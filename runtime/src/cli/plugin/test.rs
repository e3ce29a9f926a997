//! `nerve plugin test`: run a plugin's tests, or the failure in a bundle again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

use super::tool_chain::NO_CARGO;
use crate::cli::Done;
use crate::cli::exit::{Exit, fail};
use crate::cli::output::Printer;
use crate::http::bundle;
use crate::log::record::{FailureClass, Hash, Record, Verdict};
use crate::plugin::compiler::child::THIS_PROGRAM;
use crate::plugin::components::Components;
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader;
use crate::plugin::name::PluginName;
use crate::plugin::rerun::Rerun;
use crate::plugin::stack::Stack;
use crate::plugin::webhook;

/// Run a plugin's tests, or the failure in a bundle again
#[derive(clap::Args)]
pub(crate) struct Test {
    /// The plugin's folder, whose tests cargo runs [default: here]
    #[arg(conflicts_with = "bundle")]
    dir: Option<PathBuf>,
    /// Run the failure in this file again: what `nerve dead bundle` wrote. No host is needed
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// See whether this component handles it [default: the one that failed, and whether it fails again]
    #[arg(long, requires = "bundle")]
    component: Option<PathBuf>,
    /// The data folder that has the component that failed
    #[arg(long, default_value = "data", env = "NERVE_DATA")]
    data: PathBuf,
    /// KiB of stack that it may use, as the host had
    #[arg(long, default_value = "512", requires = "bundle")]
    stack_kib: Stack,
}

/// Class and reason of a failure.
type Failed<'a> = Option<(FailureClass, &'a str)>;

/// What a run shows, beside what was recorded.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    Same,
    Other,
    Done,
}

impl Test {
    pub(super) fn run(&self, printer: &Printer) -> Done {
        let Some(file) = &self.bundle else {
            return own_tests(self.dir.as_deref().unwrap_or(Path::new(".")), printer);
        };
        let (value, is_well) = self.again(file)?;
        if is_well {
            printer.print(&value, || told(&value));
            return Ok(());
        }
        let told = told(&value);
        Err(printer.fail_with(value, Exit::Failed, &told))
    }

    /// Run the failure in `file` again: what came of it, and whether that is what one wants to see.
    fn again(&self, file: &Path) -> anyhow::Result<(Value, bool)> {
        let place = file.display();
        let text = std::fs::read_to_string(file).with_context(|| {
            format!("{place} can't be read; `nerve dead bundle PLUGIN EVENT -o FILE` writes a bundle")
        })?;
        let bundle = bundle::read(&text).map_err(|bad| fail(Exit::Usage, format!("{place}: {bad}")))?;
        if bundle.component == webhook::component() {
            let message = "a webhook has no code to run again: its event and the answer are in the bundle, and `nerve dead \
                           retry` sends it again";
            return Err(fail(Exit::Usage, format!("{place}: {message}")));
        }
        let component = self.component(bundle.component)?;
        let (hash, name) = (Hash::of(&component), PluginName::parse(&bundle.plugin)?);
        let engine = Engine::new(None, Some(THIS_PROGRAM.into()), self.stack_kib, Code::default())?;
        let settings = bundle.settings.as_deref();
        let loaded = loader::load(&engine, &name, &component, settings, &bundle.approved)?;
        let (Record::Event(event), Record::Outcome(outcome)) = (
            Record::decode(&bundle.event.payload)?,
            Record::decode(&bundle.outcome.payload)?,
        ) else {
            return Err(fail(
                Exit::Usage,
                format!("{place} does not hold an event and an outcome"),
            ));
        };
        let Rerun { handled, missing } = loaded.rerun(&bundle.event, &event, &outcome);

        let before: Failed<'_> = match outcome.verdict {
            Verdict::Retry { failure, .. } | Verdict::Dead { failure } => {
                Some((failure.class, failure.reason))
            }
            Verdict::Done => None,
        };
        let now: Failed<'_> = handled.failure.as_ref().map(|now| (now.class, &*now.reason));
        let shows = match now {
            None => Shows::Done,
            now if now == before => Shows::Same,
            Some(_) => Shows::Other,
        };
        let is_the_same = hash == bundle.component;
        let is_well = shows == if is_the_same { Shows::Same } else { Shows::Done };
        let failure =
            |failed: Failed<'_>| failed.map(|(class, reason)| json!({ "class": class, "reason": reason }));
        let lines = handled.lines.iter();
        let lines = lines.map(|line| json!({ "level": line.level, "text": line.text }));
        let emits = handled.effects.emits.iter().map(|emit| {
            let data = bundle::data(emit.content_type.as_deref(), &emit.data);
            json!({ "type": emit.r#type, "key": emit.key, "data": data })
        });
        let writes = handled.effects.writes.iter().map(|(key, value)| {
            let value = value.as_ref().map(|value| bundle::data(None, value));
            json!({ "key": key, "value": value })
        });
        let timers = handled.effects.timers.iter().map(|(name, _)| &**name);
        let value = json!({
            "plugin": bundle.plugin,
            "event": bundle.event.offset.0,
            "version": outcome.version.to_string(),
            "component": hash.to_string(),
            "same_component": is_the_same,
            "result": match shows {
                Shows::Same => "same-failure",
                Shows::Other => "other-failure",
                Shows::Done => "done",
            },
            "ok": is_well,
            "recorded": failure(before),
            "failure": failure(now),
            "lines": lines.collect::<Vec<_>>(),
            "emits": emits.collect::<Vec<_>>(),
            "writes": writes.collect::<Vec<_>>(),
            "timers": timers.collect::<Vec<_>>(),
            "not_in_bundle": missing,
            "cut": outcome.reads.as_ref().is_some_and(|reads| reads.cut),
        });
        Ok((value, is_well))
    }

    /// The component that is to run.
    fn component(&self, failed: Hash) -> anyhow::Result<Vec<u8>> {
        if let Some(path) = &self.component {
            return std::fs::read(path).with_context(|| path.display().to_string());
        }
        Components::at(&self.data.join("components"))
            .read(failed)
            .map_err(|cause| {
                let way_out =
                    "name the folder of the host's data with --data, or a component with --component";
                fail(Exit::NotFound, format!("{cause}; {way_out}"))
            })
    }
}

/// The result for people.
fn told(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let failure = |at: &str| match value[at]["class"].as_str() {
        Some(class) => format!("{class}: {}", text(&value[at]["reason"])),
        None => "done".to_owned(),
    };
    let (is_the_same, result) = (value["same_component"] == true, text(&value["result"]));
    let first = match (is_the_same, &*result) {
        (true, "same-failure") => "the same failure came again",
        (true, "other-failure") => "another failure came",
        (true, _) => "the failure did not come again",
        (false, "same-failure") => "this component fails in the same way",
        (false, "other-failure") => "this component fails in another way",
        (false, _) => "this component handles the event",
    };
    let mut rows = vec![
        format!("plugin    {}, event @{}", text(&value["plugin"]), value["event"]),
        format!("recorded  {}", failure("recorded")),
        format!("now       {}", failure("failure")),
    ];
    let each = |at: &str| value[at].as_array().into_iter().flatten();
    rows.extend(
        each("lines").map(|line| format!("line      {}  {}", text(&line["level"]), text(&line["text"]))),
    );
    rows.extend(each("emits").map(|emit| format!("emits     {} {}", text(&emit["type"]), emit["data"])));
    rows.extend(
        each("writes").map(|write| format!("writes    {} = {}", text(&write["key"]), write["value"])),
    );
    rows.extend(each("timers").map(|timer| format!("timer     {}", text(timer))));
    rows.extend(each("not_in_bundle").map(|read| {
        format!(
            "missing   {}: it was not read then, and was answered as if nothing was there",
            text(read)
        )
    }));
    if value["cut"] == true {
        rows.push("more than 1 MiB was read then, and the bundle does not hold all of it".into());
    } else if is_the_same && value["ok"] == false && value["not_in_bundle"] == json!([]) {
        rows.push(
            "it ran on a fresh instance with the event, the state, the clock and the seed of then: the failure comes \
             of what the plugin kept in memory, of the time it took, or of timers that were set"
                .into(),
        );
    }
    format!("{first}\n  {}", rows.join("\n  "))
}

/// Run the tests of the crate in `folder`.
fn own_tests(folder: &Path, printer: &Printer) -> Done {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        let message = format!(
            "{} is not there: name the plugin's folder, or a bundle with --bundle",
            manifest.display()
        );
        return Err(fail(Exit::NotFound, message));
    }
    let mut command = Command::new("cargo");
    command.arg("test").arg("--manifest-path").arg(&manifest);
    if printer.is_json() {
        // What cargo prints does not disturb what a program reads.
        command.stdout(Stdio::from(std::io::stderr()));
    }
    let status = command.status().context(NO_CARGO)?;
    if !status.success() {
        let message = format!("the tests of {} fail; cargo says why above", folder.display());
        return Err(fail(Exit::Failed, message));
    }
    printer.print(&json!({ "dir": folder, "tests": "passed" }), || {
        format!("next: nerve plugin build {} --into plugins", folder.display())
    });
    Ok(())
}
