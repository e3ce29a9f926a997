//! Publishing over HTTP, acknowledged from the disk: one event a request, many, and as a stream; beside the same requests to a
//! handler that does nothing but read them, which is the limit of the server and of the client that asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::post;
use futures_util::StreamExt as _;
use nerve_eventlog::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::machine::processor_time;
use super::stats::{Figure, Unit};
use super::{Bench, BenchError, guests};
use crate::access::Access;
use crate::host::Host;
use crate::http::Entrance;

/// What one scenario sends.
struct Sending {
    connections: usize,
    /// Events of one request, or of one chunk of a stream.
    batch: usize,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Mode {
    /// An event is a request.
    Structured,
    /// An array is a request, and is sent when the one before is answered.
    Batched,
    /// A line is an event, and all are one request, which is answered while it is sent.
    Streamed,
}

/// What is sent, by what it is called, with the events of one part.
const KINDS: [(&str, usize, Mode); 3] = [
    ("an event a request", 1, Mode::Structured),
    ("batches of 256", 256, Mode::Batched),
    ("streamed", 256, Mode::Streamed),
];

/// On how many connections.
const CONNECTIONS: [usize; 3] = [1, 16, 256];

/// Requests of one connection in a run: more where one is answered sooner.
const REQUESTS: usize = 20_000;

impl Bench<'_> {
    pub(super) async fn http(&mut self) -> Result<(), BenchError> {
        let all = KINDS
            .into_iter()
            .flat_map(|kind| CONNECTIONS.map(|connections| (kind, connections)));
        for ((what, batch, mode), connections) in all {
            let plural = if connections == 1 { "" } else { "s" };
            let name = format!("HTTP publish, {what}, {connections} connection{plural}");
            if !self.begins(&name) {
                continue;
            }
            let sending = Sending {
                connections,
                batch,
                mode,
            };
            let folder = self.folder()?;
            let host = self.host(folder.path())?;
            let served = Served::host(&host).await?;
            let empty = Served::empty().await?;
            let (mut host_runs, mut empty_runs) = (Vec::new(), Vec::new());
            for run in 0..=self.options.runs {
                let of_host = sending.run(served.address, "/v1/events", run).await?;
                let of_empty = sending.run(empty.address, "/", run).await?;
                if run > 0 {
                    host_runs.push(of_host);
                    empty_runs.push(of_empty);
                }
            }
            host.announce_stop();
            served.end().await?;
            host.stop().await?;
            empty.task.abort();
            let nothing = format!("{name}: a handler that does nothing");
            let [rate, used] = figures(&name, host_runs);
            let [limit, used_by_empty] = figures(&nothing, empty_runs);
            let share = rate.over(&limit, format!("{name} / the same"));
            for figure in [rate, used, limit, used_by_empty, share] {
                self.found(figure);
            }
        }
        Ok(())
    }
}

/// The rate and the processor time of `runs`.
fn figures(name: &str, runs: Vec<(f64, f64)>) -> [Figure; 2] {
    let (rates, used) = runs.into_iter().unzip();
    let of_an_event = format!("{name}, processor time of an event, its client included");
    [
        Figure::of(name, Unit::PerSecond, rates),
        Figure::of(of_an_event, Unit::Micros, used),
    ]
}

impl Sending {
    /// Events per second that were answered, and the microseconds of processor time that one of them took, on both sides.
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    async fn run(&self, address: SocketAddr, path: &str, run: usize) -> Result<(f64, f64), BenchError> {
        let requests = (REQUESTS / self.connections / self.batch.isqrt()).max(10);
        let mut senders = Vec::with_capacity(self.connections);
        for connection in 0..self.connections {
            let parts = self.parts((address, path), &format!("{run}-{connection}"), requests);
            let stream = TcpStream::connect(address).await.map_err(broken)?;
            stream.set_nodelay(true).map_err(broken)?;
            senders.push((stream, parts));
        }
        // Nobody sends while another's requests are still being made: neither would be measured.
        let (begun, used) = (Instant::now(), processor_time());
        let mut connections = JoinSet::new();
        let (mode, of_one) = (self.mode, requests * self.batch);
        for (stream, parts) in senders {
            connections.spawn(async move {
                let sent = match mode {
                    Mode::Structured | Mode::Batched => ask_all(stream, &parts).await,
                    Mode::Streamed => stream_all(stream, &parts, of_one).await,
                };
                sent.map_err(broken)
            });
        }
        while let Some(done) = connections.join_next().await {
            done.map_err(|panicked| BenchError::Http(panicked.to_string()))??;
        }
        let (took, used) = (begun.elapsed().as_secs_f64(), processor_time() - used);
        let events = (requests * self.connections * self.batch) as f64;
        Ok((events / took, used / events))
    }

    /// What one connection sends: `requests` of them, or the head and as many chunks of one that is a stream.
    fn parts(&self, (address, path): (SocketAddr, &str), run: &str, requests: usize) -> Vec<Vec<u8>> {
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n");
        let events = |n: usize| {
            let events = n * self.batch..(n + 1) * self.batch;
            events
                .map(|n| guests::structured(run, n as u64))
                .collect::<Vec<String>>()
        };
        let whole = |kind: &str, body: &str| {
            let length = body.len();
            format!("{head}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
        };
        let requests = 0..requests;
        match self.mode {
            Mode::Structured => requests
                .map(|n| whole("application/cloudevents+json", &events(n).concat()))
                .collect(),
            Mode::Batched => requests
                .map(|n| {
                    whole(
                        "application/cloudevents-batch+json",
                        &format!("[{}]", events(n).join(",")),
                    )
                })
                .collect(),
            Mode::Streamed => {
                let begin =
                    format!("{head}content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n");
                let chunks = requests.map(|n| {
                    let lines = events(n).join("\n");
                    format!("{:x}\r\n{lines}\n\r\n", lines.len() + 1)
                });
                let all = [begin].into_iter().chain(chunks).chain(["0\r\n\r\n".to_owned()]);
                all.map(String::into_bytes).collect()
            }
        }
    }
}

/// Send each request when the one before is answered.
async fn ask_all(mut stream: TcpStream, requests: &[Vec<u8>]) -> std::io::Result<()> {
    let mut answer = Vec::with_capacity(64 << 10);
    for request in requests {
        stream.write_all(request).await?;
        answer.clear();
        read_until(&mut stream, &mut answer, |answer| {
            Ok(length(answer)?.is_some_and(|whole| answer.len() >= whole))
        })
        .await?;
    }
    Ok(())
}

/// Send the `parts` of one request of so many `events` while its answer comes in, which ends with its last chunk.
async fn stream_all(stream: TcpStream, parts: &[Vec<u8>], events: usize) -> std::io::Result<()> {
    let (mut answers, mut requests) = stream.into_split();
    let mut answer = Vec::with_capacity(64 << 10);
    let sent = async {
        for part in parts {
            requests.write_all(part).await?;
        }
        Ok(())
    };
    let read = read_until(&mut answers, &mut answer, |answer| {
        // A handler that does nothing answers with a head alone.
        Ok(length(answer)?.is_some_and(|head| {
            let is_empty = !String::from_utf8_lossy(&answer[..head]).contains("chunked");
            is_empty || answer.ends_with(b"\r\n0\r\n\r\n")
        }))
    });
    tokio::try_join!(sent, read)?;
    let answer = String::from_utf8_lossy(&answer);
    let is_whole =
        answer.contains("content-length: 0") || answer.contains(&format!("{{\"taken\":{events}}}"));
    if !is_whole {
        return Err(std::io::Error::other(answer.into_owned()));
    }
    Ok(())
}

/// Read into `answer` until it is whole.
async fn read_until(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    answer: &mut Vec<u8>,
    is_whole: impl Fn(&[u8]) -> std::io::Result<bool>,
) -> std::io::Result<()> {
    while !is_whole(answer)? {
        if stream.read_buf(answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// The length of an answer, once its head is there; an error where it is no success.
fn length(answer: &[u8]) -> std::io::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&answer[..head]);
    if !text.starts_with("HTTP/1.1 200") {
        return Err(std::io::Error::other(
            String::from_utf8_lossy(answer).into_owned(),
        ));
    }
    let length = text.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    Ok(Some(head + 4 + length.unwrap_or_default()))
}

/// A server, and where it is.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// The API of `host`, until it announces its stop.
    pub(super) async fn host(host: &Host) -> Result<Self, BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        let stopping = host.clone();
        let entrance = Entrance {
            access: Access::everybody(Arc::new(SystemClock)),
            tls: None,
        };
        let task = tokio::spawn(crate::http::serve(host.clone(), listener, entrance, async move {
            stopping.stopping().await;
        }));
        Ok(Self { address, task })
    }

    /// A handler that takes what it gets and answers nothing.
    async fn empty() -> Result<Self, BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        let read = async |body: axum::body::Body| {
            let mut parts = body.into_data_stream();
            while let Some(Ok(_)) = parts.next().await {}
        };
        let router = Router::new().route("/", post(read));
        let task = tokio::spawn(crate::http::serve_router(
            router,
            listener,
            std::future::pending(),
        ));
        Ok(Self { address, task })
    }

    /// Wait for its end.
    pub(super) async fn end(self) -> Result<(), BenchError> {
        let ended = self.task.await;
        ended
            .map_err(|panicked| BenchError::Http(panicked.to_string()))?
            .map_err(broken)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it takes what map_err has")]
fn broken(cause: std::io::Error) -> BenchError {
    BenchError::Http(cause.to_string())
}
