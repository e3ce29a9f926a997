//! What a receiver answers with: events, where the webhook's settings let it.

use super::*;

/// An answer with these headers and body.
fn answer(headers: &[&str], body: &str) -> Reply {
    let head = headers.join("\r\n");
    let length = body.len();
    Reply::Raw(
        format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into(),
    )
}

fn billed(id: &str, name: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "billing", "type": name, "partitionkey": "k", "subject": "s",
        "data": { "of": id },
    })
}

/// What a receiver answers to the event with the id `id`: in each mode once, then nothing, then what it may not.
fn answer_to(id: &str) -> Reply {
    match id {
        "one" => answer(
            &["Content-Type: application/cloudevents+json"],
            &billed("b1", "test.billed").to_string(),
        ),
        "many" => {
            let both = json!([billed("b2", "test.billed"), billed("b3", "test.paid")]);
            answer(
                &["Content-Type: application/cloudevents-batch+json"],
                &both.to_string(),
            )
        }
        "binary" => {
            let headers = [
                "ce-specversion: 1.0",
                "ce-id: b4",
                "ce-source: billing",
                "ce-type: test.paid",
                "Content-Type: text/plain",
            ];
            answer(&headers, "paid")
        }
        "other" => answer(
            &["Content-Type: application/cloudevents+json"],
            &billed("b5", "test.other").to_string(),
        ),
        "json" => answer(
            &["Content-Type: application/json"],
            &billed("b6", "test.billed").to_string(),
        ),
        _ => taken(),
    }
}

fn events(host: &Host, name: &str) -> Vec<Value> {
    let events = host.events(name).into_iter();
    events.map(|logged| logged["event"].clone()).collect()
}

const EMITS: &str = "emits = [\"test.billed\", \"test.paid\"]\n";

#[test]
fn what_a_service_answers_with_is_emitted_by_its_webhook_in_each_mode() {
    let server = Server::start(|asked| answer_to(&id_of(asked)));
    let mut host = sending(&server.url(), EMITS);
    let offsets: Vec<u64> = ["one", "many", "binary", "json", "none"]
        .map(|id| publish(&host, id, Some(id)))
        .into();
    until_done(&mut host, 5);
    let (billed, paid) = (events(&host, "test.billed"), events(&host, "test.paid"));
    let causes = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|event| event["causationid"].clone()).collect()
    };
    assert_eq!(causes(&billed), ["one", "many"]);
    assert_eq!(causes(&paid), ["many", "binary"]);
    let first = &billed[0];
    assert_eq!(
        (
            &first["source"],
            &first["subject"],
            &first["partitionkey"],
            &first["data"]
        ),
        (
            &json!("nerve:hook"),
            &json!("s"),
            &json!("k"),
            &json!({ "of": "b1" })
        ),
    );
    assert_eq!(
        (&first["hops"], &first["correlationid"]),
        (&json!(1), &json!("one"))
    );
    assert_eq!(first["causationoffset"], offsets[0]);
    assert!(
        first["id"]
            .as_str()
            .unwrap()
            .ends_with(&format!("-{:x}-0", offsets[0])),
        "{first}"
    );
    assert_eq!(
        (&paid[1]["data"], &paid[1]["datacontenttype"]),
        (&json!("paid"), &json!("text/plain"))
    );

    // The call was of the delivery that emitted, as the traces have it.
    assert_eq!(server.seen()[0].header("traceparent"), first["traceparent"]);
    let (code, trace) = said(&host, &["trace", "one"]);
    assert!(
        code == Some(0) && trace.contains("test.billed") && trace.contains("200"),
        "{trace}"
    );
    let map = host.get("/v1/map").body;
    assert_eq!(map["findings"]["undeclared"], json!([]), "{map}");

    // Sent again, it emits as a plugin does that is rewound: under other ids, and not where that is muted.
    assert_eq!(
        said(
            &host,
            &["plugin", "rewind", "hook", "--to", "start", "--mute", "emit"]
        )
        .0,
        Some(0)
    );
    host.until("all are sent again", |_| server.seen().len() == 10);
    host.until("it is over", |host| host.plugin("hook")["rewind"].is_null());
    assert_eq!(host.events("test.billed").len(), 2);
}

#[test]
fn an_answer_that_may_not_be_emitted_fails_the_delivery_until_the_settings_let_it() {
    let server = Server::start(|asked| answer_to(&id_of(asked)));
    let more = format!("{EMITS}{QUICK}attempts = 2\nat_end = \"pause\"\n");
    let mut host = sending(&server.url(), &more);
    publish(&host, "other", Some("k"));
    host.until("it gave up", |host| !host.plugin("hook")["paused"].is_null());
    let shown = host.plugin("hook")["paused"]["reason"].to_string();
    assert!(
        shown.contains("test.other") && shown.contains("webhook.emits does not list"),
        "{shown}"
    );
    assert_eq!((server.seen().len(), host.events("test.other").len()), (2, 0));

    drop_webhook(
        &host,
        "hook",
        &server.url(),
        "test.sent",
        "emits = [\"test.other\"]\n",
    );
    host.until("it is taken", |host| host.events("test.other").len() == 1);
    until_done(&mut host, 1);
}

#[test]
fn without_leave_nothing_that_a_service_answers_is_emitted() {
    let server = Server::start(|asked| answer_to(&id_of(asked)));
    let mut host = sending(&server.url(), "");
    publish(&host, "one", None);
    until_done(&mut host, 1);
    assert!(host.events("test.billed").is_empty());
}

#[test]
fn the_trace_context_of_the_delivery_and_the_state_of_the_trace_go_on() {
    let server = Server::start(|_| taken());
    let mut host = sending(&server.url(), "");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let event = json!({
        "specversion": "1.0", "id": "a", "source": "test", "type": "test.sent", "data": {},
        "traceparent": format!("00-{trace}-b7ad6b7169203331-01"), "tracestate": "vendor=1,other=2",
    });
    host.post(
        "/v1/events",
        "application/cloudevents+json",
        event.to_string().as_bytes(),
    );
    until_done(&mut host, 1);
    let seen = server.seen();
    let context: Vec<&str> = seen[0].header("traceparent").split('-').collect();
    assert_eq!((context[0], context[1], context[3]), ("00", trace, "01"));
    assert_ne!(
        context[2], "b7ad6b7169203331",
        "the delivery is a span of its own"
    );
    assert_eq!(seen[0].header("tracestate"), "vendor=1,other=2");
}

#[test]
fn a_connection_is_kept_for_the_next_event_and_replaced_where_the_receiver_closes_it() {
    let server = Server::start(|asked| match &*id_of(asked) {
        // It says that it keeps the connection, and closes it.
        "3" => Reply::Raw(b"HTTP/1.1 204 Taken\r\n\r\n".to_vec()),
        _ => Reply::Keep(204, String::new()),
    });
    let mut host = sending(&server.url(), "");
    for number in 1..=5 {
        publish(&host, &number.to_string(), Some("k"));
        until_done(&mut host, number);
    }
    let seen = server.seen();
    let connections: Vec<usize> = seen.iter().map(|asked| asked.connection).collect();
    assert_eq!(
        (ids(&seen).join(" "), connections),
        ("1 2 3 4 5".to_owned(), vec![0, 0, 0, 1, 1])
    );
    assert_eq!(host.plugin("hook")["counters"]["retry"], 0);
}
