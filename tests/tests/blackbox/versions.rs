//! Versions from outside: deployed over HTTP, listed, rolled back, given up.

use std::fs;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

/// Run `nerve` against `host`; its exit code and what it printed as JSON.
fn cli(host: &Host, args: &[&str]) -> (i32, Value) {
    let args = [&["--output", "json", "--server", host.address()], args].concat();
    let ran = nerve(&host.path("."), &args);
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    (ran.status.code().unwrap(), said)
}

/// A file in the host's folder that is no part of the plugin folder.
fn file(host: &Host, name: &str, bytes: &[u8]) -> String {
    let path = host.path(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn versions(host: &Host, plugin: &str) -> Vec<Value> {
    let (code, said) = cli(host, &["plugin", "versions", plugin]);
    assert_eq!(code, 0, "{said}");
    said["versions"].as_array().unwrap().clone()
}

#[test]
fn what_is_deployed_over_http_stays_when_the_folder_has_another_file() {
    let mut host = Host::start(&["fixtures/counter"]);
    let first = host.plugin("counter")["version"].clone();
    let component = file(&host, "counter.wasm", &built("fixtures/counter"));
    let settings = file(&host, "other.toml", b"lanes = 2\n");

    let (code, said) = cli(&host, &["plugin", "deploy", &component]);
    assert_eq!((code, &said["deployed"]), (0, &json!("unchanged")), "{said}");
    let (code, said) = cli(&host, &["plugin", "deploy", &component, "--settings", &settings]);
    assert_eq!((code, &said["deployed"]), (0, &json!("live")), "{said}");
    let second = said["version"].clone();
    assert_ne!(first, second);
    let (_, said) = cli(&host, &["plugin", "deploy", &component]);
    assert_eq!(said["deployed"], "unchanged", "its settings hold on");

    let bad = file(&host, "bad.wasm", b"no component");
    let (code, said) = cli(&host, &["plugin", "deploy", &bad, "--name", "counter"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("deployment-refused")),
        "{said}"
    );
    let (code, said) = cli(&host, &["plugin", "deploy", &bad, "--name", "No Name"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (2, &json!("query-invalid")),
        "{said}"
    );

    // Also over a restart, where the folder's file is looked at again.
    assert_eq!(host.stop(), Some(0));
    host.run();
    let last = host.publish("test.x", "1", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", last), 1);
    assert_eq!(host.plugin("counter")["version"], second);
    let kept = versions(&host, "counter");
    let line = |n: usize| {
        (
            kept[n]["version"].clone(),
            kept[n]["by"].clone(),
            kept[n]["live"].clone(),
        )
    };
    assert_eq!(line(0), (second.clone(), json!("api"), json!(true)));
    assert_eq!(line(1), (first, json!("folder"), json!(false)));
    assert_eq!(kept[0]["deliveries"], json!({ "done": 1, "retry": 0, "dead": 0 }));

    let (code, _) = cli(&host, &["plugin", "remove", "counter"]);
    assert_eq!(
        (code, host.plugin("counter")["status"].clone()),
        (0, json!("removed"))
    );
    assert!(!host.path("plugins/counter.wasm").exists());
    let (_, said) = cli(&host, &["plugin", "deploy", &component]);
    assert_eq!(
        (&said["deployed"], &said["version"]),
        (&json!("live"), &second),
        "{said}"
    );
    host.kill();
    host.run();
    assert_eq!(
        host.plugin("counter")["status"],
        "live",
        "no file in the folder is no reason to end it"
    );
}

#[test]
fn a_rollback_swaps_back_at_once_and_what_was_rolled_back_is_not_tried_again() {
    let mut host = Host::start(&["fixtures/counter"]);
    let first = host.plugin("counter")["version"].clone();
    let last = host.publish("test.x", "1", None, &json!({}));
    host.state("counter", "count/type/test.x", last);
    let (code, said) = cli(&host, &["plugin", "rollback", "counter"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("rollback-refused")),
        "{said}"
    );

    fs::write(host.path("plugins/counter.toml"), "lanes = 2\n").unwrap();
    host.until("the second version is live", |host| {
        host.plugin("counter")["version"] != first
    });
    let second = host.plugin("counter")["version"].clone();
    let last = host.publish("test.x", "2", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", last), 2);
    let (code, said) = cli(&host, &["plugin", "rollback", "counter"]);
    assert_eq!((code, &said["version"]), (0, &first), "{said}");
    let last = host.publish("test.x", "3", None, &json!({}));
    assert_eq!(
        host.state("counter", "count/type/test.x", last),
        3,
        "the cursor goes on"
    );

    for other in ["before", "after"] {
        // The folder was looked at when another file in it was seen.
        host.drop_bytes(other, b"no component");
        host.until("the folder was looked at", |host| !host.plugin(other).is_null());
        assert_eq!(host.plugin("counter")["version"], first, "{other} a restart");
        host.kill();
        host.run();
    }
    let component = file(&host, "counter.wasm", &built("fixtures/counter"));
    let settings = host.path("plugins/counter.toml").display().to_string();
    let again = ["plugin", "deploy", &component, "--settings", &settings];
    let (code, said) = cli(&host, &again);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("version-rolled-back")),
        "{said}"
    );
    let kept = versions(&host, "counter");
    assert_eq!(
        (&kept[1]["version"], &kept[1]["rolled_back"]["by"]),
        (&second, &json!("operator"))
    );
    assert_eq!(kept[1]["deliveries"]["done"], 1);

    // Whoever insists names it.
    let digits = &second.as_str().unwrap()[..6];
    let (code, said) = cli(&host, &["plugin", "rollback", "counter", digits]);
    assert_eq!((code, &said["version"]), (0, &second), "{said}");
    for (asked, exit, error) in [("zzz", 3, "version-not-found"), (digits, 4, "rollback-refused")] {
        let (code, said) = cli(&host, &["plugin", "rollback", "counter", asked]);
        assert_eq!((code, &said["error"]["code"]), (exit, &json!(error)), "{said}");
    }
    fs::write(host.path("plugins/counter.toml"), "lanes = 3\n").unwrap();
    host.until("a changed pair is tried", |host| {
        host.plugin("counter")["lanes"] == 3
    });
}

#[test]
fn a_version_that_traps_is_rolled_back_by_itself_and_the_one_before_has_every_event_in_order() {
    let mut host = Host::start(&["plugins/recommendations"]);
    let good = host.plugin("recommendations")["version"].clone();
    let view = |host: &Host, user: &str, n: u32| {
        let data = json!({ "user": user, "product": format!("p{n}") });
        host.publish("product.viewed", &format!("{user}-{n}"), Some(user), &data)
    };
    view(&host, "mallory", 0);
    let last = view(&host, "carol", 0);
    host.state("recommendations", "recommended/carol", last);
    host.drop_bytes("recommendations", &built("broken/recommendations"));
    host.until("the faulty version is live", |host| {
        host.plugin("recommendations")["version"] != good
    });
    let faulty = host.plugin("recommendations");
    assert_eq!(faulty["probation"]["before"], good, "{faulty}");
    let (mut mallorys, mut last) = (Vec::new(), 0);
    for n in 1..20 {
        view(&host, "carol", n);
        last = view(&host, "mallory", n);
        mallorys.push(last);
    }
    host.until("it is rolled back", |host| {
        host.plugin("recommendations")["version"] == good
    });
    let kept = versions(&host, "recommendations");
    assert_eq!(
        (&kept[1]["version"], &kept[1]["rolled_back"]["by"]),
        (&faulty["version"], &json!("probation"))
    );
    let why = kept[1]["rolled_back"]["why"].as_str().unwrap();
    assert!(why.contains("the weights sum up to zero"), "{why}");
    for restart in [false, true] {
        if restart {
            host.kill();
            host.run();
        }
        for user in ["mallory", "carol"] {
            let counted = host.state("recommendations", &format!("recommended/{user}"), last);
            assert_eq!(counted["views"], 20, "{user}, restart: {restart}");
        }
        assert_eq!(
            host.plugin("recommendations")["version"],
            good,
            "its file is not tried again"
        );
    }
    let done = |at: &u64| -> Vec<u64> {
        let trace = host.get(&format!("/v1/events/@{at}/trace")).body;
        let deliveries = trace["root"]["deliveries"].as_array().unwrap().clone();
        let done = deliveries.iter().filter(|one| one["verdict"] == "done");
        done.map(|one| one["offset"].as_u64().unwrap()).collect()
    };
    let done: Vec<u64> = mallorys.iter().flat_map(done).collect();
    assert!(done.len() == mallorys.len() && done.is_sorted(), "{done:?}");
    assert_eq!(host.plugin("recommendations")["counters"]["dead"], 0);
}
