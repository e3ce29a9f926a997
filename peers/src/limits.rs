//! What no system can pass: the handler called over a vector, and batches written to a file that is synced each time.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::work::{self, EVENT_BYTES};

/// Events per second of the handler as a native function over a vector.
pub fn native(events: usize) -> anyhow::Result<f64> {
    let data = work::events(events);
    let run = || {
        let begun = Instant::now();
        for event in &data {
            black_box(work::handle(black_box(event))?);
        }
        anyhow::Ok(rate(events, begun.elapsed()))
    };
    run()?;
    run()
}

/// Events per second that are written in batches of `batch` and synced, without anything else; the file grows, as a log
/// does.
pub fn raw_writes(folder: &Path, events: usize, batch: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(folder).context("a folder for the file")?;
    let mut file = File::create(folder.path().join("log")).context("the file")?;
    let bytes = vec![0x5a; EVENT_BYTES * batch];
    let mut run = || {
        let begun = Instant::now();
        for from in (0..events).step_by(batch) {
            file.write_all(&bytes[..EVENT_BYTES * batch.min(events - from)])?;
            file.sync_data()?;
        }
        anyhow::Ok(rate(events, begun.elapsed()))
    };
    run()?;
    run()
}

/// Events per second.
pub fn rate(events: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let events = events as f64;
    events / took.as_secs_f64()
}
