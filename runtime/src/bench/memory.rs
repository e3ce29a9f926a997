//! What memory one more takes: of an event that left the hot window, and of a key that is parked.

use std::time::Duration;

use nerve_eventlog::{Offset, Options};

use super::machine::own;
use super::settle::publish_all;
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::host::{Host, HostOptions};
use crate::ingest::{NewEvent, ValidEvent};

/// Bytes of the hot window: what it holds is not counted.
const HOT: usize = 1 << 20;

/// Events that are remembered: as many as by default are, by their identities.
const EVENTS: usize = 1_000_000;

/// Keys that are parked.
const KEYS: usize = 100_000;

/// A plugin that traps on what it gets, and waits an hour before it tries again.
const TRAPS: &str = "trap";
const SETTINGS: &str = "[retry]\nattempts = 10\nfirst_ms = 3600000\nlongest_ms = 3600000\noutage_keys = 0\n";

impl Bench<'_> {
    pub(super) async fn memory(&mut self) -> Result<(), BenchError> {
        let name = "memory of an event that left the hot window";
        if self.begins(name) {
            let folder = self.folder()?;
            let host = self.small_host(&folder)?;
            let batches = (0..EVENTS)
                .step_by(1000)
                .map(|from| guests::events(host.acceptor(), "m", from, 1000));
            let taken = grown(&host, batches, async |_| Ok(())).await?;
            self.found(Figure::of(name, Unit::Bytes, vec![taken]));
            host.stop().await?;
        }
        let name = "memory of a parked key, with its event";
        if self.begins(name) {
            let folder = self.folder()?;
            let host = self.small_host(&folder)?;
            let plugins = folder.path().join("plugins");
            let component = guests::Guest::component_of(&self.options.fixtures, TRAPS)?;
            guests::drop_file(&plugins, &format!("{TRAPS}.toml"), SETTINGS.as_bytes())?;
            guests::drop_file(&plugins, &format!("{TRAPS}.wasm"), &component)?;
            guests::live(&host, TRAPS).await?;
            let batches = (0..KEYS).step_by(1000).map(|from| trapping(&host, from, 1000));
            let taken = grown(&host, batches, async |host| all_parked(host).await).await?;
            self.found(Figure::of(name, Unit::Bytes, vec![taken]));
            host.stop().await?;
        }
        Ok(())
    }

    fn small_host(&self, folder: &tempfile::TempDir) -> Result<Host, BenchError> {
        let options = HostOptions {
            log: Options {
                hot_bytes: HOT,
                ..Options::default()
            },
            ..HostOptions::default()
        };
        self.host_with(folder.path(), options)
    }
}

/// The bytes by which this process has grown, for each event of the `batches`, once they are published and `settled`. What is made
/// once is there before, with the first batch, which does not count.
#[expect(clippy::cast_precision_loss, reason = "a count of events")]
async fn grown(
    host: &Host,
    mut batches: impl Iterator<Item = Vec<ValidEvent>>,
    settled: impl AsyncFn(&Host) -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let id = std::process::id();
    let first: Vec<_> = batches.next().into_iter().collect();
    let mut last = publish_all(host, &first)?;
    host.durable(last).await?;
    let (before, mut events) = (own(id), 0);
    for batch in batches {
        events += batch.len();
        last = publish_all(host, &[batch])?;
    }
    host.durable(last).await?;
    settled(host).await?;
    Ok((own(id) - before) * 1024.0 / events as f64)
}

/// Events from number `from` on that the plugin traps on, each with a key of its own.
fn trapping(host: &Host, from: usize, count: usize) -> Vec<ValidEvent> {
    let event = |n: usize| {
        let (id, data) = (format!("p-{n}"), guests::data(n));
        let event = NewEvent {
            id: &id,
            source: "bench",
            key: Some(&id),
            r#type: "test.trap",
            content_type: "application/json",
            data: &data,
            ..NewEvent::default()
        };
        host.acceptor()
            .event(&event)
            .expect("the benchmark's events are valid")
    };
    (from..from + count).map(event).collect()
}

/// Wait until each event has failed once.
async fn all_parked(host: &Host) -> Result<(), BenchError> {
    let mut seen = Offset(0);
    loop {
        let figures = host.figures().await?;
        let failed = figures.plugins.iter().find(|plugin| &*plugin.name == TRAPS);
        let counters = failed.map_or([0; 3], |plugin| plugin.counters);
        if counters == [0, KEYS as u64, 0] {
            return Ok(());
        }
        if counters[0] + counters[2] > 0 {
            return Err(BenchError::Guest(format!(
                "{TRAPS} did not fail on every event: {counters:?}"
            )));
        }
        // Whoever looked without a rest would take the processors from the plugin.
        seen = host.log().bounds().durable.max(seen);
        let more = tokio::time::timeout(Duration::from_millis(100), host.durable(Offset(seen.0 + 1000)));
        drop(more.await);
    }
}
