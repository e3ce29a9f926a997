//! What passes the checks that every event passes, and what does not.

use super::*;
use crate::log::record;

fn good() -> NewEvent<'static> {
    NewEvent {
        id: "a",
        source: "web",
        r#type: "order.placed",
        content_type: "application/json",
        data: &[0xc0],
        ..NewEvent::default()
    }
}

#[test]
fn events_of_library_users_pass_the_same_checks() {
    let acceptor = Acceptor::new(Limits::default());
    acceptor.event(&good()).unwrap();
    let text = Attribute::Text("x");
    let with = |name: &'static str| vec![(name, text)];
    for (event, attribute) in [
        (NewEvent { id: "", ..good() }, "id"),
        (
            NewEvent {
                source: "nerve:p",
                ..good()
            },
            "source",
        ),
        (
            NewEvent {
                r#type: "a..b",
                ..good()
            },
            "type",
        ),
        (
            NewEvent {
                key: Some(""),
                ..good()
            },
            "partitionkey",
        ),
        (
            NewEvent {
                content_type: "",
                ..good()
            },
            "datacontenttype",
        ),
        (
            NewEvent {
                content_type: "text/plain\u{202e}",
                ..good()
            },
            "datacontenttype",
        ),
        (
            NewEvent {
                data: b"{}",
                ..good()
            },
            "data",
        ),
        (
            NewEvent {
                extensions: with("hops"),
                ..good()
            },
            "hops",
        ),
        (
            NewEvent {
                extensions: with("subject"),
                ..good()
            },
            "subject",
        ),
        (
            NewEvent {
                extensions: with("Upper"),
                ..good()
            },
            "Upper",
        ),
        (
            NewEvent {
                extensions: [with("x"), with("x")].concat(),
                ..good()
            },
            "x",
        ),
    ] {
        let refused = acceptor.event(&event).unwrap_err();
        assert_eq!(refused.attribute, attribute, "{refused}");
        assert!(!refused.hint.is_empty(), "{refused}");
    }
}

#[test]
fn a_good_trace_context_is_kept_and_a_bad_one_replaced() {
    let acceptor = Acceptor::new(Limits::default());
    let kept = |given: Option<&'static str>| {
        let valid = acceptor
            .event(&NewEvent {
                traceparent: given,
                ..good()
            })
            .unwrap();
        let event = record::event(&valid.record).unwrap().unwrap();
        event.traceparent.unwrap().to_owned()
    };
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(kept(Some(given)), given);
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    let mut made: Vec<String> = [None, Some(""), Some(zero), Some(&given[1..])].map(kept).into();
    assert!(
        made.iter().all(|made| TraceContext::parse(made).is_some()),
        "{made:?}"
    );
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4, "no two are the same");
}

#[test]
fn what_the_host_adds_does_not_make_a_repeated_event_another_one() {
    let acceptor = Acceptor::new(Limits::default());
    let identity = |event: &NewEvent<'_>| acceptor.event(event).unwrap().identity;
    let first = identity(&good());
    assert_eq!(identity(&good()), first, "each has a trace context of its own");
    for other in [
        NewEvent {
            r#type: "t",
            ..good()
        },
        NewEvent {
            key: Some("k"),
            ..good()
        },
        NewEvent {
            subject: Some("k"),
            ..good()
        },
        NewEvent {
            time: Some(0),
            ..good()
        },
        NewEvent {
            data: &[0xc2],
            ..good()
        },
        NewEvent {
            extensions: vec![("x", Attribute::Bool(true))],
            ..good()
        },
    ] {
        let other = identity(&other);
        assert_eq!(other.name, first.name);
        assert_ne!(other.content, first.content);
    }
    assert_ne!(identity(&NewEvent { id: "b", ..good() }).name, first.name);
    assert_ne!(
        identity(&NewEvent {
            source: "b",
            ..good()
        })
        .name,
        first.name
    );
}
