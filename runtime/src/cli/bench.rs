//! `nerve bench`: measure this machine.

use std::path::PathBuf;

use nerve_eventlog::Durability;

use super::Done;
use super::output::Printer;
use crate::bench::{BenchOptions, Figure, Progress, Report, Unit, run};
use crate::plugin::compiler::child::THIS_PROGRAM;

/// Measure this machine
#[derive(clap::Args)]
pub(super) struct Bench {
    /// The plugin that is measured
    #[arg(long, default_value = "target-wasm/fixtures/bench-echo-0000.wasm")]
    echo: PathBuf,
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
    /// Only scenarios whose name contains this, such as neighbour
    scenario: Option<String>,
    /// The same
    #[arg(long, conflicts_with = "scenario")]
    only: Option<String>,
}

impl Bench {
    pub(super) fn run(self, printer: &Printer) -> Done {
        let options = BenchOptions {
            echo: self.echo,
            durability: self.durability,
            runs: self.runs.max(1),
            events: self.events.max(1000),
            records: self.records,
            seconds: self.seconds.max(1),
            folder: Some(self.folder),
            only: self.scenario.or(self.only),
            compiler: Some(THIS_PROGRAM.into()),
        };
        printer.say(&heading(&Report::new(&options)));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(run(&options, &mut |progress| match progress {
            Progress::Begins(name) => printer.progress(&format!("measuring {name} …")),
            Progress::Found(figure) => printer.say(&row(figure)),
        }))?;
        if printer.is_json() {
            printer.print(&serde_json::to_value(&report)?, String::new);
        }
        Ok(())
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

fn row(figure: &Figure) -> String {
    let numbers = [figure.median, figure.least, figure.most].map(|value| number(figure.unit, value));
    columns(&figure.name, numbers, unit(figure))
}

/// One line of the table, which is printed line by line.
fn columns(name: &str, [median, least, most]: [String; 3], unit: &str) -> String {
    format!("{name:64}  {median:>10}  {least:>10}  {most:>10}  {unit}")
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ratio => format!("{value:.2}"),
        Unit::Millis | Unit::Ticks => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn unit(figure: &Figure) -> &'static str {
    match figure.unit {
        Unit::PerSecond => "events/s",
        Unit::Micros => "µs",
        Unit::Millis => "ms",
        Unit::Mebibytes => "MiB",
        Unit::Ticks => "ticks",
        Unit::Times | Unit::Ratio => "times",
    }
}
