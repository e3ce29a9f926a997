//! Traces that are written by hand, in both formats, with chains that are known.

use serde_json::{Value, json};

use super::{BadTraces, Kind, TraceReport, examine, read, scaffold};

/// A span: id, parent, service, name, kind, when it began in milliseconds, and how long it took.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, u8, u64, u64);

/// Placing an order: checkout calls payment and stock, which calls the store; it asks the catalog, and sends a message that
/// mails handle.
const ORDER: &[Row<'_>] = &[
    ("01", "", "checkout", "POST /orders", 2, 0, 90),
    ("02", "01", "checkout", "GET", 3, 5, 10),
    ("03", "02", "catalog", "GET /products/{id}", 2, 6, 8),
    ("04", "01", "checkout", "shop.Payment/Charge", 3, 20, 20),
    ("05", "04", "payment", "shop.Payment/Charge", 2, 22, 16),
    ("06", "01", "checkout", "shop.Stock/ReserveItems", 3, 45, 30),
    ("07", "06", "stock", "shop.Stock/ReserveItems", 2, 47, 26),
    ("08", "07", "stock", "shop.Warehouse/AddPick", 3, 50, 20),
    ("09", "08", "warehouse", "shop.Warehouse/AddPick", 2, 52, 16),
    ("0a", "01", "checkout", "orders publish", 4, 80, 2),
    ("0b", "0a", "mails", "orders process", 5, 85, 40),
    ("0c", "0b", "mails", "POST", 3, 90, 30),
    ("0d", "0c", "smtp", "POST /send", 2, 91, 28),
];

const NAMES: [&str; 6] = ["", "", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

fn trace(number: usize) -> String {
    format!("{number:032x}")
}

/// The rows as one OTLP request for each service, kinds as numbers or as names.
fn otlp(traces: usize, rows: &[Row<'_>], names: bool) -> Vec<Value> {
    let mut services: Vec<&str> = rows.iter().map(|row| row.2).collect();
    services.sort_unstable();
    services.dedup();
    let of = |service: &str, n: usize| {
        let spans = rows.iter().filter(|row| row.2 == service).map(|(id, parent, _, name, kind, start, took)| {
            let start = 1_760_000_000_000 + start;
            json!({
                "traceId": trace(n + 1), "spanId": id, "parentSpanId": parent, "name": name,
                "kind": if names { json!(format!("SPAN_KIND_{}", NAMES[usize::from(*kind)])) } else { json!(kind) },
                "startTimeUnixNano": format!("{}", start * 1_000_000), "endTimeUnixNano": format!("{}", (start + took) * 1_000_000),
                "attributes": [{ "key": "x", "value": { "intValue": "7" } }], "status": {},
            })
        });
        let spans: Vec<Value> = spans.collect();
        json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] },
            "scopeSpans": [{ "scope": { "name": "t" }, "spans": spans }],
        }] })
    };
    (0..traces)
        .flat_map(|n| services.iter().map(move |service| (n, *service)))
        .map(|(n, service)| of(service, n))
        .collect()
}

/// The rows as Jaeger gives them.
fn jaeger(traces: usize, rows: &[Row<'_>]) -> Value {
    let one = |n: usize| {
        let spans = rows.iter().map(|(id, parent, service, name, kind, start, took)| {
            let references = if parent.is_empty() {
                json!([])
            } else {
                json!([{ "refType": "CHILD_OF", "traceID": trace(n), "spanID": parent }])
            };
            json!({
                "traceID": trace(n), "spanID": id, "operationName": name, "references": references,
                "startTime": (1_760_000_000_000 + start) * 1000, "duration": took * 1000, "processID": service,
                "tags": [{ "key": "span.kind", "type": "string", "value": NAMES[usize::from(*kind)].to_lowercase() }],
                "logs": [], "warnings": null,
            })
        });
        let spans: Vec<Value> = spans.collect();
        let processes = rows
            .iter()
            .map(|row| (row.2.to_owned(), json!({ "serviceName": row.2, "tags": [] })));
        json!({ "traceID": trace(n), "spans": spans, "processes": processes.collect::<serde_json::Map<_, _>>() })
    };
    json!({ "data": (1..=traces).map(one).collect::<Vec<_>>(), "total": 0, "errors": null })
}

fn lines(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn looked_at(text: &str) -> TraceReport {
    examine(read(text).unwrap())
}

fn operation<'a>(report: &'a TraceReport, name: &str) -> &'a super::Operation {
    report
        .operations
        .iter()
        .find(|one| one.name == name)
        .unwrap_or_else(|| panic!("{name}: {report:#?}"))
}

#[test]
fn both_formats_tell_the_same_story() {
    let told = [
        lines(&otlp(3, ORDER, false)),
        lines(&otlp(3, ORDER, true)),
        Value::from(otlp(3, ORDER, false)).to_string(),
        jaeger(3, ORDER).to_string(),
        // As one may write them by hand.
        format!("{:#}", jaeger(3, ORDER)),
        lines(jaeger(3, ORDER)["data"].as_array().unwrap()),
        // What is exported twice is there once.
        lines(&[otlp(3, ORDER, false), otlp(3, ORDER, false)].concat()),
    ];
    let reports: Vec<TraceReport> = told.iter().map(|text| looked_at(text)).collect();
    for report in &reports {
        assert_eq!(report, &reports[0]);
    }
    let report = &reports[0];
    assert_eq!(
        (
            report.examined.traces,
            report.examined.spans,
            report.examined.requests
        ),
        (3, 39, 6)
    );
    assert_eq!((report.examined.without_parent, report.examined.skewed), (0, 0));
    let order = operation(report, "POST /orders");
    assert_eq!(
        order.chain,
        [
            "checkout: POST /orders",
            "stock: shop.Stock/ReserveItems",
            "warehouse: shop.Warehouse/AddPick"
        ]
    );
    assert_eq!((order.depth, order.requests, order.median_us), (2, 3, 90_000));
    let waits: Vec<&str> = order.waits_for.keys().map(String::as_str).collect();
    assert_eq!(
        waits,
        ["catalog", "payment", "stock", "warehouse"],
        "mails are not waited for"
    );
    let mails = operation(report, "orders process");
    assert_eq!(
        (&*mails.service, mails.depth),
        ("mails", 1),
        "what a message begins is a request of its own"
    );
}

#[test]
fn a_message_is_not_waited_for_whoever_leaves_out_a_kind() {
    let only_consumer = [
        ("01", "", "a", "POST /x", 2, 0, 9),
        ("02", "01", "b", "x process", 5, 1, 9),
    ];
    let only_producer = [
        ("01", "", "a", "POST /x", 2, 0, 9),
        ("02", "01", "a", "x publish", 4, 1, 9),
        ("03", "02", "b", "x process", 0, 2, 9),
    ];
    for rows in [&only_consumer[..], &only_producer[..]] {
        let report = looked_at(&lines(&otlp(1, rows, false)));
        assert!(
            report.operations.iter().all(|one| one.waits_for.is_empty()),
            "{report:#?}"
        );
        assert!(report.plan.is_none() && report.findings.is_empty());
    }
    let mut follows = jaeger(1, &only_producer);
    follows["data"][0]["spans"][1]["tags"] = json!([]);
    follows["data"][0]["spans"][2]["references"][0]["refType"] = json!("FOLLOWS_FROM");
    assert!(
        looked_at(&follows.to_string())
            .operations
            .iter()
            .all(|one| one.waits_for.is_empty())
    );
    follows["data"][0]["spans"][2]["references"][0]["refType"] = json!("CHILD_OF");
    assert!(
        looked_at(&follows.to_string())
            .operations
            .iter()
            .any(|one| !one.waits_for.is_empty()),
        "this is why"
    );
}

#[test]
fn clocks_that_differ_change_nothing_but_are_counted() {
    let mut skewed: Vec<Row<'_>> = ORDER.to_vec();
    for row in skewed
        .iter_mut()
        .filter(|row| row.2 == "stock" || row.2 == "warehouse")
    {
        // Two services live half a minute before the others.
        row.5 = 1000;
    }
    for row in skewed.iter_mut().filter(|row| row.2 == "checkout") {
        row.5 += 30_000;
    }
    let (report, plain) = (
        looked_at(&lines(&otlp(3, &skewed, false))),
        looked_at(&lines(&otlp(3, ORDER, false))),
    );
    assert!(report.examined.skewed > 0, "{:?}", report.examined);
    assert_eq!(
        (&report.operations, &report.risks),
        (&plain.operations, &plain.risks)
    );
}

#[test]
fn a_span_whose_parent_is_not_there_is_a_request_of_its_own_and_counted() {
    let rows: Vec<Row<'_>> = ORDER.iter().filter(|row| row.0 != "06").copied().collect();
    let report = looked_at(&jaeger(2, &rows).to_string());
    assert_eq!((report.examined.without_parent, report.examined.requests), (2, 6));
    assert_eq!(operation(&report, "shop.Stock/ReserveItems").depth, 1);
    assert!(!operation(&report, "POST /orders").waits_for.contains_key("stock"));
    // Parents in a circle end, and have no beginning.
    let circle = [
        ("01", "02", "a", "x", 2, 0, 1),
        ("02", "01", "b", "y", 2, 0, 1),
        ("03", "03", "c", "z", 2, 0, 1),
    ];
    let report = looked_at(&lines(&otlp(1, &circle, false)));
    assert_eq!((report.examined.requests, report.examined.without_parent), (1, 1));
}

#[test]
fn whoever_calls_from_outside_is_no_part_of_the_system() {
    let mut rows = vec![("ff", "", "browser", "GET", 3, 0, 99)];
    rows.extend(ORDER.iter().map(|row| {
        if row.0 == "01" {
            ("01", "ff", row.2, row.3, row.4, row.5, row.6)
        } else {
            *row
        }
    }));
    let report = looked_at(&lines(&otlp(1, &rows, false)));
    assert_eq!(operation(&report, "POST /orders").service, "checkout");
    assert!(report.operations.iter().all(|one| one.service != "browser"));
    assert!(report.risks.iter().all(|risk| risk.service != "checkout"));
}

#[test]
fn a_service_without_spans_of_its_own_is_known_by_its_callers_unless_it_stores() {
    let mut requests = otlp(
        1,
        &[
            ("01", "", "a", "POST /x", 2, 0, 9),
            ("02", "01", "a", "charge", 3, 1, 5),
        ],
        false,
    );
    let attributes = &mut requests[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["attributes"];
    *attributes = json!([{ "key": "peer.service", "value": { "stringValue": "bank" } }]);
    let report = looked_at(&lines(&requests));
    assert_eq!(
        operation(&report, "POST /x").chain,
        ["a: POST /x", "bank: charge"]
    );
    let attributes = &mut requests[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["attributes"];
    attributes
        .as_array_mut()
        .unwrap()
        .push(json!({ "key": "db.system", "value": { "stringValue": "postgresql" } }));
    assert!(
        operation(&looked_at(&lines(&requests)), "POST /x")
            .waits_for
            .is_empty()
    );
}

#[test]
fn whose_outage_takes_what_down_is_counted_in_requests() {
    let view: &[Row<'_>] = &[
        ("01", "", "shop", "GET /", 2, 0, 9),
        ("02", "01", "catalog", "GET /products", 2, 1, 5),
    ];
    let mut all = otlp(2, ORDER, false);
    for (n, mut request) in otlp(6, view, false).into_iter().enumerate() {
        let span = &mut request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        span["traceId"] = json!(trace(100 + n / 2));
        all.push(request);
    }
    let report = looked_at(&lines(&all));
    assert_eq!(report.examined.requests, 10);
    let risk = &report.risks[0];
    assert_eq!((&*risk.service, risk.requests, risk.percent), ("catalog", 8, 80));
    assert_eq!(risk.operations["shop: GET /"], 6);
    let found: Vec<&str> = report.findings.iter().map(|finding| &*finding.symptom).collect();
    assert_eq!(found, ["synchronous-chain", "domino-risk"]);
}

#[test]
fn calls_one_by_one_are_named_with_whom_they_ask() {
    let ids: Vec<String> = (0..12).map(|n| format!("{:02x}", n + 16)).collect();
    let mut rows: Vec<Row<'_>> = vec![("01", "", "shop", "GET /cart", 2, 0, 90)];
    rows.extend(
        ids.iter()
            .map(|id| (&**id, "01", "price", "shop.Price/GetPrice", 2, 5, 1)),
    );
    let report = looked_at(&lines(&otlp(2, &rows, false)));
    let found = report
        .findings
        .iter()
        .find(|finding| finding.symptom == "fan-out")
        .unwrap();
    assert!(
        found.says.contains("GET /cart of shop makes 12 calls"),
        "{}",
        found.says
    );
    assert!(
        found.evidence[0]
            .text
            .contains("shop.Price/GetPrice of price, 12 times"),
        "{found:?}"
    );
}

#[test]
fn the_operation_to_convert_first_does_something_and_waits_most() {
    let report = looked_at(&lines(&otlp(3, ORDER, false)));
    let plan = report.plan.unwrap();
    assert_eq!((&*plan.service, &*plan.operation), ("checkout", "POST /orders"));
    let events: Vec<String> = plan
        .events
        .iter()
        .map(|event| {
            format!(
                "{} by {} for {}",
                event.r#type,
                event.stated_by,
                event.heard_by.join("+")
            )
        })
        .collect();
    assert_eq!(
        events,
        [
            "order.created by checkout for payment+stock",
            "payment.charged by payment for ",
            "item.reserved by stock for warehouse",
            "pick.added by warehouse for ",
        ]
    );
    assert_eq!(plan.copies.len(), 1);
    assert_eq!(
        (&*plan.copies[0].by, &*plan.copies[0].of),
        ("checkout", "catalog")
    );
    let plugins: Vec<&str> = plan.plugins.iter().map(|plugin| &*plugin.name).collect();
    assert_eq!(plugins, ["payment", "stock", "warehouse"]);
}

#[test]
fn what_is_scaffolded_is_a_plugin_that_the_sdk_compiles_and_tests() {
    // nerve-sdk's tests include these files.
    let report = looked_at(&lines(&otlp(1, ORDER, false)));
    let mut sources = scaffold::sources(&report.plan.unwrap());
    let stock = sources.remove("stock").unwrap();
    assert_eq!(stock, include_str!("../../../../sdk/tests/scaffolded/stock.rs"));
    let busy: &[Row<'_>] = &[
        ("01", "", "shop", "PlaceOrder", 2, 0, 9),
        ("02", "01", "3d-service", "Charge", 2, 1, 5),
        ("03", "01", "3d-service", "3d/Send_Receipt", 2, 1, 5),
        ("04", "03", "shop", "PlaceOrder", 2, 1, 5),
        ("05", "04", "3d-service", "Check\u{7}`out`", 2, 1, 5),
    ];
    let plan = looked_at(&lines(&otlp(1, busy, false))).plan.unwrap();
    let sources = scaffold::sources(&plan);
    assert_eq!(sources.keys().collect::<Vec<_>>(), ["service-3d-service"]);
    assert_eq!(
        sources["service-3d-service"],
        include_str!("../../../../sdk/tests/scaffolded/busy.rs")
    );
}

#[test]
fn what_is_broken_is_told_with_its_place() {
    let good = otlp(1, ORDER, false)[0].to_string();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = otlp(1, ORDER, false).remove(0);
        change(&mut value["resourceSpans"][0]["scopeSpans"][0]["spans"][0]);
        format!("{good}\n{value}")
    };
    let mut lost = jaeger(1, ORDER);
    lost["data"][0]["processes"] = json!({});
    for (text, said) in [
        (
            format!("{good}\n{good}\n{{\"resourceSpans\": [}}"),
            "line 3, column 20: expected value",
        ),
        (good[..200].to_owned(), "line 1, column 200: EOF while parsing"),
        (
            format!("{good}\n{{\"resourceMetrics\": []}}"),
            "the value at line 2 is neither OTLP JSON",
        ),
        (
            "{\"hello\": 1}".into(),
            "neither OTLP JSON (`resourceSpans`) nor Jaeger JSON",
        ),
        ("7".into(), "line 1, column 1: invalid type: integer `7`"),
        (String::new(), "it has no spans"),
        ("[]".into(), "it has no spans"),
        (
            with(&|span| span["spanId"] = json!("xyz!")),
            "in the value at line 2, resourceSpans[0].scopeSpans[0].spans[0] has spanId \"xyz!\"",
        ),
        (
            with(&|span| span["traceId"] = json!("")),
            "has traceId \"\", and ids are hexadecimal",
        ),
        (with(&|span| span["kind"] = json!(9)), "has kind 9, which is none"),
        (
            with(&|span| span["startTimeUnixNano"] = json!("soon")),
            "has startTimeUnixNano \"soon\"",
        ),
        (
            with(&|span| span["attributes"] = json!({ "a": 1 })),
            "line 2, column",
        ),
        (lost.to_string(), "data[0].spans[0] is of process \"checkout\""),
    ] {
        let bad: BadTraces = read(&text).unwrap_err();
        assert!(bad.to_string().contains(said), "{bad} does not say {said}");
    }
    assert!(
        read(&format!("\u{feff}{good}\n\n")).is_ok(),
        "marks and empty lines are no fault"
    );
    assert_eq!(read(&good).unwrap()[0].kind, Kind::Server);
}
