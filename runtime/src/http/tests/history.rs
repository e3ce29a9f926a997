//! The history of a plugin, as a trial reads it.

use std::sync::Arc;

use serde_json::json;

use super::bed::{Bed, Script, event, failed, request};
use crate::delivery::handler::{Emit, Handled};
use crate::log::record::{self, FailureClass, Record, Verdict};
use crate::trial::history::{Beginning, Logged, Part, Step, parts};

/// Writes its event's offset to `last` and to `at/OFFSET`, and emits an event.
fn counting() -> Script {
    Arc::new(|delivery| {
        let mut handled = Handled::default();
        let offset = delivery.offset.0.to_string();
        let writes = &mut handled.effects.writes;
        writes.push((format!("at/{offset}").into(), Some(b"\x01"[..].into())));
        writes.push(("last".into(), Some(offset.into_bytes().into())));
        handled.effects.emits.push(Emit {
            r#type: "b.out".into(),
            key: None,
            subject: None,
            content_type: None,
            data: b"\x07".to_vec(),
        });
        handled
    })
}

struct History {
    about: Beginning,
    state: Vec<(String, String)>,
    steps: Vec<Step>,
}

async fn history(bed: &Bed, plugin: &str, query: &str) -> History {
    let answer = bed.get(&format!("/v1/plugins/{plugin}/history{query}")).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let mut parts: Vec<Part> = parts(&answer.body[..]).map(Result::unwrap).collect();
    assert_eq!(parts.pop(), Some(Part::Ends));
    let Part::Begins(about) = parts.remove(0) else {
        panic!("it begins");
    };
    let mut history = History {
        about: *about,
        state: Vec::new(),
        steps: Vec::new(),
    };
    for part in parts {
        match part {
            Part::State(entries) => history.state.extend(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, String::from_utf8(value.into_vec()).unwrap())),
            ),
            Part::Step(step) => history.steps.push(*step),
            other => panic!("{other:?}"),
        }
    }
    history
}

/// Offset and verdict of each step.
fn told(history: &History) -> Vec<(u64, &'static str)> {
    let steps = history.steps.iter();
    steps
        .map(|step| {
            let event = step.event.as_ref().unwrap().entry();
            assert!(record::event(&event.payload).unwrap().is_some());
            let verdict = match step.outcome.as_ref().map(Logged::entry) {
                None => "unseen",
                Some(entry) => match Record::decode(&entry.payload).unwrap() {
                    Record::Outcome(outcome) => match outcome.verdict {
                        Verdict::Done => "done",
                        Verdict::Retry { .. } => "retry",
                        Verdict::Dead { .. } => "dead",
                    },
                    other => panic!("{other:?}"),
                },
            };
            (event.offset.0, verdict)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_the_state_before_the_first_step_and_each_step_with_all_that_came_of_it() {
    let bed = Bed::new();
    bed.deploy("p", "a.*", counting());
    let mut at = Vec::new();
    for n in 0..5 {
        at.push(bed.publish(&event(&format!("e{n}"), "a.b")).await);
        bed.settled("p", at[n]).await;
        // Others' events are none of it.
        bed.publish(&event(&format!("x{n}"), "x.y")).await;
    }
    let two = history(&bed, "p", "?against=last:2&types=a.*").await;
    assert_eq!(told(&two), [(at[3], "done"), (at[4], "done")]);
    assert!(two.steps.iter().all(|step| step.emitted.len() == 1));
    assert_eq!((two.about.settled, two.about.steps), (true, 2));
    assert_eq!(two.about.live.unwrap().label, "1.2.3");
    assert_eq!(two.state.len(), 4, "three events and the last: {:?}", two.state);
    assert_eq!(two.state.last(), Some(&("last".to_owned(), at[2].to_string())));

    let all = history(&bed, "p", "?against=last:100&types=a.*").await;
    assert_eq!((all.steps.len(), all.state.len()), (5, 0));
    let middle = format!("?against=@{}..@{}&types=a.*", at[1], at[2]);
    let middle = history(&bed, "p", &middle).await;
    assert_eq!(told(&middle), [(at[1], "done"), (at[2], "done")]);
    assert_eq!(middle.state.len(), 2);
    assert!(
        history(&bed, "p", "?against=9999..&types=a.*")
            .await
            .steps
            .is_empty()
    );
    assert!(
        history(&bed, "p", "").await.steps.is_empty(),
        "only what it is about"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_brings_its_events_and_an_unknown_plugin_all_that_match() {
    let bed = Bed::new();
    bed.deploy("p", "a.*", counting());
    let first = bed.publish(&event("e1", "a.b")).await;
    bed.settled("p", first).await;
    let other = bed.publish(&event("x", "x.y")).await;
    let second = bed.publish(&event("e2", "a.b")).await;
    bed.settled("p", second).await;
    let both = history(&bed, "p", "?against=last:9&types=a.*,x.*").await;
    assert_eq!(
        told(&both),
        [(first, "done"), (other, "unseen"), (second, "done")]
    );
    let alone = history(&bed, "nobody", "?against=last:2&types=a.*,x.*").await;
    assert_eq!(told(&alone), [(other, "unseen"), (second, "unseen")]);
    assert!(alone.about.live.is_none() && !alone.about.settled);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_attempts_are_steps_of_their_own() {
    let bed = Bed::new();
    let script: Script = Arc::new(|delivery| match delivery.attempt {
        1 => failed(FailureClass::Retry, "not yet"),
        _ => failed(FailureClass::Reject, "never"),
    });
    bed.deploy_with("p", "a.*", "", script);
    let at = bed.publish(&event("e", "a.b")).await;
    bed.settled("p", at).await;
    let all = loop {
        let all = history(&bed, "p", "?against=last:1&types=a.*").await;
        if all.steps.len() == 2 {
            break all;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(told(&all), [(at, "retry"), (at, "dead")]);
}

#[tokio::test]
async fn what_names_no_events_or_no_types_is_refused() {
    let bed = Bed::new();
    for query in ["?against=yesterday", "?against=last:1&types=a..b", "?steps=1"] {
        let answer = bed.get(&format!("/v1/plugins/p/history{query}")).await;
        answer.problem(400, "query-invalid");
    }
    assert_eq!(json!(history(&bed, "p", "").await.about.plugin), "p");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_behind_the_record_that_replaced_the_state_where_one_did() {
    let bed = Bed::new();
    bed.deploy("p", "a.*", counting());
    let mut at = Vec::new();
    for n in 0..2 {
        at.push(bed.publish(&event(&format!("e{n}"), "a.b")).await);
        bed.settled("p", at[n]).await;
    }
    let rewind = "/v1/plugins/p/rewind?to=start&fresh=true&mute=emit";
    bed.send(request("POST", rewind, &[], "")).await.ok();
    let mut seen = bed.durable(nerve_eventlog::Offset(0)).await;
    while bed.get("/v1/plugins/p").await.ok()["rewind"].is_object() {
        seen = bed.durable(seen.next()).await;
    }
    let none = history(&bed, "p", "?against=last:9&types=a.*").await;
    let swapped = none.about.replaced_at.expect("the state was replaced");
    assert!(swapped > at[1]);
    assert_eq!((none.about.steps, none.steps.len(), none.state.len()), (0, 0, 0));

    for n in 2..4 {
        at.push(bed.publish(&event(&format!("e{n}"), "a.b")).await);
        bed.settled("p", at[n]).await;
    }
    let rest = history(&bed, "p", "?against=last:9&types=a.*").await;
    assert_eq!(told(&rest), [(at[2], "done"), (at[3], "done")]);
    assert_eq!(rest.about.replaced_at, Some(swapped));
    assert_eq!((rest.about.settled, rest.about.steps), (true, 2));
    assert_eq!(rest.state.last(), Some(&("last".to_owned(), at[1].to_string())));
    let behind = history(&bed, "p", "?against=last:1&types=a.*").await;
    assert_eq!(told(&behind), [(at[3], "done")]);
    assert_eq!(behind.about.replaced_at, None, "it does not reach that far back");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_behind_the_rollback_that_took_the_state_back_where_one_did() {
    let bed = Bed::new();
    let mut at = Vec::new();
    for n in 0..2 {
        bed.deploy("p", "a.*", counting());
        at.push(bed.publish(&event(&format!("e{n}"), "a.b")).await);
        bed.settled("p", at[n]).await;
    }
    bed.go_back("p", counting());
    bed.settled("p", at[1]).await;
    let again = history(&bed, "p", "?against=last:9&types=a.*").await;
    assert_eq!(told(&again), [(at[1], "done")]);
    assert!(again.about.replaced_at.is_some_and(|back| back > at[1]));
    assert_eq!(again.state.last(), Some(&("last".to_owned(), at[0].to_string())));
    let behind = history(&bed, "p", "?against=last:1&types=a.*").await;
    assert_eq!(
        (told(&behind), behind.about.replaced_at),
        (vec![(at[1], "done")], None)
    );
}
