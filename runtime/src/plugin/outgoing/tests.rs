//! What may be called, against servers on loopback and a resolver that lies.

mod kept;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::NextTimeout;

use super::*;

/// A server that gives these answers, one for each connection, and tells what it was asked.
fn server(answers: Vec<String>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read(&stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        };
        answers.into_iter().map(answer).collect()
    });
    (port, asked)
}

/// One request: its head and body.
fn read(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.to_ascii_lowercase();
    let length = length
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    lines.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-A: b\r\n\r\n{body}",
        body.len()
    )
}

fn grants(scopes: &[String]) -> Grants {
    Grants::default()
        .with(&vec![("http".into(), scopes.to_vec())])
        .unwrap()
}

/// Calls to loopback, where `port` is granted.
fn outgoing(port: u16, mut options: HttpOptions) -> Outgoing {
    options.addresses = vec!["127.0.0.1".parse().unwrap()];
    let scopes = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    Outgoing::new(grants(&scopes), options)
}

fn get(url: impl Into<String>) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        ..Request::default()
    }
}

fn host_headers() -> HostHeaders {
    HostHeaders {
        idempotency_key: "key-1".into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

fn ask(outgoing: &Outgoing, request: Request) -> Answer {
    match outgoing.prepare(request) {
        Ok(prepared) => outgoing.call(prepared, &host_headers(), outgoing.options().answer_bytes),
        Err(failed) => failed.into(),
    }
}

fn failed_with(answer: &Answer, class: CallFailure, says: &str) {
    match answer {
        Answer::Failed { class: own, reason } => {
            assert_eq!(*own, class, "{reason}");
            assert!(reason.contains(says), "{reason}");
        }
        Answer::Answered { .. } => panic!("{answer:?}"),
    }
}

#[test]
fn a_granted_call_carries_what_was_asked_and_the_key() {
    let (port, asked) = server(vec![ok("hello")]);
    let request = Request {
        method: "POST".into(),
        url: format!("http://127.0.0.1:{port}/a?b=c"),
        headers: vec![("X-Own".into(), b"1".to_vec()), ("x-own".into(), b"2".to_vec())],
        body: b"body".to_vec(),
        timeout: None,
    };
    let kept = request.asked();
    assert_eq!((&*kept.method, kept.bytes), ("POST", 4));
    assert_eq!(
        kept.target,
        format!("http://127.0.0.1:{port}/a"),
        "the query is not kept"
    );
    let answer = ask(&outgoing(port, HttpOptions::default()), request);
    let Answer::Answered {
        status,
        headers,
        body,
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!((status, &*body), (200, &b"hello"[..]));
    assert!(
        headers
            .iter()
            .any(|(name, value)| name == "x-a" && value.as_ref() == b"b")
    );
    let asked = asked.join().unwrap().remove(0);
    let lower = asked.to_ascii_lowercase();
    assert!(
        asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nbody"),
        "{asked}"
    );
    for header in [
        "idempotency-key: key-1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-own: 1",
        "x-own: 2",
        "user-agent: nerve/",
    ] {
        assert!(lower.contains(header), "{header} in {asked}");
    }
}

#[test]
fn a_plugin_that_traces_by_itself_keeps_its_context() {
    let (port, asked) = server(vec!["HTTP/1.1 204 No Content\r\n\r\n".into()]);
    let own = "00-1af7651916cd43dd8448eb211c80319c-a7ad6b7169203331-00";
    let request = Request {
        headers: vec![("traceparent".into(), own.into())],
        ..get(format!("http://127.0.0.1:{port}/"))
    };
    ask(&outgoing(port, HttpOptions::default()), request);
    let asked = asked.join().unwrap().remove(0).to_ascii_lowercase();
    assert!(
        asked.matches("traceparent").count() == 1 && asked.contains(own),
        "{asked}"
    );
}

#[test]
fn invariant_09_what_is_not_granted_is_denied_and_nobody_is_asked() {
    let (port, _) = server(vec![]);
    let outgoing = outgoing(port, HttpOptions::default());
    for (method, url) in [
        ("GET", "http://other.example/".to_owned()),
        ("GET", "https://127.0.0.1/".to_owned()),
        ("GET", format!("http://127.0.0.2:{port}/")),
        ("GET", format!("http://127.0.0.1.:{port}/")),
        ("GET", "http://2130706433:80/".to_owned()),
    ] {
        let answer = ask(
            &outgoing,
            Request {
                method: method.into(),
                ..get(url)
            },
        );
        failed_with(&answer, CallFailure::Denied, "in [grants]");
    }
    let only_get = Outgoing::new(grants(&["GET a:443".into()]), HttpOptions::default());
    let answer = ask(
        &only_get,
        Request {
            method: "POST".into(),
            ..get("https://a/")
        },
    );
    failed_with(&answer, CallFailure::Denied, "POST a:443 is not granted");
}

#[test]
fn a_name_that_leads_to_an_address_that_is_not_public_is_denied() {
    let (port, _) = server(vec![]);
    let scopes = grants(&[
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ]);
    let outgoing = Outgoing::new(scopes, HttpOptions::default());
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let answer = ask(&outgoing, get(format!("http://{host}:{port}/")));
        failed_with(&answer, CallFailure::Denied, "http.addresses");
    }
}

/// Leads to these addresses: the first time to the first, and so on.
#[derive(Debug)]
struct Rebinding {
    addresses: Vec<Vec<SocketAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Resolver for Rebinding {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut found = self.empty();
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        self.addresses[turn]
            .iter()
            .for_each(|address| found.push(*address));
        Ok(found)
    }
}

#[test]
fn a_name_is_looked_up_once_and_every_address_is_checked() {
    let (port, asked) = server(vec![ok("first")]);
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    let private = SocketAddr::from(([10, 0, 0, 1], port));
    let look_ups = Arc::new(AtomicUsize::new(0));
    let lookup = Rebinding {
        addresses: vec![vec![local], vec![local, private]],
        asked: look_ups.clone(),
    };
    let options = HttpOptions {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ..HttpOptions::default()
    };
    let outgoing = Outgoing::with_lookup(grants(&[format!("shop.example:{port}")]), options, 0, lookup);
    let url = format!("http://shop.example:{port}/");
    assert!(matches!(
        ask(&outgoing, get(&*url)),
        Answer::Answered { status: 200, .. }
    ));
    assert_eq!(
        look_ups.load(Ordering::SeqCst),
        1,
        "one look-up for check and connection"
    );
    asked.join().unwrap();
    // The second call looks again, and one address among the good ones is enough to refuse it.
    failed_with(
        &ask(&outgoing, get(url)),
        CallFailure::Denied,
        "leads to 10.0.0.1",
    );
}

#[test]
fn redirects_are_answers_unless_they_are_granted_and_each_is_checked() {
    let moved =
        |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let (port, asked) = server(vec![moved("/next")]);
    let answer = ask(
        &outgoing(port, HttpOptions::default()),
        get(format!("http://127.0.0.1:{port}/")),
    );
    assert!(
        matches!(answer, Answer::Answered { status: 302, .. }),
        "{answer:?}"
    );
    asked.join().unwrap();

    let two = || HttpOptions {
        redirects: 2,
        ..HttpOptions::default()
    };
    let (port, asked) = server(vec![moved("/next"), moved("last"), ok("there")]);
    let first = Request {
        method: "POST".into(),
        url: format!("http://127.0.0.1:{port}/"),
        headers: vec![("authorization".into(), b"secret".to_vec())],
        body: b"x".to_vec(),
        timeout: None,
    };
    let answer = ask(&outgoing(port, two()), first);
    assert!(
        matches!(answer, Answer::Answered { status: 200, .. }),
        "{answer:?}"
    );
    let asked = asked.join().unwrap();
    assert!(
        asked[1].starts_with("GET /next ") && asked[2].starts_with("GET /last "),
        "{asked:?}"
    );
    assert!(
        asked[2].contains("authorization: secret"),
        "the same server is told: {asked:?}"
    );

    for (location, class, says) in [
        (
            "http://127.0.0.1:1/",
            CallFailure::Denied,
            "redirects: GET 127.0.0.1:1 is not granted",
        ),
        (
            "http://169.254.169.254/latest",
            CallFailure::Denied,
            "169.254.169.254:80 is not granted",
        ),
        (
            "ftp://127.0.0.1/x",
            CallFailure::Protocol,
            "neither with https:// nor with http://",
        ),
    ] {
        let (port, asked) = server(vec![moved(location)]);
        let answer = ask(&outgoing(port, two()), get(format!("http://127.0.0.1:{port}/")));
        failed_with(&answer, class, says);
        asked.join().unwrap();
    }
}

#[test]
fn what_is_malformed_or_the_hosts_is_refused() {
    let (port, _) = server(vec![]);
    let outgoing = outgoing(port, HttpOptions::default());
    let url = format!("http://127.0.0.1:{port}/");
    let with = |name: &str, value: &[u8]| Request {
        headers: vec![(name.to_owned(), value.to_vec())],
        ..get(&*url)
    };
    for (request, says) in [
        (with("Host", b"a"), "is the host's"),
        (with("content-length", b"5"), "is the host's"),
        (with("Transfer-Encoding", b"chunked"), "is the host's"),
        (with("Connection", b"upgrade"), "is the host's"),
        (with("Idempotency-Key", b"mine"), "is the host's"),
        (with("x", b"a\r\nb: c"), "control characters"),
        (with("x y", b"a"), "no name of a header"),
        (
            Request {
                method: "CONNECT".into(),
                ..get(&*url)
            },
            "no method",
        ),
        (
            Request {
                method: "get".into(),
                ..get(&*url)
            },
            "no method",
        ),
        (
            Request {
                body: vec![1],
                ..get(&*url)
            },
            "GET has no body",
        ),
        (get("ftp://127.0.0.1/"), "neither with https:// nor with http://"),
        (get("/path"), "neither with https:// nor with http://"),
        (get("http:///x"), "no URL"),
        (
            get(format!("http://user:secret@127.0.0.1:{port}/")),
            "Authorization",
        ),
    ] {
        failed_with(&ask(&outgoing, request), CallFailure::Protocol, says);
    }
    let asked = get("http://user:secret@a/b?c").asked();
    assert_eq!(asked.target, "http://a/b", "a password is not kept");
}

#[test]
fn limits_of_size_and_time_end_a_call_and_are_named() {
    let (port, asked) = server(vec![ok("12345"), ok("123456789")]);
    let small = HttpOptions {
        request_bytes: 100,
        answer_bytes: 27,
        ..HttpOptions::default()
    };
    let outgoing_small = outgoing(port, small);
    let url = format!("http://127.0.0.1:{port}/");
    assert!(matches!(
        ask(&outgoing_small, get(&*url)),
        Answer::Answered { .. }
    ));
    failed_with(
        &ask(&outgoing_small, get(&*url)),
        CallFailure::Limit,
        "http.answer_bytes",
    );
    let long = get(format!("{url}?{}", "x".repeat(100)));
    failed_with(
        &ask(&outgoing_small, long),
        CallFailure::Limit,
        "http.request_bytes",
    );
    asked.join().unwrap();

    // Nobody accepts, so that the answer never comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let short = HttpOptions {
        time_ms: 30,
        ..HttpOptions::default()
    };
    let answer = ask(&outgoing(port, short), get(format!("http://127.0.0.1:{port}/")));
    failed_with(&answer, CallFailure::Timeout, "http.time_ms");
    let own = Request {
        timeout: Some(Duration::from_millis(20)),
        ..get(format!("http://127.0.0.1:{port}/"))
    };
    failed_with(
        &ask(&outgoing(port, HttpOptions::default()), own),
        CallFailure::Timeout,
        "within",
    );

    drop(silent);
    let answer = ask(
        &outgoing(port, HttpOptions::default()),
        get(format!("http://127.0.0.1:{port}/")),
    );
    failed_with(&answer, CallFailure::Connect, "127.0.0.1");
    let (port, asked) = server(vec!["nonsense\r\n\r\n".into()]);
    let answer = ask(
        &outgoing(port, HttpOptions::default()),
        get(format!("http://127.0.0.1:{port}/")),
    );
    failed_with(&answer, CallFailure::Protocol, "127.0.0.1");
    asked.join().unwrap();
}
