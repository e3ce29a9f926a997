//! `nerve plugin rollback --state`, on a real host with two versions of a real plugin.

use std::fs;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

const PEOPLE: [&str; 5] = ["ann", "bob", "cy", "di", "ed"];

/// Run `nerve plugin` against `host`; its exit code and what it printed as JSON.
fn plugin(host: &Host, args: &[&str]) -> (i32, Value) {
    let fixed = ["--output", "json", "--server", host.address(), "plugin"];
    let ran = nerve(&host.path("."), &[&fixed, args].concat());
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    (ran.status.code().unwrap(), said)
}

/// Deploy `toll` with this fee; the version that it makes.
fn deploy(host: &Host, fee: u64) -> String {
    let (component, settings) = (host.path("toll.wasm"), host.path("toll.toml"));
    fs::write(&component, built("fixtures/toll")).unwrap();
    fs::write(&settings, format!("[config]\nfee = \"{fee}\"\n")).unwrap();
    let (component, settings) = (component.display().to_string(), settings.display().to_string());
    let (code, said) = plugin(host, &["deploy", &component, "--settings", &settings]);
    assert_eq!((code, &said["deployed"]), (0, &json!("live")), "{said}");
    said["version"].as_str().unwrap().to_owned()
}

/// Everybody crosses so often more; the last offset.
fn cross(host: &Host, crossings: &mut u64, times: u64) -> u64 {
    let mut last = 0;
    for _ in 0..times {
        *crossings += 1;
        for who in PEOPLE {
            last = host.publish(
                "bridge.crossed",
                &format!("{who}{crossings}"),
                Some(who),
                &json!({ "who": who }),
            );
        }
    }
    last
}

fn paid(host: &Host, at: u64) -> Vec<u64> {
    let paid = PEOPLE.map(|who| host.state("toll", &format!("paid/{who}"), at).as_u64().unwrap());
    paid.to_vec()
}

fn is_through(host: &mut Host) {
    host.until("everything is delivered again", |host| {
        host.plugin("toll")["again"].is_null()
    });
}

#[test]
fn a_version_goes_back_with_its_state_and_the_host_is_killed_in_the_middle() {
    let (mut host, mut crossings) = (Host::start(&[]), 0);
    let dear = deploy(&host, 100);
    let mut last = cross(&host, &mut crossings, 2);
    assert_eq!(paid(&host, last), [200; 5]);
    let cheap = deploy(&host, 1);
    last = cross(&host, &mut crossings, 60);
    assert_eq!(paid(&host, last), [260; 5]);
    let taken = host.events("toll.taken").len();

    let (code, said) = plugin(&host, &["rollback", "toll", "--state"]);
    assert_eq!((code, &said["version"]), (0, &json!(dear)), "{said}");
    let again = &said["again"];
    assert!(
        again.is_null() || (again["mute"] == json!(["emit", "http"]) && again["left"].as_u64() > Some(0)),
        "{said}"
    );
    host.kill();
    host.run();
    last = cross(&host, &mut crossings, 1);
    is_through(&mut host);
    assert_eq!(
        paid(&host, last),
        [6300; 5],
        "all by the older version, each once"
    );
    let events = host.events("toll.taken");
    assert_eq!(
        events.len(),
        taken + 5,
        "what was emitted before is not emitted again"
    );

    // Back to the newer one, to where it was taken back; what came since it emits again, for that is asked for.
    let (code, versions) = plugin(&host, &["versions", "toll"]);
    assert_eq!(
        (code, versions["versions"][0]["state"].is_null()),
        (0, true),
        "the live one left nowhere"
    );
    assert!(versions["versions"][1]["state"].is_u64(), "{versions}");
    let (code, said) = plugin(
        &host,
        &["rollback", "toll", &cheap[..6], "--state", "--unmute", "emit"],
    );
    assert_eq!((code, &said["version"]), (0, &json!(cheap)), "{said}");
    is_through(&mut host);
    assert_eq!(paid(&host, last), [261; 5]);
    assert_eq!(host.events("toll.taken").len(), taken + 10);
    let trace = host.get(&format!("/v1/events/@{last}/trace")).body;
    let deliveries = trace["root"]["deliveries"].as_array().unwrap();
    assert!(deliveries[1]["rewind"]["generation"].is_u64(), "{trace}");

    // What can't be done changes nothing, and says why.
    let (code, said) = plugin(&host, &["rollback", "toll", "--unmute", "emit"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("nothing-again")),
        "{said}"
    );
    assert_eq!(
        plugin(&host, &["rewind", "toll", "--to", "start", "--rate", "1"]).0,
        0
    );
    let (code, said) = plugin(&host, &["rollback", "toll", "--state"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("rewind-running")),
        "{said}"
    );
    assert_eq!(host.plugin("toll")["version"], json!(cheap));
    assert_eq!(host.stop(), Some(0));
}
