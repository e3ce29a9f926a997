//! The system refuses what the process needs: writes, syncs and files.

use std::fs;
use std::net::TcpStream;

use nerve_tests::ledger::{Ledger, Published};
use nerve_tests::proof::Proof;
use nerve_tests::shim::Shim;
use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

#[test]
fn invariant_07_no_acknowledgement_follows_a_failed_sync() {
    fails_once("sync");
}

#[test]
fn invariant_07_no_acknowledgement_follows_a_failed_write() {
    fails_once("write");
}

/// Publish, let `what` fail, and publish on: the process ends with a reason and loses nothing that it acknowledged.
fn fails_once(what: &str) {
    let mut proof = Proof::begin("errors of writes and syncs, real process");
    for round in 0..proof.scale(5, 50) {
        let mut host = Host::start(&["fixtures/counter"]);
        host.stop();
        let shim = Shim::before(&mut host);
        host.run();
        let mut published = Published::default();
        let connection = host.connect();
        let mut n = 0;
        let mut publish = |published: &mut Published| {
            let batch = batch(&mut n);
            published.sending(&batch);
            let answer = connection.publish(&batch);
            let taken = answer.is_some_and(|answer| {
                let taken = answer.status == 200;
                if taken {
                    published.told(&batch, &answer.body);
                }
                taken
            });
            if !taken {
                published.unsure.extend(batch);
            }
            taken
        };
        for _ in 0..10 + round {
            assert!(publish(&mut published));
        }
        shim.fail(what, true);
        for _ in 0..5 {
            assert!(!publish(&mut published), "acknowledged behind a failed {what}");
        }
        let code = host.ended();
        assert_eq!(code, Some(1), "{}", host.said());
        let said = host.said();
        assert!(
            said.contains("poisoned") && said.contains("start it again"),
            "{said}"
        );
        // What failed is not tried again, and what was told is there.
        shim.fail(what, false);
        checked(&mut host, &mut published);
        proof.held(1);
    }
}

#[test]
fn a_file_that_may_not_grow_ends_the_process_and_loses_nothing_acknowledged() {
    let mut proof = Proof::begin("errors of writes and syncs, real process");
    let mut host = Host::start(&["fixtures/counter"]);
    host.stop();
    // Without the trap the signal of the limit would end the process before the write says that it failed.
    host.before_start("trap '' XFSZ; ulimit -f 200;");
    host.run();
    let mut published = Published::default();
    let connection = host.connect();
    let mut n = 0;
    loop {
        let batch = batch(&mut n);
        published.sending(&batch);
        match connection.publish(&batch) {
            Some(answer) if answer.status == 200 => published.told(&batch, &answer.body),
            _ => {
                published.unsure.extend(batch);
                break;
            }
        }
        assert!(n < 100_000, "the limit is met");
    }
    assert_eq!(host.ended(), Some(1), "{}", host.said());
    host.before_start("");
    checked(&mut host, &mut published);
    proof.held(1);
}

#[test]
fn too_many_open_files_refuse_connections_lose_nothing_and_heal() {
    let mut proof = Proof::begin("too many open files, real process");
    let mut host = Host::start(&["fixtures/counter"]);
    host.stop();
    host.before_start("ulimit -n 64;");
    host.run();
    let mut published = Published::default();
    let connection = host.connect();
    let mut n = 0;
    let mut publish = |published: &mut Published| {
        let batch = batch(&mut n);
        published.sending(&batch);
        let answer = connection
            .publish(&batch)
            .expect("a kept connection is served on");
        assert_eq!(answer.status, 200, "{}", answer.body);
        published.told(&batch, &answer.body);
    };
    publish(&mut published);
    let address = host.address().trim_start_matches("http://").to_owned();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for _ in 0..50 {
        publish(&mut published);
    }
    // Nothing can be read from the folder now; it is when there are files again.
    host.drop_built("fixtures/retry");
    for _ in 0..50 {
        publish(&mut published);
    }
    drop(idle);
    host.until("it heals", |host| host.plugin("retry")["status"] == "live");
    publish(&mut published);
    assert_eq!(host.stop(), Some(0), "{}", host.said());
    host.before_start("");
    checked(&mut host, &mut published);
    proof.held(1);
}

#[test]
fn too_few_files_to_start_with_end_the_start_with_a_reason() {
    let mut host = Host::start(&["fixtures/counter"]);
    host.stop();
    for most in 4..24 {
        host.before_start(&format!("ulimit -n {most};"));
        let before = host.said().len();
        let code = host.run_or_end();
        let said = host.said().split_off(before);
        assert!(!said.contains("panicked"), "{most}: {said}");
        match code {
            None => host.kill(),
            // The dynamic loader says 127, before there is a process to speak of.
            Some(127) => {}
            Some(_) => assert!(said.contains("Too many open files"), "{most}: {code:?}: {said}"),
        }
    }
    host.before_start("");
    host.run();
}

#[test]
fn more_components_than_there_is_room_for_are_refused_and_harm_nobody() {
    let mut host = Host::start(&["fixtures/counter"]);
    host.stop();
    host.before_start("ulimit -n 64;");
    host.run();
    // A quarter of the files is for components, but for two that take the place of others; and the counter has one.
    let built = built("fixtures/bench-read-0000");
    for n in 1..14 {
        let (name, component) = named(&built, n);
        host.drop_bytes(&name, &component);
        host.until("it is live", |host| host.plugin(&name)["status"] == "live");
    }
    let (name, component) = named(&built, 14);
    host.drop_bytes(&name, &component);
    host.until("it is refused", |host| !host.plugin(&name)["refused"].is_null());
    let refused = host.plugin(&name)["refused"]["reason"].to_string();
    assert!(
        refused.contains("may open 64 files") && refused.contains("LimitNOFILE"),
        "{refused}"
    );
    let offset = host.publish("test.x", "1", Some("a"), &json!({}));
    assert_eq!(host.state("counter", "count/type/test.x", offset), 1);

    // What runs can be updated, and plugins that are removed leave their places to others.
    let plugins = host.path("plugins");
    let before = host.plugin("counter")["version"].clone();
    fs::write(plugins.join("counter.toml"), "lanes = 2\n").unwrap();
    host.until("it is updated", |host| {
        host.plugin("counter")["version"] != before
    });
    // Two, for the counter has two while it is watched.
    for gone in ["bench-read-0001.wasm", "bench-read-0002.wasm"] {
        fs::remove_file(plugins.join(gone)).unwrap();
    }
    let file = format!("{name}.wasm");
    host.until("there is a place", |host| {
        let again = ["plugin", "deploy", &file, "--server", host.address()];
        nerve(&plugins, &again).status.success()
    });
    assert_eq!(host.plugin(&name)["status"], "live");
    assert_eq!(host.stop(), Some(0), "{}", host.said());
}

/// The `component` of a plugin whose name ends with four digits, under another number.
fn named(component: &[u8], number: usize) -> (String, Vec<u8>) {
    let (old, new) = ("bench-read-0000", format!("bench-read-{number:04}"));
    let mut component = component.to_vec();
    let places: Vec<usize> = (0..component.len())
        .filter(|at| component[*at..].starts_with(old.as_bytes()))
        .collect();
    for at in places {
        component[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    (new, component)
}

fn batch(n: &mut usize) -> Vec<Value> {
    let event = |n: usize| {
        let key = format!("k{}", n % 3);
        json!({
            "specversion": "1.0", "id": n.to_string(), "source": "test", "type": "test.x", "partitionkey": key, "data": {},
        })
    };
    let batch = (*n..*n + 1 + *n % 5).map(event).collect::<Vec<_>>();
    *n += batch.len();
    batch
}

/// Start again, send again what was not answered, and check the log.
fn checked(host: &mut Host, published: &mut Published) {
    host.run();
    let again = std::mem::take(&mut published.unsure);
    if !again.is_empty() {
        let answer = host.connect().publish(&again).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        published.told(&again, &answer.body);
    }
    host.until("everything is settled", |host| {
        let last = host.get("/v1/log").body["last"].clone();
        host.plugin("counter")["lag"] == 0 && host.get("/v1/log").body["last"] == last
    });
    let counted = host.get("/v1/plugins/counter/state/count/type/test.x").body["value"].clone();
    assert_eq!(host.stop(), Some(0));
    let ledger = Ledger::read(&host.path("data"));
    assert_eq!(ledger.violations(published), Vec::<String>::new());
    assert_eq!(counted, ledger.counts("counter")["count/type/test.x"]);
}
