//! A component of another tool chain: its WASI imports are answered with what the delivery has, and with denials.

use nerve_tests::Host;
use serde_json::{Value, json};

/// The deliveries of an event, once it is settled or given up.
fn deliveries(host: &mut Host, id: &str) -> Vec<Value> {
    let mut found = Vec::new();
    host.until(&format!("{id} is settled"), |host| {
        let mut tree = host.get(&format!("/v1/events/{id}/trace")).body;
        let all = tree["root"]["deliveries"].as_array_mut();
        found = all.map(std::mem::take).unwrap_or_default();
        found.last().is_some_and(|last| last["verdict"] != "retry")
    });
    found
}

fn lines(delivery: &Value) -> Vec<(&str, &str)> {
    let lines = delivery["lines"].as_array().unwrap().iter();
    lines
        .map(|line| (line["level"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect()
}

/// One host for all of it: compiling the component takes seconds.
#[test]
fn invariant_09_a_plugin_in_javascript_gets_what_its_delivery_has_and_nothing_else() {
    let host = Host::start(&[]);
    // A fresh instance for every event, since the language keeps its own generator in memory.
    let settings = "isolation = \"event\"\n[limits]\ncompile_ms = 600000\ntime_ms = 20000\nhost_calls = 1000\n\
                    [retry]\nattempts = 2\nfirst_ms = 1\noutage_keys = 0\n";
    std::fs::write(host.path("plugins/javascript.toml"), settings).unwrap();
    host.drop_built("fixtures/javascript");
    let mut host = host;
    host.until("it is live", |host| {
        let plugin = host.plugin("javascript");
        assert!(plugin["refused"].is_null(), "{}", plugin["refused"]);
        plugin["status"] == "live"
    });

    let mut last = 0;
    for id in ["one", "two"] {
        last = host.publish("test.javascript.answer", id, None, &json!({ "user": "ann" }));
    }
    assert_eq!(host.state("javascript", "seen/ann", last), 2, "it keeps state");
    let answers = host.events("test.answered");
    for (id, answer) in ["one", "two"].iter().zip(&answers) {
        let delivery = &deliveries(&mut host, id)[0];
        let said = [
            ("info", "seen ann"),
            (
                "info",
                if *id == "one" {
                    "\\u{1b}[31m1 times"
                } else {
                    "\\u{1b}[31m2 times"
                },
            ),
            ("error", "this is said to standard error"),
        ];
        assert_eq!(lines(delivery), said);
        let data = &answer["event"]["data"];
        let started = delivery["started"].as_str().unwrap();
        let now = data["now"].as_str().unwrap().trim_end_matches('Z');
        assert!(
            started.starts_with(now.trim_end_matches('0').trim_end_matches('.')),
            "its clock says {now}, and the attempt began at {started}"
        );
        assert_eq!(data["still"], true, "and stands still");
        let seed = u64::from_str_radix(delivery["seed"].as_str().unwrap(), 16).unwrap();
        let mut bytes = [0; 8];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        assert_eq!(data["bytes"], json!(bytes), "its randomness is that of the seed");
    }
    assert_eq!(answers.len(), 2);
    let random = |n: usize| &answers[n]["event"]["data"]["random"];
    assert!(random(0).is_number() && random(0) != random(1));

    for (kind, class, says) in [
        ("reject", "reject", "it says so"),
        ("throw", "trap", "trap: "),
        (
            "fetch",
            "trap",
            "of wasi:http/types@0.2.3, which plugins are not given",
        ),
        (
            "wait",
            "limit",
            "limit host_calls: one delivery may make 1000 calls",
        ),
    ] {
        host.publish(
            &format!("test.javascript.{kind}"),
            kind,
            None,
            &json!({ "user": "ann" }),
        );
        let all = deliveries(&mut host, kind);
        let last = all.last().unwrap();
        assert!(
            last["class"] == class && last["reason"].as_str().unwrap().contains(says),
            "{kind}: {last}"
        );
    }
    let thrown = &deliveries(&mut host, "throw")[0];
    assert!(
        lines(thrown)
            .iter()
            .any(|(_, text)| text.contains("an error of JavaScript")),
        "{thrown}"
    );
}
