//! The disk: what the log makes of it, in bytes, beside the same bytes written and synced by a loop that does nothing else;
//! and how long one small sync takes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nerve_eventlog::storage::FsStorage;
use nerve_eventlog::{AppendError, Batch, FileLog, Log, Options, SystemClock};

use super::latency::pass_until;
use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError};

/// Bytes of one run.
const BYTES: usize = 256 << 20;

/// Bytes of a record.
const RECORD: usize = 256;

/// Records of a batch.
const BATCH: usize = 256;

/// Mebibytes that are written before each sync by the loop: as many as the log has in a frame, and as many as it syncs at once, at most.
const WRITES: [usize; 2] = [1, 4];

/// Small syncs of one run.
const SYNCS: usize = 1000;

/// Bytes of a small sync.
const SMALL: usize = 512;

/// Pairs of syncs in a second, where they come at a rate.
const RATE: u64 = 1000;

impl Bench<'_> {
    /// Bytes per second that are durable, and one `fdatasync` of a small write.
    pub(super) fn append(&mut self) -> Result<(), BenchError> {
        let name = "durable append, batches of 64 KiB";
        if self.begins(name) {
            let (mut raw, mut log) = (WRITES.map(|_| Vec::new()), Vec::new());
            for run in 0..=self.options.runs {
                for (raw, size) in raw.iter_mut().zip(WRITES) {
                    let rate = self.written(size)?;
                    raw.extend((run > 0).then_some(rate));
                }
                let rate = self.appended()?;
                log.extend((run > 0).then_some(rate));
            }
            let log = Figure::of(name, Unit::MebibytesPerSecond, log);
            for (mebibytes, raw) in WRITES.into_iter().zip(raw) {
                let of = format!("raw writes of {mebibytes} MiB with fdatasync");
                let raw = Figure::of(of, Unit::MebibytesPerSecond, raw);
                let share = log.over(&raw, format!("{name} / raw writes of {mebibytes} MiB"));
                self.found(raw);
                self.found(share);
            }
            self.found(log);
        }
        if self.begins("one fdatasync") {
            for (where_to, over_zeros) in [("", false), (" over zeros", true)] {
                let name = format!("one fdatasync of 512 bytes{where_to}");
                self.quantiles(&name, |bench| bench.synced(over_zeros))?;
            }
        }
        let name = format!("two fdatasyncs over zeros at {RATE}/s");
        if self.begins(&name) {
            self.quantiles(&name, Self::synced_in_pairs)?;
        }
        Ok(())
    }

    /// What is `measured` in microseconds, in its median and its tail.
    fn quantiles(
        &mut self,
        name: &str,
        measured: impl Fn(&Self) -> Result<Vec<f64>, BenchError>,
    ) -> Result<(), BenchError> {
        let (mut halves, mut tails) = (Vec::new(), Vec::new());
        for run in 0..=self.options.runs {
            let mut micros = measured(self)?;
            micros.sort_by(f64::total_cmp);
            if run > 0 {
                halves.push(quantile(&micros, 0.5));
                tails.push(quantile(&micros, 0.99));
            }
        }
        for (what, runs) in [("p50", halves), ("p99", tails)] {
            self.found(Figure::of(format!("{name}, {what}"), Unit::Micros, runs));
        }
        Ok(())
    }

    /// The same bytes written by a loop, so many mebibytes at a time.
    fn written(&self, size: usize) -> Result<f64, BenchError> {
        let folder = self.folder()?;
        let (file, io) = created(&folder.path().join("raw"))?;
        let bytes = vec![7; size << 20];
        let begun = Instant::now();
        for at in (0..BYTES).step_by(bytes.len()) {
            file.write_all_at(&bytes, at as u64)
                .and_then(|()| file.sync_data())
                .map_err(&io)?;
        }
        Ok(mebibytes(BYTES, begun))
    }

    fn appended(&self) -> Result<f64, BenchError> {
        let folder = self.folder()?;
        let options = Options {
            durability: self.options.durability,
            ..Options::default()
        };
        // A young log fetches memory for its hot window, which takes longer than to append.
        let warm_up = options.hot_bytes;
        let storage = Arc::new(FsStorage::new(folder.path().to_owned()));
        let (log, _) = FileLog::open(storage, options, Arc::new(SystemClock), None, &mut |_| {})
            .map_err(|cause| BenchError::Guest(cause.to_string()))?;
        append_durably(&log, warm_up)?;
        let begun = Instant::now();
        let done = append_durably(&log, BYTES)?;
        let rate = mebibytes(done, begun);
        log.close()
            .map_err(|cause| BenchError::Guest(cause.to_string()))?;
        Ok(rate)
    }

    /// How long each sync takes at the end of a file that grows, or in one that is full of zeros, as the log prepares it.
    fn synced(&self, over_zeros: bool) -> Result<Vec<f64>, BenchError> {
        let folder = self.folder()?;
        let (file, io) = created(&folder.path().join("raw"))?;
        if over_zeros {
            fill(&file, SYNCS).map_err(&io)?;
        }
        let one = |n| {
            let begun = Instant::now();
            sync_small(&file, n).map_err(&io)?;
            Ok(begun.elapsed().as_secs_f64() * 1e6)
        };
        (0..SYNCS).map(one).collect()
    }

    /// How long it takes from when each pair of syncs is due until the second is done: what an event and its outcome take of a disk,
    /// whatever the host.
    fn synced_in_pairs(&self) -> Result<Vec<f64>, BenchError> {
        let folder = self.folder()?;
        let (file, io) = created(&folder.path().join("raw"))?;
        let pairs = usize::try_from(self.options.seconds * RATE).expect("a small number");
        fill(&file, 2 * pairs).map_err(&io)?;
        let begun = Instant::now();
        let one = |n: usize| {
            let due = begun + Duration::from_micros(n as u64 * 1_000_000 / RATE);
            pass_until(due);
            [2 * n, 2 * n + 1]
                .into_iter()
                .try_for_each(|place| sync_small(&file, place))
                .map_err(&io)?;
            Ok(due.elapsed().as_secs_f64() * 1e6)
        };
        (0..pairs).map(one).collect()
    }
}

/// Append batches of at least so many bytes in all, and wait until they are durable; answers how many it were.
fn append_durably(log: &FileLog, bytes: usize) -> Result<usize, BenchError> {
    let failed = |cause: &dyn std::fmt::Display| BenchError::Guest(cause.to_string());
    let (record, mut done) = ([7; RECORD], 0);
    while done < bytes {
        let mut batch = Batch::with_capacity(BATCH * (RECORD + 4));
        (0..BATCH).for_each(|_| batch.push(&record));
        done += batch.size();
        while let Err(refused) = log.append(batch, None) {
            let AppendError::Full { batch: back, .. } = refused else {
                return Err(failed(&refused));
            };
            batch = back;
            log.wait_durable(log.bounds().next_durable())
                .map_err(|cause| failed(&cause))?;
        }
    }
    log.wait_durable(log.bounds().last)
        .map_err(|cause| failed(&cause))?;
    Ok(done)
}

/// The figure that latencies are held against.
pub(super) const ONE_SYNC: &str = "one fdatasync of 512 bytes, p99";

/// Zeros for so many small syncs, durable.
fn fill(file: &File, syncs: usize) -> std::io::Result<()> {
    file.write_all_at(&vec![0; syncs * SMALL], 0)?;
    file.sync_data()
}

/// Small sync number `n`.
fn sync_small(file: &File, n: usize) -> std::io::Result<()> {
    file.write_all_at(&[7; SMALL], (n * SMALL) as u64)?;
    file.sync_data()
}

fn created(path: &Path) -> Result<(File, impl Fn(std::io::Error) -> BenchError + use<>), BenchError> {
    let name = path.display().to_string();
    let io = move |cause| BenchError::Io {
        path: name.clone(),
        cause,
    };
    Ok((File::create_new(path).map_err(&io)?, io))
}

#[expect(clippy::cast_precision_loss, reason = "a count of bytes")]
fn mebibytes(bytes: usize, begun: Instant) -> f64 {
    bytes as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64()
}
