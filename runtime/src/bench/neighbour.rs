//! A quiet plugin's way from publish to settled, alone and beside a neighbour that does its worst.

mod kinds;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError, guests};
use crate::host::{Host, PublishError};
use crate::ingest::NewEvent;
use crate::plugin::engine::TICK;
use kinds::{KINDS, Kind, Work};

/// Events of the quiet plugin per second.
const RATE: u64 = 400;

/// Threads that publish them, each a share of the rate.
const PUBLISHERS: u64 = 4;

/// Events that are given to the neighbour at a time, so that it is never without work.
const AT_A_TIME: usize = 8;

/// The settings of a neighbour that is stopped by nothing but its limits.
const SETTINGS: &str = "[limits]\ntimers = 10000000\n[retry]\nattempts = 1\noutage_keys = 0\n";

impl Bench<'_> {
    /// For each kind of neighbour: the quiet plugin's median and 99th percentile while the neighbour rests and while it
    /// works, and by how many ticks they move.
    pub(super) async fn neighbour(&mut self) -> Result<(), BenchError> {
        for kind in &KINDS {
            let name = format!("neighbour: {}", kind.name);
            if self.begins(&name) {
                self.beside(&name, kind).await?;
            }
        }
        Ok(())
    }

    async fn beside(&mut self, name: &str, kind: &'static Kind) -> Result<(), BenchError> {
        let folder = self.folder()?;
        let plugins = folder.path().join("plugins");
        let host = self.host(folder.path())?;
        let quiet = self.guest.install(&host, &plugins, 1).await?.remove(0);
        let neighbour = Neighbour::install(&host, kind, &self.options.fixtures, &plugins).await?;
        let (rest, _) = self.figures_of(&host, &quiet, "rest").await?;
        let stop = Arc::new(AtomicBool::new(false));
        let working = tokio::task::spawn_blocking({
            let (host, stop) = (host.clone(), stop.clone());
            move || neighbour.work(&host, &stop)
        });
        let measured = self.figures_of(&host, &quiet, "work").await;
        stop.store(true, Ordering::SeqCst);
        let worked = working
            .await
            .map_err(|panicked| BenchError::Guest(panicked.to_string()))??;
        let (work, busy) = measured?;
        host.stop().await?;
        if worked == 0 {
            return Err(BenchError::Guest(format!("{name} did nothing")));
        }
        for (at, (rest, work)) in ["p50", "p99"].into_iter().zip(rest.into_iter().zip(work)) {
            let ticks = (work.median - rest.median) / (TICK.as_secs_f64() * 1e6);
            self.found(rest.named(format!("{name}, {at} at rest")));
            self.found(work.named(format!("{name}, {at} at work")));
            self.found(Figure::of(
                format!("{name}, {at} moves by"),
                Unit::Ticks,
                vec![ticks],
            ));
        }
        if busy > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a count of events")]
            self.found(Figure::of(
                format!("{name}, publishing was told to come back"),
                Unit::Times,
                vec![busy as f64],
            ));
        }
        Ok(())
    }

    /// Median and 99th percentile over the runs, and how often publishing was refused as too busy.
    async fn figures_of(
        &self,
        host: &Host,
        quiet: &str,
        phase: &str,
    ) -> Result<([Figure; 2], u64), BenchError> {
        let (mut halves, mut tails, mut busy) = (Vec::new(), Vec::new(), 0);
        for run in 0..=self.options.runs {
            let (mut micros, refused) =
                steady(host, quiet, self.options.seconds, &format!("{phase}{run}")).await?;
            micros.sort_by(f64::total_cmp);
            if run > 0 {
                halves.push(quantile(&micros, 0.5));
                tails.push(quantile(&micros, 0.99));
                busy += refused;
            }
        }
        Ok((
            [
                Figure::of("", Unit::Micros, halves),
                Figure::of("", Unit::Micros, tails),
            ],
            busy,
        ))
    }
}

/// Microseconds from when each event was to be published to when it was settled and durable; and how often publishing
/// was told to come back.
async fn steady(host: &Host, quiet: &str, seconds: u64, run: &str) -> Result<(Vec<f64>, u64), BenchError> {
    let begun = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (host, quiet, run) = (host.clone(), quiet.to_owned(), run.to_owned());
        publishers.spawn_blocking(move || {
            let runtime = tokio::runtime::Handle::current();
            let (mut out, mut busy) = (Vec::new(), 0);
            for n in (publisher..seconds * RATE).step_by(usize::try_from(PUBLISHERS).expect("a small number"))
            {
                let event = guests::events(
                    host.acceptor(),
                    &run,
                    usize::try_from(n).expect("a small number"),
                    1,
                );
                let due = begun + Duration::from_micros(n * 1_000_000 / RATE);
                wait_until(due);
                let published = loop {
                    match host.publish(&event) {
                        Ok(published) => break published,
                        Err(PublishError::Busy { .. }) => {
                            busy += 1;
                            wait_until(Instant::now() + Duration::from_millis(1));
                        }
                        Err(refused) => return Err(BenchError::Guest(refused.to_string())),
                    }
                };
                runtime
                    .block_on(host.settled(&quiet, published[0].offset, Duration::from_secs(30)))
                    .map_err(|cause| BenchError::Guest(cause.to_string()))?;
                out.push(due.elapsed().as_secs_f64() * 1e6);
            }
            Ok((out, busy))
        });
    }
    let (mut out, mut busy) = (Vec::new(), 0);
    while let Some(done) = publishers.join_next().await {
        let (micros, refused) = done.map_err(|panicked| BenchError::Guest(panicked.to_string()))??;
        out.extend(micros);
        busy += refused;
    }
    Ok((out, busy))
}

fn wait_until(due: Instant) {
    while let Some(left) = due
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// A neighbour, installed and at rest.
struct Neighbour {
    kind: &'static Kind,
    component: Vec<u8>,
    plugins: PathBuf,
}

impl Neighbour {
    async fn install(
        host: &Host,
        kind: &'static Kind,
        fixtures: &Path,
        plugins: &Path,
    ) -> Result<Self, BenchError> {
        let component = guests::Guest::component_of(fixtures, kind.fixture)?;
        let own = Self {
            kind,
            component,
            plugins: plugins.to_owned(),
        };
        own.write_settings(SETTINGS)?;
        guests::drop_file(plugins, &format!("{}.wasm", kind.fixture), &own.component)?;
        guests::live(host, kind.fixture).await?;
        Ok(own)
    }

    fn write_settings(&self, text: &str) -> Result<(), BenchError> {
        let name = format!("{}.toml", self.kind.fixture);
        guests::drop_file(&self.plugins, &name, text.as_bytes())
    }

    /// Do the worst until told to stop; answers how often.
    fn work(&self, host: &Host, stop: &AtomicBool) -> Result<u64, BenchError> {
        let mut turns = 0_u64;
        while !stop.load(Ordering::SeqCst) {
            match self.kind.work {
                Work::Events(kind) => self.handle(host, kind, turns)?,
                Work::Settings => self.write_settings(&format!("{SETTINGS}# {turns}\n"))?,
                Work::Components => {
                    // Another custom section makes another component, which no cache has.
                    let mut bytes = self.component.clone();
                    let note = turns.to_le_bytes();
                    bytes.extend([0, 10, 1, b'n']);
                    bytes.extend(note);
                    guests::drop_file(&self.plugins, &format!("{}.wasm", self.kind.fixture), &bytes)?;
                }
            }
            if !matches!(self.kind.work, Work::Events(_)) {
                wait_until(Instant::now() + Duration::from_millis(10));
            }
            turns += 1;
        }
        Ok(turns)
    }

    /// Give it some events, and wait until it has handled them all or is told to stop.
    fn handle(&self, host: &Host, kind: &str, turn: u64) -> Result<(), BenchError> {
        let event = |n: usize| {
            let id = format!("{turn}-{n}");
            let event = NewEvent {
                id: &id,
                source: "neighbour",
                r#type: kind,
                content_type: "application/json",
                data: &[0x80],
                ..NewEvent::default()
            };
            host.acceptor()
                .event(&event)
                .expect("the benchmark's events are valid")
        };
        let events: Vec<_> = (0..AT_A_TIME).map(event).collect();
        let last = match host.publish(&events) {
            Ok(published) => published[published.len() - 1].offset,
            Err(PublishError::Busy { .. }) => return Ok(()),
            Err(refused) => return Err(BenchError::Guest(refused.to_string())),
        };
        let settled = host.settled(self.kind.fixture, last, Duration::from_secs(2));
        // Events that run into their time limit take longer than this: there is work left then, and more comes.
        drop(tokio::runtime::Handle::current().block_on(settled));
        Ok(())
    }
}
