//! Measures the whole way, from a publisher's call to the settled outcome, beside what it is made of.
//!
//! Every figure is the median of several runs in one process, with the smallest and largest beside it; a run that only
//! warms up comes first. The machine and the durability are named, for figures mean nothing without them.

mod append;
mod backlog;
mod drop_in;
mod guests;
mod http;
mod latency;
mod machine;
mod memory;
mod native;
mod neighbour;
mod open;
mod publish;
mod settle;
pub mod stages;
mod stats;
mod swaps;
mod trial;
mod wasm;
mod way;

use std::path::{Path, PathBuf};

use nerve_eventlog::{Durability, Options};
use serde::Serialize;

use crate::host::{Host, HostOptions, OpenError};

pub use machine::Machine;
pub use stats::{Figure, Unit};

/// What to measure, and with what.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The folder of the components that handle `bench.in`: one parses it and emits one event, one reads one field; and of
    /// those that are bad neighbours.
    pub fixtures: PathBuf,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// Counted runs of each scenario.
    pub runs: usize,
    /// Events of one run.
    pub events: usize,
    /// Records of the log that is opened.
    pub records: usize,
    /// Seconds of a latency run.
    pub seconds: u64,
    /// Where the data folders are made; the system's folder for temporary files where `None`, which may be memory.
    pub folder: Option<PathBuf>,
    /// Only scenarios whose name contains this.
    pub only: Option<String>,
    /// The program whose processes compile components; this process where `None`.
    pub compiler: Option<PathBuf>,
}

/// All figures, and where they come from.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// What an acknowledgement survived.
    pub durability: String,
    /// Bytes of an event's record.
    pub event_bytes: usize,
    /// Counted runs of each scenario.
    pub runs: usize,
    /// The figures, in the order they were measured.
    pub figures: Vec<Figure>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing is called so.
    #[error("no scenario's name has {0:?} in it; without a name all are measured")]
    Scenario(String),
    /// A file can't be read, or a folder not made.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The host does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The component does not do what the benchmark needs.
    #[error("{0}")]
    Guest(String),
    /// The host stopped.
    #[error(transparent)]
    Stopped(#[from] crate::host::Stopped),
    /// The HTTP server did not answer.
    #[error("the HTTP server: {0}")]
    Http(String),
}

impl Report {
    /// A report without figures.
    pub fn new(options: &BenchOptions) -> Self {
        Self {
            machine: Machine::look(),
            durability: options.durability.to_string(),
            event_bytes: guests::record_bytes(),
            runs: options.runs,
            figures: Vec::new(),
        }
    }
}

/// How far measuring has come.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// The scenario of this name begins.
    Begins(&'a str),
    /// This was measured.
    Found(&'a Figure),
}

/// Measure, telling `progress` each scenario before it runs and each figure when it is there.
pub async fn run(
    options: &BenchOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, BenchError> {
    let guest = |name| guests::Guest::read(&options.fixtures, name);
    let mut bench = Bench {
        options,
        guest: guest("bench-echo-0000")?,
        reader: guest("bench-read-0000")?,
        figures: Vec::new(),
        progress,
    };
    bench.native();
    bench.wasm()?;
    bench.way()?;
    // While the allocator has nothing left of others.
    bench.memory().await?;
    bench.append()?;
    bench.publish().await?;
    bench.http().await?;
    bench.settle().await?;
    bench.backlog().await?;
    bench.latency_within().await?;
    bench.latency().await?;
    bench.neighbour().await?;
    bench.drop_in().await?;
    bench.trial().await?;
    bench.swaps().await?;
    bench.idle()?;
    bench.open().await?;
    if let (true, Some(only)) = (bench.figures.is_empty(), &options.only) {
        return Err(BenchError::Scenario(only.clone()));
    }
    Ok(Report {
        figures: bench.figures,
        ..Report::new(options)
    })
}

struct Bench<'a> {
    options: &'a BenchOptions,
    /// Parses and emits.
    guest: guests::Guest,
    /// Reads one field.
    reader: guests::Guest,
    figures: Vec<Figure>,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Bench<'_> {
    /// Whether the scenario is asked for; tells the progress if so.
    fn begins(&mut self, name: &str) -> bool {
        let asked = self
            .options
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()));
        if asked {
            (self.progress)(Progress::Begins(name));
        }
        asked
    }

    /// Keep a figure, and tell the progress.
    fn found(&mut self, figure: Figure) {
        (self.progress)(Progress::Found(&figure));
        self.figures.push(figure);
    }

    /// A new data folder.
    fn folder(&self) -> Result<tempfile::TempDir, BenchError> {
        let made = match &self.options.folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        made.map_err(|cause| BenchError::Io {
            path: "a folder for the benchmark".into(),
            cause,
        })
    }

    /// A host on `folder`, with its plugins in `folder/plugins`.
    fn host(&self, folder: &Path) -> Result<Host, BenchError> {
        self.host_with(folder, HostOptions::default())
    }

    /// The same, with more options.
    fn host_with(&self, folder: &Path, options: HostOptions) -> Result<Host, BenchError> {
        let log = Options {
            durability: self.options.durability,
            ..options.log
        };
        let options = HostOptions {
            data: Some(folder.join("data")),
            plugins: Some(folder.join("plugins")),
            log,
            compiler: self.options.compiler.clone(),
            ..options
        };
        Ok(Host::open(options)?)
    }
}
