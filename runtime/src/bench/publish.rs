//! Acknowledged publishes: one event at a time, by one publisher and by many.

use std::time::Instant;

use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::Host;

impl Bench<'_> {
    pub(super) async fn publish(&mut self) -> Result<(), BenchError> {
        for publishers in [1, 16, 256] {
            let name = format!("publish acknowledged, {publishers} publishers");
            if !self.begins(&name) {
                continue;
            }
            let folder = self.folder()?;
            let host = self.host(folder.path())?;
            // A sync takes the same time for one as for many: few publishers need fewer events for a steady figure.
            let events = (publishers * 1000).min(self.options.events);
            let mut runs = Vec::new();
            for run in 0..=self.options.runs {
                let rate = all_publish(&host, publishers, events, &format!("p{publishers}-{run}")).await?;
                if run > 0 {
                    runs.push(rate);
                }
            }
            host.stop().await?;
            self.found(Figure::of(name, Unit::PerSecond, runs));
        }
        Ok(())
    }
}

async fn all_publish(host: &Host, publishers: usize, events: usize, run: &str) -> Result<f64, BenchError> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let each = events / publishers;
    for publisher in 0..publishers {
        let host = host.clone();
        let run = format!("{run}-{publisher}");
        tasks.spawn(async move {
            for n in 0..each {
                let event = guests::events(host.acceptor(), &run, n, 1);
                let published = host
                    .publish(&event)
                    .map_err(|refused| BenchError::Guest(refused.to_string()))?;
                host.durable(published[0].offset).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panicked| BenchError::Guest(panicked.to_string()))??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    Ok((each * publishers) as f64 / begun.elapsed().as_secs_f64())
}
