//! Connections as clients open them: too much, too slow, and at the end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::SystemClock;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::server::{self, Patience};
use super::bed::{Bed, event};
use crate::access::Access;
use crate::host::Host;

struct Server {
    runtime: Runtime,
    host: Host,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(patience: Patience) -> Self {
        let runtime = Runtime::new().unwrap();
        let inside = runtime.enter();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let host = Bed::new().host;
        let (stop, stopped) = oneshot::channel::<()>();
        let everybody = Arc::new(Access::everybody(Arc::new(SystemClock)));
        let router = super::super::router(host.clone(), address, everybody);
        let announced = host.clone();
        let serving = tokio::spawn(server::serve(router, listener, None, patience, async move {
            stopped.await.ok();
            announced.announce_stop();
        }));
        drop(inside);
        Self {
            runtime,
            host,
            address,
            stop: Some(stop),
            serving,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    }

    fn head(&self, method: &str, path: &str, headers: &str) -> Vec<u8> {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n",
            self.address
        )
        .into_bytes()
    }

    /// Ask it to stop, and wait until it has.
    fn stopped(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(self.serving).unwrap().unwrap();
    }
}

/// Read until `until` has come, or the end.
fn read(stream: &mut TcpStream, until: &str) -> String {
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.contains(until) {
            return text;
        }
        match stream.read(&mut part) {
            Ok(0) => return text,
            Ok(read) => seen.extend_from_slice(&part[..read]),
            Err(cause) => panic!("{cause} after {text:?}"),
        }
    }
}

#[test]
fn a_body_of_100_mb_is_refused_and_its_client_sees_why() {
    let server = Server::start(Patience::default());
    let mut stream = server.connect();
    let head = server.head(
        "POST",
        "/v1/events",
        "content-type: application/cloudevents+json\r\ncontent-length: 104857600\r\n",
    );
    stream.write_all(&head).unwrap();
    let part = vec![b' '; 1 << 20];
    for _ in 0..100 {
        stream.write_all(&part).unwrap();
    }
    let answer = read(&mut stream, "references instead");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("too-large"),
        "{answer}"
    );
    server.stopped();
}

#[test]
fn a_client_that_asks_first_is_refused_before_it_sends_anything() {
    let server = Server::start(Patience::default());
    let mut stream = server.connect();
    let head = server.head(
        "POST",
        "/v1/events",
        "content-type: application/json\r\ncontent-length: 104857600\r\nexpect: 100-continue\r\n",
    );
    stream.write_all(&head).unwrap();
    let answer = read(&mut stream, "too-large");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.stopped();
}

#[test]
fn a_stream_is_told_to_go_on_and_acknowledged_before_it_ends() {
    let server = Server::start(Patience::default());
    let mut stream = server.connect();
    let head = server.head(
        "POST",
        "/v1/events",
        "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n",
    );
    stream.write_all(&head).unwrap();
    assert!(read(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    let chunk = |id: &str| {
        let line = format!("{}\n", event(id, "t"));
        format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
    };
    for (id, acknowledged) in [("a", "\"offset\":1"), ("b", "\"offset\":2")] {
        stream.write_all(&chunk(id)).unwrap();
        let answer = read(&mut stream, acknowledged);
        assert!(answer.contains(acknowledged), "{answer}");
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(read(&mut stream, "0\r\n\r\n").contains("{\"taken\":2}"));
    server.stopped();
}

#[test]
fn a_body_that_does_not_say_how_large_it_is_is_refused_at_the_limit() {
    let server = Server::start(Patience::default());
    let mut stream = server.connect();
    let head = server.head(
        "POST",
        "/v1/events",
        "content-type: application/cloudevents+json\r\ntransfer-encoding: chunked\r\n",
    );
    stream.write_all(&head).unwrap();
    let mut chunk = b"100000\r\n".to_vec();
    chunk.resize(chunk.len() + (1 << 20), b' ');
    chunk.extend_from_slice(b"\r\n");
    for _ in 0..20 {
        stream.write_all(&chunk).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = read(&mut stream, "too-large");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.stopped();
}

#[test]
fn a_client_that_does_not_finish_its_head_is_cut_off() {
    let impatient = Patience {
        head: Duration::from_millis(20),
        ..Patience::default()
    };
    let server = Server::start(impatient);
    let mut stream = server.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").unwrap();
    let answer = read(&mut stream, "never");
    assert!(!answer.contains("200"), "{answer}");
    server.stopped();
}

#[test]
fn stopping_ends_streams_and_idle_connections_and_cuts_off_who_does_not_finish() {
    let short = Patience {
        stop: Duration::from_millis(20),
        ..Patience::default()
    };
    let server = Server::start(short);
    let mut idle = server.connect();
    idle.write_all(&server.head("GET", "/livez", "")).unwrap();
    assert!(read(&mut idle, "ok\n").contains("200 OK"));

    let mut following = server.connect();
    let head = server.head("GET", "/v1/events", "accept: text/event-stream\r\n");
    following.write_all(&head).unwrap();
    let valid = crate::ingest::NewEvent {
        id: "a",
        source: "test",
        r#type: "t",
        content_type: "application/json",
        data: &[0xc0],
        ..Default::default()
    };
    server
        .host
        .publish(&[server.host.acceptor().event(&valid).unwrap()])
        .unwrap();
    assert!(read(&mut following, "id: 1").contains("text/event-stream"));

    let mut stalled = server.connect();
    let body = event("b", "t").to_string();
    let head = format!(
        "content-type: application/cloudevents+json\r\ncontent-length: {}\r\n",
        body.len()
    );
    stalled
        .write_all(&server.head("POST", "/v1/events", &head))
        .unwrap();
    stalled.write_all(&body.as_bytes()[..5]).unwrap();

    let address = server.address;
    server.stopped();
    assert_eq!(read(&mut idle, "never"), "");
    read(&mut following, "never");
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody is accepted any more"
    );
}
