//! NATS and its streams: a pull consumer with a cumulative acknowledgement, and three ways to publish.
//!
//! A message is acknowledged once what it emitted is acknowledged, so after a crash between them it is handled again.

mod emitter;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::limits::rate;
use crate::server::Server;
use crate::work::{self, Ledger};

use emitter::Emitter;

/// Messages that one cumulative acknowledgement stands for.
const BATCH: usize = 500;

/// Messages that are delivered ahead.
const AHEAD: u16 = 8192;

/// How long a server may take for an answer.
const LONGEST: Duration = Duration::from_mins(1);

/// How long a run may take.
const LONGEST_RUN: Duration = Duration::from_mins(5);

/// What to measure of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The server syncs before it acknowledges, and not every two minutes.
    pub always: bool,
    /// How messages are published.
    pub publish: Publish,
}

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Each acknowledged by itself, many of them outstanding: what every client does.
    Single,
    /// In the fast batches of NATS 2.14 and later, which are stored as they come.
    Fast,
    /// In the atomic batches of NATS 2.12 and later.
    Atomic,
}

/// Start a server, warm it up, and measure.
pub async fn run(program: &Path, folder: &Path, way: Way, events: usize) -> anyhow::Result<f64> {
    let server = Server::start(program, folder, "Server is ready", |command, folder, port| {
        let sync = if way.always { "sync_interval: always" } else { "" };
        let store = folder.join("store");
        let store = store.display();
        let settings =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\"\n{sync} }}\n");
        let path = folder.join("nats.conf");
        std::fs::write(&path, settings).context("the server's settings")?;
        command.arg("--config").arg(path);
        Ok(())
    })?;
    let events = work::events(events);
    for warm_up in 0..work::WARM_UPS {
        Box::pin(measure(server.port(), &format!("warm{warm_up}"), way, &events)).await?;
    }
    Box::pin(measure(server.port(), "run", way, &events)).await
}

async fn connect(port: u16) -> anyhow::Result<Context> {
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await;
    let client = client.context("no connection to NATS")?;
    let mut context = jetstream::new(client);
    context.set_timeout(LONGEST);
    Ok(context)
}

async fn stream(context: &Context, name: &str) -> anyhow::Result<stream::Stream> {
    let config = stream::Config {
        name: name.into(),
        subjects: vec![name.into()],
        storage: stream::StorageType::File,
        allow_batch_publish: true,
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    context.create_stream(config).await.context("a stream")
}

/// Publish all events and wait until they are handled, what they emit is there, and they are acknowledged.
async fn measure(port: u16, name: &str, way: Way, events: &[Bytes]) -> anyhow::Result<f64> {
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    // A connection each, as the publisher and the service would have.
    let (publisher, service) = (connect(port).await?, connect(port).await?);
    let mut output = stream(&service, &to).await?;
    let config = pull::Config {
        durable_name: Some("bench".into()),
        ack_policy: AckPolicy::All,
        max_ack_pending: 2 * i64::from(AHEAD),
        ..pull::Config::default()
    };
    let mut consumer = stream(&service, &from).await?.create_consumer(config).await?;
    let ledger = Ledger::new(events.len());
    let begun = Instant::now();
    let events_too = events.to_vec();
    let publishing = tokio::spawn(async move {
        let mut publisher = Emitter::new(publisher, &from, way.publish)?;
        for event in events_too {
            publisher.emit(event).await?;
        }
        publisher.finish().await
    });
    let publishing = async { publishing.await? };
    let consuming = consume(&consumer, Emitter::new(service, &to, way.publish)?, &ledger);
    let both = async { tokio::try_join!(publishing, consuming) };
    let ended = tokio::time::timeout(LONGEST_RUN, both).await;
    ended.context("it takes too long: messages were lost?")??;
    let rate = rate(events.len(), begun.elapsed());
    ledger.check(output.info().await?.state.messages)?;
    let info = consumer.info().await?;
    let left = (info.num_pending, info.num_ack_pending);
    ensure!(
        left == (0, 0),
        "{left:?} messages were not delivered, or not acknowledged"
    );
    Ok(rate)
}

/// Handle all events; a message is acknowledged, and with it all before it, once what it emitted is.
async fn consume(consumer: &PullConsumer, mut publisher: Emitter, ledger: &Ledger) -> anyhow::Result<()> {
    let stream = consumer.stream().max_messages_per_batch(AHEAD.into()).messages();
    let mut messages = stream
        .await
        .context("no messages")?
        .take(ledger.events())
        .enumerate();
    let mut waiting: VecDeque<(u64, Acker)> = VecDeque::new();
    let mut last = None;
    while let Some((number, message)) = messages.next().await {
        let (message, acker) = message?.split();
        let (id, emitted) = work::handle(&message.payload)?;
        ledger.handled(id)?;
        let confirmed = publisher.emit(emitted.into()).await?;
        if number % BATCH == 0 {
            waiting.push_back((number as u64, acker));
        } else {
            last = Some(acker);
        }
        while waiting.front().is_some_and(|(number, _)| *number < confirmed) {
            if let Some((_, acker)) = waiting.pop_front() {
                acker.ack().await.map_err(anyhow::Error::from_boxed)?;
            }
        }
    }
    publisher.finish().await?;
    let last = last.context("no message came")?;
    // The server answers this one: progress is committed.
    last.double_ack().await.map_err(anyhow::Error::from_boxed)
}
