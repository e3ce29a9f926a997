//! A connection that is kept between two calls.

use std::sync::Mutex;

use super::*;
use crate::plugin::outgoing::Told;

/// A server that answers request number `b` of connection number `a` with `answer(a, b)`, and closes the connection where
/// that is nothing.
struct Keeping {
    port: u16,
    /// Requests of each connection.
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Keeping {
    fn start(answer: impl Fn(usize, usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
        let (counts, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (mut stream, counts, answer) = (stream.unwrap(), counts.clone(), answer.clone());
                counts.lock().unwrap().push(0);
                std::thread::spawn(move || {
                    for request in 0.. {
                        let mut first = [0];
                        if !matches!(stream.peek(&mut first), Ok(1)) {
                            return;
                        }
                        read(&stream);
                        counts.lock().unwrap()[connection] += 1;
                        let Some(answer) = answer(connection, request) else {
                            return;
                        };
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<usize> {
        self.seen.lock().unwrap().clone()
    }
}

fn keeping(port: u16) -> Outgoing {
    let options = HttpOptions {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ..HttpOptions::default()
    };
    Outgoing::keeping(grants(&[format!("127.0.0.1:{port}")]), options)
}

fn tell(outgoing: &Outgoing, url: &str) -> Told {
    let request = Request {
        method: "POST".into(),
        url: url.to_owned(),
        body: b"event".to_vec(),
        ..Request::default()
    };
    outgoing.tell(&outgoing.prepare(request).unwrap(), &host_headers(), |_| 8)
}

fn is_ok(told: &Told) -> bool {
    matches!(told.answer, Answer::Answered { status: 200, .. })
}

#[test]
fn a_connection_is_kept_for_the_next_call_and_given_up_with_what_was_not_read_of_it() {
    let server = Keeping::start(|_, request| {
        Some(ok(if request == 2 {
            "more than 8 bytes"
        } else {
            "12345678"
        }))
    });
    let outgoing = keeping(server.port);
    let url = format!("http://127.0.0.1:{}/", server.port);
    for _ in 0..2 {
        let told = tell(&outgoing, &url);
        assert!(is_ok(&told) && told.cut.is_none(), "{told:?}");
    }
    assert_eq!(server.seen(), [2], "both over one connection");
    let told = tell(&outgoing, &url);
    let Answer::Answered { body, .. } = &told.answer else {
        panic!("{told:?}")
    };
    assert_eq!(&**body, b"more tha");
    let cut = told.cut.unwrap();
    assert_eq!(cut.class, CallFailure::Limit);
    assert!(cut.reason.contains("limit http.answer_bytes"), "{}", cut.reason);
    assert!(is_ok(&tell(&outgoing, &url)));
    assert_eq!(
        server.seen(),
        [3, 1],
        "what was left of the third answer is not taken for the fourth"
    );
}

#[test]
fn a_kept_connection_that_breaks_is_replaced_and_a_new_one_that_breaks_is_a_failure() {
    let server = Keeping::start(|connection, request| {
        let breaks = matches!((connection, request), (0 | 1, 1) | (2, 0));
        (!breaks).then(|| ok("1"))
    });
    let outgoing = keeping(server.port);
    let url = format!("http://127.0.0.1:{}/", server.port);
    assert!(is_ok(&tell(&outgoing, &url)));
    assert!(is_ok(&tell(&outgoing, &url)), "once more, over a new connection");
    assert_eq!(server.seen(), [2, 1]);
    // The connection that was kept breaks, and the one in its place does too: that is enough.
    let told = tell(&outgoing, &url);
    failed_with(&told.answer, CallFailure::Protocol, "127.0.0.1");
    assert_eq!(server.seen(), [2, 2, 1]);
}

#[test]
fn a_name_is_looked_up_for_each_call_though_its_connection_is_kept() {
    let server = Keeping::start(|_, _| Some(ok("1")));
    let local = SocketAddr::from(([127, 0, 0, 1], server.port));
    let private = SocketAddr::from(([10, 0, 0, 1], server.port));
    let lookup = Rebinding {
        addresses: vec![vec![local], vec![private], vec![local]],
        asked: Arc::default(),
    };
    let options = HttpOptions {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ..HttpOptions::default()
    };
    let granted = grants(&[format!("shop.example:{}", server.port)]);
    let outgoing = Outgoing::with_lookup(granted, options, 1, lookup);
    let url = format!("http://shop.example:{}/", server.port);
    assert!(is_ok(&tell(&outgoing, &url)));
    failed_with(
        &tell(&outgoing, &url).answer,
        CallFailure::Denied,
        "leads to 10.0.0.1",
    );
    assert_eq!(server.seen(), [1], "the connection that is kept is not used");
    assert!(is_ok(&tell(&outgoing, &url)));
}
