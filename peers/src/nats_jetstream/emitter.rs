//! Publishes in one of the ways there are, and knows how much of it is acknowledged.

use std::collections::VecDeque;

use async_nats::Subject;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishAckFuture;
use bytes::Bytes;
use jetstream_extra::batch_publish::{BatchPublish, BatchPublishExt};
use jetstream_extra::batch_publish_fast::{FastPublishExt, FastPublisher};
use tokio::task::JoinHandle;

use super::Publish;

/// Messages whose acknowledgement is outstanding.
const WINDOW: usize = 4096;

/// Messages of a fast batch between two signs of progress.
const FLOW: u16 = 500;

/// Messages of an atomic batch; the server takes no more.
const ATOMIC: u64 = 1000;

/// Atomic batches that are being committed.
const COMMITTING: usize = 4;

/// Publishes.
pub(super) enum Emitter {
    /// Each message by itself.
    Single {
        context: Context,
        subject: Subject,
        outstanding: VecDeque<PublishAckFuture>,
        confirmed: u64,
    },
    /// In a fast batch that goes on.
    Fast {
        publisher: FastPublisher,
        subject: Subject,
    },
    /// In one atomic batch after the other.
    Atomic(Batches),
}

/// Atomic batches.
pub(super) struct Batches {
    context: Context,
    subject: Subject,
    /// What is published, but for the last message, with which a batch is committed.
    open: Option<BatchPublish<Context>>,
    last: Option<Bytes>,
    committing: VecDeque<JoinHandle<anyhow::Result<u64>>>,
    confirmed: u64,
}

impl Emitter {
    pub(super) fn new(context: Context, subject: &str, publish: Publish) -> anyhow::Result<Self> {
        let subject = Subject::from(subject);
        Ok(match publish {
            Publish::Single => Self::Single {
                context,
                subject,
                outstanding: VecDeque::with_capacity(WINDOW),
                confirmed: 0,
            },
            Publish::Fast => Self::Fast {
                publisher: context
                    .fast_publish()
                    .flow(FLOW)
                    .max_outstanding_acks(3)
                    .build()?,
                subject,
            },
            Publish::Atomic => Self::Atomic(Batches {
                context,
                subject,
                open: None,
                last: None,
                committing: VecDeque::new(),
                confirmed: 0,
            }),
        })
    }

    /// Publish, and answer how many of the first messages are acknowledged.
    pub(super) async fn emit(&mut self, data: Bytes) -> anyhow::Result<u64> {
        match self {
            Self::Single {
                context,
                subject,
                outstanding,
                confirmed,
            } => {
                if outstanding.len() == WINDOW
                    && let Some(first) = outstanding.pop_front()
                {
                    first.await?;
                    *confirmed += 1;
                }
                outstanding.push_back(context.publish(subject.clone(), data).await?);
                Ok(*confirmed)
            }
            Self::Fast { publisher, subject } => Ok(publisher.add(subject.clone(), data).await?.ack_sequence),
            Self::Atomic(batches) => batches.emit(data).await,
        }
    }

    /// Wait until all are acknowledged.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Single { outstanding, .. } => {
                for one in outstanding {
                    one.await?;
                }
            }
            Self::Fast { publisher, .. } => {
                publisher.close().await?;
            }
            Self::Atomic(mut batches) => {
                batches.commit();
                for one in batches.committing {
                    one.await??;
                }
            }
        }
        Ok(())
    }
}

impl Batches {
    async fn emit(&mut self, data: Bytes) -> anyhow::Result<u64> {
        if self.open.as_ref().is_some_and(|open| open.size() + 1 == ATOMIC) {
            self.commit();
        }
        if let Some(before) = self.last.replace(data) {
            let open = self
                .open
                .get_or_insert_with(|| self.context.batch_publish().build());
            open.add(self.subject.clone(), before).await?;
        }
        if self.committing.len() > COMMITTING
            && let Some(first) = self.committing.pop_front()
        {
            self.confirmed += first.await??;
        }
        Ok(self.confirmed)
    }

    /// Begin to commit what is there.
    fn commit(&mut self) {
        let Some(last) = self.last.take() else { return };
        let open = self
            .open
            .take()
            .unwrap_or_else(|| self.context.batch_publish().build());
        let subject = self.subject.clone();
        let commit = async move { Ok(open.commit(subject, last).await?.batch_size) };
        self.committing.push_back(tokio::spawn(commit));
    }
}
