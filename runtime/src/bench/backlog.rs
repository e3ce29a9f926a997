//! A plugin that is behind: its backlog is read from the disk, since the hot window does not hold it.

use std::time::{Duration, Instant};

use nerve_eventlog::Options;

use super::settle::publish_all;
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::HostOptions;

/// Bytes of the hot window, which the backlog exceeds many times.
const HOT: usize = 1 << 20;

/// How long a run may take.
const LONGEST: Duration = Duration::from_mins(2);

impl Bench<'_> {
    pub(super) async fn backlog(&mut self) -> Result<(), BenchError> {
        let name = "backlog drained from disk";
        if !self.begins(name) {
            return Ok(());
        }
        let events = self.options.events;
        let mut runs = Vec::new();
        for run in 0..=self.options.runs {
            let folder = self.folder()?;
            let plugins = folder.path().join("plugins");
            let host = self.host_with(
                folder.path(),
                HostOptions {
                    log: Options {
                        hot_bytes: HOT,
                        ..Options::default()
                    },
                    ..HostOptions::default()
                },
            )?;
            let names = self.guest.install(&host, &plugins, 1).await?;
            // A plugin that waits while its events come, and then has them all behind it.
            let in_words = |cause: &dyn std::fmt::Display| BenchError::Guest(cause.to_string());
            host.pause_plugin(&names[0])
                .await
                .map_err(|cause| in_words(&cause))?;
            let batches: Vec<_> = (0..events)
                .step_by(256)
                .map(|from| guests::events(host.acceptor(), "b", from, 256.min(events - from)))
                .collect();
            let last = publish_all(&host, &batches)?;
            host.durable(last).await?;
            let begun = Instant::now();
            host.resume_plugin(&names[0])
                .await
                .map_err(|cause| in_words(&cause))?;
            let settled = host.settled(&names[0], last, LONGEST).await;
            settled.map_err(|cause| in_words(&cause))?;
            #[expect(clippy::cast_precision_loss, reason = "a count of events")]
            let rate = events as f64 / begun.elapsed().as_secs_f64();
            if run > 0 {
                runs.push(rate);
            }
            host.stop().await?;
        }
        self.found(Figure::of(name, Unit::PerSecond, runs));
        Ok(())
    }
}
