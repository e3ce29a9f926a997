//! Sends spans, on a thread of its own: nobody waits for it but who gave it the spans.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use futures_util::FutureExt as _;
use opentelemetry::Key;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::client::{Answered, Client, Ended};
use super::{BadOtlp, OtlpOptions};

/// What a host is called where nobody says so.
const SERVICE: &str = "nerve";

/// Sends spans, one batch after another.
#[derive(Debug, Clone)]
pub struct Sender(SyncSender<Job>);

#[derive(Debug)]
struct Job {
    spans: Vec<SpanData>,
    answer: oneshot::Sender<Sent>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It was taken.
    Taken,
    /// It was, but for so many spans, which may be none: what the receiver says of it.
    InPart(u64, String),
    /// It was not, and would not be: why.
    Refused(String),
    /// It was not, and may be later: why.
    Later(String),
}

impl Sender {
    /// Start the thread. Where spans go, the environment says.
    pub fn start(options: &OtlpOptions) -> Result<Self, BadOtlp> {
        let ended: Ended = Arc::new(Mutex::new(Ok(Answered::default())));
        let client = Client::new(options.timeout, ended.clone());
        let bad = |what: String| BadOtlp {
            variable: "OTEL_EXPORTER_OTLP_*",
            what,
        };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            // The log is the queue, and who reads it tries again.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|cause| bad(cause.to_string()))?;
        exporter.set_resource(&resource());
        let (jobs, taken) = sync_channel(1);
        std::thread::Builder::new()
            .name("otlp".into())
            .spawn(move || run(&taken, &exporter, &ended))
            .map_err(|cause| bad(format!("its thread does not start: {cause}")))?;
        Ok(Self(jobs))
    }

    /// Send `spans`. Who stops waiting leaves them under way; at most one batch is.
    ///
    /// # Cancel safety
    /// May be cancelled at any time; whether the spans were taken is then unknown.
    pub async fn send(&self, spans: Vec<SpanData>) -> Sent {
        let (answer, ended) = oneshot::channel();
        let busy = self.0.try_send(Job { spans, answer }).is_err();
        if busy {
            return Sent::Later("an earlier request is under way".to_owned());
        }
        let gone = |_| Sent::Later("the exporter's thread ended".to_owned());
        ended.await.unwrap_or_else(gone)
    }
}

fn run(jobs: &Receiver<Job>, exporter: &SpanExporter, ended: &Ended) {
    while let Ok(Job { spans, answer }) = jobs.recv() {
        *ended.lock() = Ok(Answered::default());
        // The client blocks, so that nothing is left to wait for.
        let came = exporter.export(spans).now_or_never();
        let ended = ended.lock().clone();
        let sent = match (came, ended) {
            (Some(Ok(())), Ok(Answered { rejected, says, .. })) if rejected > 0 || !says.is_empty() => {
                Sent::InPart(rejected, says)
            }
            (Some(Ok(())), _) => Sent::Taken,
            (
                _,
                Ok(Answered {
                    status: status @ (429 | 502..=504),
                    ..
                }),
            ) => Sent::Later(format!("it answers {status}")),
            (Some(Err(cause)), Ok(_)) => Sent::Refused(cause.to_string()),
            (None, Ok(_)) => Sent::Later("the request did not end".to_owned()),
            (_, Err(cause)) => Sent::Later(cause),
        };
        // Who asked may have gone.
        answer.send(sent).ok();
    }
}

/// What the environment says of this process.
fn resource() -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version.clone()).build();
    let name = named.get(&Key::from_static_str("service.name"));
    // What the library says where nobody said anything.
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return named;
    }
    Resource::builder()
        .with_attribute(version)
        .with_service_name(SERVICE)
        .build()
}
