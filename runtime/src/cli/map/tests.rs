//! What people see of the map.

use std::collections::BTreeSet;

use nerve_eventlog::Micros;

use super::{dot, mermaid, text};
use crate::trace::map::{Cycle, Declared, Map, Observed, Older, Step, Undeclared, Unfed, Wanted, draw};
use crate::trace::written::{Failing, Written};

fn plugin(name: &str, gets: &[&str], emits: &[&str]) -> Declared {
    Declared {
        name: name.into(),
        status: "live",
        runs: true,
        subscriptions: gets.iter().map(|text| text.parse().unwrap()).collect(),
        emits: emits.iter().map(|name| (*name).to_owned()).collect(),
        ..Declared::default()
    }
}

fn small() -> Map {
    let mut written = Written::new();
    for n in 0..3 {
        let placed = written.outside("order.placed");
        if n == 0 {
            written.failed("orders", placed, &Failing::retried());
        }
        written.done("orders", placed, &["payment.wanted"]);
        written.pass(1000);
    }
    let mut observed = Observed::default();
    while observed.step(&written.log) {}
    let plugins = [
        plugin("orders", &["order.placed"], &["payment.wanted"]),
        plugin("payments", &["payment.wanted"], &["payment.received"]),
    ];
    draw(
        &plugins,
        &BTreeSet::new(),
        &observed,
        written.now(),
        &Wanted::default(),
    )
}

#[test]
fn a_small_map_as_text() {
    let told = text::told(&small(), false);
    assert_eq!(
        told,
        "\
2 plugins, 3 event types; seen from 2025-10-09T08:53:20Z up to offset 10

PLUGIN    STATUS  PER MIN  SEEN  FAILED  DEAD  MEAN    LAG  SUBSCRIBES TO
orders    live    4.0      4     1       0     500 µs  0    order.placed
payments  live    -        0     0       0     -       0    payment.wanted

TYPE              PER MIN  SEEN  EMITTED BY  CONSUMED BY
order.placed      3.0      3     outside     orders
payment.received  -        0     payments    -
payment.wanted    3.0      3     orders      payments

Emitted, and nobody consumes it, but for those who take everything:
  payment.received
"
    );
}

#[test]
fn a_small_map_as_mermaid_and_for_graphviz() {
    assert_eq!(
        mermaid::drawn(&small()),
        "\
flowchart LR
  n0([\"order.placed\"])
  n1[\"outside\"]
  n1 --> n0
  n2[\"orders\"]
  n0 --> n2
  n3([\"payment.received\"])
  n4[\"payments\"]
  n4 -.-> n3
  n5([\"payment.wanted\"])
  n2 --> n5
  n5 -.-> n4
"
    );
    assert_eq!(
        dot::drawn(&small()),
        "\
digraph nerve {
  rankdir=LR;
  node [fontname=\"sans-serif\"];
  \"plugin orders\" [label=\"orders\" shape=box];
  \"plugin payments\" [label=\"payments\" shape=box];
  \"outside\" [shape=plaintext];
  \"type order.placed\" [label=\"order.placed\" shape=ellipse];
  \"outside\" -> \"type order.placed\" [style=solid];
  \"type order.placed\" -> \"plugin orders\" [style=solid];
  \"type payment.received\" [label=\"payment.received\" shape=ellipse];
  \"plugin payments\" -> \"type payment.received\" [style=dashed];
  \"type payment.wanted\" [label=\"payment.wanted\" shape=ellipse];
  \"plugin orders\" -> \"type payment.wanted\" [style=solid];
  \"type payment.wanted\" -> \"plugin payments\" [style=dashed];
}
"
    );
}

#[test]
fn what_is_odd_is_said_in_a_line_each() {
    let mut map = small();
    let step = |name: &str, plugin: &str| Step {
        r#type: name.into(),
        plugin: plugin.into(),
    };
    map.findings.cycles.push(Cycle {
        steps: vec![step("a", "p"), step("b", "q")],
        seen: true,
        among: 7,
    });
    map.findings.undeclared.push(Undeclared {
        plugin: "p".into(),
        r#type: "x".into(),
        events: 3,
    });
    map.findings.nobody_emits.push(Unfed {
        pattern: "y.*".into(),
        plugins: (0..6).map(|n| format!("p{n}")).collect(),
    });
    map.findings.older.push(Older {
        r#type: "order.placed".into(),
        newest: "order.placed.v2".into(),
        emitted_by: vec![None, Some("carts".into())],
        needed_by: vec!["mails".into()],
        ..Older::default()
    });
    let told = text::told(&map, false);
    let odd = told.split_once("\n\nEvents can").unwrap().1;
    assert_eq!(
        odd,
        " come round to their own type:
  a -> p -> b -> q -> a (seen, and more: 7 types hang together)

Emitted and not declared:
  p emits x, 3 times

Consumed, and nobody emits it:
  y.* (for p0, p1, p2, p3 and 2 more)

Older than another type of the name:
  order.placed beside order.placed.v2: emitted by outside, carts, needed by mails; - would do without it

Emitted, and nobody consumes it, but for those who take everything:
  payment.received
"
    );
}

#[test]
fn a_large_map_is_a_page_of_what_is_busy_and_says_how_to_see_the_rest() {
    let plugins: Vec<Declared> = (0..500)
        .map(|n| {
            let emits: Vec<String> = (0..4).map(|k| format!("t{n}.e{k}")).collect();
            let emits: Vec<&str> = emits.iter().map(|name| &**name).collect();
            plugin(&format!("p{n}"), &["t1.*"], &emits)
        })
        .collect();
    let map = draw(
        &plugins,
        &BTreeSet::new(),
        &Observed::default(),
        Micros(0),
        &Wanted::default(),
    );
    assert_eq!((map.of.plugins, map.of.types), (500, 2000));
    let told = text::told(&map, false);
    assert!(told.lines().count() < 130, "{}", told.lines().count());
    assert!(
        told.lines().all(|line| line.chars().count() < 200),
        "a line can be read"
    );
    for said in [
        "and 460 more plugins: nerve map --plugin NAME, or --all",
        "and 1960 more types: nerve map PATTERN, such as order.>, or --all",
        "p0, p1, p10, p100 and 496 more",
        "and 1986 more: nerve map --all",
    ] {
        assert!(told.contains(said), "{said} in {told}");
    }
    assert!(text::told(&map, true).lines().count() > 2500);
}
