//! `nerve dead bundle` and `nerve plugin test --bundle`: a failure, run again without its host.

use std::fs;
use std::process::Output;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

/// A host whose `fixture` gave up on an event of type `kind` behind `pushes` others, and the event's offset; then
/// the host is stopped, and what it wrote is `bundle.json`.
fn dead(fixture: &str, kind: &str, pushes: u64) -> (Host, u64) {
    let mut host = Host::start(&[]);
    fs::write(
        host.path(&format!("plugins/{fixture}.toml")),
        "[retry]\nattempts = 2\nfirst_ms = 1\noutage_keys = 0\n",
    )
    .unwrap();
    host.drop_built(&format!("fixtures/{fixture}"));
    host.until("it is live", |host| host.plugin(fixture)["status"] == "live");
    for n in 0..pushes {
        host.publish("test.push", &format!("p{n}"), None, &json!({}));
    }
    let at = host.publish(
        kind,
        "last",
        Some("k"),
        &json!({ "price": 12.99, "deep": [1, null] }),
    );
    host.until("it gives up", |host| host.plugin(fixture)["dead_letters"] == 1);
    let args = ["dead", "bundle", fixture, &at.to_string(), "-o", "bundle.json"];
    let wrote = nerve(
        &host.path(""),
        &[&["--server", host.address()], &args[..]].concat(),
    );
    assert!(wrote.status.success(), "{}", said(&wrote));
    assert_eq!(host.stop(), Some(0));
    (host, at)
}

/// `nerve plugin test` of the bundle, with more arguments.
fn again(host: &Host, more: &[&str]) -> (Option<i32>, Value, Output) {
    let args = ["plugin", "test", "--bundle", "bundle.json", "--output", "json"];
    let out = nerve(&host.path(""), &[&args[..], more].concat());
    let first = String::from_utf8_lossy(&out.stdout)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let value = serde_json::from_str(&first).unwrap_or_default();
    (out.status.code(), value, out)
}

fn said(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

#[test]
fn invariant_08_a_dead_letters_last_attempt_runs_again_exactly_without_its_host() {
    let (host, at) = dead("grudge", "test.ask", 3);
    let bundle: Value = serde_json::from_str(&fs::read_to_string(host.path("bundle.json")).unwrap()).unwrap();
    let reason = bundle["delivery"]["failure"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("trap:") && reason.contains("3 were too many, at "),
        "{reason}"
    );
    assert_eq!(
        bundle["event"]["event"]["data"],
        json!({ "price": 12.99, "deep": [1, null] })
    );
    assert_eq!(bundle["delivery"]["attempt"], 2);
    assert_eq!(bundle["delivery"]["read"]["values"]["mood"], Value::Null);

    let (code, result, out) = again(&host, &[]);
    assert_eq!(
        (code, &result["result"]),
        (Some(0), &json!("same-failure")),
        "{}",
        said(&out)
    );
    assert_eq!(
        result["failure"]["reason"], reason,
        "the same state, clock and random number"
    );
    assert_eq!(result["lines"], bundle["delivery"]["lines"]);
    assert_eq!(
        (&result["event"], &result["not_in_bundle"]),
        (&json!(at), &json!([]))
    );

    let args = ["plugin", "test", "--bundle", "bundle.json"];
    let text = said(&nerve(&host.path(""), &args));
    assert!(text.starts_with("the same failure came again"), "{text}");
}

#[test]
fn another_component_is_tried_on_a_bundle_and_what_the_bundle_lacks_is_said() {
    let (host, _) = dead("grudge", "test.ask", 3);
    fs::write(host.path("mended.wasm"), built("fixtures/grudge-mended")).unwrap();
    let (code, result, out) = again(&host, &["--component", "mended.wasm"]);
    assert_eq!(
        (code, &result["result"]),
        (Some(0), &json!("done")),
        "{}",
        said(&out)
    );
    assert_eq!(
        result["writes"],
        json!([{ "key": "asked", "value": 3 }]),
        "it saw the state of then"
    );
    assert_eq!(result["not_in_bundle"], json!(["get \"limit\""]));

    fs::copy(host.path("plugins/grudge.wasm"), host.path("same.wasm")).unwrap();
    let (code, result, _) = again(&host, &["--component", "same.wasm", "--data", "elsewhere"]);
    assert_eq!((code, &result["same_component"]), (Some(0), &json!(true)));

    let (code, _, out) = again(&host, &["--data", "elsewhere"]);
    assert_eq!(code, Some(3), "{}", said(&out));
    assert!(said(&out).contains("--component"), "{}", said(&out));

    fs::write(host.path("other.wasm"), built("fixtures/trap")).unwrap();
    let (code, _, out) = again(&host, &["--component", "other.wasm"]);
    assert_eq!(code, Some(1), "{}", said(&out));
    assert!(
        said(&out).contains("trap"),
        "another plugin is refused by its name: {}",
        said(&out)
    );
}

#[test]
fn a_trap_that_needs_no_state_comes_again() {
    let (host, at) = dead("trap", "test.trap", 0);
    let (code, result, out) = again(&host, &[]);
    assert_eq!(
        (code, &result["result"]),
        (Some(0), &json!("same-failure")),
        "{}",
        said(&out)
    );
    let reason = result["failure"]["reason"].as_str().unwrap();
    assert!(reason.ends_with(&format!("a trap at offset {at}")), "{reason}");
}

type Edit = fn(&mut Value);

#[test]
fn an_edited_bundle_is_refused_and_says_where() {
    let (host, _) = dead("grudge", "test.ask", 3);
    let text = fs::read_to_string(host.path("bundle.json")).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let edits: [(&str, Edit); 6] = [
        ("has format 2", |bundle| {
            bundle["format"] = json!(2);
        }),
        ("`event` does not say", |bundle| {
            bundle["event"]["event"]["data"] = json!(1);
        }),
        ("`delivery` does not say", |bundle| {
            bundle["delivery"]["read"]["values"]["mood"] = json!("good");
        }),
        ("`settings`", |bundle| {
            bundle["settings"] = json!("[retry]\nattempts = 3\n");
        }),
        ("`records.outcome` is no base64", |bundle| {
            bundle["records"]["outcome"]["base64"] = json!("?");
        }),
        ("missing field `records`", |bundle| {
            bundle.as_object_mut().unwrap().remove("records");
        }),
    ];
    for (says, edit) in edits {
        let mut bundle = whole.clone();
        edit(&mut bundle);
        fs::write(host.path("bundle.json"), bundle.to_string()).unwrap();
        let (code, _, out) = again(&host, &[]);
        assert_eq!(code, Some(2), "{says}: {}", said(&out));
        assert!(said(&out).contains(says), "{says}: {}", said(&out));
    }
    fs::write(host.path("bundle.json"), &text[..text.len() / 2]).unwrap();
    let (code, _, out) = again(&host, &[]);
    assert_eq!(code, Some(2), "{}", said(&out));
    fs::write(host.path("bundle.json"), whole.to_string()).unwrap();
    assert_eq!(again(&host, &[]).0, Some(0), "and put back it runs again");
}

#[test]
fn what_has_no_dead_letter_has_no_bundle() {
    let host = Host::start(&["fixtures/trap"]);
    let answer = host.get("/v1/dead-letters/trap/1/bundle");
    assert_eq!(answer.status, 404, "{}", answer.body);
}
