//! Who may do what: every operation of the document, with every kind of token.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nerve_eventlog::{Clock, Entry, ManualClock, Micros, Offset, Reach};
use serde_json::{Value, json};

use super::bed::{Answer, Bed, event, failed, request};
use super::openapi::{METHODS, document, documented, filled};
use super::streamed::{Answer as Streamed, line, open};
use crate::access::{self, Access};
use crate::log::record::{FailureClass, Record};

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");

/// A host that has tokens.
struct Guarded {
    bed: Bed,
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Guarded {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Micros(1_000_000)));
        let mut bed = Bed::new();
        let access = Access::by_tokens(folder.path(), true, clock.clone());
        let address = "127.0.0.1:7117".parse().unwrap();
        bed.router = super::super::router(bed.host.clone(), address, Arc::new(access));
        Self { bed, folder, clock }
    }

    /// A token as a request shows it.
    fn token(&self, name: &str, scopes: &[&str], expires: Option<u64>) -> String {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        let expires = expires.map(Micros);
        let made = access::create(self.folder.path(), name, scopes, self.clock.now(), expires).unwrap();
        format!("Bearer {}", made.text())
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        self.bed.send(request(method, path, &headers, "")).await
    }

    async fn publish(&self, token: &str, body: &Value) -> Answer {
        let headers = [STRUCTURED, ("authorization", token)];
        let asked = request("POST", "/v1/events", &headers, body.to_string());
        self.bed.send(asked).await
    }
}

fn code(answer: &Answer) -> Option<String> {
    let problem: Value = serde_json::from_slice(&answer.body).ok()?;
    problem["code"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_operation_takes_the_scope_that_is_documented_and_no_other_token() {
    let guarded = Guarded::new();
    let scopes = ["read", "operate", "publish"];
    let tokens = scopes.map(|scope| guarded.token(scope, &[scope], None));
    let expired = guarded.token("old", &scopes, Some(1));
    let unknown = tokens[0].replace("nrv_", "nrv_0");
    let document = document();
    let mut seen = [0; 3];
    for (path, methods) in documented(&document) {
        for method in methods {
            let (asked, name) = (filled(&path), method.to_uppercase());
            let security = &document["paths"][&path][&method]["security"];
            let what = format!("{name} {path} with {security}");
            let is_open = security == &json!([]);
            for (token, expected) in [
                (None, "token-required"),
                (Some(&unknown), "token-refused"),
                (Some(&expired), "token-refused"),
                (Some(&"Bearer".to_owned()), "token-required"),
                (Some(&format!("Basic {}", &tokens[0][7..])), "token-required"),
            ] {
                let answer = guarded.ask(&name, &asked, token.map(String::as_str)).await;
                if is_open {
                    assert_ne!(answer.status, 401, "{what}");
                    continue;
                }
                answer.problem(401, expected);
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer "), "{what}: {challenge}");
            }
            for (nth, scope) in scopes.into_iter().enumerate() {
                let answer = guarded.ask(&name, &asked, Some(&tokens[nth])).await;
                let wanted = [json!([]), json!([{ "token": [] }]), json!([{ "token": [scope] }])];
                if wanted.contains(security) {
                    assert!(
                        answer.status != 401 && code(&answer).as_deref() != Some("scope-missing"),
                        "{what}: {answer:?}"
                    );
                    seen[nth] += usize::from(security == &wanted[2]);
                } else {
                    let problem = answer.problem(403, "scope-missing");
                    let needed = security[0]["token"][0].as_str().unwrap();
                    assert!(
                        problem["detail"]
                            .as_str()
                            .unwrap()
                            .contains(&format!("the scope {needed},")),
                        "{what}: {problem}"
                    );
                }
            }
        }
    }
    assert!(seen[0] > 15 && seen[1] > 10 && seen[2] == 1, "{seen:?}");
}

#[tokio::test]
async fn what_is_not_in_the_document_shows_nothing_without_a_token_but_the_dashboards_files() {
    let guarded = Guarded::new();
    guarded.token("one", &["read"], None);
    for (path, ..) in super::super::dashboard::FILES {
        assert_eq!(guarded.ask("GET", path, None).await.status, 200, "{path}");
    }
    guarded
        .ask("GET", "/v1/nothing", None)
        .await
        .problem(404, "not-found");
    for method in METHODS {
        let answer = guarded.ask(&method.to_uppercase(), "/v1/log", None).await;
        let expected = if method == "get" { 401 } else { 405 };
        assert_eq!(answer.status, expected, "{method}");
    }
    assert_eq!(guarded.ask("HEAD", "/v1/log", None).await.status, 401);
    // Whatever route somebody adds, it says what it needs: axum's own way to make one is not to be had here.
    let source = include_str!("../../http.rs");
    assert!(!source.contains("axum::routing"), "routes are made by `routes`");
}

#[tokio::test]
async fn events_are_published_only_of_the_types_that_the_token_is_for_all_or_none() {
    let guarded = Guarded::new();
    let shop = guarded.token("shop", &["publish:order.*", "publish:cart.>"], None);
    guarded.publish(&shop, &event("a", "order.placed")).await.ok();
    guarded.publish(&shop, &event("b", "cart.item.added")).await.ok();
    let refused = guarded.publish(&shop, &event("c", "user.registered")).await;
    let problem = refused.problem(403, "scope-missing");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("publish:user.registered") && detail.contains("shop"),
        "{detail}"
    );
    let batch = json!([event("d", "order.placed"), event("e", "user.registered")]);
    let headers = [
        ("content-type", "application/cloudevents-batch+json"),
        ("authorization", &*shop),
    ];
    let refused = guarded
        .bed
        .send(request("POST", "/v1/events", &headers, batch.to_string()))
        .await;
    refused.problem(403, "scope-missing");
    assert_eq!(
        guarded.bed.host.log().bounds().last.0,
        2,
        "nothing of the batch is kept"
    );
}

#[tokio::test]
async fn a_session_tells_who_one_is() {
    let guarded = Guarded::new();
    let anonymous = guarded.ask("GET", "/v1/session", None).await.ok();
    assert_eq!(anonymous, json!({ "name": "anonymous", "scopes": null }));
    let token = guarded.token("ann", &["read", "publish:a.*"], None);
    let ann = guarded.ask("GET", "/v1/session", Some(&token)).await.ok();
    assert_eq!(ann, json!({ "name": "ann", "scopes": ["read", "publish:a.*"] }));
}

#[tokio::test]
async fn a_stream_ends_before_it_shows_anything_that_came_after_its_token_was_revoked() {
    let guarded = Guarded::new();
    let reader = guarded.token("reader", &["read"], None);
    let writer = guarded.token("writer", &["publish"], None);
    let mut stream = guarded
        .bed
        .follow("/v1/events", &[("authorization", &reader)])
        .await;
    guarded.publish(&writer, &event("a", "t")).await.ok();
    assert_eq!(stream.next().await.unwrap().0, "1");
    access::revoke(guarded.folder.path(), "reader").unwrap();
    guarded.publish(&writer, &event("b", "t")).await.ok();
    assert!(stream.next().await.is_none());
    guarded
        .ask("GET", "/v1/events", Some(&reader))
        .await
        .problem(401, "token-refused");
}

#[tokio::test]
async fn a_stream_takes_nothing_that_comes_after_its_token_was_revoked_or_is_not_of_its_scope() {
    let guarded = Guarded::new();
    let token = guarded.token("writer", &["publish:t"], None);
    let shown = [("authorization", &*token)];
    let (send, body) = open();
    send.send(line("a")).unwrap();
    let mut answer = Streamed::shown(&guarded.bed, &shown, body).await;
    assert_eq!(answer.next().await.unwrap()["count"], 1);
    let other = format!("{}{}\n{}", line("b"), event("c", "other"), line("d"));
    send.send(other).unwrap();
    assert_eq!(answer.next().await.unwrap()["count"], 1);
    let end = answer.next().await.unwrap();
    assert_eq!(
        (&end["taken"], &end["problem"]["code"]),
        (&json!(2), &json!("scope-missing"))
    );

    let (send, body) = open();
    send.send(line("c")).unwrap();
    let mut answer = Streamed::shown(&guarded.bed, &shown, body).await;
    assert_eq!(answer.next().await.unwrap()["count"], 1);
    access::revoke(guarded.folder.path(), "writer").unwrap();
    send.send(line("d")).unwrap();
    assert_eq!(answer.next().await, None);
    assert_eq!(
        guarded.bed.host.log().bounds().last,
        Offset(3),
        "what came then is appended"
    );
}

#[tokio::test]
async fn a_host_that_must_not_be_used_without_a_token_lets_in_nobody_until_there_is_one() {
    let guarded = Guarded::new();
    let access = Access::by_tokens(guarded.folder.path(), false, guarded.clock.clone());
    let address = "0.0.0.0:7117".parse().unwrap();
    let router = super::super::router(guarded.bed.host.clone(), address, Arc::new(access));
    let bed = Bed {
        host: guarded.bed.host.clone(),
        router,
    };
    bed.get("/v1/log").await.problem(401, "token-required");
    assert_eq!(bed.get("/readyz").await.status, 200);
    let token = guarded.token("one", &["read"], None);
    bed.send(request(
        "GET",
        "/v1/log",
        &[("authorization", &token), ("host", "nerve.example.com")],
        "",
    ))
    .await
    .ok();
}

#[tokio::test]
async fn where_nobody_looked_who_asks_nobody_is_let_in() {
    let guarded = Guarded::new();
    let bare: Router = super::super::routes::Routes::new()
        .route(
            "/v1/log",
            super::super::routes::get(access::Needs::Read, super::super::log::show),
        )
        .into_router()
        .with_state(guarded.bed.host.clone());
    let bed = Bed {
        host: guarded.bed.host.clone(),
        router: bare,
    };
    let asked: Request<Body> = request("GET", "/v1/log", &[], "");
    bed.send(asked).await.problem(503, "tokens-unreadable");
}

/// The cookie that an answer sets, as a browser shows it.
fn cookie(answer: &Answer) -> String {
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("; Path=/v1; HttpOnly; SameSite=Strict"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_good_for_what_its_token_is_and_only_from_pages_of_this_host() {
    let guarded = Guarded::new();
    let token = guarded.token("ann", &["read", "operate"], Some(3_600_000_000));
    guarded
        .ask("POST", "/v1/session", None)
        .await
        .problem(401, "token-required");
    let opened = guarded.ask("POST", "/v1/session", Some(&token)).await;
    let cookie = cookie(&opened);
    assert!(
        cookie.starts_with("nerve-7117=") && !cookie.contains(&token[11..]),
        "{cookie}"
    );
    let own = ("origin", "http://127.0.0.1:7117");
    let shown = format!("other=1; {cookie}");
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[("cookie", &*shown)]].concat();
        guarded.bed.send(request(method, path, &headers, "")).await
    };
    ask("GET", "/v1/log", &[]).await.ok();
    ask("POST", "/v1/plugins/none/pause", &[own])
        .await
        .problem(404, "plugin-not-found");
    ask("POST", "/v1/plugins/none/pause", &[])
        .await
        .problem(403, "origin-refused");
    for origin in ["http://127.0.0.1:8080", "http://evil.example", "null"] {
        let answer = ask("POST", "/v1/plugins/none/pause", &[("origin", origin)]).await;
        answer.problem(403, "origin-refused");
    }
    ask("POST", "/v1/events", &[own])
        .await
        .problem(403, "scope-missing");
    let secure = guarded.bed.send(request(
        "POST",
        "/v1/session",
        &[("authorization", &token), ("origin", "https://127.0.0.1:7117")],
        "",
    ));
    assert!(
        secure.await.headers["set-cookie"]
            .to_str()
            .unwrap()
            .ends_with("; Secure")
    );

    let other = self::cookie(&guarded.ask("POST", "/v1/session", Some(&token)).await);
    let closed = ask("DELETE", "/v1/session", &[own]).await;
    assert!(
        closed.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    ask("GET", "/v1/log", &[]).await.problem(401, "token-refused");
    let by_other = async || {
        guarded
            .bed
            .send(request("GET", "/v1/log", &[("cookie", &other)], ""))
            .await
    };
    by_other().await.ok();
    access::revoke(guarded.folder.path(), "ann").unwrap();
    by_other().await.problem(401, "token-refused");
}

#[tokio::test]
async fn who_is_asked_for_nothing_gets_no_session() {
    let guarded = Guarded::new();
    let opened = guarded.ask("POST", "/v1/session", None).await;
    assert_eq!(opened.ok()["name"], "anonymous");
    assert!(!opened.headers.contains_key("set-cookie"));
}

/// The last record of the log of an operator, or of a deployment, and whose token it was asked with.
fn last_who(bed: &Bed) -> Option<String> {
    let log = bed.host.log();
    let entries = log.read(log.bounds().first, 1 << 20, Reach::Durable).unwrap();
    let of = |entry: &Entry| match Record::decode(&entry.payload) {
        Ok(Record::Operator(operator)) => Some(operator.who),
        Ok(Record::Deployment(deployment)) => Some(deployment.who),
        Ok(Record::Schema(set)) => Some(set.who),
        _ => None,
    };
    entries.iter().rev().find_map(of).unwrap()
}

#[tokio::test]
async fn what_an_operator_does_is_recorded_and_shown_with_whose_token_it_was() {
    let guarded = Guarded::new();
    guarded
        .bed
        .deploy("one", "t", Arc::new(|_| failed(FailureClass::Reject, "no")));
    assert_eq!(last_who(&guarded.bed), None, "the folder is nobody");
    let offset = guarded.bed.publish(&event("a", "t")).await;
    guarded.bed.settled("one", offset).await;
    guarded.ask("POST", "/v1/plugins/one/pause", None).await.ok();
    assert_eq!(last_who(&guarded.bed).as_deref(), Some("anonymous"));
    let (ann, bob) = (
        guarded.token("ann", &["operate", "read"], None),
        guarded.token("bob", &["operate"], None),
    );
    let letter = format!("/v1/dead-letters/one/{offset}");
    for (method, path, token, name) in [
        ("POST", "/v1/plugins/one/resume", &ann, "ann"),
        ("DELETE", &*letter, &bob, "bob"),
        ("POST", "/v1/plugins/one/rewind?to=start&mute=emit", &ann, "ann"),
        ("PUT", "/v1/schemas/t?mode=warn", &bob, "bob"),
        ("POST", "/v1/plugins/one/pause", &bob, "bob"),
    ] {
        guarded.ask(method, path, Some(token)).await.ok();
        assert_eq!(last_who(&guarded.bed).as_deref(), Some(name), "{method} {path}");
    }
    let shown = guarded.ask("GET", "/v1/plugins/one", Some(&ann)).await.ok();
    let told: Vec<_> = shown["operated"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["who"], &one["what"]))
        .collect();
    let dropped = json!(format!("dropped the dead letter @{offset}"));
    assert_eq!(
        told,
        [
            (&json!("bob"), &json!("paused it")),
            (&json!("ann"), &json!("rewound it to @1")),
            (&json!("bob"), &dropped),
            (&json!("ann"), &json!("resumed it")),
            (&json!("anonymous"), &json!("paused it")),
        ]
    );
    assert_eq!(shown["paused"]["reason"], "bob paused it");
}

#[tokio::test]
async fn who_let_a_dead_letter_be_delivered_again_is_shown_with_it_and_in_the_trace() {
    let guarded = Guarded::new();
    let bed = &guarded.bed;
    bed.deploy("one", "t", Arc::new(|_| failed(FailureClass::Reject, "no")));
    let offset = bed.publish(&event("a", "t")).await;
    bed.settled("one", offset).await;
    let ann = guarded.token("ann", &["operate", "read"], None);
    let path = format!("/v1/dead-letters/one/{offset}");
    let letter = guarded.ask("GET", &path, Some(&ann)).await.ok();
    assert_eq!(letter["retried"], Value::Null);
    guarded
        .ask("POST", &format!("{path}/retry"), Some(&ann))
        .await
        .ok();
    // It fails again, and stays what ann retried.
    let mut again = Value::Null;
    while again["attempts"] == Value::Null || again["redriving"] == true || again["at"] == letter["at"] {
        bed.host.durable(bed.host.log().bounds().last).await.unwrap();
        again = guarded.ask("GET", &path, Some(&ann)).await.ok();
    }
    assert_eq!(again["retried"]["who"], "ann", "{again}");
    guarded.ask("DELETE", &path, Some(&ann)).await.ok();
    let trace = guarded.ask("GET", "/v1/events/a/trace", Some(&ann)).await.ok();
    let operated = trace["root"]["operated"].as_array().unwrap().iter();
    let told: Vec<_> = operated
        .map(|one| (&one["what"], &one["who"], &one["plugin"]))
        .collect();
    let [ann, one] = [json!("ann"), json!("one")];
    assert_eq!(
        told,
        [(&json!("retried"), &ann, &one), (&json!("dropped"), &ann, &one)]
    );
}

#[tokio::test]
async fn who_is_not_let_in_is_counted_by_the_reason() {
    let guarded = Guarded::new();
    let ann = guarded.token("ann", &["read"], None);
    guarded
        .ask("GET", "/v1/plugins", None)
        .await
        .problem(401, "token-required");
    for _ in 0..2 {
        let refused = guarded.ask("GET", "/v1/plugins", Some("Bearer nrv_no")).await;
        refused.problem(401, "token-refused");
    }
    guarded
        .ask("POST", "/v1/plugins/one/pause", Some(&ann))
        .await
        .problem(403, "scope-missing");
    let headers = [("authorization", &*ann), ("origin", "http://evil.example")];
    let asked = request("GET", "/v1/plugins", &headers, "");
    guarded.bed.send(asked).await.problem(403, "origin-refused");
    // What is not there, or went well, is none.
    guarded
        .ask("GET", "/v1/plugins/none", Some(&ann))
        .await
        .problem(404, "plugin-not-found");
    let figures = guarded.ask("GET", "/metrics", Some(&ann)).await;
    let text = String::from_utf8(figures.body).unwrap();
    let counted: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("nerve_http_denied_total"))
        .collect();
    assert_eq!(
        counted,
        [
            "{reason=\"host-refused\"} 0",
            "{reason=\"origin-refused\"} 1",
            "{reason=\"scope-missing\"} 1",
            "{reason=\"token-refused\"} 2",
            "{reason=\"token-required\"} 1",
        ]
    );
}
