//! `nerve bench`: measure this machine.

use std::path::PathBuf;

use nerve_eventlog::Durability;

use super::Done;
use super::output::{Printer, table};
use crate::bench::{BenchOptions, Figure, Report, Unit, run};
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
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(run(&options, &mut |name| {
            printer.progress(&format!("measuring {name} …"));
        }))?;
        printer.print(&serde_json::to_value(&report)?, || shown(&report));
        Ok(())
    }
}

fn shown(report: &Report) -> String {
    let machine = &report.machine;
    let mut rows = vec![
        ["SCENARIO", "MEDIAN", "LEAST", "MOST", "UNIT"]
            .map(String::from)
            .to_vec(),
    ];
    rows.extend(report.figures.iter().map(|figure| {
        let number = |value: f64| number(figure.unit, value);
        vec![
            figure.name.clone(),
            number(figure.median),
            number(figure.least),
            number(figure.most),
            unit(figure).into(),
        ]
    }));
    format!(
        "{}, {} cores, Linux {}; durability {}; records of {} bytes; medians of {} runs\n\n{}",
        machine.processor,
        machine.cores,
        machine.kernel,
        report.durability,
        report.event_bytes,
        report.runs,
        table(&rows)
    )
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ratio => format!("{value:>10.2}"),
        Unit::Millis | Unit::Ticks => format!("{value:>10.1}"),
        _ => format!("{value:>10.0}"),
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
