//! Waits over records written by hand, and over random trees, held against a slow reading of the same records.

mod model;

use std::sync::Arc;

use bytes::Bytes;
use nerve_eventlog::proof::{Scale, cases};
use nerve_eventlog::{Entry, Micros, Offset};

use super::{Forest, Progress};
use crate::delivery::subscription::Subscription;
use crate::log::record::{
    Event, FailureClass, FailureRecord, Fired, Gap, Operator, OperatorAction, Outcome, Record, TimerChange,
    TimerSet, Verdict,
};
use crate::trace::routes::{Route, Routes};

/// A plugin: its name, what it gets, and what it says it emits.
type Plugin = (&'static str, &'static str, &'static [&'static str]);

/// `orders` gets `order` and asks `payments`, which `shipping` waits for. `stock` has nothing to do with it, and
/// `analytics` gets everything.
const SHOP: &[Plugin] = &[
    ("orders", "order", &["pay"]),
    ("payments", "pay", &["paid"]),
    ("shipping", "paid", &[]),
    ("stock", "goods", &[]),
    ("analytics", ">", &[]),
];

fn routes(plugins: &[Plugin]) -> Arc<Routes> {
    let route = |(name, gets, emits): &Plugin| {
        let pattern = gets.parse().unwrap();
        let route = Route {
            subscription: Subscription::new(vec![(pattern, Offset(1))]),
            emits: emits.iter().map(|name| (*name).to_owned()).collect(),
        };
        (Box::from(*name), route)
    };
    Arc::new(Routes::new(plugins.iter().map(route), Offset(0)))
}

fn entry(offset: u64, record: &Record<'_>) -> Entry {
    let mut payload = Vec::new();
    record.encode(&mut payload);
    Entry {
        offset: Offset(offset),
        time: Micros(offset),
        payload: Bytes::from(payload),
    }
}

fn fact<'a>(name: &'a str, key: Option<&'a str>) -> Record<'a> {
    Record::Event(Event {
        id: "id",
        source: "test",
        r#type: name,
        key,
        subject: None,
        time: None,
        content_type: "application/json",
        data: &[0xc0],
        correlation: None,
        cause: None,
        traceparent: None,
        data_schema: None,
        extensions: vec![],
    })
}

const FAILURE: FailureRecord<'_> = FailureRecord {
    class: FailureClass::Trap,
    reason: "it fell",
};

fn came_to<'a>(plugin: &'a str, event: u64, verdict: Verdict<'a>, emitted: u32) -> Outcome<'a> {
    Outcome {
        plugin,
        event,
        attempt: 1,
        verdict,
        emitted,
        ..Outcome::default()
    }
}

fn done(plugin: &str, event: u64, emitted: u32) -> Record<'_> {
    Record::Outcome(came_to(plugin, event, Verdict::Done, emitted))
}

fn dead(plugin: &str, event: u64) -> Record<'_> {
    Record::Outcome(came_to(plugin, event, Verdict::Dead { failure: FAILURE }, 0))
}

fn retry(plugin: &str, event: u64) -> Record<'_> {
    let verdict = Verdict::Retry {
        due: 9,
        failure: FAILURE,
    };
    Record::Outcome(came_to(plugin, event, verdict, 0))
}

fn operated(plugin: &str, action: OperatorAction) -> Record<'static> {
    Record::Operator(Operator {
        who: None,
        plugin: plugin.into(),
        action,
    })
}

fn sets_timer(plugin: &str, event: u64) -> Record<'_> {
    let mut outcome = came_to(plugin, event, Verdict::Done, 0);
    outcome.timers = vec![TimerChange {
        name: "later",
        set: Some(TimerSet { due: 9, event: &[] }),
    }];
    Record::Outcome(outcome)
}

/// Who waits for `plugins` from offset 1 on: how it ends, and at which record; or how far it is behind the last one.
fn wait(plugins: &[&str], records: &[Record<'_>]) -> (Option<u64>, Progress) {
    let mut forest = Forest::new(routes(SHOP));
    let plugins: Vec<Box<str>> = plugins.iter().map(|name| Box::from(*name)).collect();
    forest.plant(7, &[Offset(1)], &plugins);
    for (offset, record) in (1..).zip(records) {
        forest.see(&entry(offset, record)).unwrap();
        if let Some((ticket, progress)) = forest.ended().pop() {
            assert_eq!(ticket, 7);
            assert!(forest.is_empty() && forest.events.is_empty() && forest.timers.is_empty());
            return (Some(offset), progress);
        }
    }
    (None, forest.fell(7).unwrap())
}

/// The plugin and event of each that is open.
fn open(progress: &Progress) -> Vec<(&str, u64)> {
    let open = progress.open.iter();
    open.map(|open| (&*open.plugin, open.event.0)).collect()
}

#[test]
fn a_wait_ends_when_the_event_and_all_that_it_caused_are_settled_by_those_who_matter() {
    let order = || fact("order", None);
    let pay = || fact("pay", None);
    let paid = || fact("paid", None);
    for (what, plugins, records, ends) in [
        (
            "one plugin",
            &["orders"][..],
            vec![order(), done("orders", 1, 1), pay()],
            Some(3),
        ),
        (
            "nobody else",
            &["orders"],
            vec![order(), done("analytics", 1, 0)],
            None,
        ),
        (
            "who stands between is waited for",
            &["shipping"],
            vec![
                order(),
                done("orders", 1, 1),
                pay(),
                done("payments", 3, 1),
                paid(),
                done("shipping", 5, 0),
            ],
            Some(6),
        ),
        (
            "what is not emitted is not waited for",
            &["shipping"],
            vec![order(), done("orders", 1, 1), pay(), done("payments", 3, 0)],
            Some(4),
        ),
        (
            "events of others between",
            &["payments"],
            vec![
                order(),
                order(),
                done("orders", 2, 1),
                pay(),
                done("orders", 1, 1),
                pay(),
                done("payments", 6, 0),
            ],
            Some(7),
        ),
        (
            "an emitted event ends what its outcome emitted",
            &["payments"],
            vec![
                order(),
                done("orders", 1, 1),
                pay(),
                pay(),
                done("payments", 3, 0),
            ],
            Some(5),
        ),
        (
            "a retry is no end",
            &["orders"],
            vec![
                order(),
                retry("orders", 1),
                retry("orders", 1),
                done("orders", 1, 0),
            ],
            Some(4),
        ),
        (
            "a timer that has not fired is no part of it",
            &["payments", "orders"],
            vec![order(), sets_timer("orders", 1)],
            Some(2),
        ),
    ] {
        let (at, progress) = wait(plugins, &records);
        assert_eq!(at, ends, "{what}: {progress:?}");
        assert_eq!(progress.is_settled(), ends.is_some(), "{what}: {progress:?}");
    }
}

#[test]
fn what_a_timer_emits_belongs_to_it_from_when_it_has_fired() {
    let fired = Record::Fired(Fired {
        plugin: "orders",
        name: "later",
        set_at: 2,
    });
    let mut forest = Forest::new(routes(SHOP));
    forest.plant(1, &[Offset(1), Offset(3)], &["payments".into()]);
    for (offset, record) in (1..).zip([
        fact("order", None),
        sets_timer("orders", 1),
        fact("order", None),
        fired,
        fact("pay", None),
        done("orders", 3, 0),
    ]) {
        forest.see(&entry(offset, &record)).unwrap();
        assert!(forest.ended().is_empty(), "record {offset}");
    }
    forest.see(&entry(7, &done("payments", 5, 0))).unwrap();
    assert_eq!(forest.ended().len(), 1);
}

#[test]
fn a_dead_letter_ends_a_wait_as_failed_unless_it_is_delivered_again() {
    let order = || fact("order", None);
    let (at, progress) = wait(&["shipping"], &[order(), dead("orders", 1)]);
    assert_eq!((at, progress.is_settled()), (Some(2), false));
    let failed = &progress.failed[0];
    assert_eq!(
        (&*failed.plugin, failed.event, failed.class, &*failed.reason),
        ("orders", Offset(1), Some(FailureClass::Trap), "it fell")
    );

    let redrive = || operated("orders", OperatorAction::Redrive(vec![1]));
    // Another event is open, so that the wait goes on.
    let begin = || {
        vec![
            order(),
            done("orders", 1, 2),
            fact("pay", Some("k")),
            fact("pay", None),
            dead("payments", 3),
        ]
    };
    let redriven = || operated("payments", OperatorAction::Redrive(vec![3, 77]));
    let again = |more: Vec<Record<'static>>| {
        let mut records = begin();
        records.extend(more);
        wait(&["payments"], &records)
    };
    let (at, progress) = again(vec![redrive(), done("payments", 4, 0)]);
    assert_eq!(
        (at, progress.failed.len()),
        (Some(7), 1),
        "another plugin's redrive"
    );
    let (at, progress) = again(vec![redriven(), done("payments", 4, 0)]);
    assert_eq!((at, open(&progress)), (None, vec![("payments", 3)]));
    assert_eq!(progress.open[0].key.as_deref(), Some("k"));
    let (at, progress) = again(vec![redriven(), done("payments", 4, 0), done("payments", 3, 0)]);
    assert_eq!((at, progress.is_settled()), (Some(8), true));
    let drop = operated("payments", OperatorAction::Drop(vec![3]));
    let (at, progress) = again(vec![redriven(), drop, done("payments", 4, 0)]);
    assert_eq!((at, progress.failed.len()), (Some(8), 1));
    assert!(progress.failed[0].reason.contains("dropped"));
}

#[test]
fn what_lies_in_a_gap_has_failed_but_for_what_was_tried() {
    let gap = |plugin: &str, through| {
        Record::Gap(Gap {
            plugin: plugin.into(),
            from: 1,
            through,
            events: 1,
            why: "too far".into(),
        })
    };
    let order = || fact("order", None);
    let (at, progress) = wait(&["orders"], &[order(), gap("payments", 9), gap("orders", 1)]);
    assert_eq!((at, progress.failed.len()), (Some(3), 1));
    assert!(progress.failed[0].reason.contains("too far"));
    let (at, progress) = wait(&["orders"], &[order(), retry("orders", 1), gap("orders", 1)]);
    assert_eq!((at, open(&progress)), (None, vec![("orders", 1)]));
}

#[test]
fn who_is_reached_by_nothing_is_named_when_the_rest_is_settled() {
    let (at, progress) = wait(
        &["orders", "stock", "nobody"],
        &[fact("order", None), done("orders", 1, 0)],
    );
    assert_eq!(at, Some(2));
    let unreached: Vec<&str> = progress.unreached.iter().map(|name| &**name).collect();
    assert_eq!(
        (unreached, progress.is_settled()),
        (vec!["stock", "nobody"], false)
    );
    let (at, progress) = wait(&["orders"], &[]);
    assert_eq!((at, progress.unseen), (None, vec![Offset(1)]));
}

#[test]
fn another_version_ends_the_wait_for_what_it_no_longer_gets() {
    let begin = || {
        let mut forest = Forest::new(routes(SHOP));
        forest.plant(1, &[Offset(1)], &["shipping".into(), "orders".into()]);
        forest.see(&entry(1, &fact("order", None))).unwrap();
        forest.see(&entry(2, &done("orders", 1, 1))).unwrap();
        forest.see(&entry(3, &fact("pay", None))).unwrap();
        assert!(forest.ended().is_empty());
        forest
    };
    let without = |gone: &str| {
        let left: Vec<Plugin> = SHOP.iter().copied().filter(|(name, ..)| *name != gone).collect();
        routes(&left)
    };
    let mut forest = begin();
    forest.reroute(&without("payments"));
    assert!(forest.ended()[0].1.is_settled(), "it leads nowhere now");

    let mut forest = begin();
    forest.see(&entry(4, &done("payments", 3, 1))).unwrap();
    forest.see(&entry(5, &fact("paid", None))).unwrap();
    forest.reroute(&without("shipping"));
    assert!(forest.ended().is_empty(), "what it was to settle waits for it");
    let mut changed = SHOP.to_vec();
    changed[2] = ("shipping", "other", &[]);
    forest.reroute(&routes(&changed));
    assert!(forest.ended()[0].1.is_settled());
}

#[test]
fn a_tree_without_end_is_not_followed_for_ever() {
    let plugins = routes(&[("echo", "t", &["t"])]);
    let mut forest = Forest::new(plugins);
    forest.plant(1, &[Offset(1)], &["echo".into()]);
    forest.see(&entry(1, &fact("t", None))).unwrap();
    for event in 1.. {
        assert!(event <= 10_000, "it is cut");
        forest
            .see(&entry(event * 2, &done("echo", event * 2 - 1, 1)))
            .unwrap();
        forest.see(&entry(event * 2 + 1, &fact("t", None))).unwrap();
        if let Some((_, progress)) = forest.ended().pop() {
            assert!(progress.is_cut && !progress.is_settled());
            break;
        }
    }
}

#[test]
fn invariant_01_random_trees_are_settled_for_the_forest_when_a_slow_reading_says_so() {
    let scale = Scale {
        short: 100,
        long: 50_000,
    };
    cases("settled-forest", scale, model::one);
}
