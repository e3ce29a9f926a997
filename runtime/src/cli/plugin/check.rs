//! `nerve plugin check`: try a new version on the events that the running one settled, and show what differs.

mod origin;
mod told;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use self::origin::Origin;
use crate::cli::Done;
use crate::cli::api::Api;
use crate::cli::exit::{Exit, fail, told};
use crate::cli::output::Printer;
use crate::contract::Breach;
use crate::http::bundle;
use crate::log::record::{Asks, LiveVersion};
use crate::plugin::compiler::child::THIS_PROGRAM;
use crate::plugin::engine::{Code, Engine};
use crate::plugin::loader::{self, Loaded};
use crate::plugin::name::PluginName;
use crate::plugin::stack::Stack;
use crate::plugin::webhook::ENDING;
use crate::trial::history::{Beginning, Part};
use crate::trial::report::Report;
use crate::trial::{self, Against};

/// How far a trial stands behind everybody else for the processor.
const NICE: i32 = 10;

/// Try a new version on the events that the running one settled, and show what differs. Exit code 4 where something does
#[derive(clap::Args)]
pub(crate) struct Check {
    /// The component of the new version
    component: PathBuf,
    /// Its settings [default: those that the running version has]
    #[arg(long, value_name = "TOML")]
    settings: Option<PathBuf>,
    /// Which events: last:1000, offsets such as @120..@980, or times such as
    /// 2026-01-02T03:00:00Z..2026-01-02T04:00:00Z
    #[arg(long, default_value = "last:10000")]
    against: Against,
    /// The plugin [default: the file's name]
    #[arg(long)]
    plugin: Option<String>,
    /// A data folder that no host uses, in place of a running host
    #[arg(long, value_name = "FOLDER", conflicts_with = "backup")]
    data: Option<PathBuf>,
    /// What `nerve log backup` wrote, in place of a running host
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Stop after so many seconds, and report on what was run until then
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// What a trial came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing differs.
    Same,
    /// Something does.
    Different,
    /// It would not be deployed as it is.
    Incompatible,
    /// There was nothing to try it on.
    Untried,
}

/// A version, for people.
#[derive(serde::Serialize)]
struct Named {
    version: String,
    label: String,
}

/// What there is to tell.
#[derive(serde::Serialize)]
struct Findings {
    verdict: Verdict,
    plugin: String,
    /// `None` where the new version ran alone; `notes` say why.
    running: Option<Named>,
    new: Option<Named>,
    against: String,
    /// Why the new version would be refused.
    refused: Option<String>,
    /// The contracts that it breaks, whether it is refused for them or not.
    breaks: Vec<Breach>,
    /// What it asks for and lacks.
    lacks: Asks,
    /// What it asks for that the running version does not.
    asks_more: Asks,
    report: Report,
    /// Whether the time was up before all events were tried.
    cut_short: bool,
    notes: Vec<String>,
    seconds: f64,
}

impl Check {
    pub(super) fn run(&self, api: &Api, printer: &Printer) -> Done {
        // Where the system does not let it, it stands beside the others.
        rustix::process::setpriority_process(None, NICE).ok();
        let begun = Instant::now();
        let mut findings = self.find(api, printer)?;
        findings.seconds = begun.elapsed().as_secs_f64();
        let value = serde_json::to_value(&findings)?;
        let exit = match findings.verdict {
            Verdict::Different | Verdict::Incompatible => Some(Exit::Conflict),
            Verdict::Same | Verdict::Untried => findings.cut_short.then_some(Exit::Limit),
        };
        match exit {
            Some(exit) if printer.is_json() => {
                Err(printer.fail_with(value, exit, &told::headline(&findings)))
            }
            _ => {
                printer.print(&value, || told::told(&findings, &self.component));
                exit.map_or(Ok(()), |exit| Err(told(exit)))
            }
        }
    }

    fn find(&self, api: &Api, printer: &Printer) -> anyhow::Result<Findings> {
        let (name, component) = (self.name()?, read(&self.component)?);
        let settings = self
            .settings
            .as_deref()
            .map(|path| std::fs::read_to_string(path).with_context(|| path.display().to_string()));
        let settings = settings.transpose()?;
        let origin = match (&self.data, &self.backup) {
            (Some(data), _) => Origin::folder(data)?,
            (None, Some(file)) => Origin::backup(file)?,
            (None, None) => Origin::host(api),
        };
        let about = about(&origin, &name)?;
        let mut findings = Findings {
            verdict: Verdict::Untried,
            plugin: name.to_string(),
            running: None,
            new: None,
            against: self.against.to_string(),
            refused: None,
            breaks: Vec::new(),
            lacks: Asks::new(),
            asks_more: Asks::new(),
            report: Report::default(),
            cut_short: false,
            notes: Vec::new(),
            seconds: 0.0,
        };
        printer.progress("compiling both versions …");
        let live = about.live.as_ref();
        let own = live.filter(|live| live.webhook.is_none());
        let settings = settings.or_else(|| own.and_then(|live| live.settings.clone()));
        let engine = Engine::new(None, Some(THIS_PROGRAM.into()), Stack::default(), Code::Counting)?;
        let (old, new) = std::thread::scope(|scope| {
            let old = scope.spawn(|| load_running(&engine, &name, &about));
            let new = loader::load(&engine, &name, &component, settings.as_deref(), &about.approved);
            (old.join(), new)
        });
        let old = old.unwrap_or_else(|_| Err("it could not be loaded".into()));
        let new = match new {
            Ok(new) => new,
            Err(refusal) => {
                findings.refused = Some(refusal.to_string());
                findings.verdict = Verdict::Incompatible;
                return Ok(findings);
            }
        };
        let old = old
            .inspect_err(|why| findings.notes.push(format!("The new version ran alone: {why}")))
            .ok();
        findings.running = old.as_ref().map(named);
        findings.new = Some(named(&new));
        findings.lacks.clone_from(&new.missing);
        let asked_before = live.map(|live| live.asks.clone()).unwrap_or_default();
        findings.asks_more.clone_from(&new.manifest.asks);
        findings.asks_more.retain(|ask| !asked_before.contains(ask));
        if about.removed {
            findings
                .notes
                .push("The plugin is removed; compared was its last version.".into());
        }
        let found = origin.would_break(name.as_str(), new.offered())?;
        findings.notes.extend(told::of_contracts(&found));
        (findings.refused, findings.breaks) = (found.refused, found.breaches);
        self.try_on(&origin, &about, old.as_ref(), &new, &mut findings)?;
        let report = &findings.report;
        findings.verdict = if findings.refused.is_some() || !findings.lacks.is_empty() {
            Verdict::Incompatible
        } else if report.differ > 0 {
            Verdict::Different
        } else if report.events == 0 {
            Verdict::Untried
        } else {
            Verdict::Same
        };
        Ok(findings)
    }

    /// Run both on the history.
    fn try_on(
        &self,
        origin: &Origin<'_>,
        about: &Beginning,
        old: Option<&Loaded>,
        new: &Loaded,
        findings: &mut Findings,
    ) -> Done {
        let name = &findings.plugin;
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let parts = origin.parts(name, Some((self.against, &new.manifest.subscriptions)))?;
        let ran = trial::run(parts, old, new, bundle::data, until)?;
        let version = |about: &Beginning| about.live.as_ref().map(|live| live.version);
        if version(&ran.about) != version(about) {
            let message = format!("another version of {name} went live meanwhile: check once more");
            return Err(fail(Exit::Conflict, message));
        }
        (findings.report, findings.cut_short) = (ran.report, ran.cut_short);
        findings.notes.extend(told::notes(&ran.about, &findings.report));
        Ok(())
    }

    fn name(&self) -> anyhow::Result<PluginName> {
        let stem = || {
            self.component
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        };
        if self.component.to_string_lossy().ends_with(ENDING) {
            let message =
                "a webhook has no component to try: nerve plugin deploy says whether its file is right";
            return Err(fail(Exit::Usage, message));
        }
        let name = self.plugin.clone().or_else(stem).unwrap_or_default();
        let name = PluginName::parse(&name);
        name.map_err(|bad| fail(Exit::Usage, format!("{bad}; name the plugin with --plugin")))
    }
}

/// What the history of a plugin is about.
fn about(origin: &Origin<'_>, name: &PluginName) -> anyhow::Result<Beginning> {
    match origin.parts(name.as_str(), None)?.next().transpose()? {
        Some(Part::Begins(about)) => Ok(*about),
        _ => Err(fail(Exit::Failed, "the history of the plugin has no beginning")),
    }
}

/// The version that is live, or was last; or why there is none.
fn load_running(engine: &Engine, name: &PluginName, about: &Beginning) -> Result<Loaded, String> {
    let Some(LiveVersion {
        settings, approved, ..
    }) = &about.live
    else {
        return Err(format!("no version of {name} was ever live."));
    };
    if about.live.as_ref().is_some_and(|live| live.webhook.is_some()) {
        return Err("what runs is a webhook.".into());
    }
    let Some(component) = &about.component else {
        return Err("the component of the running version can't be read; the host's log says why.".into());
    };
    loader::load(engine, name, component, settings.as_deref(), approved)
        .map_err(|refusal| format!("the running version does not load here: {refusal}"))
}

fn named(loaded: &Loaded) -> Named {
    Named {
        version: loaded.version.to_string(),
        label: loaded.manifest.version.clone(),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
