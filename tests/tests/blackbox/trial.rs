//! `nerve plugin check`: a new version beside the running one, on what the running one settled.

use std::fs;

use nerve_tests::server::{Reply, Server};
use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

/// A host whose `toll` has settled the crossings of these people, and the last offset.
fn crossed(settings: &str, people: &[&str]) -> (Host, u64) {
    let mut host = Host::start(&[]);
    fs::write(host.path("plugins/toll.toml"), settings).unwrap();
    host.drop_built("fixtures/toll");
    host.until("toll is live", |host| host.plugin("toll")["status"] == "live");
    let mut last = 0;
    for (n, who) in people.iter().enumerate() {
        last = host.publish(
            "bridge.crossed",
            &format!("c{n}"),
            Some(who),
            &json!({ "who": who }),
        );
    }
    host.state("toll", "paid/x", last);
    fs::write(host.path("toll.wasm"), built("fixtures/toll")).unwrap();
    (host, last)
}

/// What a check came to: exit code, the one JSON value that it printed, and what it says to people.
struct Checked {
    code: Option<i32>,
    value: Value,
    text: String,
}

/// `nerve plugin check`, once for programs and once for people; the log must not have grown.
fn check(host: &Host, args: &[&str]) -> Checked {
    let last = |host: &Host| host.get("/v1/log").body["last"].as_u64().unwrap();
    let before = last(host);
    let server = ["--server", host.address(), "plugin", "check"];
    let checked = checked(host, &[&server, args].concat());
    assert_eq!(last(host), before, "a trial appends nothing");
    checked
}

fn checked(host: &Host, args: &[&str]) -> Checked {
    let folder = host.path("");
    let json = nerve(&folder, &[args, &["--output", "json"]].concat());
    let text = nerve(&folder, args);
    assert_eq!(json.status.code(), text.status.code());
    let said = String::from_utf8_lossy(&json.stdout).into_owned();
    let text = String::from_utf8_lossy(&text.stdout).into_owned() + &String::from_utf8_lossy(&text.stderr);
    Checked {
        code: json.status.code(),
        value: serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said}\n{text}")),
        text,
    }
}

/// The settings of a version, in a file.
fn settings(host: &Host, text: &str) -> &'static str {
    fs::write(host.path("new.toml"), text).unwrap();
    "new.toml"
}

#[test]
fn the_same_version_does_the_same_and_the_log_is_what_it_was() {
    let (host, _) = crossed("[config]\nfee = 70\n", &["ann", "bob", "ann"]);
    let Checked { code, value, text } = check(&host, &["toll.wasm"]);
    assert_eq!((code, &value["verdict"]), (Some(0), &json!("same")), "{text}");
    let report = &value["report"];
    assert_eq!((&report["events"], &report["differ"]), (&json!(3), &json!(0)));
    assert_eq!(
        report["reproduced"],
        json!({ "of": 3, "same": 3, "first": null }),
        "{text}"
    );
    assert_eq!(report["running"]["emits"], json!({ "toll.taken": 3 }));
    assert_eq!(
        report["running"]["fuel"], report["new"]["fuel"],
        "fuel counts the same twice"
    );
    assert!(report["new"]["median_fuel"].as_u64().unwrap() > 100, "{report}");
    assert!(
        report["new"]["memory_bytes"].as_u64().unwrap() > 60_000,
        "{report}"
    );
    assert!(text.starts_with("toll: the same on all 3 events"), "{text}");
    assert!(text.contains("came to what the log says, 3 of 3 times"), "{text}");
}

#[test]
fn a_changed_fee_is_shown_with_the_first_event_and_each_side_has_its_own_state() {
    let (host, _) = crossed("[config]\nfee = 70\n", &["ann", "bob", "ann"]);
    let new = settings(&host, "[config]\nfee = 90\n");
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--settings", new]);
    assert_eq!(
        (code, &value["verdict"]),
        (Some(4), &json!("different")),
        "{text}"
    );
    let groups = value["report"]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{text}");
    let emits = &groups[0]["first"]["differences"][0];
    assert_eq!(
        (&groups[0]["events"], &emits["subject"]),
        (&json!(3), &json!("toll.taken"))
    );
    assert_eq!(
        emits["changes"],
        json!([{ "path": "cents", "old": 70, "new": 90 }])
    );
    let writes = &groups[1]["first"]["differences"][0];
    assert_eq!(
        (&writes["name"], &writes["old"], &writes["new"]),
        (&json!("paid/ann"), &json!(70), &json!(90))
    );
    assert!(
        text.starts_with("toll: 3 of 3 events come to something else"),
        "{text}"
    );
    assert_eq!(value["error"]["exit"], 4);
    assert!(text.contains("3 events: emits another toll.taken"), "{text}");
    assert!(text.contains("cents: 70 → 90"), "{text}");
    // The last event finds the sum that the first one left, on either side. Alone it is tried on the state of then.
    let Checked { value, text, .. } = check(&host, &["toll.wasm", "--settings", new, "--against", "last:1"]);
    let writes = &value["report"]["groups"][1]["first"]["differences"][0];
    assert_eq!(
        (&writes["old"], &writes["new"]),
        (&json!(140), &json!(160)),
        "{text}"
    );
    assert_eq!(
        host.state("toll", "paid/ann", 0),
        json!(140),
        "what is live goes on"
    );
}

#[test]
fn events_are_named_by_offset_and_by_time_too() {
    let (host, last) = crossed("", &["ann", "bob", "cid"]);
    let one = format!("@{last}..@{last}");
    let Checked { code, value, .. } = check(&host, &["toll.wasm", "--against", &one]);
    assert_eq!((code, &value["report"]["events"]), (Some(0), &json!(1)));
    assert_eq!(value["report"]["first"], last);
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--against", "2001-01-01T00:00:00Z.."]);
    assert_eq!((code, &value["report"]["events"]), (Some(0), &json!(3)), "{text}");
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--against", "..2001-01-01T00:00:00Z"]);
    assert_eq!((code, &value["verdict"]), (Some(0), &json!("untried")), "{text}");
    let refused = nerve(
        &host.path(""),
        &["plugin", "check", "toll.wasm", "--against", "yesterday"],
    );
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_version_that_traps_shows_whom_it_traps_on() {
    let (host, _) = crossed("", &["ann", "bob", "ann", "cid"]);
    let new = settings(&host, "[config]\ntrap_on = \"ann\"\n");
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--settings", new]);
    assert_eq!((code, &value["report"]["differ"]), (Some(4), &json!(2)), "{text}");
    assert_eq!(
        (&value["report"]["new"]["failed"], &value["report"]["new"]["done"]),
        (&json!(2), &json!(2))
    );
    assert!(
        text.contains("2 events: fails (trap), where the running version does not"),
        "{text}"
    );
    assert!(text.contains("ann may not cross"), "{text}");
}

#[test]
fn a_mended_version_is_seen_to_do_what_the_running_one_failed_at() {
    let (mut host, _) = crossed(
        "[config]\ntrap_on = \"ann\"\n[retry]\nattempts = 2\nfirst_ms = 1\n",
        &["bob"],
    );
    host.publish("bridge.crossed", "poison", Some("ann"), &json!({ "who": "ann" }));
    host.until("toll gives up", |host| host.plugin("toll")["dead_letters"] == 1);
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--settings", settings(&host, "")]);
    assert_eq!((code, &value["report"]["differ"]), (Some(4), &json!(1)), "{text}");
    assert!(text.contains("1 event: does not fail any more (trap)"), "{text}");
    assert_eq!(
        value["report"]["reproduced"]["of"],
        json!(3),
        "two attempts failed as they did: {text}"
    );
    assert_eq!(value["report"]["reproduced"]["same"], json!(3), "{text}");
}

#[test]
fn invariant_08_a_version_that_depends_on_its_memory_is_found_out() {
    let (host, _) = crossed("", &["ann", "bob", "cid"]);
    let new = settings(&host, "[config]\nremember = true\n");
    let Checked { code, value, text } = check(&host, &["toll.wasm", "--settings", new]);
    assert_eq!(
        (code, &value["report"]["differ"]),
        (Some(0), &json!(0)),
        "fresh instances are the same: {text}"
    );
    assert_eq!(value["report"]["new"]["remembers"], json!(2), "{text}");
    assert!(
        text.contains("The new version depends on its memory: 2 events"),
        "{text}"
    );
}

#[test]
fn recorded_answers_are_used_and_a_call_without_one_is_told_and_never_made() {
    let server = Server::start(|_| Reply::Answer(200, "paid".to_owned()));
    let grant = "[grants]\nhttp = [\"POST 127.0.0.1:*\"]\n[http]\naddresses = [\"127.0.0.1\"]\n";
    let with = |url: &str, more: &str| format!("{grant}{more}\n[config]\nserver = \"{url}\"\n");
    let mut host = Host::start(&[]);
    fs::write(host.path("plugins/caller.toml"), with(&server.url(), "")).unwrap();
    host.drop_built("fixtures/caller");
    host.until("caller is live", |host| host.plugin("caller")["status"] == "live");
    let at = host.publish(
        "test.call",
        "a",
        Some("a"),
        &json!({ "key": "a", "paths": ["/one"] }),
    );
    host.state("caller", "done/a", at);
    fs::write(host.path("caller.wasm"), built("fixtures/caller")).unwrap();
    assert_eq!(server.seen().len(), 1);

    let Checked { code, value, text } = check(&host, &["caller.wasm"]);
    assert_eq!(
        (code, &value["report"]["new"]["done"]),
        (Some(0), &json!(1)),
        "{text}"
    );

    let other = Server::start(|_| Reply::Answer(200, "elsewhere".to_owned()));
    let new = settings(&host, &with(&other.url(), ""));
    let Checked { code, value, text } = check(&host, &["caller.wasm", "--settings", new]);
    assert_eq!(
        (code, &value["report"]["new"]["unanswered"]),
        (Some(4), &json!(1)),
        "{text}"
    );
    let told = format!(
        "calls POST {}/one, for which no answer is recorded: it was not made",
        other.url()
    );
    assert!(text.contains(&told), "{text}");
    assert_eq!(
        (server.seen().len(), other.seen().len()),
        (1, 0),
        "nobody was called"
    );

    // Without the grant it would wait for an operator.
    let new = settings(&host, &with(&server.url(), "").replace(grant, ""));
    let Checked { code, value, text } = check(&host, &["caller.wasm", "--settings", new]);
    assert_eq!(
        (code, &value["verdict"]),
        (Some(4), &json!("incompatible")),
        "{text}"
    );
    assert_eq!(value["lacks"], json!([["http", ["POST 127.0.0.1:*"]]]));
    assert!(text.contains("LACKS http POST 127.0.0.1:*"), "{text}");
    assert_eq!(
        value["report"]["differ"],
        json!(0),
        "beside that it does the same: {text}"
    );
}

#[test]
fn a_version_that_would_be_refused_says_why() {
    let (host, _) = crossed("", &["ann"]);
    fs::write(host.path("toll.wasm"), b"no wasm").unwrap();
    let Checked { code, value, text } = check(&host, &["toll.wasm"]);
    assert_eq!(
        (code, &value["verdict"]),
        (Some(4), &json!("incompatible")),
        "{text}"
    );
    assert!(
        text.contains("would be refused") && text.contains("no WebAssembly"),
        "{text}"
    );
}

#[test]
fn a_plugin_that_was_never_deployed_runs_alone_on_the_events_it_subscribes_to() {
    let (host, _) = crossed("", &["ann", "bob"]);
    fs::write(host.path("counter.wasm"), built("fixtures/counter")).unwrap();
    let Checked { code, value, text } = check(&host, &["counter.wasm", "--against", "last:3"]);
    assert_eq!((code, &value["running"]), (Some(0), &Value::Null), "{text}");
    assert_eq!(value["report"]["new"]["done"], json!(3), "{text}");
    assert!(text.contains("no version of counter was ever live"), "{text}");
}

#[test]
fn a_stopped_hosts_folder_and_a_backup_tell_the_same_and_stay_as_they_are() {
    let (mut host, _) = crossed("[config]\nfee = 70\n", &["ann", "bob", "ann"]);
    let new = settings(&host, "[config]\nfee = 90\n");
    let running = check(&host, &["toll.wasm", "--settings", new]);
    let backup = nerve(
        &host.path(""),
        &["--server", host.address(), "log", "backup", "b.tar"],
    );
    assert!(backup.status.success());
    let busy = nerve(
        &host.path(""),
        &["plugin", "check", "toll.wasm", "--data", "data"],
    );
    assert_eq!(busy.status.code(), Some(4), "the host uses it");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("in use"));
    host.kill();

    let files = |host: &Host| {
        let mut files: Vec<_> = fs::read_dir(host.path("data/log"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = files(&host);
    for from in [["--data", "data"], ["--backup", "b.tar"]] {
        let args = [&["plugin", "check", "toll.wasm", "--settings", new], &from[..]].concat();
        let Checked { code, value, text } = checked(&host, &args);
        assert_eq!(code, Some(4), "{from:?}: {text}");
        assert_eq!(
            value["report"]["groups"], running.value["report"]["groups"],
            "{from:?}: {text}"
        );
        assert_eq!(
            value["report"]["reproduced"]["same"],
            json!(3),
            "{from:?}: {text}"
        );
    }
    assert!(before == files(&host), "nothing in the folder is changed");
}

#[test]
fn a_version_that_breaks_a_contract_is_told_so_by_a_host_its_folder_and_its_backup() {
    let mut host = Host::start(&["plugins/carts", "plugins/orders"]);
    fs::write(host.path("carts.wasm"), built("renamed/carts")).unwrap();
    let running = check(&host, &["carts.wasm"]);
    let Checked { code, value, text } = &running;
    assert_eq!(
        (*code, &value["verdict"]),
        (Some(4), &json!("incompatible")),
        "{text}"
    );
    let breach = &value["breaks"][0];
    assert_eq!(
        (&breach["event_type"], &breach["plugin"], &breach["at"]),
        (&json!("order.placed"), &json!("orders"), &json!("/cents")),
        "{value}"
    );
    assert!(
        breach["example"].is_object() && breach["example"]["cents"].is_null(),
        "{breach}"
    );
    let first = "carts: this version would be refused: it breaks 1 contract\n  plugin orders does not accept its \
                 \"order.placed\": /cents: it is required, and is not there";
    assert!(text.starts_with(first), "{text}");
    assert_eq!(host.plugin("carts")["refused"], Value::Null, "nothing is decided");

    let may = settings(&host, "[contracts]\ndeploy = \"warn\"\n");
    let warned = check(&host, &["carts.wasm", "--settings", may]);
    assert_eq!((warned.code, &warned.value["refused"]), (Some(0), &Value::Null));
    assert_eq!(warned.value["breaks"], value["breaks"]);
    assert!(
        warned
            .text
            .contains("It breaks a contract, and may: plugin orders"),
        "{}",
        warned.text
    );
    fs::write(host.path("gift.wasm"), built("gift/carts")).unwrap();
    let gift = check(&host, &["gift.wasm", "--plugin", "carts"]);
    assert_eq!(
        (gift.code, &gift.value["breaks"]),
        (Some(0), &json!([])),
        "{}",
        gift.text
    );

    let backup = ["--server", host.address(), "log", "backup", "b.tar"];
    assert!(nerve(&host.path(""), &backup).status.success());
    host.kill();
    for from in [["--data", "data"], ["--backup", "b.tar"]] {
        let Checked { code, value, text } =
            checked(&host, &[&["plugin", "check", "carts.wasm"], &from[..]].concat());
        assert_eq!(code, Some(4), "{from:?}: {text}");
        for what in ["refused", "breaks", "notes"] {
            assert_eq!(value[what], running.value[what], "{from:?}: {text}");
        }
    }
}

#[test]
fn live_deliveries_go_on_while_a_trial_runs() {
    let (host, last) = crossed("", &["ann"; 300]);
    let trial = std::thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let args = [
                "--server",
                host.address(),
                "plugin",
                "check",
                "toll.wasm",
                "--output",
                "json",
            ];
            nerve(&host.path(""), &args)
        });
        for n in 0..100 {
            let at = host.publish(
                "bridge.crossed",
                &format!("live-{n}"),
                Some("bob"),
                &json!({ "who": "bob" }),
            );
            host.state("toll", "paid/bob", at);
        }
        trial.join().unwrap()
    });
    assert_eq!(
        trial.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&trial.stderr)
    );
    assert_eq!(host.state("toll", "paid/bob", last), json!(10_000));
    assert_eq!(host.plugin("toll")["counters"]["done"], json!(400));
}
