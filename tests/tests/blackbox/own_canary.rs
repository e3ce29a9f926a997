//! A canary with a state of its own, from outside: deployed, promoted, rolled back and left alone, with a real plugin.

use std::fs;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

/// Of these a canary of half of the keys has the first three.
const PEOPLE: [&str; 6] = ["ada", "dave", "eve", "bob", "carol", "mallory"];

/// The fee of the version before, and of the canary.
const DEAR: u64 = 100;
const CHEAP: u64 = 1;

/// Run `nerve plugin` against `host`; its exit code and what it printed as JSON.
fn plugin(host: &Host, args: &[&str]) -> (i32, Value) {
    let fixed = ["--output", "json", "--server", host.address(), "plugin"];
    let ran = nerve(&host.path("."), &[&fixed, args].concat());
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    (ran.status.code().unwrap(), said)
}

/// The same, which must succeed.
fn done(host: &Host, args: &[&str]) -> Value {
    let (code, said) = plugin(host, args);
    assert_eq!(code, 0, "{args:?}: {said}");
    said
}

/// `toll` with this fee goes live, as a canary where it is `cheap`; its version.
fn deploy(host: &Host, fee: u64) -> String {
    let canary = if fee == CHEAP {
        "canary = \"50%\"\ncanary_state = \"own\"\n"
    } else {
        ""
    };
    let (component, settings) = (host.path("toll.wasm"), host.path("toll.toml"));
    // With a section that nobody reads, so that each is a component of its own.
    let own = [
        &built("fixtures/toll")[..],
        &[0, 2, 1, b'a' + u8::from(fee == CHEAP)],
    ]
    .concat();
    fs::write(&component, own).unwrap();
    fs::write(&settings, format!("{canary}[config]\nfee = \"{fee}\"\n")).unwrap();
    let (component, settings) = (component.display().to_string(), settings.display().to_string());
    let said = done(host, &["deploy", &component, "--settings", &settings]);
    assert_eq!(said["deployed"], "live", "{said}");
    said["version"].as_str().unwrap().to_owned()
}

/// A host where everybody has crossed once before the canary came, and once since; the last offset.
fn beside() -> (Host, u64) {
    let host = Host::start(&[]);
    deploy(&host, DEAR);
    let last = cross(&host, "first");
    assert_eq!(paid(&host, last), [DEAR; 6]);
    deploy(&host, CHEAP);
    let last = cross(&host, "second");
    (host, last)
}

/// Everybody crosses; the last offset.
fn cross(host: &Host, when: &str) -> u64 {
    let crosses = |who: &&str| {
        let (id, data) = (format!("{who} {when}"), json!({ "who": who }));
        host.publish("bridge.crossed", &id, Some(who), &data)
    };
    PEOPLE.iter().map(crosses).max().unwrap()
}

/// What everybody has paid by the plugin's state, when all up to `at` is settled.
fn paid(host: &Host, at: u64) -> Vec<u64> {
    let paid = PEOPLE.map(|who| host.state("toll", &format!("paid/{who}"), at).as_u64().unwrap());
    paid.to_vec()
}

/// What `who` has paid by the canary's.
fn paid_apart(host: &Host, who: &str) -> Value {
    host.get(&format!("/v1/plugins/toll/state/paid/{who}?canary=true"))
        .body["value"]
        .take()
}

/// How often `who` paid how much, as events say.
fn taken(host: &Host) -> Vec<(String, u64)> {
    let events = host.events("toll.taken");
    let taken = events.iter().map(|event| {
        let data = &event["event"]["data"];
        (
            data["who"].as_str().unwrap().to_owned(),
            data["cents"].as_u64().unwrap(),
        )
    });
    taken.collect()
}

fn times(taken: &[(String, u64)], who: &str, cents: u64) -> usize {
    taken
        .iter()
        .filter(|one| **one == (who.to_owned(), cents))
        .count()
}

#[test]
fn both_versions_answer_for_their_keys_with_states_apart_and_a_promotion_puts_them_together() {
    let (mut host, last) = beside();
    let canary = host.plugin("toll")["version"].clone();
    let shown = done(&host, &["versions", "toll"]);
    let live = &shown["versions"][0];
    assert_eq!(
        (&live["version"], &live["canary"], &live["own_state"]),
        (&canary, &json!(0.5), &json!(true))
    );
    for restarts in [false, true] {
        if restarts {
            host.kill();
            host.run();
        }
        let (twice, both) = (2 * DEAR, DEAR + CHEAP);
        assert_eq!(paid(&host, last), [DEAR, DEAR, DEAR, twice, twice, twice]);
        let apart = PEOPLE.map(|who| paid_apart(&host, who));
        assert_eq!(apart[..3], [json!(both), json!(both), json!(both)]);
        assert_eq!(apart[3..], [json!(DEAR), json!(DEAR), json!(DEAR)]);
    }
    for (who, fee) in PEOPLE.iter().zip([CHEAP, CHEAP, CHEAP, DEAR, DEAR, DEAR]) {
        assert_eq!(
            times(&taken(&host), who, fee),
            1 + usize::from(fee == DEAR),
            "{who} crossed twice, the second time by the version that has the key"
        );
    }

    let promoted = done(&host, &["promote", "toll"]);
    assert_eq!(promoted["version"], canary);
    let last = cross(&host, "third");
    let (canarys, befores) = (DEAR + 2 * CHEAP, 2 * DEAR + CHEAP);
    assert_eq!(
        paid(&host, last),
        [canarys, canarys, canarys, befores, befores, befores]
    );
    let gone = host.get("/v1/plugins/toll/state/paid/ada?canary=true");
    assert_eq!((gone.status, &gone.body["code"]), (409, &json!("no-canary")));
    assert_eq!(taken(&host).len(), 3 * PEOPLE.len(), "each once");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn where_both_wrote_a_key_of_the_state_somebody_says_whose_value_stays() {
    for (prefer, pot) in [("canary", CHEAP), ("before", DEAR)] {
        let (mut host, _) = beside();
        let both = ["ada", "bob"].map(|who| {
            host.publish(
                "bridge.crossed",
                &format!("pot {who}"),
                Some(who),
                &json!({ "who": "pot" }),
            )
        });
        assert_eq!(host.state("toll", "paid/pot", both[1]), DEAR);
        assert_eq!(paid_apart(&host, "pot"), CHEAP);
        let (code, said) = plugin(&host, &["promote", "toll"]);
        assert_eq!(
            (code, &said["error"]["code"]),
            (4, &json!("state-written-twice")),
            "{said}"
        );
        let why = said["error"]["detail"].as_str().unwrap_or_default();
        assert!(why.contains("paid/pot") && why.contains("--prefer"), "{said}");
        done(&host, &["promote", "toll", "--prefer", prefer]);
        assert_eq!(host.state("toll", "paid/pot", both[1]), pot, "{prefer}");
        let (canarys, befores) = (DEAR + CHEAP, 2 * DEAR);
        assert_eq!(
            paid(&host, both[1]),
            [canarys, canarys, canarys, befores, befores, befores],
            "what one alone wrote stays in any case"
        );
        assert_eq!(host.stop(), Some(0));
    }
}

#[test]
fn what_a_canary_did_is_delivered_again_to_the_version_before_when_it_is_rolled_back_with_effects_where_asked()
 {
    for unmute in [None, Some("emit"), Some("emit,http")] {
        let (mut host, last) = beside();
        assert_eq!(paid(&host, last)[0], DEAR);
        let before = taken(&host);
        let asked = unmute.map(|what| vec!["--unmute", what]).unwrap_or_default();
        done(&host, &[&["rollback", "toll"], &asked[..]].concat());
        host.kill();
        host.run();
        let last = cross(&host, "third");
        assert_eq!(
            paid(&host, last),
            [3 * DEAR; 6],
            "by the version before, as if no other had been"
        );
        host.until("all is delivered again", |host| {
            host.plugin("toll")["again"].is_null()
        });
        let after = taken(&host);
        for (place, who) in PEOPLE.iter().enumerate() {
            let again = usize::from(unmute.is_some() && place < 3);
            let dear = times(&before, who, DEAR) + again + 1;
            assert_eq!(times(&after, who, DEAR), dear, "{who}, unmuted: {unmute:?}");
            assert_eq!(times(&after, who, CHEAP), times(&before, who, CHEAP), "{who}");
        }
        // Nothing is left that could be.
        let (code, said) = plugin(&host, &["rollback", "toll", "--unmute", "emit"]);
        assert_eq!(code, 4, "{said}");
        assert_eq!(host.stop(), Some(0));
    }
}

#[test]
fn keys_whose_version_does_not_load_after_a_restart_wait_and_say_so_until_the_canary_is_promoted() {
    let (mut host, last) = beside();
    assert_eq!(paid(&host, last)[5], 2 * DEAR);
    let shown = done(&host, &["versions", "toll"]);
    let component = shown["versions"][1]["component"].as_str().unwrap().to_owned();
    assert_ne!(shown["versions"][0]["component"], component, "each has its own");
    assert_eq!(host.stop(), Some(0));
    fs::remove_file(host.path(&format!("data/components/{component}.wasm"))).unwrap();
    host.run();
    let last = cross(&host, "third");
    host.until("the keys of the version before wait", |host| {
        host.plugin("toll")["parked"].as_array().unwrap().len() == 3
    });
    assert_eq!(paid_apart(&host, "ada"), DEAR + 2 * CHEAP, "the canary's go on");
    let shown = done(&host, &["show", "toll"]);
    for parked in shown["parked"].as_array().unwrap() {
        let (key, reason) = (
            parked["key"].as_str().unwrap(),
            parked["reason"].as_str().unwrap(),
        );
        assert!(
            PEOPLE[3..].contains(&key) && reason.contains("does not load"),
            "{parked}"
        );
    }
    let (code, said) = plugin(&host, &["rollback", "toll"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (4, &json!("rollback-refused")),
        "{said}"
    );
    done(&host, &["promote", "toll"]);
    let (canarys, befores) = (DEAR + 2 * CHEAP, 2 * DEAR + CHEAP);
    assert_eq!(
        paid(&host, last),
        [canarys, canarys, canarys, befores, befores, befores]
    );
    assert_eq!(host.stop(), Some(0));
}
