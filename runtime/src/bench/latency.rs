//! From publish to settled at a steady rate, one event at a time.

use std::time::{Duration, Instant};

use super::append::ONE_SYNC;
use super::http::Served;
use super::stats::{Figure, Unit, quantile};
use super::{Bench, BenchError, guests};
use crate::host::Host;

/// Events per second over HTTP.
const RATE: u64 = 1000;

/// Events per second in the process.
const RATES: [u64; 3] = [100, 1000, 10_000];

/// Connections that publish over HTTP, each a share of the rate.
const CONNECTIONS: u64 = 8;

impl Bench<'_> {
    /// In the process, each event published alone.
    pub(super) async fn latency_within(&mut self) -> Result<(), BenchError> {
        for rate in RATES {
            let name = format!("publish to settled at {rate}/s");
            if !self.begins(&name) {
                continue;
            }
            let folder = self.folder()?;
            let host = self.host(folder.path())?;
            let plugins = folder.path().join("plugins");
            let names = self.guest.install(&host, &plugins, 1).await?;
            let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
            let mut figures = quantiles.map(|_| Vec::new());
            for run in 0..=self.options.runs {
                let mut micros = within(&host, &names[0], rate, self.options.seconds, run).await?;
                micros.sort_by(f64::total_cmp);
                for (figure, (_, q)) in figures.iter_mut().zip(quantiles).filter(|_| run > 0) {
                    figure.push(quantile(&micros, q));
                }
            }
            host.stop().await?;
            for (runs, (what, _)) in figures.into_iter().zip(quantiles) {
                let figure = Figure::of(format!("{name}, {what}"), Unit::Micros, runs);
                let sync = self.figures.iter().find(|figure| figure.name == ONE_SYNC);
                let ratio = sync
                    .filter(|_| what == "p99")
                    .map(|sync| figure.over(sync, format!("{name}, p99 / one fdatasync's")));
                for figure in [Some(figure), ratio].into_iter().flatten() {
                    self.found(figure);
                }
            }
        }
        Ok(())
    }

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
            .install(&host, &folder.path().join("plugins"), 1)
            .await?;
        let served = Served::host(&host).await?;
        let url = format!("http://{}/v1/events", served.address);
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
        served.end().await?;
        host.stop().await?;
        self.found(Figure::of(format!("{name}, p50"), Unit::Micros, halves));
        self.found(Figure::of(format!("{name}, p99"), Unit::Micros, tails));
        Ok(())
    }
}

/// Microseconds from when each event was to be published to when it was settled and durable.
async fn within(
    host: &Host,
    plugin: &str,
    rate: u64,
    seconds: u64,
    run: usize,
) -> Result<Vec<f64>, BenchError> {
    let (host, plugin) = (host.clone(), plugin.to_owned());
    let runtime = tokio::runtime::Handle::current();
    let events = guests::events(
        host.acceptor(),
        &format!("l{rate}-{run}"),
        0,
        usize::try_from(seconds * rate).expect("a small number"),
    );
    // A thread that sleeps keeps the time better than a task, and takes no processor from what is measured.
    let publishing = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let mut waiting = Vec::with_capacity(events.len());
        for (n, event) in (0..).zip(&events) {
            let due = begun + Duration::from_micros(n * 1_000_000 / rate);
            pass_until(due);
            let published = host.publish(std::slice::from_ref(event));
            let published = published.map_err(|refused| BenchError::Guest(refused.to_string()))?;
            let (host, plugin, offset) = (host.clone(), plugin.clone(), published[0].offset);
            waiting.push(runtime.spawn(async move {
                let settled = host.settled(&plugin, offset, Duration::from_secs(30)).await;
                settled.map_err(|cause| BenchError::Guest(cause.to_string()))?;
                Ok::<_, BenchError>(due.elapsed().as_secs_f64() * 1e6)
            }));
        }
        Ok::<_, BenchError>(waiting)
    });
    let panicked = |panicked: tokio::task::JoinError| BenchError::Guest(panicked.to_string());
    let mut micros = Vec::new();
    for one in publishing.await.map_err(panicked)?? {
        micros.push(one.await.map_err(panicked)??);
    }
    Ok(micros)
}

/// Sleep until `due`.
pub(super) fn pass_until(due: Instant) {
    while let Some(left) = due
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
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
                pass_until(due);
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
