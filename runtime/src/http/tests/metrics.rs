//! `/metrics`: held against the text format by a strict reader, against the facts, and against the page that explains them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::header;

use super::bed::{Bed, event, failed};
use crate::delivery::handler::Handled;
use crate::log::record::FailureClass;

/// The samples by their name and labels as they are written, and the kinds of the families.
#[derive(Debug, Default)]
struct Read {
    samples: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The labels of a sample behind its brace: `a="b",c="d"}`.
fn labels(mut text: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, rest) = text.split_once("=\"").ok_or("no label")?;
        if !is_name(name) {
            return Err(format!("{name:?} is no name of a label"));
        }
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().ok_or("a label does not end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().ok_or("a label does not end")?.1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => return Err(format!("\\{other} is no escape")),
                },
                (_, other) => value.push(other),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
        text = &rest[end + 1..];
        match text.split_at_checked(1) {
            Some((",", more)) => text = more,
            Some(("}", rest)) => return Ok((labels, rest)),
            _ => return Err("no end of the labels".into()),
        }
    }
}

/// Read an exposition; every family has its help and kind before its samples, which stand together.
fn read(text: &str) -> Result<Read, String> {
    let mut out = Read::default();
    let (mut family, mut helped) = (String::new(), String::new());
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in text.lines() {
        let said = |why: &str| format!("{line:?}: {why}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').ok_or_else(|| said("no help"))?;
            if !is_name(name) || !text.ends_with('.') {
                return Err(said("no name, or no sentence"));
            }
            name.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| said("no kind"))?;
            if name != helped || out.kinds.insert(name.into(), kind.into()).is_some() {
                return Err(said("a family without help, or a second time"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(said("counters end in _total, and nothing else does"));
            }
            name.clone_into(&mut family);
        } else {
            let end = line.find(['{', ' ']).ok_or_else(|| said("no value"))?;
            let (name, rest) = line.split_at(end);
            let suffix = name
                .strip_prefix(&*family)
                .ok_or_else(|| said("another family"))?;
            let is_histogram = out.kinds[&family] == "histogram";
            if is_histogram != ["_bucket", "_sum", "_count"].contains(&suffix)
                || (!is_histogram && !suffix.is_empty())
            {
                return Err(said("it is no sample of its family"));
            }
            let (labels, rest) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest).map_err(|why| said(&why))?,
                None => (BTreeMap::new(), rest),
            };
            if (suffix == "_bucket") != labels.contains_key("le") {
                return Err(said("`le` is for buckets"));
            }
            let value = rest.strip_prefix(' ').ok_or_else(|| said("no value"))?;
            let number: f64 = value.parse().map_err(|_| said("no number"))?;
            if !number.is_finite() || number < 0.0 {
                return Err(said("nothing here is less than nothing"));
            }
            let series = format!("{name}{labels:?}");
            if out.samples.insert(series, value.to_owned()).is_some() {
                return Err(said("it is there twice"));
            }
        }
    }
    Ok(out)
}

impl Read {
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels: BTreeMap<String, String> = labels.iter().map(owned).collect();
        self.samples.get(&format!("{name}{labels:?}")).map(String::as_str)
    }
}

impl Bed {
    async fn metrics(&self) -> (Read, String) {
        let answer = self.get("/metrics").await;
        assert_eq!(
            answer.headers[header::CONTENT_TYPE],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let text = String::from_utf8(answer.body).unwrap();
        (read(&text).unwrap_or_else(|bad| panic!("{bad}")), text)
    }
}

#[tokio::test]
async fn the_figures_are_those_of_the_facts_and_name_no_event_and_no_type() {
    let bed = Bed::new();
    bed.deploy("good", "secret.type", Arc::new(|_| Handled::default()));
    bed.deploy(
        "bad",
        "secret.type",
        Arc::new(|_| failed(FailureClass::Reject, "no")),
    );
    let first = event("secret-id", "secret.type");
    bed.publish(&first).await;
    let last = bed.publish(&event("secret-too", "secret.type")).await;
    bed.publish(&first).await;
    bed.post("application/cloudevents+json", "{}")
        .await
        .problem(400, "event-invalid");
    bed.post("text/plain", "")
        .await
        .problem(415, "content-type-unsupported");
    for plugin in ["good", "bad"] {
        bed.settled(plugin, last).await;
    }
    let (read, text) = bed.metrics().await;
    assert!(!text.contains("secret"), "{text}");
    let of = |name: &str, labels: &[(&str, &str)]| {
        read.value(name, labels)
            .unwrap_or_else(|| panic!("no {name} {labels:?} in {text}"))
    };
    assert_eq!(
        of("nerve_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        "1"
    );
    assert_eq!(of("nerve_ready", &[]), "1");
    assert_eq!(of("nerve_publish_events_total", &[("result", "accepted")]), "2");
    assert_eq!(of("nerve_publish_events_total", &[("result", "duplicate")]), "1");
    let refused = |reason| of("nerve_publish_refused_total", &[("reason", reason)]);
    assert_eq!(
        ["event-invalid", "content-type-unsupported", "too-fast"].map(refused),
        ["1", "1", "0"]
    );
    let log = bed.get("/v1/log").await.ok();
    assert_eq!(of("nerve_log_records_total", &[]), log["durable"].to_string());
    assert_ne!(of("nerve_log_hot_bytes", &[]), "0");
    assert_ne!(of("nerve_log_appended_bytes_total", &[]), "0");
    let plugin = |name: &str, plugin: &str| of(name, &[("plugin", plugin)]);
    let outcomes = |plugin: &str| {
        ["done", "retry", "dead"].map(|outcome| {
            of(
                "nerve_plugin_deliveries_total",
                &[("plugin", plugin), ("outcome", outcome)],
            )
        })
    };
    assert_eq!(
        (outcomes("good"), outcomes("bad")),
        (["2", "0", "0"], ["0", "0", "2"])
    );
    assert_eq!(plugin("nerve_plugin_dead_letters", "bad"), "2");
    assert_eq!(
        of("nerve_plugin_status", &[("plugin", "good"), ("status", "live")]),
        "1"
    );
    assert_eq!(
        (
            plugin("nerve_plugin_lag_events", "good"),
            plugin("nerve_plugin_lag_seconds", "good")
        ),
        ("0", "0")
    );
    assert_eq!(
        of(
            "nerve_plugin_decisions_total",
            &[("plugin", "good"), ("decision", "live")]
        ),
        "1"
    );
    assert_eq!(plugin("nerve_plugin_handling_seconds_count", "good"), "2");
    assert_eq!(
        of(
            "nerve_plugin_handling_seconds_bucket",
            &[("plugin", "bad"), ("le", "+Inf")]
        ),
        "2"
    );
    bed.remove("good");
    let (read, _) = bed.metrics().await;
    assert_eq!(
        read.value("nerve_plugin_lag_seconds", &[("plugin", "good")]),
        None
    );
    assert_eq!(
        read.value(
            "nerve_plugin_status",
            &[("plugin", "good"), ("status", "removed")]
        ),
        Some("1")
    );
}

#[tokio::test]
async fn a_plugin_that_is_paused_and_behind_says_so() {
    let bed = Bed::new();
    bed.deploy("p", "t", Arc::new(|_| Handled::default()));
    bed.send(super::bed::request("POST", "/v1/plugins/p/pause", &[], ""))
        .await
        .ok();
    for id in ["a", "b", "c"] {
        bed.publish(&event(id, "t")).await;
    }
    let (read, text) = bed.metrics().await;
    let of =
        |name: &str, labels: &[(&str, &str)]| read.value(name, labels).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(of("nerve_plugin_lag_events", &[("plugin", "p")]), "3");
    assert_ne!(of("nerve_plugin_lag_seconds", &[("plugin", "p")]), "0");
    let open = |why| of("nerve_plugin_breaker_open", &[("plugin", "p"), ("why", why)]);
    assert_eq!(
        ["outage", "exhausted", "operator", "gap"].map(open),
        ["0", "0", "1", "0"]
    );
}

#[tokio::test]
async fn a_plugin_whose_state_is_held_up_is_passed_over_and_nobody_waits_for_it() {
    let bed = Bed::new();
    bed.deploy("held", "t", Arc::new(|_| Handled::default()));
    let held = bed.host.subscribers().get("held").unwrap();
    let (locked, is_locked) = std::sync::mpsc::channel();
    let (let_go, told) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let _state = held.state.lock();
        locked.send(()).unwrap();
        told.recv().ok();
    });
    is_locked.recv().unwrap();
    let (read, _) = bed.metrics().await;
    drop(let_go);
    holder.join().unwrap();
    assert_eq!(read.value("nerve_plugins_passed_over", &[]), Some("1"));
    assert_eq!(
        read.value("nerve_plugin_parked_keys", &[("plugin", "held")]),
        None
    );
}

#[tokio::test]
async fn every_figure_is_on_the_page_and_every_figure_of_the_page_is_there() {
    let bed = Bed::new();
    let (read, _) = bed.metrics().await;
    let page = include_str!("../../../../docs/operating.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `nerve_"));
    let named = rows.map(|row| row.split(['`', '{']).next().unwrap());
    let named: BTreeSet<String> = named.map(|name| format!("nerve_{name}")).collect();
    let served: BTreeSet<String> = read.kinds.keys().cloned().collect();
    assert_eq!(named, served);
}

#[test]
fn the_reader_notices_what_is_no_exposition() {
    let head = "# HELP a_total It is.\n# TYPE a_total counter\n";
    for (text, is_good) in [
        ("a_total 1\n", true),
        ("a_total{b=\"\\\"\\\\\\n\"} 1\n", true),
        ("a_total{b=\"1\"} 1\na_total{b=\"2\"} 1\n", true),
        ("a_total{b=\"1\"} 1\na_total{b=\"1\"} 1\n", false),
        ("a_total{b=\"1\",b=\"2\"} 1\n", false),
        ("a_total{b=\"1} 1\n", false),
        ("a_total -1\n", false),
        ("a_total x\n", false),
        ("b_total 1\n", false),
        ("a_total 1", false),
        ("# TYPE b gauge\nb 1\n", false),
        ("# HELP b It is.\n# TYPE b counter\nb 1\n", false),
    ] {
        assert_eq!(read(&format!("{head}{text}")).is_ok(), is_good, "{text:?}");
    }
}
