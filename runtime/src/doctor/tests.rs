//! For each symptom a log that was made for it, in which the doctor finds exactly that; and healthy logs, in which it
//! finds none.

use super::{Gatherer, Report, examine};
use crate::log::record::{DeclaredSchema, DeploymentAction, FailureClass};
use crate::trace::written::{Failing, Written};
use nerve_eventlog::{Log, Offset, Reach};

fn examined(written: &Written) -> Report {
    let mut gatherer = Gatherer::default();
    let mut next = Offset(1);
    loop {
        let entries = written.log.read(next, 1 << 20, Reach::Appended).unwrap();
        let Some(last) = entries.last() else { break };
        next = last.offset.next();
        for entry in &entries {
            gatherer.see(entry);
        }
    }
    examine(&gatherer.facts(None))
}

/// The only symptom that is found, once.
fn only(written: &Written, symptom: &str) -> super::Finding {
    let report = examined(written);
    let found: Vec<&str> = report.findings.iter().map(|finding| &*finding.symptom).collect();
    assert_eq!(found, [symptom], "{:#?}", report.findings);
    assert_eq!(report.not_found.len(), super::SYMPTOMS.len() - 1);
    let finding = report.findings.into_iter().next().unwrap();
    assert!(
        !finding.says.is_empty() && !finding.evidence.is_empty() && finding.remedy.len() > 40,
        "{finding:#?}"
    );
    for offset in finding.evidence.iter().flat_map(|evidence| &evidence.offsets) {
        assert!(
            *offset > 0 && *offset <= written.log.bounds().last.0,
            "{finding:#?}"
        );
    }
    finding
}

/// A small shop in which each reacts to what happened, and nobody to each other.
fn healthy() -> Written {
    let mut written = Written::new();
    for (plugin, gets, emits) in [
        ("orders", &["cart.checked_out"][..], &["order.placed"][..]),
        ("payments", &["order.placed"], &["payment.received"]),
        ("stock", &["order.placed"], &["stock.reserved"]),
        ("mails", &["order.placed", "user.registered"], &[]),
        ("profiles", &["user.registered"], &["profile.created"]),
        ("audit", &[">"], &[]),
    ] {
        written.deploy(plugin, gets, emits, Vec::new());
        written.pass(500);
    }
    for n in 0..200 {
        written.pass(1000);
        let user = written.outside("user.registered");
        written.done("profiles", user, &["profile.created"]);
        written.done("mails", user, &[]);
        let bought = written.outside("cart.checked_out");
        let placed = written.done("orders", bought, &["order.placed"])[0];
        // Now and then something fails once, and one event is rejected.
        if n % 10 == 0 {
            written.failed("payments", placed, &Failing::retried());
            written.pass(100);
        }
        if n == 50 {
            let rejected = Failing {
                class: FailureClass::Reject,
                dead: true,
                ..Failing::retried()
            };
            written.failed("stock", placed, &rejected);
        } else {
            written.done("stock", placed, &["stock.reserved"]);
        }
        let paid = written.done("payments", placed, &["payment.received"])[0];
        written.done("mails", placed, &[]);
        written.done("audit", paid, &[]);
        // Each is deployed when it is ready.
        if n % 40 == 39 {
            written.pass(3_600_000);
            written.deploy("payments", &["order.placed"], &["payment.received"], Vec::new());
        }
        if n % 60 == 59 {
            written.pass(3_600_000);
            written.deploy("mails", &["order.placed", "user.registered"], &[], Vec::new());
        }
    }
    written
}

#[test]
fn a_healthy_log_has_no_symptom() {
    let report = examined(&healthy());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!(report.not_found.len(), 9);
    assert!(report.examined.events > 1000 && report.examined.attempts > 1000 && report.examined.plugins == 6);
}

#[test]
fn an_empty_log_has_no_symptom() {
    let report = examined(&Written::new());
    assert!(report.findings.is_empty() && report.examined.records == 0);
}

#[test]
fn deployments_that_always_come_together_are_named() {
    let mut written = healthy();
    for _ in 0..4 {
        written.pass(20 * 60_000);
        written.deploy("orders", &["cart.checked_out"], &["order.placed"], Vec::new());
        written.pass(60_000);
        written.deploy("stock", &["order.placed"], &["stock.reserved"], Vec::new());
    }
    let found = only(&written, "deployed-together");
    assert_eq!(found.plugins, ["orders", "stock"]);
    assert!(
        found.says.contains("within 10 min of each other 4 times"),
        "{}",
        found.says
    );
}

#[test]
fn several_deployments_of_one_plugin_beside_one_of_another_are_one_change() {
    let mut written = healthy();
    for _ in 0..2 {
        written.pass(20 * 60_000);
        written.deploy("orders", &["cart.checked_out"], &["order.placed"], Vec::new());
        for _ in 0..5 {
            written.pass(60_000);
            written.deploy("stock", &["order.placed"], &["stock.reserved"], Vec::new());
        }
    }
    assert!(examined(&written).findings.is_empty());
}

#[test]
fn failures_that_follow_each_other_are_named_by_the_first_that_falls() {
    let mut written = healthy();
    for _ in 0..3 {
        written.pass(30 * 60_000);
        for plugin in ["payments", "stock"] {
            for _ in 0..4 {
                let order = written.outside("order.placed");
                written.failed(plugin, order, &Failing::retried());
                written.pass(500);
                written.done(plugin, order, &[]);
            }
            written.pass(5000);
        }
    }
    let found = only(&written, "domino");
    assert_eq!(found.plugins, ["payments", "stock"]);
    assert!(
        found
            .says
            .contains("3 times stock began to fail within 60 s of payments"),
        "{}",
        found.says
    );
}

#[test]
fn retries_that_hide_an_outage_are_named_with_what_failed() {
    let mut written = healthy();
    for n in 0..100 {
        written.pass(1000);
        let user = written.outside("user.registered");
        if n % 4 != 0 {
            written.failed("profiles", user, &Failing::retried());
            written.pass(90_000);
        }
        written.done("profiles", user, &["profile.created"]);
    }
    let found = only(&written, "hidden-outage");
    assert_eq!(found.plugins, ["profiles"]);
    assert!(
        found.says.contains("75 of 300 deliveries (25 %)"),
        "{}",
        found.says
    );
}

#[test]
fn a_long_chain_in_lock_step_is_named_with_its_steps() {
    let mut written = healthy();
    let steps = ["b", "c", "d", "e", "f", "g"];
    for (n, name) in steps.iter().enumerate() {
        let gets = if n == 0 { "a" } else { steps[n - 1] };
        written.deploy(&format!("p{n}"), &[gets], &[name], Vec::new());
    }
    for _ in 0..12 {
        let mut at = written.outside("a");
        for (n, name) in steps.iter().enumerate() {
            written.pass(10);
            at = written.done(&format!("p{n}"), at, &[name])[0];
        }
    }
    let found = only(&written, "lock-step");
    assert_eq!(found.types, ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(found.plugins.len(), 6);
}

#[test]
fn a_request_and_its_answer_are_named_with_who_asks() {
    let mut written = healthy();
    written.deploy(
        "tax",
        &["tax.wanted"],
        &["tax.counted", "tax.refused"],
        Vec::new(),
    );
    written.deploy(
        "shop",
        &["x", "tax.counted", "tax.refused"],
        &["tax.wanted"],
        Vec::new(),
    );
    for n in 0..30 {
        let asked = written.outside("x");
        let wanted = written.done("shop", asked, &["tax.wanted"])[0];
        written.pass(20);
        let answer = written.done(
            "tax",
            wanted,
            &[if n % 5 == 0 { "tax.refused" } else { "tax.counted" }],
        )[0];
        written.done("shop", answer, &[]);
        // That somebody listens to everything makes it no less private.
        written.done("audit", answer, &[]);
    }
    let found = only(&written, "request-answer");
    assert_eq!(found.plugins, ["shop", "tax"]);
    assert_eq!(found.types[0], "tax.wanted");
}

#[test]
fn an_event_that_everybody_depends_on_is_named_with_who_does() {
    let mut written = healthy();
    for n in 0..5 {
        written.deploy(&format!("reader-{n}"), &["order.placed"], &[], Vec::new());
    }
    let found = only(&written, "hub");
    assert_eq!(
        (found.types.join(" "), found.plugins.len()),
        ("order.placed".into(), 8)
    );
    assert!(found.says.starts_with("8 of 11 plugins"), "{}", found.says);
}

#[test]
fn a_plugin_that_talks_too_much_is_named_with_what_it_says() {
    let mut written = healthy();
    written.deploy("import", &["file.came"], &["line.read"], Vec::new());
    written.deploy("lines", &["line.read"], &[], Vec::new());
    for _ in 0..10 {
        let file = written.outside("file.came");
        for line in written.done("import", file, &["line.read"; 25]) {
            written.done("lines", line, &[]);
        }
    }
    let found = only(&written, "chatty");
    assert_eq!(
        (found.plugins.join(" "), found.types.join(" ")),
        ("import".into(), "line.read".into())
    );
    assert!(
        found.says.contains("250 events in 10 chains, 25 in each"),
        "{}",
        found.says
    );
}

fn schema(name: &str, emits: bool, members: usize) -> DeclaredSchema {
    let members: Vec<String> = (0..members).map(|n| format!("\"m{n}\":{{}}")).collect();
    DeclaredSchema {
        event_type: name.into(),
        emits,
        json: format!("{{\"properties\":{{{}}}}}", members.join(",")),
    }
}

#[test]
fn schemas_that_tie_plugins_together_are_named_and_so_are_refusals() {
    let mut written = healthy();
    written.deploy(
        "crm",
        &["y"],
        &["customer.changed"],
        vec![schema("customer.changed", true, 8)],
    );
    for (name, members) in [("billing", 8), ("support", 7), ("news", 2)] {
        written.deploy(
            name,
            &["customer.changed"],
            &[],
            vec![schema("customer.changed", false, members)],
        );
    }
    let found = only(&written, "schema-coupling");
    assert_eq!(found.plugins, ["crm", "billing", "support"]);

    let written = healthy();
    for _ in 0..3 {
        let reason =
            "contract: plugin mails does not accept its \"order.placed\": at /cents. Keep it.".to_owned();
        written.decide("orders", DeploymentAction::Refused { reason });
    }
    let found = only(&written, "schema-coupling");
    assert_eq!(found.plugins, ["orders"]);
    assert!(
        found.evidence[0].text.starts_with("plugin mails does not accept"),
        "{found:?}"
    );
}

#[test]
fn events_that_come_round_are_named_with_their_way() {
    let mut written = healthy();
    written.deploy(
        "price",
        &["price.asked", "stock.changed"],
        &["price.changed"],
        Vec::new(),
    );
    written.deploy("watch", &["price.changed"], &["stock.changed"], Vec::new());
    for _ in 0..4 {
        let mut at = written.outside("price.asked");
        for _ in 0..4 {
            at = written.done("price", at, &["price.changed"])[0];
            at = written.done("watch", at, &["stock.changed"])[0];
        }
    }
    let report = examined(&written);
    let found: Vec<&str> = report.findings.iter().map(|finding| &*finding.symptom).collect();
    assert_eq!(found, ["cycle"], "{:#?}", report.findings);
    assert_eq!(report.findings[0].plugins, ["price", "watch"]);
    assert!(
        report.findings[0].evidence[1]
            .text
            .contains("longest chain has 9 events"),
        "{:?}",
        report.findings[0]
    );
}

#[test]
fn every_symptom_is_on_the_page_with_its_numbers() {
    let page = include_str!("../../../docs/doctor.md");
    for symptom in super::SYMPTOMS {
        assert!(
            page.contains(&format!("| `{}` |", symptom.name)),
            "docs/doctor.md does not have {}",
            symptom.name
        );
    }
}
