//! The fold of what was seen, and the map that is drawn of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use nerve_eventlog::{Micros, Offset, ReadError};

use super::{Declared, Map, Observed, Wanted, cycles_through, draw};
use crate::log::looked_at::LookedAt;
use crate::log::record::DeploymentAction;
use crate::trace::written::{Failing, Written};

fn plugin(name: &str, gets: &[&str], emits: &[&str]) -> Declared {
    Declared {
        name: name.into(),
        status: "live",
        runs: true,
        subscriptions: gets.iter().map(|text| text.parse().unwrap()).collect(),
        emits: emits.iter().map(|name| (*name).to_owned()).collect(),
        ..Declared::default()
    }
}

fn seen(written: &Written) -> Observed {
    let mut observed = Observed::default();
    while observed.step(&written.log) {}
    observed
}

fn drawn(plugins: &[Declared], written: &Written) -> Map {
    draw(
        plugins,
        &BTreeSet::new(),
        &seen(written),
        written.now(),
        &Wanted::default(),
    )
}

/// Who emits and who gets each type, in a line.
fn in_lines(map: &Map) -> Vec<String> {
    let line = |one: &super::TypeNode| {
        let by = one.emitted_by.iter().map(|by| {
            let name = by.plugin.as_deref().unwrap_or("outside");
            format!("{name}{}={}", if by.declared { "" } else { "?" }, by.events)
        });
        let to = one.consumed_by.iter().map(|by| {
            let known = if by.pattern.is_some() { "" } else { "?" };
            format!("{}{known}={}/{}/{}", by.plugin, by.attempts, by.retries, by.dead)
        });
        let (by, to): (Vec<String>, Vec<String>) = (by.collect(), to.collect());
        format!("{} -> {} -> {}", by.join(","), one.name, to.join(","))
    };
    map.types.iter().map(line).collect()
}

#[test]
fn what_is_declared_and_what_was_seen_stand_side_by_side() {
    let mut written = Written::new();
    let order = written.outside("order.placed");
    written.failed("orders", order, &Failing::retried());
    written.done("orders", order, &["payment.wanted", "order.noted"]);
    let other = written.outside("order.placed");
    let dead = Failing {
        dead: true,
        ..Failing::retried()
    };
    written.failed("orders", other, &dead);
    written.done("audit", order, &[]);
    written.pass(1);
    let plugins = [
        plugin(
            "orders",
            &["order.placed", "payment.*"],
            &["payment.wanted", "order.confirmed"],
        ),
        plugin("audit", &[">"], &[]),
        plugin("mails", &["order.confirmed", "order.shipped"], &[]),
    ];
    let map = drawn(&plugins, &written);
    assert_eq!(
        in_lines(&map),
        [
            "orders=0 -> order.confirmed -> audit=0/0/0,mails=0/0/0",
            "orders?=1 -> order.noted -> audit=0/0/0",
            "outside=2 -> order.placed -> audit=1/0/0,orders=3/1/1",
            " -> order.shipped -> audit=0/0/0,mails=0/0/0",
            "orders=1 -> payment.wanted -> audit=0/0/0,orders=0/0/0",
        ]
    );
    let orders = map.plugins.iter().find(|node| node.name == "orders").unwrap();
    assert_eq!(
        (orders.attempts, orders.retries, orders.dead, orders.mean_us),
        (3, 1, 1, 500)
    );
    assert!(orders.per_minute > 2.9);
    let found = &map.findings;
    assert_eq!(found.nobody_consumes, ["order.noted"], "an audit does not count");
    assert_eq!(found.nobody_emits.len(), 1);
    assert_eq!(
        (
            &*found.nobody_emits[0].pattern,
            &found.nobody_emits[0].plugins[..]
        ),
        ("order.shipped", &["mails".to_owned()][..])
    );
    assert_eq!(found.undeclared.len(), 1);
    assert_eq!(
        (&*found.undeclared[0].plugin, &*found.undeclared[0].r#type),
        ("orders", "order.noted")
    );
}

#[test]
fn what_an_older_version_emitted_is_no_fault_of_the_one_that_runs() {
    let mut written = Written::new();
    let order = written.outside("order.placed");
    written.done("orders", order, &["order.noted"]);
    written.pass(1000);
    let newer = Declared {
        since: written.now(),
        ..plugin("orders", &["order.placed"], &[])
    };
    assert!(drawn(&[newer], &written).findings.undeclared.is_empty());
    assert_eq!(
        drawn(&[plugin("orders", &["order.placed"], &[])], &written)
            .findings
            .undeclared
            .len(),
        1
    );
}

#[test]
fn a_part_of_the_map_has_the_types_that_are_asked_for_and_who_touches_them() {
    let written = Written::new();
    let plugins = [
        plugin("orders", &["order.placed"], &["payment.wanted"]),
        plugin("payments", &["payment.wanted"], &["payment.received"]),
        plugin("mails", &["payment.received"], &[]),
    ];
    let part = |wanted: &Wanted| {
        let map = draw(&plugins, &BTreeSet::new(), &seen(&written), Micros(0), wanted);
        assert_eq!((map.of.plugins, map.of.types), (3, 3));
        let types: Vec<String> = map.types.into_iter().map(|one| one.name).collect();
        let plugins: Vec<String> = map.plugins.into_iter().map(|one| one.name).collect();
        (
            types.join(" "),
            plugins.join(" "),
            map.findings.nobody_emits.len(),
        )
    };
    let of_type = |pattern: &str| Wanted {
        types: Some(pattern.parse().unwrap()),
        plugin: None,
    };
    let is = |types: &str, plugins: &str, unfed| (types.to_owned(), plugins.to_owned(), unfed);
    assert_eq!(
        part(&of_type("*.received")),
        is("payment.received", "mails payments", 0)
    );
    assert_eq!(part(&of_type("order.>")), is("order.placed", "orders", 1));
    let of_plugin = Wanted {
        plugin: Some("payments".into()),
        types: None,
    };
    assert_eq!(
        part(&of_plugin),
        is("payment.received payment.wanted", "mails orders payments", 0)
    );
}

#[test]
fn a_cycle_is_possible_until_it_was_seen_or_enough_was_seen_to_tell() {
    let plugins = [
        plugin(
            "orders",
            &["order.placed", "payment.received"],
            &["payment.wanted", "order.confirmed"],
        ),
        plugin("payments", &["payment.wanted"], &["payment.received"]),
    ];
    let told = |written: &Written| {
        let cycles = drawn(&plugins, written).findings.cycles;
        cycles
            .iter()
            .map(|cycle| format!("{cycle} {}", cycle.seen))
            .collect::<Vec<_>>()
    };
    let possible = "payment.received -> orders -> payment.wanted -> payments -> payment.received false";
    let written = Written::new();
    assert_eq!(told(&written), [possible]);
    let pay = |written: &Written, emits: &[&str]| {
        let placed = written.outside("order.placed");
        let wanted = written.done("orders", placed, &["payment.wanted"])[0];
        let received = written.done("payments", wanted, &["payment.received"])[0];
        written.done("orders", received, emits);
    };
    for _ in 0..19 {
        pay(&written, &["order.confirmed"]);
    }
    assert_eq!(told(&written), [possible], "not yet");
    pay(&written, &["order.confirmed"]);
    assert!(told(&written).is_empty(), "a saga goes to and fro, and not round");
    pay(&written, &["payment.wanted"]);
    assert_eq!(told(&written), [possible.replace("false", "true")]);
    assert_eq!(cycles_through("payments", &plugins, &seen(&written)).len(), 1);
    assert!(cycles_through("mails", &plugins, &seen(&written)).is_empty());
}

#[test]
fn whoever_emits_what_it_gets_is_a_cycle_of_its_own() {
    let written = Written::new();
    let echo = plugin("echo", &["said.*"], &["said.again"]);
    let cycles = drawn(&[echo], &written).findings.cycles;
    assert_eq!(cycles.len(), 1);
    assert_eq!(cycles[0].to_string(), "said.again -> echo -> said.again");
}

#[test]
fn an_older_type_names_who_needs_it_and_who_would_do_without() {
    let written = Written::new();
    let plugins = [
        plugin(
            "carts",
            &["cart.checked_out"],
            &["order.placed", "order.placed.v2"],
        ),
        plugin("orders", &["order.placed.v2", "order.placed"], &[]),
        plugin("mails", &["order.placed"], &[]),
        plugin("audit", &[">"], &[]),
    ];
    let older = drawn(&plugins, &written).findings.older;
    assert_eq!(older.len(), 1);
    let old = &older[0];
    assert_eq!((&*old.r#type, &*old.newest), ("order.placed", "order.placed.v2"));
    assert_eq!(old.emitted_by, [Some("carts".to_owned())]);
    assert_eq!(
        (old.needed_by.join(" "), old.upcast_by.join(" ")),
        ("mails".into(), "orders".into())
    );
}

#[test]
fn what_was_seen_goes_on_from_a_checkpoint_as_if_it_had_never_stopped() {
    let mut written = Written::new();
    let mut halfway = Observed::default();
    for n in 0..2000 {
        let asked = written.outside(["a", "b", "c"][n % 3]);
        written.pass(7);
        written.done("p", asked, &["x"]);
        if n == 1000 {
            // Behind an event whose delivery comes later.
            let open = written.outside("late");
            while halfway.step(&written.log) {}
            written.done("q", open, &["y"]);
        }
    }
    let bytes = rmp_serde::to_vec(&halfway).unwrap();
    let mut again: Observed = rmp_serde::from_slice(&bytes).unwrap();
    while again.step(&written.log) {}
    let whole = seen(&written);
    assert_eq!(
        rmp_serde::to_vec(&again).unwrap(),
        rmp_serde::to_vec(&whole).unwrap()
    );
    assert!(
        whole.gets.len() == 5 - 1 && whole.beyond == 0,
        "{:?}",
        whole.gets.len()
    );
}

#[test]
fn a_plugin_that_is_forgotten_is_on_no_map() {
    let mut written = Written::new();
    written.deploy("p", &["a"], &["x"], Vec::new());
    let asked = written.outside("a");
    written.done("p", asked, &["x"]);
    assert_eq!(drawn(&[], &written).plugins.len(), 1);
    written.decide("p", DeploymentAction::Forgotten);
    let map = drawn(&[], &written);
    assert!(map.plugins.is_empty());
    assert_eq!(in_lines(&map), ["outside=1 -> a -> "]);
}

#[test]
fn a_flood_of_types_is_counted_up_to_a_bound_and_then_said() {
    let written = Written::new();
    for n in 0..21_000 {
        written.outside(&format!("t.n{n}"));
    }
    let observed = seen(&written);
    assert!(
        observed.names.len() <= 20_000 && observed.beyond > 1000,
        "{}",
        observed.beyond
    );
    assert_eq!(observed.through.0, 21_000);
}

#[test]
fn five_hundred_plugins_and_two_thousand_types_are_drawn_in_bounded_time() {
    let plugins: Vec<Declared> = (0..500)
        .map(|n| {
            let names =
                |from: usize| (0..10).map(move |k| format!("t{}.e{}", (from + k) % 200, (from * 7 + k) % 10));
            let gets: Vec<String> = names(n).chain((n % 50 == 0).then(|| ">".to_owned())).collect();
            let emits: Vec<String> = names(n + 77).collect();
            let text = |names: &[String]| {
                names
                    .iter()
                    .map(|name| &**name)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let (gets, emits) = (text(&gets), text(&emits));
            let gets: Vec<&str> = gets.iter().map(|name| &**name).collect();
            let emits: Vec<&str> = emits.iter().map(|name| &**name).collect();
            plugin(&format!("p{n}"), &gets, &emits)
        })
        .collect();
    let all: BTreeSet<String> = (0..2000).map(|n| format!("t{}.e{}", n % 200, n / 200)).collect();
    let begun = Instant::now();
    let map = draw(
        &plugins,
        &all,
        &Observed::default(),
        Micros(0),
        &Wanted::default(),
    );
    assert_eq!((map.of.plugins, map.of.types), (500, 2000));
    // Its answer is bounded too; how long it takes is a matter of `nerve bench`.
    eprintln!(
        "500 plugins, 2,000 types: {:?}, {} cycles",
        begun.elapsed(),
        map.findings.cycles.len()
    );
    assert!(map.findings.cycles.iter().all(|cycle| cycle.steps.len() < 100));
}

#[test]
fn what_the_system_refuses_to_read_is_read_later_and_what_is_damaged_is_passed_over() {
    let refused = || ReadError::Io {
        file: "1.log".into(),
        cause: std::io::Error::other("too many open files"),
    };
    let damaged = || ReadError::Damaged {
        file: "1.log".into(),
        byte: 64,
        offset: Offset(1),
        what: "another checksum".into(),
    };
    let written = Written::new();
    let placed: Vec<u64> = (0..4).map(|_| written.outside("order.placed")).collect();
    for (fails, times, missed) in [
        (&refused as &(dyn Fn() -> ReadError + Sync), 9, 0),
        (&refused, 10, 2),
        (&damaged, 1, 2),
    ] {
        let left = AtomicU32::new(times);
        let fail = |_| match left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(fails()),
            Err(_) => Ok(()),
        };
        let log = LookedAt {
            of: &written.log,
            hot_first: Some(Offset(placed[2])),
            before: Box::new(fail),
        };
        let mut observed = Observed::default();
        observed.follow_all(&log);
        assert_eq!(
            (observed.missed, observed.through),
            (missed, Offset(placed[3])),
            "{times} times"
        );
    }
}
