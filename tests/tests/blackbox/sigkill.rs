//! The process is killed again and again, at any moment, and its log must hold what publishers were told.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use nerve_tests::Host;
use nerve_tests::ledger::{Counts, Fact, Ledger, Published};
use nerve_tests::proof::Proof;
use serde_json::{Value, json};

/// Cycles on one data folder.
const ROUND: u64 = 25;

/// What runs: counts everything; emits and sets timers; fails and rejects.
const PLUGINS: [&str; 3] = ["fixtures/counter", "fixtures/steps", "fixtures/retry"];

#[test]
fn sigkill_under_load_loses_nothing_acknowledged_and_settles_nothing_twice() {
    let mut proof = Proof::begin("SIGKILL of the real process under load");
    let mut dice = proof.dice();
    let cycles = proof.scale(50, 2000);
    for round in 0..cycles.div_ceil(ROUND) {
        let mut host = start();
        let published = Mutex::default();
        for cycle in 0..ROUND.min(cycles - round * ROUND) {
            one_cycle(&mut host, cycle, &published, &mut dice);
        }
        let published = published.into_inner().unwrap();
        let (ledger, counts) = settled(&mut host);
        let faults = faults(&ledger, &published, &counts);
        assert!(faults.is_empty(), "round {round}:\n{}", faults.join("\n"));
        assert!(
            published.told.len() > 500,
            "there was load: {}",
            published.told.len()
        );
        proof.held(ROUND.min(cycles - round * ROUND));
    }
}

/// A host whose plugins try again at once, and take no failure for an outage.
fn start() -> Host {
    let host = Host::start(&[]);
    let settings = "[retry]\nattempts = 3\nfirst_ms = 1\nlongest_ms = 20\noutage_keys = 0\n";
    std::fs::write(host.path("plugins/retry.toml"), settings).unwrap();
    let mut host = host;
    for plugin in PLUGINS {
        host.drop_built(plugin);
        let name = plugin.rsplit('/').next().unwrap();
        host.until("it is live", |host| host.plugin(name)["status"] == "live");
    }
    host
}

/// Publish from several connections while plugins come, change and go; kill; start again, sometimes killing the start.
fn one_cycle(host: &mut Host, cycle: u64, published: &Mutex<Published>, dice: &mut fastrand::Rng) {
    std::thread::scope(|scope| {
        for publisher in 0..3 {
            let (own, seed) = (&*host, dice.u64(..));
            scope.spawn(move || publish(own, &format!("{cycle}-{publisher}"), seed, published));
        }
        match dice.u8(..6) {
            // Another comment in the settings makes another version.
            0 => std::fs::write(host.path("plugins/counter.toml"), format!("# cycle {cycle}\n")).unwrap(),
            1 => std::fs::remove_file(host.path("plugins/steps.wasm")).unwrap_or_default(),
            2 => host.drop_built("fixtures/steps"),
            // Cut short: what a clean stop does, and the checkpoint that it makes.
            3 => {
                wait(dice.u64(..80));
                host.signal("TERM");
            }
            _ => {}
        }
        wait(dice.u64(20..150));
        host.signal("KILL");
    });
    host.ended();
    while dice.u8(..4) == 0 {
        host.begin();
        wait(dice.u64(..200));
        host.kill();
    }
    host.run();
    let highest = published.lock().unwrap().told.values().copied().max();
    let durable = host.get("/v1/log").body["durable"].as_u64();
    assert!(
        durable >= highest,
        "cycle {cycle}: {durable:?} of {highest:?} are there"
    );
}

/// A moment that nothing announces.
fn wait(millis: u64) {
    let due = Instant::now() + Duration::from_millis(millis);
    while let Some(left) = due
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// Publish batches until the host is gone. What an earlier cycle was not told is sent again first.
fn publish(host: &Host, name: &str, seed: u64, published: &Mutex<Published>) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let connection = host.connect();
    let mut again = published.lock().unwrap().unsure.split_off(0);
    for n in 0_u64.. {
        let batch = if again.is_empty() {
            let size = dice.u64(1..8);
            (0..size)
                .map(|i| event(&format!("{name}-{n}-{i}"), &mut dice))
                .collect()
        } else {
            std::mem::take(&mut again)
        };
        published.lock().unwrap().sending(&batch);
        match connection.publish(&batch) {
            Some(answer) if answer.status == 200 => published.lock().unwrap().told(&batch, &answer.body),
            Some(answer) if answer.status != 503 => panic!("{}", answer.body),
            _ => {
                published.lock().unwrap().unsure.extend(batch);
                return;
            }
        }
    }
}

fn event(id: &str, dice: &mut fastrand::Rng) -> Value {
    let key = format!("k{}", dice.u8(..8));
    let (kind, data) = match dice.u8(..4) {
        0 => ("test.x", json!({})),
        1 => {
            let wait = dice.bool().then(|| dice.u64(1..60));
            (
                "test.step",
                json!({ "key": key, "left": dice.u8(..3), "wait_ms": wait }),
            )
        }
        2 => (
            "test.retry",
            json!({ "fail": dice.u8(..4), "reject": dice.u8(..10) == 0 }),
        ),
        _ => ("test.retry", json!({})),
    };
    let key = (kind == "test.step" || dice.bool()).then_some(key);
    json!({ "specversion": "1.0", "id": id, "source": "test", "type": kind, "partitionkey": key, "data": data })
}

/// Everything is settled: the log of the host, stopped, and what its counter counted.
fn settled(host: &mut Host) -> (Ledger, Counts) {
    host.drop_built("fixtures/steps");
    host.until("everything is settled", |host| {
        let end = host.get("/v1/log").body["last"].clone();
        let rests = |name: &str| {
            let plugin = host.plugin(name);
            plugin["status"] == "live"
                && plugin["lag"] == 0
                && plugin["timers"]["count"] == 0
                && plugin["parked"].as_array().is_some_and(Vec::is_empty)
        };
        let rest = PLUGINS
            .iter()
            .all(|plugin| rests(plugin.rsplit('/').next().unwrap()));
        rest && host.get("/v1/log").body["last"] == end
    });
    let counted = host
        .get("/v1/plugins/counter/state?prefix=count/&limit=1000")
        .body;
    let counts = counted["entries"].as_array().unwrap().iter().map(|entry| {
        let key = entry["key"].as_str().unwrap().to_owned();
        (key, entry["value"].as_u64().unwrap())
    });
    let counts = counts.collect();
    assert_eq!(host.stop(), Some(0));
    (Ledger::read(&host.path("data")), counts)
}

fn faults(ledger: &Ledger, published: &Published, counts: &Counts) -> Vec<String> {
    let mut faults = ledger.violations(published);
    let right = ledger.counts("counter");
    if right != *counts {
        faults.push(format!("counted are {counts:?}, and there are {right:?}"));
    }
    faults
}

#[test]
fn the_proof_of_sigkill_notices_what_is_lost_doubled_reordered_or_made_up() {
    let mut host = start();
    let published = Mutex::default();
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&host, "n", 7, &published));
        wait(300);
        host.signal("KILL");
    });
    host.ended();
    host.run();
    let published = published.into_inner().unwrap();
    let (ledger, counts) = settled(&mut host);
    assert_eq!(faults(&ledger, &published, &counts), Vec::<String>::new());
    let doctored = |says: &str, change: &dyn Fn(&mut Ledger, &mut Published, &mut Counts)| {
        let (mut ledger, mut published, mut counts) = (ledger.clone(), published.clone(), counts.clone());
        change(&mut ledger, &mut published, &mut counts);
        let faults = faults(&ledger, &published, &counts);
        assert!(
            faults.iter().any(|fault| fault.contains(says)),
            "{says}: {faults:?}"
        );
    };
    let told = published.told.keys().next().unwrap();
    let outcomes: Vec<u64> = offsets(
        &ledger,
        |fact| matches!(fact, Fact::Outcome(o) if o.verdict == "done"),
    );
    // One whose last effect is not followed by another event, which would be taken for it.
    let effect_of = |at: u64| match &ledger.facts[&at] {
        Fact::Outcome(outcome) => at + outcome.emitted,
        _ => at,
    };
    let is_followed = |at: u64| matches!(ledger.facts.get(&(effect_of(at) + 1)), Some(Fact::Event(_)));
    let emitting = offsets(&ledger, |fact| matches!(fact, Fact::Outcome(o) if o.emitted > 0));
    let emitting = emitting.into_iter().find(|at| !is_followed(*at)).unwrap();
    let fired = offsets(&ledger, |fact| matches!(fact, Fact::Fired { .. }))[0];
    doctored("and is lost", &|ledger, _, _| {
        ledger
            .facts
            .retain(|_, fact| !matches!(fact, Fact::Event(event) if event.id == *told));
    });
    doctored("and is there as", &|_, published, _| {
        *published.told.get_mut(told).unwrap() += 1;
    });
    doctored("was never sent", &|_, published, _| {
        drop(published.sent.remove(told));
    });
    doctored("does not wait", &|ledger, _, _| {
        let twice = ledger.facts[&outcomes[0]].clone();
        let end = ledger.facts.keys().last().unwrap() + 1;
        ledger.facts.insert(end, twice);
    });
    doctored("never settled", &|ledger, _, _| {
        drop(ledger.facts.remove(outcomes.last().unwrap()));
    });
    doctored("out of order", &|ledger, _, _| {
        let of_counter = |fact: &Fact| matches!(fact, Fact::Outcome(o) if o.plugin == "counter");
        let all = offsets(ledger, of_counter);
        let (first, last) = (all[0], all[all.len() - 1]);
        let (a, b) = (ledger.facts[&first].clone(), ledger.facts[&last].clone());
        ledger.facts.insert(first, b);
        ledger.facts.insert(last, a);
        one_key(ledger);
    });
    doctored("is missing", &|ledger, _, _| {
        drop(ledger.facts.remove(&effect_of(emitting)));
    });
    doctored("an effect of nothing", &|ledger, _, _| {
        let Some(Fact::Outcome(outcome)) = ledger.facts.get_mut(&emitting) else {
            panic!()
        };
        outcome.emitted -= 1;
    });
    doctored("fired twice", &|ledger, _, _| {
        let twice = (ledger.facts[&fired].clone(), ledger.facts[&(fired + 1)].clone());
        let end = ledger.facts.keys().last().unwrap() + 1;
        ledger.facts.extend([(end, twice.0), (end + 1, twice.1)]);
    });
    doctored("never fired", &|ledger, _, _| {
        ledger.facts.remove(&fired);
        ledger.facts.remove(&(fired + 1));
    });
    doctored("counted are", &|_, _, counts| {
        *counts.values_mut().next().unwrap() += 1;
    });
}

fn offsets(ledger: &Ledger, wanted: impl Fn(&Fact) -> bool) -> Vec<u64> {
    let found = ledger.facts.iter().filter(|(_, fact)| wanted(fact));
    found.map(|(offset, _)| *offset).collect()
}

/// Everything under one key, so that every order counts.
fn one_key(ledger: &mut Ledger) {
    for fact in ledger.facts.values_mut() {
        if let Fact::Event(event) = fact {
            event.key = Some("k".to_owned());
        }
    }
}
