//! Plugins that misbehave: their trouble stays their own, and its reason can be read.

#[path = "hostile/guest.rs"]
mod guest;
#[path = "hostile/kinds.rs"]
mod kinds;
#[path = "hostile/packed.rs"]
mod packed;

use nerve_tests::Host;
use nerve_tests::proof::Proof;
use serde_json::json;

use guest::Guest;
use kinds::{Ends, Kind};

/// Wait for the only dead letter of a plugin; answers its class and reason.
fn dead_letter(host: &mut Host, plugin: &str) -> (String, String) {
    host.until(&format!("{plugin} has a dead letter"), |host| {
        host.plugin(plugin)["dead_letters"] == 1
    });
    let list = host.get(&format!("/v1/dead-letters?plugin={plugin}")).body;
    let letter = &list["dead_letters"][0];
    (
        letter["class"].as_str().unwrap().to_owned(),
        letter["reason"].as_str().unwrap().to_owned(),
    )
}

/// Long enough that only an endless loop meets it, whatever else the machine does.
const PATIENT_MS: u32 = 20_000;

/// A host with these plugins, which get few and quick attempts and this much time.
fn start(plugins: &[&str], time_ms: u32) -> Host {
    let settings = format!("[limits]\ntime_ms = {time_ms}\n[retry]\nattempts = 2\nfirst_ms = 1\n");
    let host = Host::start(&[]);
    for plugin in plugins {
        let name = plugin.rsplit('/').next().unwrap();
        std::fs::write(host.path(&format!("plugins/{name}.toml")), &settings).unwrap();
        host.drop_built(plugin);
    }
    let mut host = host;
    for plugin in plugins {
        let name = plugin.rsplit('/').next().unwrap();
        host.until("it is live", |host| host.plugin(name)["status"] == "live");
    }
    host
}

#[test]
fn invariant_04_an_endless_loop_is_stopped_and_delays_nobody_else() {
    let mut host = start(&["fixtures/loop-forever", "fixtures/counter"], 500);
    host.publish("test.loop", "l", None, &json!({}));
    let mut last = 0;
    for n in 0..50 {
        last = host.publish("test.ok", &format!("ok{n}"), None, &json!({}));
    }
    assert_eq!(
        host.state("counter", "count/type/test.ok", last),
        50,
        "another plugin goes on"
    );
    assert_eq!(
        host.state("loop-forever", "handled", last),
        50,
        "and so do its own other keys"
    );
    let (class, reason) = dead_letter(&mut host, "loop-forever");
    assert_eq!(
        (class.as_str(), reason.as_str()),
        ("time", "limit time_ms: it ran longer than 500 ms")
    );
}

#[test]
fn a_memory_bomb_is_stopped_by_its_limit() {
    let mut host = start(&["fixtures/memory-bomb"], PATIENT_MS);
    host.publish("test.bomb", "b", None, &json!({}));
    let (class, reason) = dead_letter(&mut host, "memory-bomb");
    assert!(
        class == "memory" && reason.starts_with("limit memory_bytes"),
        "{class}: {reason}"
    );
    assert_eq!(host.get("/readyz").status, 200);
}

#[test]
fn the_stack_of_plugins_is_what_the_host_was_told() {
    let deep = Guest {
        besides: "(func $deep (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.add \
                  (call $deep (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))) (else (i32.const 0))))"
            .to_owned(),
        handle: "(drop (call $deep (i32.const 6000))) (i32.const 512)".to_owned(),
        ..Guest::new("deep")
    };
    for (options, bytes, dead) in [
        (&["--stack-kib", "64"], 65_536, true),
        (&["--stack-kib", "1024"], 1_048_576, false),
    ] {
        let mut host = Host::start_with(options, &[]);
        std::fs::write(host.path("plugins/deep.toml"), "[retry]\nattempts = 1\n").unwrap();
        host.drop_bytes("deep", &deep.wasm());
        host.until("it is live", |host| host.plugin("deep")["status"] == "live");
        assert_eq!(host.plugin("deep")["limits"]["stack_bytes"], bytes);
        host.publish("hostile.deep", "d", None, &json!({}));
        if dead {
            let (class, reason) = dead_letter(&mut host, "deep");
            assert!(
                class == "limit" && reason.starts_with("limit stack: its stack of 65536 bytes"),
                "{class}: {reason}"
            );
        } else {
            host.until("it is done", |host| host.plugin("deep")["counters"]["done"] == 1);
        }
    }
}

#[test]
fn a_trap_is_dead_lettered_with_its_reason_and_leaves_no_effect() {
    let mut host = start(&["fixtures/trap"], PATIENT_MS);
    let at = host.publish("test.trap", "t", None, &json!({}));
    let (class, reason) = dead_letter(&mut host, "trap");
    assert_eq!(class, "trap");
    assert!(
        reason.contains(&format!("a trap at offset {at}")),
        "the panic's message is kept: {reason}"
    );
    let last = host.publish("test.maybe", "m", None, &json!({ "trap": false }));
    assert_eq!(
        host.state("trap", "handled", last),
        1,
        "what it wrote before it trapped is not there"
    );
}

#[test]
fn invariant_12_what_is_dropped_at_a_limit_is_counted_and_named() {
    let mut host = start(&["fixtures/flood"], PATIENT_MS);
    let at = host.publish("test.flood.emit", "e", None, &json!({}));
    let (class, reason) = dead_letter(&mut host, "flood");
    assert!(
        class == "limit" && reason.starts_with("limit emit"),
        "{class}: {reason}"
    );
    let tree = host.get(&format!("/v1/events/@{at}/trace")).body;
    for delivery in tree["root"]["deliveries"].as_array().unwrap() {
        assert_eq!(
            delivery["emitted"].as_array().unwrap().len(),
            0,
            "a failed attempt emits nothing"
        );
    }
    let at = host.publish("test.flood.log", "l", None, &json!({}));
    host.until("the log flood is settled", |host| {
        let tree = host.get(&format!("/v1/events/@{at}/trace")).body;
        tree["root"]["deliveries"][0]["lines_lost"]
            .as_u64()
            .unwrap_or_default()
            > 0
    });
}

#[test]
fn invariant_08_guest_memory_is_only_a_cache() {
    let counts = |isolation: &str| {
        let host = Host::start(&[]);
        std::fs::write(
            host.path("plugins/counter.toml"),
            format!("isolation = \"{isolation}\"\n"),
        )
        .unwrap();
        host.drop_built("fixtures/counter");
        let mut host = host;
        host.until("it is live", |host| host.plugin("counter")["status"] == "live");
        let mut last = 0;
        for n in 0..100 {
            last = host.publish(
                "test.x",
                &format!("x{n}"),
                Some(&format!("k{}", n % 7)),
                &json!({ "n": n }),
            );
        }
        host.state("counter", "count/type/test.x", last);
        host.get("/v1/plugins/counter/state?prefix=count/&limit=1000")
            .body["entries"]
            .clone()
    };
    let (reused, fresh) = (counts("reuse"), counts("event"));
    assert_eq!(
        reused, fresh,
        "a fresh instance for every event comes to the same state"
    );
    assert_eq!(reused.as_array().unwrap().len(), 8);
}

#[test]
fn retries_keep_the_order_of_their_key_and_the_ids_of_what_they_emit() {
    let mut host = start(&["fixtures/retry"], PATIENT_MS);
    let at = host.publish("test.retry", "first", Some("k"), &json!({ "fail": 1 }));
    let last = host.publish("test.retry", "second", Some("k"), &json!({ "fail": 0 }));
    host.until("both are settled", |host| {
        host.plugin("retry")["counters"]["done"] == 2
    });
    assert_eq!(host.state("retry", "done/first", last), 2);
    assert_eq!(host.state("retry", "done/second", last), 1);
    let emitted = host.events("test.retried");
    assert_eq!(emitted.len(), 2, "a failed attempt emits nothing");
    assert_eq!(
        emitted[0]["event"]["causationoffset"], at,
        "the first of the key is settled first"
    );
}

#[test]
fn invariant_11_a_stream_that_nobody_reads_holds_up_nobody() {
    use std::io::Write;
    let host = Host::start(&["fixtures/counter"]);
    let address = host.address().trim_start_matches("http://").to_owned();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET /v1/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n"
        )
        .unwrap();
        streams.push(stream);
    }
    let text = "x".repeat(20_000);
    let mut last = 0;
    for n in 0..300 {
        last = host.publish("test.x", &format!("x{n}"), None, &json!({ "text": text }));
    }
    assert_eq!(host.state("counter", "count/type/test.x", last), 300);
}

/// Resident bytes of a host that hostile plugins may not drive it past.
const MOST_RESIDENT: u64 = 1 << 30;

#[test]
fn files_that_are_no_plugins_are_refused_with_the_reason() {
    hold(kinds::files());
}

#[test]
fn plugins_that_misbehave_before_their_first_event_are_refused_with_the_reason() {
    hold(kinds::starts());
}

#[test]
fn plugins_that_misbehave_at_an_event_are_stopped_with_the_reason() {
    hold(kinds::handlers());
}

#[test]
fn events_in_one_piece_go_where_they_are_taken_so_and_hostile_takers_are_stopped() {
    hold(packed::kinds());
}

#[test]
fn answers_that_make_no_sense_are_failures_with_the_reason() {
    hold(kinds::answers());
}

#[test]
fn effects_that_must_not_be_are_stopped_with_the_reason() {
    hold(kinds::effects());
}

/// Drop each beside a plugin that works: it ends as it must, the host lives, and the other plugin goes on.
fn hold(kinds: Vec<Kind>) {
    let mut proof = Proof::begin("hostile plugins");
    let mut host = Host::start(&["fixtures/counter"]);
    for (n, kind) in (1_u64..).zip(kinds) {
        let name = kind.name;
        std::fs::write(host.path(&format!("plugins/{name}.toml")), kind.settings).unwrap();
        host.drop_bytes(name, &kind.wasm);
        host.until(&format!("{name} is live or refused"), |host| {
            let plugin = host.plugin(name);
            plugin["status"] == "live" || plugin["refused"]["reason"].is_string()
        });
        let refused = host.plugin(name)["refused"]["reason"].clone();
        match (&kind.ends, refused.as_str()) {
            (Ends::Refused(says), reason) => {
                assert!(
                    reason.is_some_and(|reason| reason.contains(says)),
                    "{name}: {reason:?}"
                );
            }
            (Ends::Harmless, Some(_)) => {}
            (_, Some(reason)) => panic!("{name} is refused: {reason}"),
            (how, None) => {
                host.publish(&format!("hostile.{name}"), name, Some("k"), &json!({}));
                ends(&mut host, name, how);
            }
        }
        let last = host.publish("test.ok", &format!("ok-{name}"), Some("k"), &json!({}));
        assert_eq!(
            host.state("counter", "count/type/test.ok", last),
            n,
            "{name} hurts another plugin"
        );
        assert_eq!(host.get("/readyz").status, 200, "{name}");
        let resident = host.resident();
        assert!(
            resident < MOST_RESIDENT,
            "{name} drives the host to {resident} bytes"
        );
        proof.held(1);
    }
    assert_eq!(host.stop(), Some(0));
}

fn ends(host: &mut Host, name: &str, ends: &Ends) {
    match ends {
        Ends::Dead(class, says) => {
            let (is, reason) = dead_letter(host, name);
            assert!(is == *class && reason.contains(says), "{name}: {is}: {reason}");
        }
        Ends::Parked(says) => {
            host.until(&format!("{name} waits"), |host| {
                !host.plugin(name)["parked"][0].is_null()
            });
            let parked = host.plugin(name)["parked"][0].clone();
            assert!(
                parked["reason"].as_str().unwrap().contains(says),
                "{name}: {parked}"
            );
        }
        Ends::Done | Ends::Harmless => {
            host.until(&format!("{name} settles"), |host| {
                assert_eq!(host.plugin(name)["dead_letters"], 0, "{name}");
                host.plugin(name)["counters"]["done"] == 1
            });
        }
        Ends::Refused(_) => unreachable!("nothing is published to it"),
    }
}

#[test]
fn two_plugins_that_answer_each_other_are_stopped_as_a_loop() {
    let mut host = Host::start(&["fixtures/counter"]);
    for (name, hears, says) in [
        ("ping", "hostile.pong", "hostile.ping"),
        ("pong", "hostile.ping", "hostile.pong"),
    ] {
        host.drop_bytes(name, &Guest::answering(name, hears, says).wasm());
        host.until("it is live", |host| host.plugin(name)["status"] == "live");
    }
    host.publish("hostile.ping", "first", Some("k"), &json!({}));
    host.until("the loop is stopped", |host| {
        host.get("/v1/dead-letters").body["dead_letters"][0]["class"] == "loop"
    });
    let letter = host.get("/v1/dead-letters").body["dead_letters"][0].clone();
    assert!(
        letter["reason"]
            .as_str()
            .unwrap()
            .contains("two plugins may be answering each other"),
        "{letter}"
    );
    let last = host.publish("test.ok", "ok", None, &json!({}));
    assert_eq!(host.state("counter", "count/type/test.ok", last), 1);
}

#[test]
fn a_version_that_traps_on_its_first_event_is_stopped_and_another_one_goes_on_where_it_stood() {
    let mut host = Host::start(&["fixtures/counter"]);
    let settings = "[retry]\nattempts = 100\nfirst_ms = 1\nlongest_ms = 10\n[probation]\nevents = 0\n";
    std::fs::write(host.path("plugins/changing.toml"), settings).unwrap();
    let good = Guest::new("changing");
    let mut bad = Guest::new("changing");
    "unreachable".clone_into(&mut bad.handle);
    host.drop_bytes("changing", &good.wasm());
    host.until("it is live", |host| host.plugin("changing")["status"] == "live");
    let version = host.plugin("changing")["version"].clone();
    host.publish("hostile.changing", "1", Some("k"), &json!({}));
    host.drop_bytes("changing", &bad.wasm());
    host.until("the bad version is live", |host| {
        host.plugin("changing")["version"] != version
    });
    host.publish("hostile.changing", "2", Some("k"), &json!({}));
    host.publish("hostile.changing", "3", Some("k"), &json!({}));
    host.until("it fails, and says why", |host| {
        let reason = host.plugin("changing")["parked"][0]["reason"].clone();
        reason
            .as_str()
            .is_some_and(|reason| reason.contains("unreachable"))
    });
    host.drop_bytes("changing", &good.wasm());
    host.until("the good version settles everything", |host| {
        let plugin = host.plugin("changing");
        plugin["counters"]["done"] == 3 && plugin["dead_letters"] == 0 && plugin["version"] == version
    });
}

#[test]
fn a_storm_of_reloads_hurts_nobody_and_ends_with_the_last_version() {
    let mut host = Host::start(&["fixtures/counter"]);
    let mut changing = Guest::new("changing");
    let mut last = 0;
    for n in 0..200_u64 {
        // Every third is broken.
        let body = if n % 3 == 1 { "(i32.const" } else { "" };
        changing.besides = format!("(global i32 (i32.const {n}))");
        let mut wasm = changing.wasm();
        wasm.extend(body.bytes());
        host.drop_bytes("changing", &wasm);
        last = host.publish("test.ok", &n.to_string(), None, &json!({}));
    }
    assert_eq!(host.state("counter", "count/type/test.ok", last), 200);
    changing.besides = "(global i32 (i32.const 1000))".to_owned();
    std::fs::write(host.path("plugins/changing.toml"), "[config]\nlast = true\n").unwrap();
    host.drop_bytes("changing", &changing.wasm());
    host.until("a version is live", |host| {
        host.plugin("changing")["status"] == "live"
    });
    let at = host.publish("hostile.changing", "last", None, &json!({}));
    host.until("it is settled", |host| {
        host.plugin("changing")["cursor"].as_u64() >= Some(at)
    });
    let resident = host.resident();
    assert!(resident < MOST_RESIDENT, "{resident} bytes");
}
