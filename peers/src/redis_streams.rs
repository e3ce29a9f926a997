//! Redis Streams: pipelines of XADD, and a consumer of a group whose one pipeline adds what a batch emits, acknowledges
//! the batch and reads the next.
//!
//! What is emitted stands before the acknowledgement in the same pipeline, so an event that was acknowledged has emitted;
//! after a crash between them it is handled again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use redis::{Client, Connection, Pipeline, Value};

use crate::limits::rate;
use crate::server::Server;
use crate::work::{self, Ledger};

/// Events of one pipeline.
const BATCH: usize = 2000;

/// The group, and the consumers in it: while the server works for one, the other parses.
const GROUP: &str = "bench";
const CONSUMERS: [&str; 2] = ["one", "two"];

/// How long a consumer waits for events.
const WAIT: Duration = Duration::from_millis(100);

/// When Redis syncs its log of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// There is no such log, only snapshots now and then.
    Snapshots,
    /// Every second.
    EverySecond,
    /// Before it answers.
    Always,
}

/// Start a server, warm it up, and measure.
pub async fn run(program: &Path, folder: &Path, sync: Sync, events: usize) -> anyhow::Result<f64> {
    let server = Server::start(
        program,
        folder,
        "Ready to accept connections",
        |command, _, port| {
            let (log, every) = match sync {
                Sync::Snapshots => ("no", "everysec"),
                Sync::EverySecond => ("yes", "everysec"),
                Sync::Always => ("yes", "always"),
            };
            let settings = format!("--bind 127.0.0.1 --port {port} --appendonly {log} --appendfsync {every}");
            command.args(settings.split(' '));
            Ok(())
        },
    )?;
    let (port, events) = (server.port(), work::events(events));
    // The server stays here: it ends when this is dropped, and with it the threads.
    tokio::task::spawn_blocking(move || {
        for warm_up in 0..work::WARM_UPS {
            measure(port, &format!("warm{warm_up}"), &events)?;
        }
        measure(port, "run", &events)
    })
    .await?
}

fn connect(port: u16) -> anyhow::Result<Connection> {
    let connection = Client::open(("127.0.0.1", port)).and_then(|client| client.get_connection());
    connection.context("no connection to Redis")
}

/// Publish all events and wait until they are handled, what they emit is there, and they are acknowledged.
fn measure(port: u16, name: &str, events: &[Bytes]) -> anyhow::Result<f64> {
    let (from, to) = (format!("{name}.in"), format!("{name}.out"));
    let mut own = connect(port)?;
    let group = redis::cmd("XGROUP")
        .arg(&["CREATE", &from, GROUP, "$", "MKSTREAM"])
        .query::<()>(&mut own);
    group.context("the consumer group")?;
    let ledger = Ledger::new(events.len());
    let (left, failed) = (AtomicUsize::new(events.len()), AtomicBool::new(false));
    let begun = Instant::now();
    let consumer = Consumer {
        from: &from,
        to: &to,
        ledger: &ledger,
        left: &left,
        failed: &failed,
    };
    let ended = std::thread::scope(|scope| {
        // Whoever fails ends the others, which would wait for it.
        let watched =
            |result: anyhow::Result<Instant>| result.inspect_err(|_| failed.store(true, Ordering::Release));
        let publishing = scope.spawn(move || watched(publish(port, consumer.from, events)));
        let consuming = CONSUMERS.map(|name| scope.spawn(move || watched(consumer.run(port, name))));
        let threads = std::iter::once(publishing).chain(consuming);
        let results: Vec<_> = threads.map(|one| one.join().expect("no thread panics")).collect();
        results.into_iter().collect::<anyhow::Result<Vec<_>>>()
    })?;
    let ended = ended.into_iter().max().unwrap_or(begun);
    let rate = rate(events.len(), ended - begun);
    let emitted: u64 = redis::cmd("XLEN").arg(&to).query(&mut own)?;
    ledger.check(emitted)?;
    let (pending, ..): Pending = redis::cmd("XPENDING").arg(&[&from, GROUP]).query(&mut own)?;
    ensure!(pending == 0, "{pending} events were not acknowledged");
    Ok(rate)
}

/// What is pending: how many, the first, the last, and of which consumers.
type Pending = (u64, Value, Value, Value);

/// Publish in pipelines, one after another.
fn publish(port: u16, to: &str, events: &[Bytes]) -> anyhow::Result<Instant> {
    let mut connection = connect(port)?;
    for batch in events.chunks(BATCH) {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for event in batch {
            add(&mut pipeline, to, event);
        }
        pipeline
            .query::<()>(&mut connection)
            .context("events were not published")?;
    }
    Ok(Instant::now())
}

fn add(pipeline: &mut Pipeline, to: &str, data: &[u8]) {
    pipeline
        .cmd("XADD")
        .arg(to)
        .arg("*")
        .arg("data")
        .arg(data)
        .ignore();
}

/// An entry of a stream: its id, and one field with its value.
type Entry = (String, (String, Vec<u8>));

/// What a read answers: of each stream its name and its entries.
type Entries = Option<Vec<(String, Vec<Entry>)>>;

/// What the consumers of a group share.
#[derive(Clone, Copy)]
struct Consumer<'a> {
    from: &'a str,
    to: &'a str,
    ledger: &'a Ledger,
    /// Events that nobody has handled yet.
    left: &'a AtomicUsize,
    /// Somebody failed: no more may come.
    failed: &'a AtomicBool,
}

impl Consumer<'_> {
    /// Consume until nothing is left; answers when the last batch was settled.
    fn run(self, port: u16, name: &str) -> anyhow::Result<Instant> {
        let mut connection = connect(port)?;
        let mut found: Option<Vec<Entry>> = None;
        let mut settled = Instant::now();
        loop {
            let mut pipeline = Pipeline::new();
            let settles = found.is_some();
            if let Some(entries) = found.take() {
                self.settle(&mut pipeline, &entries)?;
                self.read(&mut pipeline, name, None);
            } else if self.left.load(Ordering::Acquire) > 0 && !self.failed.load(Ordering::Acquire) {
                self.read(&mut pipeline, name, Some(WAIT));
            } else {
                return Ok(settled);
            }
            let (entries,): (Entries,) = pipeline
                .query(&mut connection)
                .context("a batch was not settled")?;
            if settles {
                settled = Instant::now();
            }
            found = entries
                .and_then(|mut streams| streams.pop())
                .map(|(_, entries)| entries);
        }
    }

    /// Handle the entries, and add what they emit, then their acknowledgement.
    fn settle(self, pipeline: &mut Pipeline, entries: &[Entry]) -> anyhow::Result<()> {
        for (_, (_, data)) in entries {
            let (id, emitted) = work::handle(data)?;
            self.ledger.handled(id)?;
            add(pipeline, self.to, &emitted);
        }
        pipeline.cmd("XACK").arg(self.from).arg(GROUP).ignore();
        for (id, _) in entries {
            pipeline.arg(id);
        }
        self.left.fetch_sub(entries.len(), Ordering::Release);
        Ok(())
    }

    fn read(self, pipeline: &mut Pipeline, name: &str, wait: Option<Duration>) {
        pipeline
            .cmd("XREADGROUP")
            .arg(&["GROUP", GROUP, name])
            .arg("COUNT")
            .arg(BATCH);
        if let Some(wait) = wait {
            pipeline.arg("BLOCK").arg(wait.as_millis());
        }
        pipeline.arg(&["STREAMS", self.from, ">"]);
    }
}
