//! `GET /metrics`: the figures of the host in the text format of Prometheus.
//!
//! Units are seconds and bytes, counters end in `_total`, and labels are what is few: plugins, outcomes, reasons and
//! limits, never events or their types. `docs/operating.md` says what each means.

mod exposition;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use self::exposition::{Exposition, Kind, seconds};
use super::problem::Problem;
use crate::host::{Figures, Host, PluginFigures};
use crate::log::record::OpenReason;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn show(State(host): State<Host>) -> Result<Response, Problem> {
    let text = render(&host.figures().await?);
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

fn render(figures: &Figures) -> String {
    let mut out = Exposition::default();
    of_the_host(&mut out, figures);
    of_the_log(&mut out, figures);
    of_plugins(&mut out, &figures.plugins);
    out.into_text()
}

fn of_the_host(out: &mut Exposition, figures: &Figures) {
    out.one(
        "nerve_ready",
        Kind::Gauge,
        "Whether events are taken.",
        u64::from(figures.ready),
    );
    out.family(
        "nerve_build_info",
        Kind::Gauge,
        "1, with the version of the host.",
    );
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.family(
        "nerve_publish_events_total",
        Kind::Counter,
        "Events of publishers that were taken since the start, new ones and duplicates.",
    );
    let [accepted, duplicates] = figures.published;
    out.sample(&[("result", "accepted")], accepted);
    out.sample(&[("result", "duplicate")], duplicates);
    out.family(
        "nerve_publish_refused_total",
        Kind::Counter,
        "Requests to publish that were refused since the start, by the code of the problem.",
    );
    for (code, count) in &figures.refused {
        out.sample(&[("reason", code)], *count);
    }
    out.family(
        "nerve_http_denied_total",
        Kind::Counter,
        "Requests that were answered with 401 or 403 since the start, by the code of the problem.",
    );
    for (code, count) in &figures.denied {
        out.sample(&[("reason", code)], *count);
    }
    out.one(
        "nerve_plugins_passed_over",
        Kind::Gauge,
        "Plugins that are left out here, since their state was not to be had at once.",
        figures.passed_over as u64,
    );
    let exported = &figures.exported;
    out.family(
        "nerve_otlp_spans_total",
        Kind::Counter,
        "Spans of deliveries since the start, by whether the collector took them.",
    );
    out.sample(&[("result", "exported")], exported.exported);
    out.sample(&[("result", "dropped")], exported.dropped);
    out.one(
        "nerve_otlp_passed_over_records_total",
        Kind::Counter,
        "Records since the start of which no span was made, for they had fallen too far behind.",
        exported.passed_over,
    );
}

fn of_the_log(out: &mut Exposition, figures: &Figures) {
    let (bounds, log) = (figures.bounds, &figures.log);
    let hot = (bounds.last.0 + 1).saturating_sub(bounds.hot_first.0);
    for (name, kind, help, value) in [
        (
            "nerve_log_records_total",
            Kind::Counter,
            "Records that are durable, since the log began.",
            bounds.durable.0,
        ),
        (
            "nerve_log_appended_bytes_total",
            Kind::Counter,
            "Bytes that were appended since the start.",
            figures.appended_bytes,
        ),
        (
            "nerve_log_undurable_records",
            Kind::Gauge,
            "Records that are appended and not durable yet.",
            bounds.last.0.saturating_sub(bounds.durable.0),
        ),
        (
            "nerve_log_undurable_bytes",
            Kind::Gauge,
            "Bytes that wait for the disk.",
            figures.memory.undurable_bytes as u64,
        ),
        (
            "nerve_log_hot_records",
            Kind::Gauge,
            "Records that are in memory.",
            hot,
        ),
        (
            "nerve_log_hot_bytes",
            Kind::Gauge,
            "Bytes of the records that are in memory.",
            figures.memory.hot_bytes as u64,
        ),
        (
            "nerve_log_first_offset",
            Kind::Gauge,
            "The first offset that retention has left.",
            bounds.first.0,
        ),
        (
            "nerve_log_segments",
            Kind::Gauge,
            "Segments on disk.",
            log.segments as u64,
        ),
        (
            "nerve_log_disk_bytes",
            Kind::Gauge,
            "Bytes of the segments on disk.",
            log.bytes,
        ),
        (
            "nerve_log_short_of_room",
            Kind::Gauge,
            "Whether publishers are refused since the disk is nearly full.",
            u64::from(log.short_of_room),
        ),
        (
            "nerve_log_damaged_places",
            Kind::Gauge,
            "Places of sealed segments that the scrub found damaged.",
            log.scrub.damage.len() as u64 + log.scrub.more,
        ),
        (
            "nerve_log_scrub_passes_total",
            Kind::Counter,
            "Passes of the scrub over all sealed segments, since the start.",
            log.scrub.passes,
        ),
    ] {
        out.one(name, kind, help, value);
    }
}

fn of_plugins(out: &mut Exposition, plugins: &[PluginFigures]) {
    out.family(
        "nerve_plugin_info",
        Kind::Gauge,
        "1, with the version that is live or was live last, and its author's text.",
    );
    for plugin in plugins {
        if let Some((version, label)) = &plugin.version {
            let version = version.to_string();
            out.sample(
                &[("plugin", &plugin.name), ("version", &version), ("label", label)],
                1,
            );
        }
    }
    out.family(
        "nerve_plugin_status",
        Kind::Gauge,
        "1, with whether the plugin runs: live, paused, removed, refused or waiting.",
    );
    for plugin in plugins {
        out.sample(&[("plugin", &plugin.name), ("status", plugin.standing.word())], 1);
    }
    outcomes(out, plugins);
    counts(out, plugins);
    out.family(
        "nerve_plugin_breaker_open",
        Kind::Gauge,
        "Whether the plugin's breaker is open, for each reason that there is.",
    );
    for plugin in plugins {
        for (why, word) in [
            (OpenReason::Outage, "outage"),
            (OpenReason::Exhausted, "exhausted"),
            (OpenReason::Operator, "operator"),
            (OpenReason::Gap, "gap"),
        ] {
            let open = u64::from(plugin.open == Some(why));
            out.sample(&[("plugin", &plugin.name), ("why", word)], open);
        }
    }
    out.family(
        "nerve_plugin_limits_hit_total",
        Kind::Counter,
        "How often a limit was hit, since the log began, by its setting.",
    );
    for plugin in plugins {
        for (limit, count) in &plugin.limits_hit {
            out.sample(&[("plugin", &plugin.name), ("limit", limit)], *count);
        }
    }
    decisions(out, plugins);
    out.family(
        "nerve_plugin_handling_seconds",
        Kind::Histogram,
        "How long handlers ran, since the start.",
    );
    for plugin in plugins {
        out.histogram(&[("plugin", &plugin.name)], &plugin.took);
    }
}

fn outcomes(out: &mut Exposition, plugins: &[PluginFigures]) {
    out.family(
        "nerve_plugin_deliveries_total",
        Kind::Counter,
        "Outcomes of deliveries, since the log began.",
    );
    for plugin in plugins {
        for (outcome, count) in ["done", "retry", "dead"].into_iter().zip(plugin.counters) {
            out.sample(&[("plugin", &plugin.name), ("outcome", outcome)], count);
        }
    }
    let lags = || {
        plugins
            .iter()
            .filter_map(|plugin| Some((&*plugin.name, plugin.lag?)))
    };
    out.family(
        "nerve_plugin_lag_events",
        Kind::Gauge,
        "Matching events in memory that the plugin has not settled.",
    );
    for (name, (events, _)) in lags() {
        out.sample(&[("plugin", name)], events);
    }
    out.family(
        "nerve_plugin_lag_seconds",
        Kind::Gauge,
        "How long ago the oldest of them was recorded; those behind parked keys left out.",
    );
    for (name, (_, age)) in lags() {
        out.sample(&[("plugin", name)], seconds(age));
    }
}

/// A name, what it is, what it says, and where it stands.
type Count = (&'static str, Kind, &'static str, fn(&PluginFigures) -> u64);

fn counts(out: &mut Exposition, plugins: &[PluginFigures]) {
    let counts: [Count; 7] = [
        (
            "nerve_plugin_conflicts_total",
            Kind::Counter,
            "Runs that were discarded since another lane had changed what they read, since the log began.",
            |plugin| plugin.conflicts,
        ),
        (
            "nerve_plugin_parked_keys",
            Kind::Gauge,
            "Keys whose oldest event waits for a retry.",
            |plugin| plugin.parked as u64,
        ),
        (
            "nerve_plugin_dead_letters",
            Kind::Gauge,
            "Events that the plugin gave up on, and that nobody has dropped or redriven.",
            |plugin| plugin.dead_letters as u64,
        ),
        (
            "nerve_plugin_timers",
            Kind::Gauge,
            "Timers that are set.",
            |plugin| plugin.timers as u64,
        ),
        (
            "nerve_plugin_stopped",
            Kind::Gauge,
            "Whether deliveries stopped for damage, or a version that does not load.",
            |plugin| plugin.stopped.into(),
        ),
        (
            "nerve_plugin_state_keys",
            Kind::Gauge,
            "Keys of the plugin's state.",
            |plugin| plugin.state_keys as u64,
        ),
        (
            "nerve_plugin_state_bytes",
            Kind::Gauge,
            "Bytes of the plugin's state.",
            |plugin| plugin.state_bytes as u64,
        ),
    ];
    for (name, kind, help, value) in counts {
        out.family(name, kind, help);
        for plugin in plugins {
            out.sample(&[("plugin", &plugin.name)], value(plugin));
        }
    }
}

fn decisions(out: &mut Exposition, plugins: &[PluginFigures]) {
    out.family(
        "nerve_plugin_decisions_total",
        Kind::Counter,
        "What was decided of the plugin's versions, since the log began.",
    );
    for plugin in plugins {
        let decided = &plugin.decisions;
        for (decision, count) in [
            ("live", decided.live),
            ("refused", decided.refused),
            ("waiting", decided.waiting),
            ("removed", decided.removed),
            ("promoted", decided.promoted),
            ("rolled_back", decided.rolled_back),
            ("failed_probation", decided.failed_probation),
        ] {
            out.sample(&[("plugin", &plugin.name), ("decision", decision)], count);
        }
    }
}
