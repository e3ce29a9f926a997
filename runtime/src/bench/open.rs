//! How long a host takes to open a long log, and what memory it then has: a process of its own, after a clean stop and
//! after SIGKILL.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::resident;
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};

/// Events appended at a time.
const BATCH: usize = 1000;

/// Records that a killed host had appended since it was opened.
const TAIL: usize = 300_000;

/// After how long a host that was started is at rest.
const AT_REST: Duration = Duration::from_secs(1);

/// How long a host may take to open.
const LONGEST: Duration = Duration::from_mins(5);

impl Bench<'_> {
    pub(super) async fn open(&mut self) -> Result<(), BenchError> {
        let name = format!("open a log of {} records", self.options.records);
        if !self.begins(&name) {
            return Ok(());
        }
        let folder = self.folder()?;
        self.fill(folder.path(), "first", self.options.records).await?;
        let mut clean = Runs::default();
        let mut killed = Runs::default();
        for _ in 0..self.options.runs {
            let host = Opened::start(folder.path())?;
            clean.add(&host);
            host.end("TERM")?;
        }
        for run in 0..self.options.runs {
            let host = Opened::start(folder.path())?;
            host.publish(&format!("tail-{run}"))?;
            host.end("KILL")?;
            let host = Opened::start(folder.path())?;
            killed.add(&host);
            host.end("TERM")?;
        }
        for (after, runs) in [("a clean stop", clean), ("SIGKILL", killed)] {
            self.found(Figure::of(
                format!("{name} after {after}"),
                Unit::Millis,
                runs.millis,
            ));
            self.found(Figure::of(
                format!("{name} after {after}, resident"),
                Unit::Mebibytes,
                runs.mebibytes,
            ));
        }
        Ok(())
    }

    /// How soon a host with an empty log can take events, and what memory it has when nobody asks anything of it.
    pub(super) fn idle(&mut self) -> Result<(), BenchError> {
        let name = "idle host with an empty log";
        if !self.begins(name) {
            return Ok(());
        }
        let mut runs = Runs::default();
        for _ in 0..self.options.runs {
            let folder = self.folder()?;
            let host = Opened::start(folder.path())?;
            std::thread::park_timeout(AT_REST);
            runs.add(&host);
            host.end("TERM")?;
        }
        self.found(Figure::of(format!("{name}, ready"), Unit::Millis, runs.millis));
        self.found(Figure::of(
            format!("{name}, resident"),
            Unit::Mebibytes,
            runs.mebibytes,
        ));
        Ok(())
    }

    async fn fill(&self, folder: &Path, run: &str, records: usize) -> Result<(), BenchError> {
        let host = self.host(folder)?;
        for at in (0..records).step_by(BATCH) {
            let events = guests::events(host.acceptor(), run, at, BATCH);
            loop {
                match host.publish(&events) {
                    Ok(_) => break,
                    Err(crate::host::PublishError::Busy { .. }) => {
                        host.durable(host.log().bounds().next_durable()).await?;
                    }
                    Err(refused) => return Err(BenchError::Guest(refused.to_string())),
                }
            }
        }
        Ok(host.stop().await?)
    }
}

#[derive(Default)]
struct Runs {
    millis: Vec<f64>,
    mebibytes: Vec<f64>,
}

impl Runs {
    fn add(&mut self, host: &Opened) {
        self.millis.push(host.took.as_secs_f64() * 1e3);
        self.mebibytes.push(resident(host.process.id()) / 1024.0);
    }
}

/// A host process that can take events.
struct Opened {
    process: Child,
    address: String,
    took: Duration,
}

impl Opened {
    /// Start it on `folder`, and wait until it listens.
    fn start(folder: &Path) -> Result<Self, BenchError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |cause| BenchError::Io { path, cause }
        };
        let written = folder.join("data/address");
        fs::remove_file(&written).ok();
        let binary = std::env::current_exe().map_err(io(Path::new("this binary")))?;
        let begun = Instant::now();
        let mut process = Command::new(&binary)
            .args(["run", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env("NERVE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(io(&binary))?;
        loop {
            let address = fs::read_to_string(&written).unwrap_or_default();
            if !address.is_empty() {
                return Ok(Self {
                    process,
                    address: address.trim().to_owned(),
                    took: begun.elapsed(),
                });
            }
            if let Ok(Some(ended)) = process.try_wait() {
                return Err(BenchError::Guest(format!("the host ended with {ended}")));
            }
            if begun.elapsed() > LONGEST {
                process.kill().ok();
                process.wait().ok();
                return Err(BenchError::Guest("the host does not open".into()));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Publish events, many at a time.
    fn publish(&self, run: &str) -> Result<(), BenchError> {
        let filler = "x".repeat(150);
        for at in (0..TAIL).step_by(BATCH) {
            let events: Vec<_> = (at..at + BATCH)
                .map(|n| {
                    serde_json::json!({
                        "specversion": "1.0", "id": format!("{run}-{n}"), "source": "bench", "type": "bench.tail",
                        "data": { "filler": filler },
                    })
                })
                .collect();
            ureq::post(&format!("{}/v1/events", self.address))
                .header("content-type", "application/cloudevents-batch+json")
                .send(serde_json::Value::from(events).to_string())
                .map_err(|refused| BenchError::Http(refused.to_string()))?;
        }
        Ok(())
    }

    fn end(mut self, signal: &str) -> Result<(), BenchError> {
        let signal = if signal == "KILL" {
            rustix::process::Signal::KILL
        } else {
            rustix::process::Signal::TERM
        };
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, signal).ok();
        }
        self.process.wait().map_err(|cause| BenchError::Io {
            path: "the host".into(),
            cause,
        })?;
        Ok(())
    }
}
