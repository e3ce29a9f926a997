//! `make bench-peers`: the same unit of work on nerve and on the systems that people would otherwise put between their
//! services, in turn, on one machine and one disk.

mod contest;
mod iggy;
mod limits;
mod nats_jetstream;
mod nerve;
mod redis_streams;
mod report;
mod server;
mod stats;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use contest::Contest;
use report::Report;

/// Measure nerve beside its peers
#[derive(Parser)]
#[command(name = "peers")]
struct Arguments {
    /// nerve's program
    #[arg(long, default_value = "target/release/nerve")]
    nerve: PathBuf,
    /// The folder that scripts/peers.sh made, with nats-server and redis-server
    #[arg(long, default_value = "target/peers/servers")]
    servers: PathBuf,
    /// The server of Apache Iggy 0.8, which no package has; without it Iggy is left out
    #[arg(long, value_name = "PATH")]
    iggy: Option<PathBuf>,
    /// Where the data folders are made; the same disk for everybody
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Events of one run; NATS that syncs always gets a twentieth, or a quarter in batches
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Rounds; in each everybody is measured once, after runs that warm up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only those whose name contains this, such as Redis
    #[arg(long)]
    only: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON value, failures included
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    match measured(arguments).and_then(|report| match output {
        Output::Json => Ok(report.json()?),
        Output::Text => Ok(report.table()),
    }) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(cause) if output == Output::Json => {
            println!(
                "{}",
                serde_json::json!({ "error": { "message": format!("{cause:#}") } })
            );
            ExitCode::FAILURE
        }
        Err(cause) => {
            eprintln!("error: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn measured(arguments: Arguments) -> anyhow::Result<Report> {
    let there = |path: PathBuf, way_out: &str| {
        let found = path.canonicalize();
        found.with_context(|| format!("{} is not there: {way_out}", path.display()))
    };
    if arguments.iggy.is_some() && !cfg!(feature = "iggy") {
        bail!(iggy::NOT_BUILT);
    }
    let servers = there(arguments.servers, "scripts/peers.sh gets the servers")?;
    let contest = Contest {
        nerve: there(
            arguments.nerve,
            "`cargo build --release -p nerve` makes it, or name one with --nerve",
        )?,
        nats: servers.join("nats-server"),
        // Its name tells the program that it is the server: a link must not be followed.
        redis: servers.join("redis-server"),
        iggy: arguments
            .iggy
            .map(|path| there(path, "--iggy takes the program of its server"))
            .transpose()?,
        folder: there(arguments.folder, "make it, or name another with --folder")?,
        events: arguments.events.max(1000),
        rounds: arguments.rounds.max(1),
        only: arguments.only,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut ends, mut breaks) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Whoever is running is dropped when a signal comes, and with it the servers end.
        tokio::select! {
            report = contest.run(&|line| eprintln!("{line}")) => report,
            _ = ends.recv() => bail!("it was told to stop"),
            _ = breaks.recv() => bail!("it was interrupted"),
        }
    })
}
