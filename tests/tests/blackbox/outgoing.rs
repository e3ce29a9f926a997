//! Plugins that call somebody outside: what is granted, what is recorded, and what a crash in the middle does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nerve_tests::server::{Asked, Reply, Server};
use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

const GRANT: &str = "[grants]\nhttp = [\"POST 127.0.0.1:*\"]\n[http]\naddresses = [\"127.0.0.1\"]\n";

fn ok(text: &str) -> Reply {
    Reply::Answer(200, text.to_owned())
}

/// The caller with these settings, which calls `server`.
fn drop_caller(host: &Host, server: &str, settings: &str) {
    let settings = format!("{settings}\n[config]\nserver = \"{server}\"\n");
    std::fs::write(host.path("plugins/caller.toml"), settings).unwrap();
    host.drop_built("fixtures/caller");
}

fn calling(server: &Server, settings: &str) -> Host {
    let mut host = Host::start(&[]);
    drop_caller(&host, &server.url(), settings);
    host.until("caller is live", |host| host.plugin("caller")["status"] == "live");
    host
}

fn call(host: &Host, id: &str, paths: &[&str]) -> u64 {
    host.publish("test.call", id, Some(id), &json!({ "key": id, "paths": paths }))
}

/// The attempts at the event at `offset`, once there is one that `is_last`.
fn attempts(host: &mut Host, offset: u64, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    host.until("the event is delivered", |host| {
        let trace = host.get(&format!("/v1/events/@{offset}/trace")).body;
        found.clone_from(trace["root"]["deliveries"].as_array().unwrap());
        found.last().is_some_and(&is_last)
    });
    found
}

fn is_done(delivery: &Value) -> bool {
    delivery["verdict"] == "done"
}

#[test]
fn a_granted_call_is_made_and_its_answer_is_shown() {
    let server = Server::start(|asked| ok(&format!("to {}", asked.path)));
    let mut host = calling(&server, GRANT);
    let offset = call(&host, "a", &["/one?secret=1", "/two"]);
    let done = attempts(&mut host, offset, is_done);
    let calls = done[0]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{done:?}");
    assert_eq!(
        (&calls[0]["method"], &calls[0]["status"]),
        (&json!("POST"), &json!(200))
    );
    assert_eq!(
        calls[0]["target"],
        format!("{}/one", server.url()),
        "the query is not shown"
    );
    assert_eq!(
        host.events("test.called")[0]["event"]["data"]["bodies"],
        json!(["to /one?secret=1", "to /two"])
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].key.len() == 32 && seen[0].key != seen[1].key, "{seen:?}");
    let shown = nerve(&host.path("."), &["--server", host.address(), "trace", "a"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("called POST") && shown.contains("/two: 200"),
        "{shown}"
    );
}

#[test]
fn invariant_09_a_plugin_that_asks_for_more_waits_until_it_is_approved() {
    let server = Server::start(|_| ok("hello"));
    let mut host = Host::start(&[]);
    drop_caller(&host, &server.url(), "[http]\naddresses = [\"127.0.0.1\"]\n");
    host.until("caller waits", |host| {
        host.plugin("caller")["status"] == "waiting"
    });
    // Also over a restart: it was decided, and is not tried again.
    host.kill();
    host.run();
    let waits = host.plugin("caller");
    assert_eq!(waits["status"], "waiting");
    assert_eq!(
        waits["waiting"]["missing"][0]["scope"],
        json!(["POST 127.0.0.1:*"])
    );
    let nerve = |host: &Host, args: &[&str]| {
        let out = nerve(&host.path("."), &[&["--server", host.address()], args].concat());
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code(), text)
    };
    let (_, listed) = nerve(&host, &["plugin", "list"]);
    assert!(
        listed.contains("waiting") && listed.contains("nerve plugin approve caller"),
        "{listed}"
    );
    let pair = waits["waiting"]["pair"].as_str().unwrap();
    let (_, shown) = nerve(&host, &["plugin", "show", "caller"]);
    assert!(
        shown.contains(&format!("nerve plugin approve caller --pair {pair}")),
        "{shown}"
    );

    let other = "0".repeat(64);
    let refused = host.post(
        &format!("/v1/plugins/caller/approve?pair={other}"),
        "text/plain",
        b"",
    );
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("approval-conflict"))
    );
    assert_eq!(host.plugin("caller")["status"], "waiting");
    let (code, said) = nerve(&host, &["plugin", "approve", "caller", "--pair", pair]);
    assert_eq!(code, Some(0), "{said}");
    let live = host.plugin("caller");
    assert_eq!(
        (&live["status"], &live["waiting"]),
        (&json!("live"), &Value::Null)
    );
    assert_eq!(live["granted"][0]["scope"], json!(["POST 127.0.0.1:*"]));
    let offset = call(&host, "a", &["/"]);
    attempts(&mut host, offset, is_done);
    let (code, said) = nerve(&host, &["plugin", "approve", "caller"]);
    assert_eq!(code, Some(4), "nothing waits any more: {said}");

    // A later version that asks for no more goes live by itself, and so does this one after a restart.
    drop_caller(
        &host,
        &server.url(),
        "# another version\n[http]\naddresses = [\"127.0.0.1\"]\n",
    );
    host.until("the next version is live", |host| {
        host.plugin("caller")["version"] != live["version"]
    });
    host.kill();
    host.run();
    host.until("it is live again", |host| {
        host.plugin("caller")["status"] == "live"
    });
    let offset = call(&host, "b", &["/"]);
    attempts(&mut host, offset, is_done);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn invariant_09_an_address_that_is_not_listed_is_denied_by_name() {
    let server = Server::start(|_| ok("hello"));
    let mut host = calling(
        &server,
        "[grants]\nhttp = [\"POST 127.0.0.1:*\"]\n[retry]\nattempts = 1\n",
    );
    let offset = call(&host, "a", &["/"]);
    let dead = attempts(&mut host, offset, |last| last["verdict"] == "dead");
    let reason = dead[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("leads to 127.0.0.1") && reason.contains("http.addresses"),
        "{reason}"
    );
    assert_eq!(dead[0]["calls"][0]["failed"], "denied");
    assert_eq!(server.seen(), []);
}

#[test]
fn a_server_that_fails_is_asked_again_with_the_same_key_and_one_that_is_away_is_an_outage() {
    let times = AtomicUsize::new(0);
    let server = Server::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reply::Answer(503, "not now".into()),
        _ => ok("now"),
    });
    let mut host = calling(&server, &format!("{GRANT}[retry]\nfirst_ms = 1\n"));
    let offset = call(&host, "a", &["/"]);
    let done = attempts(&mut host, offset, is_done);
    assert_eq!((done.len(), &done[0]["calls"][0]["status"]), (3, &json!(503)));
    let seen = server.seen();
    // Each attempt is a span of its own in the trace of the event; all else is the same.
    let same = |asked: &Asked| {
        (&asked.path, &asked.key, &asked.body) == (&seen[0].path, &seen[0].key, &seen[0].body)
    };
    let spans: BTreeSet<_> = seen.iter().map(|asked| asked.header("traceparent")).collect();
    assert!(
        seen.iter().all(same) && (seen.len(), spans.len()) == (3, 3),
        "{seen:?}"
    );

    // Nobody listens there any more.
    let away = server.url();
    drop(server);
    let before = host.plugin("caller")["version"].clone();
    drop_caller(&host, &away, &format!("# away\n{GRANT}"));
    host.until("the next version is live", |host| {
        host.plugin("caller")["version"] != before
    });
    for id in ["b", "c", "d"] {
        call(&host, id, &["/"]);
    }
    host.until("the outage is seen", |host| {
        host.plugin("caller")["paused"]["why"] == "outage"
    });
    assert_eq!(host.plugin("caller")["dead_letters"], 0);
}

#[test]
fn limits_of_time_and_size_end_a_call_and_are_named_in_the_outcome() {
    let server = Server::start(|asked| match &*asked.path {
        "/silent" => Reply::Hold,
        "/slow" => {
            std::thread::park_timeout(Duration::from_millis(600));
            ok("at last")
        }
        _ => ok(&"x".repeat(5000)),
    });
    let settings = format!(
        "{GRANT}time_ms = 5000\nanswer_bytes = 4000\n[limits]\ntime_ms = 300\n[retry]\nattempts = 1\n"
    );
    let mut host = calling(&server, &settings);
    let dead = |last: &Value| last["verdict"] == "dead";

    let offset = call(&host, "large", &["/large"]);
    let found = attempts(&mut host, offset, dead);
    assert!(
        found[0]["reason"]
            .as_str()
            .unwrap()
            .contains("limit http.answer_bytes"),
        "{found:?}"
    );

    // Waiting is not the plugin's running time; a loop behind it is.
    let offset = call(&host, "slow", &["/slow"]);
    attempts(&mut host, offset, is_done);
    let data = json!({ "key": "hang", "paths": ["/slow"], "hang": true });
    let offset = host.publish("test.call", "hang", Some("hang"), &data);
    let found = attempts(&mut host, offset, dead);
    assert_eq!(
        (&found[0]["class"], &found[0]["calls"][0]["status"]),
        (&json!("time"), &json!(200))
    );

    let data = json!({ "key": "silent", "paths": ["/silent"], "timeout_ms": 50 });
    let offset = host.publish("test.call", "silent", Some("silent"), &data);
    let found = attempts(&mut host, offset, dead);
    assert!(
        found[0]["reason"]
            .as_str()
            .unwrap()
            .contains("was not answered within 50 ms"),
        "{found:?}"
    );
}

#[test]
fn invariant_02_a_call_that_sigkill_interrupts_is_made_again_with_its_key_and_effects_happen_once() {
    let server = Server::start(|asked| {
        if asked.path == "/b" {
            Reply::Hold
        } else {
            ok("answer a")
        }
    });
    let mut host = calling(&server, GRANT);
    let offset = call(&host, "a", &["/a", "/b"]);
    host.until("the server holds the second answer", |_| server.seen().len() == 2);
    host.kill();
    server.set(|asked| ok(&format!("again {}", asked.path)));
    host.run();
    let done = attempts(&mut host, offset, is_done);
    assert_eq!(
        (done.len(), &done[0]["attempt"]),
        (1, &json!(1)),
        "the attempt went on: {done:?}"
    );
    let seen = server.seen();
    let paths: Vec<&str> = seen.iter().map(|asked| &*asked.path).collect();
    assert_eq!(paths, ["/a", "/b", "/b"], "what was answered is not asked again");
    let first = Asked {
        connection: seen[2].connection,
        ..seen[1].clone()
    };
    assert_eq!(first, seen[2], "the same request under the same key");
    assert_ne!(seen[0].key, seen[1].key);
    let called = host.events("test.called");
    assert_eq!(called.len(), 1);
    assert_eq!(
        called[0]["event"]["data"]["bodies"],
        json!(["answer a", "again /b"])
    );
}
