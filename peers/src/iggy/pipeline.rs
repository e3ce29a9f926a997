//! The stages between the first event published and the last offset stored, which all run at once.
//!
//! Iggy's client has one request under way on a connection, so what overlaps has connections of its own: one publishes,
//! one polls ahead, one emits, and one stores offsets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use iggy::prelude::{
    Client, CompressionAlgorithm, Consumer, ConsumerOffsetClient, Identifier, IggyExpiry, IggyMessage,
    MaxTopicSize, MessageClient, Partitioning, PollingStrategy, StreamClient, TcpClient, TcpClientConfig,
    TopicClient, UserClient,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::limits::rate;
use crate::work::{self, Ledger};

/// Who the client logs in as; the server is told so when it starts.
pub(super) const USER: &str = "iggy";
pub(super) const PASSWORD: &str = "iggy";

/// Messages of one batch.
const BATCH: usize = 1000;

/// The same, where a batch is polled.
const POLLED: u32 = 1000;

/// Batches that wait between two stages.
const AHEAD: usize = 4;

/// The one partition of each topic: they are counted from 0.
const PARTITION: u32 = 0;

/// How long to wait after a poll that found nothing; the server can't.
const IDLE: Duration = Duration::from_millis(1);

/// How long a run may take.
const LONGEST_RUN: Duration = Duration::from_mins(5);

/// A topic on the server, with a connection to it.
struct Topic {
    client: TcpClient,
    stream: Identifier,
    name: Identifier,
}

impl Topic {
    async fn connect(port: u16, stream: &str, name: &str) -> anyhow::Result<Self> {
        let mut config = TcpClientConfig {
            server_address: format!("127.0.0.1:{port}"),
            nodelay: true,
            ..TcpClientConfig::default()
        };
        // It would send a batch again that the server may have.
        config.reconnection.enabled = false;
        let client = TcpClient::create(Arc::new(config))?;
        client.connect().await.context("no connection to Iggy")?;
        let logged_in = client.login_user(USER, PASSWORD).await;
        logged_in.context("no login to Iggy; is it version 0.8?")?;
        let (stream, name) = (Identifier::named(stream)?, Identifier::named(name)?);
        Ok(Self { client, stream, name })
    }

    /// Make the topic, in a stream that is there.
    async fn create(&self, name: &str) -> anyhow::Result<()> {
        let (compression, expiry, size) = (
            CompressionAlgorithm::default(),
            IggyExpiry::NeverExpire,
            MaxTopicSize::Unlimited,
        );
        let made = self
            .client
            .create_topic(&self.stream, name, 1, compression, None, expiry, size);
        made.await.with_context(|| format!("the topic {name}"))?;
        Ok(())
    }

    /// The messages from this offset on, a batch at most.
    async fn poll(&self, from: u64) -> anyhow::Result<Vec<IggyMessage>> {
        let (consumer, from) = (consumer()?, PollingStrategy::offset(from));
        let partition = Some(PARTITION);
        let polled = self.client.poll_messages(
            &self.stream,
            &self.name,
            partition,
            &consumer,
            &from,
            POLLED,
            false,
        );
        Ok(polled.await.context("messages were not polled")?.messages)
    }

    /// The offset that is stored.
    async fn stored(&self) -> anyhow::Result<Option<u64>> {
        let (consumer, partition) = (consumer()?, Some(PARTITION));
        let stored = self
            .client
            .get_consumer_offset(&consumer, &self.stream, &self.name, partition);
        let stored = stored.await.context("the stored offset")?;
        Ok(stored.map(|stored| stored.stored_offset))
    }

    /// How many messages there are from this offset on.
    async fn count(&self, from: u64) -> anyhow::Result<u64> {
        let (mut next, mut count) = (from, 0);
        loop {
            let batch = self.poll(next).await?;
            let Some(last) = batch.last() else {
                return Ok(count);
            };
            (next, count) = (last.header.offset + 1, count + batch.len() as u64);
        }
    }
}

fn consumer() -> anyhow::Result<Consumer> {
    Ok(Consumer::new(Identifier::named("bench")?))
}

/// Publish all events and wait until they are handled, what they emit is there, and their offset is stored.
pub(super) async fn measure(port: u16, name: &str, events: &[Bytes]) -> anyhow::Result<f64> {
    let connect = async |topic| anyhow::Ok(Arc::new(Topic::connect(port, name, topic).await?));
    // A connection for each that publishes, polls, emits and commits.
    let inputs = [connect("in").await?, connect("in").await?, connect("in").await?];
    let output = connect("out").await?;
    output.client.create_stream(name).await.context("a stream")?;
    inputs[0].create("in").await?;
    output.create("out").await?;
    let ledger = Arc::new(Ledger::new(events.len()));
    let begun = Instant::now();
    let mut stages = stages(&inputs, &output, &ledger, events);
    // Whoever fails ends the others: they are dropped with the set.
    let ended = async {
        while let Some(stage) = stages.join_next().await {
            stage??;
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(LONGEST_RUN, ended).await;
    ended.context("it takes too long: messages were lost?")??;
    let rate = rate(events.len(), begun.elapsed());
    ledger.check(output.count(0).await?)?;
    let (events, input) = (events.len() as u64, &inputs[0]);
    let more = input.count(events).await?;
    ensure!(more == 0, "{more} more messages are there than were published");
    let stored = input.stored().await?;
    ensure!(
        stored == Some(events - 1),
        "of {events} events the stored offset is {stored:?}"
    );
    Ok(rate)
}

/// Begin with all stages, each of which ends when it has done its part of all events.
fn stages(
    [publisher, poller, committer]: &[Arc<Topic>; 3],
    output: &Arc<Topic>,
    ledger: &Arc<Ledger>,
    events: &[Bytes],
) -> JoinSet<anyhow::Result<()>> {
    let (pack_to, packed) = mpsc::channel(AHEAD);
    let (handle_to, to_handle) = mpsc::channel(AHEAD);
    let (emit_to, to_emit) = mpsc::channel(AHEAD);
    let (acknowledge, acknowledged) = watch::channel(0);
    let all_published = Arc::new(AtomicBool::new(false));
    let mut stages = JoinSet::new();
    stages.spawn(pack(events.to_vec(), pack_to));
    stages.spawn(publish(Arc::clone(publisher), packed, Arc::clone(&all_published)));
    let count = events.len() as u64;
    stages.spawn(poll(Arc::clone(poller), count, all_published, handle_to));
    stages.spawn(handle(to_handle, Arc::clone(ledger), emit_to));
    stages.spawn(emit(Arc::clone(output), to_emit, acknowledge));
    stages.spawn(commit(Arc::clone(committer), acknowledged));
    stages
}

fn message(payload: Bytes) -> anyhow::Result<IggyMessage> {
    Ok(IggyMessage::builder().payload(payload).build()?)
}

/// Make batches of the events.
async fn pack(events: Vec<Bytes>, to: mpsc::Sender<Vec<IggyMessage>>) -> anyhow::Result<()> {
    for batch in events.chunks(BATCH) {
        let batch = batch.iter().cloned().map(message).collect::<Result<_, _>>()?;
        // Whoever does not listen any more has failed, and says why.
        if to.send(batch).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn send(topic: &Topic, batch: &mut [IggyMessage]) -> anyhow::Result<()> {
    let partition = Partitioning::partition_id(PARTITION);
    let sent = topic
        .client
        .send_messages(&topic.stream, &topic.name, &partition, batch);
    sent.await.context("messages were not sent")
}

/// Publish, and tell when all is published.
async fn publish(
    topic: Arc<Topic>,
    mut from: mpsc::Receiver<Vec<IggyMessage>>,
    all: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    while let Some(mut batch) = from.recv().await {
        send(&topic, &mut batch).await?;
    }
    all.store(true, Ordering::Release);
    Ok(())
}

/// Poll until as many events came; they are lost if none is there after all were published.
#[expect(
    clippy::disallowed_methods,
    reason = "no clock tells when a server has something"
)]
async fn poll(
    topic: Arc<Topic>,
    events: u64,
    all_published: Arc<AtomicBool>,
    to: mpsc::Sender<Vec<IggyMessage>>,
) -> anyhow::Result<()> {
    let mut next = 0;
    while next < events {
        let all = all_published.load(Ordering::Acquire);
        let batch = topic.poll(next).await?;
        match batch.last() {
            Some(last) => next = last.header.offset + 1,
            None if all => bail!("of {events} messages that the server acknowledged it has {next}"),
            None => tokio::time::sleep(IDLE).await,
        }
        if !batch.is_empty() && to.send(batch).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What a batch emits, and the offset of its last event.
type Emitted = (Vec<IggyMessage>, u64);

/// Handle the events of each batch.
async fn handle(
    mut from: mpsc::Receiver<Vec<IggyMessage>>,
    ledger: Arc<Ledger>,
    to: mpsc::Sender<Emitted>,
) -> anyhow::Result<()> {
    while let Some(batch) = from.recv().await {
        let last = batch.last().map_or(0, |last| last.header.offset);
        let mut emitted = Vec::with_capacity(batch.len());
        for event in batch {
            let (id, out) = work::handle(&event.payload)?;
            ledger.handled(id)?;
            emitted.push(message(out.into())?);
        }
        if to.send((emitted, last)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Emit, and tell up to which offset it is acknowledged.
async fn emit(
    topic: Arc<Topic>,
    mut from: mpsc::Receiver<Emitted>,
    acknowledge: watch::Sender<u64>,
) -> anyhow::Result<()> {
    while let Some((mut batch, last)) = from.recv().await {
        send(&topic, &mut batch).await?;
        acknowledge.send_replace(last);
    }
    Ok(())
}

/// Store the latest offset of which all is acknowledged, again and again until the last.
async fn commit(topic: Arc<Topic>, mut acknowledged: watch::Receiver<u64>) -> anyhow::Result<()> {
    let consumer = consumer()?;
    while acknowledged.changed().await.is_ok() {
        let offset = *acknowledged.borrow_and_update();
        let stored = topic.client.store_consumer_offset(
            &consumer,
            &topic.stream,
            &topic.name,
            Some(PARTITION),
            offset,
        );
        stored.await.context("an offset was not stored")?;
    }
    Ok(())
}
