//! `nerve bench`: measure this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nerve_eventlog::Durability;
use serde_json::Value;

use super::Done;
use super::exit::{Exit, fail};
use super::output::Printer;
use crate::bench::{BenchOptions, Figure, Progress, Report, Unit, run};
use crate::plugin::compiler::child::THIS_PROGRAM;

/// Measure this machine
#[derive(clap::Args)]
pub(super) struct Bench {
    /// The folder of the plugins that are measured
    #[arg(long, default_value = "target-wasm/fixtures")]
    fixtures: PathBuf,
    /// What an acknowledgement survives
    #[arg(long, default_value = "fsync")]
    durability: Durability,
    /// Counted runs of each scenario
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Events of one run
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Records of the log that is opened
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Seconds of a latency run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the data folders are made [default: here]
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// A report that `--output json` gave before: each figure is shown divided by that one's
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Only scenarios whose name contains this, such as neighbour
    scenario: Option<String>,
    /// The same
    #[arg(long, conflicts_with = "scenario")]
    only: Option<String>,
}

impl Bench {
    pub(super) fn run(self, printer: &Printer) -> Done {
        let before = self.compare.as_deref().map(Before::read).transpose()?;
        let options = BenchOptions {
            fixtures: self.fixtures,
            durability: self.durability,
            runs: self.runs.max(1),
            events: self.events.max(1000),
            records: self.records,
            seconds: self.seconds.max(1),
            folder: Some(self.folder),
            only: self.scenario.or(self.only),
            compiler: Some(THIS_PROGRAM.into()),
        };
        let columns_more = if before.is_some() { "  BESIDE" } else { "" };
        printer.say(&format!("{}{columns_more}", heading(&Report::new(&options))));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(run(&options, &mut |progress| match progress {
            Progress::Begins(name) => printer.progress(&format!("measuring {name} …")),
            Progress::Found(figure) => printer.say(&row(figure, before.as_ref())),
        }))?;
        if printer.is_json() {
            let mut shown = serde_json::to_value(&report)?;
            if let Some(before) = before {
                let ratios = report.figures.iter().filter_map(|figure| {
                    before
                        .beside(figure)
                        .map(|ratio| (figure.name.clone(), ratio.into()))
                });
                shown["beside"] = Value::Object(ratios.collect());
            }
            printer.print(&shown, String::new);
        }
        Ok(())
    }
}

/// The medians of another run, by the names of the figures.
struct Before(HashMap<String, f64>);

impl Before {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let file = path.display();
        let bytes = std::fs::read(path).map_err(|cause| fail(Exit::Usage, format!("{file}: {cause}")))?;
        let report: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let figures = report["figures"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let medians = figures
            .iter()
            .filter_map(|figure| Some((figure["name"].as_str()?.to_owned(), figure["median"].as_f64()?)));
        let medians: HashMap<_, _> = medians.collect();
        if medians.is_empty() {
            return Err(fail(
                Exit::Usage,
                format!("{file} has no figures: make it with `nerve --output json bench > {file}`"),
            ));
        }
        Ok(Self(medians))
    }

    /// How many times the median of the same figure in that run.
    fn beside(&self, figure: &Figure) -> Option<f64> {
        self.0.get(&figure.name).map(|before| figure.median / before)
    }
}

fn heading(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "{}, {} cores, Linux {}; durability {}; records of {} bytes; medians of {} runs\n\n{}",
        machine.processor,
        machine.cores,
        machine.kernel,
        report.durability,
        report.event_bytes,
        report.runs,
        columns("SCENARIO", ["MEDIAN", "LEAST", "MOST"].map(String::from), "UNIT"),
    )
}

fn row(figure: &Figure, before: Option<&Before>) -> String {
    let numbers = [figure.median, figure.least, figure.most].map(|value| number(figure.unit, value));
    let row = columns(&figure.name, numbers, unit(figure));
    match before.and_then(|before| before.beside(figure)) {
        Some(ratio) => format!("{row:118}  {ratio:.2}"),
        None => row,
    }
}

/// One line of the table, which is printed line by line.
fn columns(name: &str, [median, least, most]: [String; 3], unit: &str) -> String {
    format!("{name:64}  {median:>10}  {least:>10}  {most:>10}  {unit}")
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ratio => format!("{value:.2}"),
        Unit::Millis | Unit::Ticks | Unit::Kibibytes => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn unit(figure: &Figure) -> &'static str {
    match figure.unit {
        Unit::PerSecond => "events/s",
        Unit::Deliveries => "deliveries/s",
        Unit::Micros => "µs",
        Unit::Millis => "ms",
        Unit::Bytes => "bytes",
        Unit::Kibibytes => "KiB",
        Unit::Mebibytes => "MiB",
        Unit::MebibytesPerSecond => "MiB/s",
        Unit::Ticks => "ticks",
        Unit::Times | Unit::Ratio => "times",
    }
}
