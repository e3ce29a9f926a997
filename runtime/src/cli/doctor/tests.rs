//! What people see of the reports.

use nerve_eventlog::Micros;

use super::{html, text};
use crate::doctor::traces::{Operation, Plan, PlannedEvent, PlannedPlugin, Risk, TraceReport};
use crate::doctor::{Evidence, Examined, Finding, Report};

fn report() -> Report {
    Report {
        examined: Examined {
            first: 1,
            last: 20,
            since: Some(Micros(1_760_000_000_000_000)),
            until: Some(Micros(1_760_000_060_000_000)),
            records: 20,
            events: 10,
            attempts: 8,
            deployments: 2,
            plugins: 2,
            unread: 0,
            webhooks: vec!["billing".into()],
        },
        findings: vec![Finding {
            symptom: "hub".into(),
            title: "An event that everybody depends on".into(),
            says: "5 of 6 plugins consume <b>&order.placed</b>, which comes from carts.".into(),
            evidence: vec![
                Evidence {
                    text: "a, b, c, d and e subscribe to it; 10 events were seen".into(),
                    offsets: vec![17, 19],
                },
                Evidence::default(),
            ],
            remedy: "Ask what each of them needs of it, and state the smaller facts that they need as events of their own. \
                     Until then change it only by adding optional fields."
                .into(),
            ..Finding::default()
        }],
        not_found: vec!["domino".into(), "cycle".into()],
    }
}

#[test]
fn a_report_on_a_log_as_text() {
    assert_eq!(
        text::of_log(&report()),
        "\
Examined: 20 records (offsets 1 to 20), from 2025-10-09T08:53:20Z to 2025-10-09T08:54:20Z: 10 events, 8 attempts of deliveries, 2 deployments, 2 plugins, of them webhooks: billing.

1. An event that everybody depends on [hub]
   5 of 6 plugins consume <b>&order.placed</b>, which comes from carts.
   - a, b, c, d and e subscribe to it; 10 events were seen (@17, @19)
   -
   Remedy: Ask what each of them needs of it, and state the smaller facts that they need as events of their
   own. Until then change it only by adding optional fields.

Looked for and not found: domino, cycle.
"
    );
    let none = Report {
        findings: Vec::new(),
        ..report()
    };
    assert!(text::of_log(&none).contains("\nNo symptom was found.\n"));
}

fn traces() -> TraceReport {
    TraceReport {
        operations: vec![Operation {
            service: "checkout".into(),
            name: "POST /orders".into(),
            requests: 3,
            depth: 1,
            waits_for: [("payment".to_owned(), 3)].into(),
            median_us: 90_000,
            ..Operation::default()
        }],
        risks: vec![Risk {
            service: "payment".into(),
            operations: [("checkout: POST /orders".to_owned(), 3)].into(),
            requests: 3,
            percent: 100,
        }],
        plan: Some(Plan {
            service: "checkout".into(),
            operation: "POST /orders".into(),
            why: "3 requests waited".into(),
            events: vec![PlannedEvent {
                r#type: "order.created".into(),
                stated_by: "checkout".into(),
                instead_of: "POST /orders".into(),
                heard_by: vec!["payment".into()],
            }],
            plugins: vec![PlannedPlugin {
                name: "payment".into(),
                service: "payment".into(),
                reactions: Vec::new(),
            }],
            ..Plan::default()
        }),
        ..TraceReport::default()
    }
}

#[test]
fn a_report_on_traces_as_text() {
    assert_eq!(
        text::of_traces(&traces()),
        "\
Examined: 0 spans in 0 traces of 0 services: 0 requests.

OPERATION     SERVICE   REQUESTS  MEDIAN   DEPTH  WAITS FOR
POST /orders  checkout  3         90.0 ms  1      payment

No symptom was found.

Convert first: POST /orders of checkout
  3 requests waited.
  - checkout states order.created when POST /orders is done; heard by payment
  checkout publishes the first event (POST /v1/events) instead of calling; the plugins are payment.
  `--scaffold DIR` makes their crates.
"
    );
}

#[test]
fn a_page_holds_all_of_the_report_asks_nobody_for_anything_and_runs_nothing() {
    for page in [html::of_log(&report()), html::of_traces(&traces())] {
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(
            page.contains("prefers-color-scheme:dark")
                && page.contains("name=\"viewport\"")
                && page.contains("lang=\"en\"")
        );
        for asks in [
            "http:", "https:", "//", "src=", "href=", "url(", "@import", "<script",
        ] {
            assert!(!page.contains(asks), "{asks}");
        }
        let open =
            |tag: &str| page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        for tag in [
            "article", "table", "ul", "p", "h1", "h2", "h3", "main", "div", "tbody", "tr",
        ] {
            assert_eq!(open(tag), page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
    let page = html::of_log(&report());
    assert!(page.contains("consume &lt;b&gt;&amp;order.placed&lt;/b&gt;, which") && page.contains("@17 @19"));
    assert!(html::of_traces(&traces()).contains("<code>order.created</code>"));
}
