//! The system refuses what the process needs: writes, syncs and files.

use std::net::TcpStream;

use nerve_tests::Host;
use nerve_tests::ledger::{Ledger, Published};
use nerve_tests::proof::Proof;
use nerve_tests::shim::Shim;
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
