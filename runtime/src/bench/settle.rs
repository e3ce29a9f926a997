//! From publish to settled: everything is published, durable, handled, and its outcome durable too.

use std::time::{Duration, Instant};

use nerve_eventlog::Offset;

use super::machine::{own, processor_time, resident};
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::{Host, PublishError};

/// Events of one published batch.
const BATCH: usize = 256;

/// Runs at most that warm up, until the hot window is full: a host that has run for a while fetches no more memory for it.
const WARM_UP: usize = 3;

/// How long a run may take.
const LONGEST: Duration = Duration::from_mins(2);

/// So many plugins are only installed where they are asked for by their number: compiling all of them takes half an hour.
const MANY: usize = 10_000;

/// Bytes of the compiled code of a small plugin.
const CODE: usize = 330 << 10;

/// Whose plugins subscribe, how many, how many are installed, and the lanes of each.
const SCENARIOS: [(Kind, usize, usize, usize); 8] = [
    (Kind::Echo, 1, 1, 1),
    (Kind::Echo, 1, 1, 2),
    (Kind::Echo, 1, 10, 1),
    (Kind::Echo, 1, 100, 1),
    (Kind::Echo, 1, 1000, 1),
    (Kind::Echo, 1, MANY, 1),
    (Kind::Echo, 8, 8, 1),
    (Kind::Read, 8, 8, 1),
];

/// What the plugins do that subscribe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Parse and emit one event.
    Echo,
    /// Read one field.
    Read,
}

impl Bench<'_> {
    pub(super) async fn settle(&mut self) -> Result<(), BenchError> {
        for (kind, busy, installed, lanes) in SCENARIOS {
            let (guest, reads) = match kind {
                Kind::Echo => (self.guest.clone(), ""),
                Kind::Read => (self.reader.clone(), ", read one field"),
            };
            let of_lanes = if lanes == 1 {
                String::new()
            } else {
                format!(", {lanes} lanes")
            };
            let name =
                format!("publish to settled, {busy} of {installed} plugins subscribe{reads}{of_lanes}");
            if installed == MANY && !self.asks_for_many() || !self.begins(&name) {
                continue;
            }
            let folder = self.folder()?;
            let plugins = folder.path().join("plugins");
            let host = self.host(folder.path())?;
            let memory = || {
                let id = std::process::id();
                [own(id), resident(id)]
            };
            let before = memory();
            // What is only installed reads: it is small, and there may be many.
            let idle = installed.saturating_sub(busy);
            self.reader.install_idle(&host, &plugins, idle).await?;
            let with_idle = memory();
            let names = guest
                .install_with(&host, &plugins, busy, &format!("lanes = {lanes}\n"))
                .await?;
            let run = format!("s{busy}-{installed}-{lanes}");
            self.runs(host, &names, &name, &run).await?;
            if idle >= 999 {
                #[expect(clippy::cast_precision_loss, reason = "a count of plugins")]
                let [own, resident] = [0, 1].map(|which| (with_idle[which] - before[which]) / idle as f64);
                for (what, kibibytes) in [("of its own", own), ("with its compiled code, mapped", resident)] {
                    let name = format!("memory of one of {idle} idle plugins, {what}");
                    self.found(Figure::of(name, Unit::Kibibytes, vec![kibibytes]));
                }
            }
        }
        self.beside_files().await?;
        self.against_native();
        Ok(())
    }

    /// One plugin, where somebody has written as many files as many plugins have: the system's memory is full of them then, and the log's
    /// writes take longer. What is slower with so many plugins is held against this.
    async fn beside_files(&mut self) -> Result<(), BenchError> {
        let name = format!("publish to settled, 1 of 1 plugins subscribe, beside the files of {MANY}");
        if !self.asks_for_many() || !self.begins(&name) {
            return Ok(());
        }
        let folder = self.folder()?;
        let host = self.host(folder.path())?;
        let beside = folder.path().join("beside");
        let io = |cause| BenchError::Io {
            path: beside.display().to_string(),
            cause,
        };
        std::fs::create_dir_all(&beside).map_err(io)?;
        let (component, code) = (self.reader.component(), vec![7; CODE]);
        for number in 0..MANY {
            // What is dropped, what the host keeps of it, and its code in the cache.
            for (what, bytes) in [("dropped", component), ("kept", component), ("code", &code)] {
                guests::drop_file(&beside, &format!("{what}-{number}"), bytes)?;
            }
        }
        let guest = self.guest.clone();
        let names = guest.install(&host, &folder.path().join("plugins"), 1).await?;
        self.runs(host, &names, &name, "beside").await
    }

    /// Whether the scenarios are asked for that have so many plugins.
    fn asks_for_many(&self) -> bool {
        let asks = |only: &String| only.contains(&MANY.to_string());
        self.options.only.as_ref().is_some_and(asks)
    }

    /// Runs of `host` whose plugins `names` settle all, once it is warm; its end.
    async fn runs(&mut self, host: Host, names: &[String], name: &str, run: &str) -> Result<(), BenchError> {
        let events = self.options.events / names.len();
        let (mut runs, mut cpu) = (Vec::new(), Vec::new());
        let mut warm_up = 0;
        while runs.len() < self.options.runs {
            let run = format!("{run}-{}", warm_up + runs.len());
            let is_warm = host.log().bounds().hot_first > Offset(1);
            let counts = is_warm || warm_up == WARM_UP || !runs.is_empty();
            let (rate, used) = all_settle(&host, names, events, &run).await?;
            if counts {
                runs.push(rate);
                cpu.push(used);
            } else {
                warm_up += 1;
            }
        }
        check_counts(&host, names, events * (self.options.runs + warm_up)).await?;
        host.stop().await?;
        let unit = if names.len() == 1 {
            Unit::PerSecond
        } else {
            Unit::Deliveries
        };
        self.found(Figure::of(name, unit, runs));
        self.found(Figure::of(
            format!("{name}, processor time of a delivery"),
            Unit::Micros,
            cpu,
        ));
        Ok(())
    }

    /// How many times as long an event takes as in the native handler of the same run.
    fn against_native(&mut self) {
        let rate = |name: &str| {
            self.figures
                .iter()
                .find(|figure| figure.name == name)
                .map(|figure| figure.median)
        };
        let settled = rate("publish to settled, 1 of 1 plugins subscribe");
        if let (Some(native), Some(settled)) = (rate("native handler"), settled) {
            self.found(Figure::of(
                "native handler / publish to settled",
                Unit::Ratio,
                vec![native / settled],
            ));
        }
    }
}

/// Publish `events` as fast as the host takes them, and wait until `names` have settled them all. Answers deliveries per second,
/// and the microseconds of processor time of one.
#[expect(clippy::cast_precision_loss, reason = "a count of events")]
async fn all_settle(
    host: &Host,
    names: &[String],
    events: usize,
    run: &str,
) -> Result<(f64, f64), BenchError> {
    // Made before the clock starts: what is measured is the host, not the making of ids.
    let batches: Vec<_> = (0..events)
        .step_by(BATCH)
        .map(|from| guests::events(host.acceptor(), run, from, BATCH.min(events - from)))
        .collect();
    let (begun, used) = (Instant::now(), processor_time());
    let own = host.clone();
    // Kept until the clock stands: to let go of what was made is not the host's either.
    let publishing = tokio::task::spawn_blocking(move || (publish_all(&own, &batches), batches));
    let (published, _kept) = publishing
        .await
        .map_err(|panicked| BenchError::Guest(panicked.to_string()))?;
    let last = published?;
    for name in names {
        host.settled(name, last, LONGEST)
            .await
            .map_err(|cause| BenchError::Guest(cause.to_string()))?;
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), processor_time() - used);
    let deliveries = (events * names.len()) as f64;
    Ok((deliveries / took, used / deliveries))
}

pub(super) fn publish_all(
    host: &Host,
    batches: &[Vec<crate::ingest::ValidEvent>],
) -> Result<Offset, BenchError> {
    let mut last = Offset(0);
    for batch in batches {
        last = loop {
            match host.publish(batch) {
                Ok(published) => break published.last().map_or(last, |published| published.offset),
                Err(PublishError::Busy { .. }) => {
                    let next = host.log().bounds().next_durable();
                    host.log()
                        .wait_durable(next)
                        .map_err(|poisoned| BenchError::Guest(poisoned.to_string()))?;
                }
                Err(refused) => return Err(BenchError::Guest(refused.to_string())),
            }
        };
    }
    Ok(last)
}

/// A figure counts only when every event was handled exactly once.
async fn check_counts(host: &Host, names: &[String], expected: usize) -> Result<(), BenchError> {
    for name in names {
        let status = host
            .plugin(name)
            .await
            .map_err(|cause| BenchError::Guest(cause.to_string()))?;
        if status.counters != [expected as u64, 0, 0] {
            let counters = status.counters;
            return Err(BenchError::Guest(format!(
                "{name} settled {counters:?} of {expected} events"
            )));
        }
    }
    Ok(())
}
