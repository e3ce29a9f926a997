//! Exporting the traces of a running host: what follows the log for it, and hands spans to who sends them.
//!
//! How far it has come is written into the data folder, so that a start goes on there. That is no truth of the host's: where it
//! is missing, or of another log, the export begins at the end of the log.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nerve_eventlog::{Log, LogId, Offset, Reach, ReadError};
use opentelemetry_sdk::trace::SpanData;

use super::Host;
use crate::otlp::spans::{Made, Spans};
use crate::otlp::{OtlpOptions, Sender, Sent};
use crate::plugin::v1::log::escaped;

/// Bytes of the log that are read at a time.
const CHUNK: usize = 256 << 10;

/// Records of which no span was sent that wait in the log; what lies before them is passed over.
const MOST_BEHIND: u64 = 500_000;

/// How long it is waited before a batch is sent again: at first, and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// How long a host that stops waits for what is left to be sent.
const LAST: Duration = Duration::from_secs(1);

/// The file in the data folder that says how far the export has come.
const FILE: &str = "exported";

/// What became of spans since the host started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    passed_over: AtomicU64,
}

/// What became of spans since the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtlpFigures {
    /// Spans that were taken.
    pub exported: u64,
    /// Spans that were not, and never will be.
    pub dropped: u64,
    /// Records of which no span was made, since they had fallen too far behind or could not be read.
    pub passed_over: u64,
}

impl Counts {
    pub(super) fn figures(&self) -> OtlpFigures {
        let [exported, dropped, passed_over] =
            [&self.exported, &self.dropped, &self.passed_over].map(|count| count.load(Ordering::Relaxed));
        OtlpFigures {
            exported,
            dropped,
            passed_over,
        }
    }
}

/// Who exports, and where it is kept how far.
pub(super) struct Exporter {
    options: OtlpOptions,
    sender: Sender,
    data: PathBuf,
}

impl Exporter {
    pub(super) fn new(options: OtlpOptions, sender: Sender, data: PathBuf) -> Self {
        Self {
            options,
            sender,
            data,
        }
    }
}

/// Where the export stands.
struct Following {
    exporter: Exporter,
    spans: Spans,
    /// Spans of every record up to here were sent, dropped or passed over.
    at: Offset,
    place: Place,
    /// Whether it was told that spans are not taken.
    told: bool,
    /// Whether it was told what the receiver says of what it takes in part.
    told_in_part: bool,
}

/// Follow the log, until the host stops.
pub(super) async fn keep(host: Host, exporter: Exporter) {
    let (log, end) = (host.log().id(), host.log().bounds().durable);
    let place = Place {
        data: exporter.data.clone(),
        log,
    };
    let known = place.read().filter(|at| *at <= end);
    let mut following = Following {
        spans: Spans::new(log.short(), exporter.options.sampler),
        exporter,
        at: known.unwrap_or(end),
        place,
        told: false,
        told_in_part: false,
    };
    loop {
        let grown = tokio::select! {
            () = host.inner.stop.cancelled() => break,
            grown = host.durable(following.at.next()) => grown.is_ok(),
        };
        if !grown || following.pause(&host, following.exporter.options.delay).await {
            break;
        }
        if !following.catch_up(&host).await {
            break;
        }
    }
    // What is left then is exported after the next start.
    tokio::time::timeout(LAST, following.catch_up(&host)).await.ok();
}

impl Following {
    /// Wait; whether the host stops meanwhile.
    async fn pause(&self, host: &Host, wait: Duration) -> bool {
        tokio::time::timeout(wait, host.inner.stop.cancelled())
            .await
            .is_ok()
    }

    /// Export what is durable; whether to go on.
    async fn catch_up(&mut self, host: &Host) -> bool {
        loop {
            self.pass_over(host);
            let (log, spans, from) = (host.log().clone(), self.spans.clone(), self.at.next());
            let read = tokio::task::spawn_blocking(move || read(&*log, &spans, from)).await;
            let Ok(Chunk {
                made,
                through,
                passed,
            }) = read
            else {
                tracing::error!("traces are not exported any more, by a fault of the host");
                return false;
            };
            let counts = &host.inner.exported;
            counts.passed_over.fetch_add(passed, Ordering::Relaxed);
            counts.dropped.fetch_add(made.missed, Ordering::Relaxed);
            for batch in made.spans.chunks(self.exporter.options.batch) {
                if !self.send(host, batch).await {
                    return false;
                }
            }
            if through <= self.at {
                return true;
            }
            self.at = through;
            self.place.write(through);
        }
    }

    /// What has fallen too far behind is passed over.
    fn pass_over(&mut self, host: &Host) {
        let end = host.log().bounds().durable.0;
        if end.saturating_sub(self.at.0) > MOST_BEHIND {
            let first = Offset(end - MOST_BEHIND / 2);
            let passed = first.0 - self.at.0;
            host.inner
                .exported
                .passed_over
                .fetch_add(passed, Ordering::Relaxed);
            tracing::warn!(
                "no traces of {passed} records are exported, since they are not taken fast enough"
            );
            self.at = first;
        }
    }

    /// Send a batch, again and again where it may be taken later; false where the host stops.
    async fn send(&mut self, host: &Host, batch: &[SpanData]) -> bool {
        let (counts, spans) = (&host.inner.exported, batch.len() as u64);
        let [mut wait, longest] = AGAIN;
        loop {
            let sent = self.exporter.sender.send(batch.to_vec()).await;
            if let Sent::Taken | Sent::InPart(..) = sent
                && std::mem::take(&mut self.told)
            {
                tracing::info!("traces are taken again");
            }
            let why = match sent {
                Sent::Taken => {
                    counts.exported.fetch_add(spans, Ordering::Relaxed);
                    return true;
                }
                Sent::InPart(rejected, says) => {
                    let rejected = rejected.min(spans);
                    counts.exported.fetch_add(spans - rejected, Ordering::Relaxed);
                    counts.dropped.fetch_add(rejected, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.told_in_part, true) {
                        let says = escaped(says.chars().take(200).collect());
                        tracing::warn!(
                            "of {spans} spans {rejected} were not taken, and are dropped; the receiver says {says:?}. This is \
                             said once; /metrics counts such spans"
                        );
                    }
                    return true;
                }
                Sent::Refused(why) => {
                    counts.dropped.fetch_add(spans, Ordering::Relaxed);
                    self.tell(&format!("{why}; {spans} spans are dropped"));
                    return true;
                }
                Sent::Later(why) => why,
            };
            self.tell(&format!(
                "{why}; they wait in the log, {MOST_BEHIND} records at most"
            ));
            let behind = host.log().bounds().durable.0.saturating_sub(self.at.0);
            if behind > MOST_BEHIND {
                counts.dropped.fetch_add(spans, Ordering::Relaxed);
                return true;
            }
            if self.pause(host, wait).await {
                return false;
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Say once that traces are not taken, until they are.
    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("traces are not taken: {why}; OTEL_EXPORTER_OTLP_ENDPOINT says where they go");
        }
    }
}

/// Some records.
struct Chunk {
    made: Made,
    /// The last record that was read or passed over.
    through: Offset,
    passed: u64,
}

fn read(log: &dyn Log, spans: &Spans, from: Offset) -> Chunk {
    match log.read(from, CHUNK, Reach::Durable) {
        Ok(entries) => Chunk {
            made: spans.of(log, &entries),
            through: entries.last().map_or(from.prev(), |last| last.offset),
            passed: 0,
        },
        Err(bad) => {
            let bounds = log.bounds();
            let next = match bad {
                ReadError::Gone { first, .. } => first,
                // What is damaged is not in memory.
                _ => bounds.hot_first,
            };
            Chunk {
                made: Made::default(),
                through: next.prev().max(from.prev()),
                passed: next.0.saturating_sub(from.0),
            }
        }
    }
}

/// The file that says how far the export has come.
struct Place {
    data: PathBuf,
    log: LogId,
}

impl Place {
    fn read(&self) -> Option<Offset> {
        let text = std::fs::read_to_string(self.data.join(FILE)).ok()?;
        let (log, offset) = text.trim().split_once(' ')?;
        (log == self.log.to_string()).then_some(())?;
        offset.parse().ok().map(Offset)
    }

    fn write(&self, at: Offset) {
        let beside = self.data.join(format!(".{FILE}"));
        let written = std::fs::write(&beside, format!("{} {at}\n", self.log))
            .and_then(|()| std::fs::rename(&beside, self.data.join(FILE)));
        if let Err(cause) = written {
            tracing::warn!(
                "{}: {cause}; the next start exports from the end of the log on",
                beside.display()
            );
        }
    }
}
