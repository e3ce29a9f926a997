//! From publish to settled at a steady rate, one event at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nerve_eventlog::SystemClock;

use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError, guests};
use crate::access::Access;
use crate::host::Host;

/// Events per second.
const RATE: u64 = 1000;

/// Connections that publish over HTTP, each a share of the rate.
const CONNECTIONS: u64 = 8;

impl Bench<'_> {
    /// Over HTTP: every event a request of its own, on connections that are kept.
    pub(super) async fn latency(&mut self) -> Result<(), BenchError> {
        let name = format!("HTTP request to settled at {RATE}/s");
        if !self.begins(&name) {
            return Ok(());
        }
        let folder = self.folder()?;
        let host = self.host(folder.path())?;
        let names = self
            .guest
            .install(&host, &folder.path().join("plugins"), 1, 1)
            .await?;
        let no_server = |cause: std::io::Error| BenchError::Http(cause.to_string());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(no_server)?;
        let url = format!("http://{}/v1/events", listener.local_addr().map_err(no_server)?);
        let stopping = host.clone();
        let access = Access::everybody(Arc::new(SystemClock));
        let server = tokio::spawn(crate::http::serve(host.clone(), listener, access, async move {
            stopping.stopping().await;
        }));
        let (mut halves, mut tails) = (Vec::new(), Vec::new());
        for run in 0..=self.options.runs {
            let mut micros = steady(&host, &names[0], &url, self.options.seconds, run).await?;
            micros.sort_by(f64::total_cmp);
            if run > 0 {
                halves.push(quantile(&micros, 0.5));
                tails.push(quantile(&micros, 0.99));
            }
        }
        host.announce_stop();
        server
            .await
            .map_err(|panicked| BenchError::Http(panicked.to_string()))?
            .map_err(no_server)?;
        host.stop().await?;
        self.found(Figure::of(format!("{name}, p50"), Unit::Micros, halves));
        self.found(Figure::of(format!("{name}, p99"), Unit::Micros, tails));
        Ok(())
    }
}

/// Microseconds from when each event was to be published, whether or not the host was ready, to when it was settled and
/// durable. Every event is a `POST` in structured mode.
async fn steady(
    host: &Host,
    plugin: &str,
    url: &str,
    seconds: u64,
    run: usize,
) -> Result<Vec<f64>, BenchError> {
    let begun = Instant::now();
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (host, plugin, url) = (host.clone(), plugin.to_owned(), url.to_owned());
        connections.spawn_blocking(move || {
            let agent = ureq::Agent::new_with_defaults();
            let runtime = tokio::runtime::Handle::current();
            let mut out = Vec::new();
            for n in
                (connection..seconds * RATE).step_by(usize::try_from(CONNECTIONS).expect("a small number"))
            {
                let due = begun + Duration::from_micros(n * 1_000_000 / RATE);
                while let Some(left) = due
                    .checked_duration_since(Instant::now())
                    .filter(|left| !left.is_zero())
                {
                    std::thread::park_timeout(left);
                }
                let offset = post(&agent, &url, &guests::structured(&format!("h{run}"), n))?;
                runtime
                    .block_on(host.settled(&plugin, offset, Duration::from_secs(30)))
                    .map_err(|cause| BenchError::Guest(cause.to_string()))?;
                out.push(due.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, BenchError>(out)
        });
    }
    let mut out = Vec::new();
    while let Some(done) = connections.join_next().await {
        out.extend(done.map_err(|panicked| BenchError::Guest(panicked.to_string()))??);
    }
    Ok(out)
}

fn post(agent: &ureq::Agent, url: &str, body: &str) -> Result<nerve_eventlog::Offset, BenchError> {
    let refused = |cause: ureq::Error| BenchError::Http(cause.to_string());
    let mut response = agent
        .post(url)
        .header("content-type", "application/cloudevents+json")
        .send(body)
        .map_err(refused)?;
    let answer: serde_json::Value = response.body_mut().read_json().map_err(refused)?;
    let offset = answer["offset"]
        .as_u64()
        .ok_or_else(|| BenchError::Http(answer.to_string()))?;
    Ok(nerve_eventlog::Offset(offset))
}
