//! Two moments of a host, and what went on between them.

use serde::Serialize;

use super::sample::{PluginSample, Sample};

/// How a host and its plugins fare.
#[derive(Debug, Clone, Serialize)]
pub(super) struct View {
    /// Seconds that what is per second was seen over.
    pub(super) seconds: f64,
    /// The host.
    pub(super) host: HostView,
    /// The plugins, by name.
    pub(super) plugins: Vec<PluginView>,
}

/// How a host fares.
#[derive(Debug, Clone, Serialize)]
pub(super) struct HostView {
    /// Whether it takes events.
    pub(super) ready: bool,
    /// What an acknowledgement survives.
    pub(super) durability: String,
    /// Events that were published, duplicates left out.
    pub(super) published_per_second: f64,
    /// Requests to publish that were refused.
    pub(super) refused_per_second: f64,
    /// Records that are durable.
    pub(super) records: f64,
    /// How many came.
    pub(super) records_per_second: f64,
    /// Bytes that were appended.
    pub(super) bytes_per_second: f64,
    /// Records that wait for the disk.
    pub(super) undurable_records: f64,
    /// Bytes of the log on disk.
    pub(super) log_bytes: f64,
    /// Bytes of it in memory.
    pub(super) hot_bytes: f64,
}

/// How a plugin fares.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PluginView {
    /// Its name.
    pub(super) name: String,
    /// Whether it runs.
    pub(super) status: String,
    /// The version that runs.
    pub(super) version: String,
    /// Why its breaker is open, where it is.
    pub(super) paused: Option<String>,
    /// Attempts.
    pub(super) per_second: f64,
    /// Attempts that failed.
    pub(super) failed_per_second: f64,
    /// Events that wait; none where nothing is delivered to it.
    pub(super) lag: Option<f64>,
    /// How long ago the oldest of them was recorded.
    pub(super) lag_seconds: Option<f64>,
    /// How long a handler ran, on average.
    pub(super) mean_ms: Option<f64>,
    /// How long 99 of 100 handlers ran at most: the bound of the histogram that they are below.
    pub(super) p99_ms: Option<f64>,
    /// Keys that wait for a retry.
    pub(super) parked: f64,
    /// Events that it gave up on.
    pub(super) dead_letters: f64,
    /// Timers that are set.
    pub(super) timers: f64,
    /// Bytes of its state.
    pub(super) state_bytes: f64,
    /// Attempts so far: done, tried again, given up.
    pub(super) outcomes: [f64; 3],
}

impl View {
    /// What `now` is, and what went on since `before`.
    pub(super) fn of(before: &Sample, now: &Sample) -> Self {
        let seconds = now
            .at
            .saturating_duration_since(before.at)
            .as_secs_f64()
            .max(0.001);
        let rate = |name: &str| grown(before.host(name), now.host(name)) / seconds;
        let accepted = |sample: &Sample| sample.host("publish_events_total");
        let host = HostView {
            ready: now.host("ready") > 0.0,
            durability: now.durability.clone(),
            published_per_second: grown(accepted(before), accepted(now)) / seconds,
            refused_per_second: rate("publish_refused_total"),
            records: now.host("log_records_total"),
            records_per_second: rate("log_records_total"),
            bytes_per_second: rate("log_appended_bytes_total"),
            undurable_records: now.host("log_undurable_records"),
            log_bytes: now.host("log_disk_bytes"),
            hot_bytes: now.host("log_hot_bytes"),
        };
        let new = PluginSample::default();
        let plugins = now.plugins.iter().map(|(name, plugin)| {
            let before = before.plugins.get(name).unwrap_or(&new);
            PluginView::of(name, before, plugin, seconds)
        });
        Self {
            seconds,
            host,
            plugins: plugins.collect(),
        }
    }
}

impl PluginView {
    fn of(name: &str, before: &PluginSample, now: &PluginSample, seconds: f64) -> Self {
        let came = |at: usize| grown(before.outcomes[at], now.outcomes[at]) / seconds;
        let figure = |name: &str| now.figure(name).unwrap_or_default();
        let ran = |what: &str| {
            let name = format!("handling_seconds_{what}");
            grown(before.figure(&name).unwrap_or_default(), figure(&name))
        };
        let handlers = ran("count");
        Self {
            name: name.to_owned(),
            status: if figure("stopped") > 0.0 {
                "stopped".to_owned()
            } else {
                now.status.clone()
            },
            version: now.version.clone(),
            paused: now.breaker.clone(),
            per_second: came(0) + came(1) + came(2),
            failed_per_second: came(1) + came(2),
            lag: now.figure("lag_events"),
            lag_seconds: now.figure("lag_seconds"),
            mean_ms: (handlers > 0.0).then(|| ran("sum") / handlers * 1000.0),
            p99_ms: p99(before, now, handlers),
            parked: figure("parked_keys"),
            dead_letters: figure("dead_letters"),
            timers: figure("timers"),
            state_bytes: figure("state_bytes"),
            outcomes: now.outcomes,
        }
    }
}

/// The least bound that 99 of 100 of the handlers that ran are below; the last one where they are not.
fn p99(before: &PluginSample, now: &PluginSample, handlers: f64) -> Option<f64> {
    if handlers <= 0.0 {
        return None;
    }
    let before = |end: f64| {
        let found = before.at_most.iter().find(|(own, _)| *own >= end);
        found.map_or(0.0, |(_, count)| *count)
    };
    let mut finite = now.at_most.iter().filter(|(end, _)| end.is_finite());
    let enough = |(end, count): &&(f64, f64)| grown(before(*end), *count) >= handlers * 0.99;
    let bound = finite.clone().find(enough).or_else(|| finite.next_back());
    bound.map(|(end, _)| end * 1000.0)
}

/// How much a counter grew; one that is less than before began again.
fn grown(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}
