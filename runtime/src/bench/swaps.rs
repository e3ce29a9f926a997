//! Swaps under load: for how long a plugin's deliveries stand still while another version takes its place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nerve_eventlog::{Offset, Reach};
use tokio::sync::watch;

use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError, guests};
use crate::host::{Host, PublishError};
use crate::log::record::{Outcome, Record, Verdict, VersionId};
use crate::plugin::deploy::Deployed;

/// Events that are published every millisecond.
const PER_MILLI: usize = 5;

/// Swaps of one run.
const SWAPS: usize = 200;

/// Records behind one swap before the next.
const BETWEEN: u64 = 50;

impl Bench<'_> {
    /// The pauses are read off the log: from the end of the last delivery of one version to the begin of the first of
    /// the next, as far as its event was there to be delivered.
    pub(super) async fn swaps(&mut self) -> Result<(), BenchError> {
        let name = format!("swap under load at {PER_MILLI}000/s");
        if !self.begins(&name) {
            return Ok(());
        }
        let (mut halves, mut tails, mut longest, mut others) = (vec![], vec![], vec![], vec![]);
        for run in 0..=self.options.runs {
            let mut gaps = self.swapped().await?;
            if run > 0 {
                gaps.swaps.sort_by(f64::total_cmp);
                gaps.others.sort_by(f64::total_cmp);
                halves.push(quantile(&gaps.swaps, 0.5));
                tails.push(quantile(&gaps.swaps, 0.99));
                longest.push(quantile(&gaps.swaps, 1.0));
                others.push(quantile(&gaps.others, 0.99));
            }
        }
        for (what, runs) in [
            ("p50 of the pause", halves),
            ("p99 of the pause", tails),
            ("longest pause", longest),
            ("p99 between two deliveries without a swap", others),
        ] {
            let figure = Figure::of(format!("{name}, {what}"), Unit::Micros, runs);
            self.found(figure);
        }
        Ok(())
    }

    /// A host, and as many swaps as one run has, while events come; the gaps between its deliveries.
    async fn swapped(&self) -> Result<Gaps, BenchError> {
        let folder = self.folder()?;
        let host = self.host(folder.path())?;
        let plugins = folder.path().join("plugins");
        let plugin = self.guest.install(&host, &plugins, 1).await?.remove(0);
        let component: bytes::Bytes = self.guest.component().to_vec().into();
        let stop = Arc::new(AtomicBool::new(false));
        let (last, mut published) = watch::channel(0);
        let publishing = tokio::task::spawn_blocking({
            let (host, stop) = (host.clone(), stop.clone());
            move || publish(&host, &stop, &last)
        });
        let swapping = async {
            for swap in 0..SWAPS {
                work(&host, &plugin, &mut published).await?;
                let settings = Some(format!("# swap {swap}\n"));
                let deployed = host.deploy_plugin(&plugin, component.clone(), settings).await;
                match deployed.map_err(|cause| BenchError::Guest(cause.to_string()))? {
                    (Deployed::Live, _) => {}
                    (other, _) => return Err(BenchError::Guest(format!("swap {swap}: {other:?}"))),
                }
            }
            work(&host, &plugin, &mut published).await
        };
        let swapped = swapping.await;
        stop.store(true, Ordering::Relaxed);
        let (count, last) = publishing
            .await
            .map_err(|panicked| BenchError::Guest(panicked.to_string()))??;
        swapped?;
        settled(&host, &plugin, last).await?;
        let gaps = Gaps::read(&host)?;
        host.stop().await?;
        if gaps.done != count || gaps.swaps.len() != SWAPS {
            return Err(BenchError::Guest(format!(
                "{count} events were published and {} settled over {} swaps",
                gaps.done,
                gaps.swaps.len()
            )));
        }
        Ok(gaps)
    }
}

/// The version that runs gets something to do, and does it.
async fn work(host: &Host, plugin: &str, published: &mut watch::Receiver<u64>) -> Result<(), BenchError> {
    let seen = *published.borrow() + BETWEEN;
    let last = published.wait_for(|last| *last >= seen).await.map(|last| *last);
    settled(host, plugin, last.unwrap_or_default()).await
}

async fn settled(host: &Host, plugin: &str, offset: u64) -> Result<(), BenchError> {
    let settled = host
        .settled(plugin, Offset(offset), Duration::from_secs(30))
        .await;
    settled
        .map(drop)
        .map_err(|cause| BenchError::Guest(cause.to_string()))
}

/// Publish at a steady rate until told to stop; answers how many, and the last offset.
fn publish(host: &Host, stop: &AtomicBool, last: &watch::Sender<u64>) -> Result<(u64, u64), BenchError> {
    let (begun, mut count) = (Instant::now(), 0);
    for milli in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let events = guests::events(host.acceptor(), "swap", count, PER_MILLI);
        let due = begun + Duration::from_millis(milli);
        while let Some(left) = due
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            std::thread::park_timeout(left);
        }
        match host.publish(&events) {
            Ok(published) => {
                count += PER_MILLI;
                let offset = published.last().map_or(0, |published| published.offset.0);
                last.send_replace(offset);
            }
            Err(PublishError::Busy { .. }) => {}
            Err(refused) => return Err(BenchError::Guest(refused.to_string())),
        }
    }
    Ok((count as u64, *last.borrow()))
}

/// Microseconds between deliveries, without those in which there was nothing to deliver.
#[derive(Default)]
struct Gaps {
    /// Where another version took over.
    swaps: Vec<f64>,
    /// Where none did.
    others: Vec<f64>,
    done: u64,
}

impl Gaps {
    /// Read them off the log of `host`.
    fn read(host: &Host) -> Result<Self, BenchError> {
        let mut gaps = Self::default();
        let mut before: Option<(VersionId, u64)> = None;
        let mut recorded = HashMap::new();
        let mut at = Offset(1);
        loop {
            let entries = host.log().read(at, 1 << 20, Reach::Appended);
            let entries = entries.map_err(|cause| BenchError::Guest(cause.to_string()))?;
            let Some(end) = entries.last().map(|entry| entry.offset) else {
                return Ok(gaps);
            };
            for entry in &entries {
                match Record::decode(&entry.payload) {
                    Ok(Record::Event(_)) => drop(recorded.insert(entry.offset, entry.time.0)),
                    Ok(Record::Outcome(outcome)) => {
                        let there = recorded.remove(&Offset(outcome.event)).unwrap_or_default();
                        gaps.add(&outcome, there, &mut before);
                    }
                    _ => {}
                }
            }
            at = end.next();
        }
    }

    /// The event of `outcome` was `there` to be delivered.
    #[expect(clippy::cast_precision_loss, reason = "a time in microseconds")]
    fn add(&mut self, outcome: &Outcome<'_>, there: u64, before: &mut Option<(VersionId, u64)>) {
        self.done += u64::from(outcome.verdict == Verdict::Done);
        if let Some((version, ended)) = *before {
            let gap = outcome.started.saturating_sub(ended.max(there)) as f64;
            if version == outcome.version {
                self.others.push(gap);
            } else {
                self.swaps.push(gap);
            }
        }
        *before = Some((outcome.version, outcome.started + outcome.took));
    }
}
