//! From publish to settled at a steady rate, one event at a time.

use std::time::{Duration, Instant};

use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError, guests};
use crate::host::Host;

/// Events per second.
const RATE: u64 = 1000;

impl Bench<'_> {
    pub(super) async fn latency(&mut self) -> Result<(), BenchError> {
        let name = format!("publish to settled at {RATE}/s");
        if !self.begins(&name) {
            return Ok(());
        }
        let folder = self.folder()?;
        let host = self.host(folder.path())?;
        let names = self
            .guest
            .install(&host, &folder.path().join("plugins"), 1, 1)
            .await?;
        let (mut halves, mut tails) = (Vec::new(), Vec::new());
        for run in 0..=self.options.runs {
            let mut micros = steady(&host, &names[0], self.options.seconds, &format!("l{run}")).await?;
            micros.sort_by(f64::total_cmp);
            if run > 0 {
                halves.push(quantile(&micros, 0.5));
                tails.push(quantile(&micros, 0.99));
            }
        }
        host.stop().await?;
        self.figures
            .push(Figure::of(format!("{name}, p50"), Unit::Micros, halves));
        self.figures
            .push(Figure::of(format!("{name}, p99"), Unit::Micros, tails));
        Ok(())
    }
}

/// Microseconds from when each event was to be published, whether or not the host was ready, to when it was settled and
/// durable.
async fn steady(host: &Host, plugin: &str, seconds: u64, run: &str) -> Result<Vec<f64>, BenchError> {
    let gap = Duration::from_secs(1) / u32::try_from(RATE).expect("a small number");
    let mut every = tokio::time::interval(gap);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..usize::try_from(seconds * RATE).expect("a small number") {
        let due: Instant = every.tick().await.into();
        let (host, plugin, run) = (host.clone(), plugin.to_owned(), run.to_owned());
        tasks.spawn(async move {
            let event = guests::events(host.acceptor(), &run, n, 1);
            let published = host
                .publish(&event)
                .map_err(|refused| BenchError::Guest(refused.to_string()))?;
            host.settled(&plugin, published[0].offset, Duration::from_secs(30))
                .await
                .map_err(|cause| BenchError::Guest(cause.to_string()))?;
            Ok::<_, BenchError>(due.elapsed().as_secs_f64() * 1e6)
        });
    }
    let mut out = Vec::new();
    while let Some(done) = tasks.join_next().await {
        out.push(done.map_err(|panicked| BenchError::Guest(panicked.to_string()))??);
    }
    Ok(out)
}
