//! What a receiver does: it is away, slow, talks nonsense, or takes nothing for good.

use super::*;

#[test]
fn invariant_06_a_receiver_that_is_away_is_an_outage_and_costs_no_event() {
    let address = {
        let server = Server::start(|_| taken());
        server.address()
    };
    let mut host = sending(
        &format!("http://{address}"),
        &format!("{QUICK}attempts = 1\nlongest_ms = 20\n"),
    );
    // One key, which by itself would be a poison event.
    for number in 0..5 {
        publish(&host, &number.to_string(), Some("k"));
    }
    host.until("the outage is seen, and was probed", |host| {
        host.plugin("hook")["paused"]["probes"].as_u64() >= Some(3)
    });
    let shown = host.plugin("hook");
    assert_eq!(
        (&shown["paused"]["why"], &shown["dead_letters"]),
        (&json!("outage"), &json!(0))
    );
    let server = Server::start_at(&address, |_| taken());
    until_done(&mut host, 5);
    assert_eq!(ids(&server.seen()), ["0", "1", "2", "3", "4"]);
    assert_eq!(host.plugin("hook")["dead_letters"], 0);
}

#[test]
fn a_receiver_says_when_to_come_again() {
    let server = Server::start(|_| {
        Reply::Raw(
            b"HTTP/1.1 503 Busy\r\nRetry-After: 3000\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec(),
        )
    });
    let mut host = sending(&server.url(), QUICK);
    publish(&host, "a", None);
    host.until("it waits", |host| !host.plugin("hook")["paused"].is_null());
    let paused = &host.plugin("hook")["paused"];
    let at = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = at(&paused["next_try"])
        .duration_since(at(&paused["since"]))
        .as_secs();
    assert!((2900..=3001).contains(&wait), "{paused}");
    // An operator need not wait so long.
    server.set(|_| taken());
    assert_eq!(said(&host, &["plugin", "resume", "hook"]).0, Some(0));
    until_done(&mut host, 1);
}

#[test]
fn invariant_02_a_sigkill_in_the_middle_sends_again_under_the_same_id() {
    let server = Server::start(|asked| if id_of(asked) == "b" { Reply::Hold } else { taken() });
    let mut host = sending(&server.url(), QUICK);
    for id in ["a", "b", "c"] {
        publish(&host, id, Some("k"));
    }
    host.until("the receiver holds the second", |_| server.seen().len() == 2);
    host.until("the first is settled", |host| {
        host.plugin("hook")["counters"]["done"] == 1
    });
    host.kill();
    server.set(|_| taken());
    host.run();
    until_done(&mut host, 3);
    let seen = server.seen();
    assert_eq!(
        ids(&seen),
        ["a", "b", "b", "c"],
        "what was settled is not sent again"
    );
    assert_eq!(seen[1].header("webhook-id"), seen[2].header("webhook-id"));
    assert_eq!(seen[1].body, seen[2].body);
}

#[test]
fn what_a_receiver_will_never_take_is_a_dead_letter_and_can_be_sent_again() {
    let server = Server::start(|asked| match &*id_of(asked) {
        "bad" => Reply::Answer(422, "no such order\n\u{1b}[2J".into()),
        "breaks" => Reply::Answer(500, "a fault".into()),
        _ => taken(),
    });
    let mut host = sending(
        &server.url(),
        &format!("rejects = [422]\n{QUICK}attempts = 3\noutage_keys = 0\n"),
    );
    publish(&host, "bad", Some("k"));
    publish(&host, "good", Some("k"));
    publish(&host, "breaks", Some("k"));
    publish(&host, "also-good", Some("k"));
    until_done(&mut host, 2);
    host.until("two are given up", |host| {
        host.plugin("hook")["dead_letters"] == 2
    });
    let tries = |id: &str| ids(&server.seen()).iter().filter(|seen| *seen == id).count();
    assert_eq!((tries("bad"), tries("breaks"), tries("good")), (1, 3, 1));
    let (_, listed) = said(&host, &["dead", "list"]);
    assert!(
        listed.contains("answered 422: no such order \\u{1b}[2J") && listed.contains("answered 500: a fault"),
        "{listed}"
    );

    let offset = host.get("/v1/dead-letters").body["dead_letters"][0]["event"].to_string();
    assert_eq!(
        said(&host, &["dead", "bundle", "hook", &offset, "-o", "it.bundle"]).0,
        Some(0)
    );
    let (code, text) = said(&host, &["plugin", "test", "--bundle", "it.bundle"]);
    assert!(
        code == Some(2) && text.contains("has no code to run again"),
        "{text}"
    );

    server.set(|_| taken());
    assert_eq!(said(&host, &["dead", "retry", "hook"]).0, Some(0));
    until_done(&mut host, 4);
    let seen = server.seen();
    let bad: Vec<&Asked> = seen.iter().filter(|asked| id_of(asked) == "bad").collect();
    assert_eq!(bad[0].header("webhook-id"), bad[1].header("webhook-id"));
    assert_eq!(
        (bad[0].header("nerve-replay"), bad[1].header("nerve-replay")),
        ("false", "true")
    );
    assert_eq!(host.plugin("hook")["dead_letters"], 0);
}

#[test]
fn invariant_04_a_receiver_that_never_answers_harms_nobody_else() {
    let silent = Server::start(|_| Reply::Hold);
    let server = Server::start(|_| taken());
    let mut host = sending(&silent.url(), &format!("[http]\ntime_ms = 300000\n{QUICK}"));
    drop_webhook(&host, "other", &server.url(), "test.sent", "");
    host.until("the other is live", |host| {
        host.plugin("other")["status"] == "live"
    });
    for number in 0..100 {
        publish(&host, &number.to_string(), Some("k"));
    }
    host.until("the other has all", |_| server.seen().len() == 100);
    assert_eq!(silent.seen().len(), 1);
    assert_eq!(host.plugin("hook")["counters"]["done"], 0);
    // And the host ends while it waits.
    host.kill();
}

#[test]
fn an_answer_that_is_huge_nonsense_or_late_ends_a_delivery_as_its_status_says() {
    let server = Server::start(|asked| match &*id_of(asked) {
        // Its status says that the event was taken.
        "huge" => Reply::Flood(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec()),
        "cut" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec()),
        "headers" => Reply::Flood(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec()),
        "nonsense" => Reply::Raw(b"\0\x01 what is this\r\n\r\n".to_vec()),
        "nothing" => Reply::Raw(Vec::new()),
        "moved" => Reply::Raw(
            b"HTTP/1.1 307 Moved\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        ),
        _ => Reply::Hold,
    });
    let mut host = sending(
        &server.url(),
        &format!("{QUICK}attempts = 1\noutage_keys = 0\n[http]\ntime_ms = 300\n"),
    );
    for id in ["huge", "cut"] {
        publish(&host, id, None);
    }
    until_done(&mut host, 2);
    for (id, says) in [
        ("headers", "POST 127.0.0.1"),
        ("nonsense", "POST 127.0.0.1"),
        ("nothing", "POST 127.0.0.1"),
        (
            "moved",
            "a redirect to \"http://169.254.169.254/latest\", which is not followed",
        ),
        ("never", "limit http.time_ms"),
    ] {
        let offset = publish(&host, id, None);
        let mut letter = Value::Null;
        host.until(&format!("{id} is given up"), |host| {
            letter = host.get(&format!("/v1/dead-letters/hook/{offset}")).body;
            letter["reason"].is_string()
        });
        assert!(letter["reason"].as_str().unwrap().contains(says), "{letter}");
    }
    assert!(host.resident() < 300 << 20, "{} bytes", host.resident());
}
