//! Bad input: a clear message that names the thing and the way out, and the documented exit code.

use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

const STRUCTURED: &str = "application/cloudevents+json";

fn refused(host: &Host, content_type: &str, body: &[u8]) -> (u16, String, String) {
    let answer = host.post("/v1/events", content_type, body);
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
    assert!(
        !text("detail").is_empty() && !text("hint").is_empty(),
        "{answer:?}"
    );
    (answer.status, text("code"), text("detail"))
}

#[test]
fn events_that_are_none_are_refused_with_the_attribute_and_the_reason() {
    let host = Host::start(&[]);
    let event =
        |kind: &str| json!({ "specversion": "1.0", "id": "a", "source": "t", "type": kind }).to_string();
    for (content_type, body, status, says) in [
        (STRUCTURED, b"{".to_vec(), 400, "no CloudEvent"),
        (STRUCTURED, b"\xff\xfe\x00".to_vec(), 400, "no CloudEvent"),
        (
            STRUCTURED,
            event("order placed").into_bytes(),
            400,
            "it has a space",
        ),
        (STRUCTURED, event("").into_bytes(), 400, "`type`"),
        (
            "application/cloudevents-batch+json",
            b"[]".to_vec(),
            400,
            "no events",
        ),
        ("application/json", b"{}".to_vec(), 415, "without ce- headers"),
    ] {
        let (got, _, detail) = refused(&host, content_type, &body);
        assert!(got == status && detail.contains(says), "{got}: {detail}");
    }
    let batch = json!([{ "specversion": "1.0", "id": "ok", "source": "t", "type": "t" }, { "id": "bad" }])
        .to_string();
    let (_, _, detail) = refused(&host, "application/cloudevents-batch+json", batch.as_bytes());
    assert!(detail.starts_with("event 1 of the batch"), "{detail}");
    assert!(host.events("%3E").is_empty(), "a batch is all or nothing");
}

#[test]
fn a_body_of_100_mb_is_refused_and_the_host_lives() {
    let host = Host::start(&[]);
    let address = host.address().trim_start_matches("http://").to_owned();
    let answer = send_raw(&address, 100 << 20);
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("too-large"),
        "{answer}"
    );
    assert_eq!(host.get("/readyz").status, 200);
}

/// Announce a body of so many bytes, send some of it, and read the answer.
fn send_raw(address: &str, bytes: usize) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: {STRUCTURED}\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b' '; 1000]).unwrap();
    let mut answer = vec![0; 4096];
    let mut filled = 0;
    while let Ok(read) = stream.read(&mut answer[filled..]) {
        filled += read;
        if read == 0 || String::from_utf8_lossy(&answer[..filled]).contains("\"detail\"") {
            break;
        }
    }
    String::from_utf8_lossy(&answer[..filled]).into_owned()
}

#[test]
fn publishing_the_same_identity_again_answers_with_the_first_and_other_content_conflicts() {
    let mut host = Host::start(&[]);
    let first = host.publish("t.a", "one", None, &json!({ "n": 1 }));
    let again = |host: &Host, n: u32| host.try_publish("t.a", "one", None, &json!({ "n": n })).unwrap();
    assert_eq!(again(&host, 1).body["offset"], first);
    assert_eq!(again(&host, 1).body["duplicate"], true);
    assert_eq!(again(&host, 2).status, 409);
    host.kill();
    host.run();
    assert_eq!(
        again(&host, 1).body["offset"],
        first,
        "the window is rebuilt from the log"
    );
    assert_eq!(again(&host, 2).status, 409);
    assert_eq!(host.events("t.a").len(), 1);
}

#[test]
fn no_web_page_can_drive_the_host() {
    use std::io::{Read, Write};
    let host = Host::start(&[]);
    let address = host.address().trim_start_matches("http://").to_owned();
    for (head, says) in [
        ("Host: evil.example".to_owned(), "host-refused"),
        (
            format!("Host: {address}\r\nOrigin: http://evil.example"),
            "origin-refused",
        ),
    ] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET /v1/plugins HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains(says),
            "{answer}"
        );
    }
}

#[test]
fn commands_that_fail_name_the_cause_and_exit_as_documented() {
    let host = Host::start(&[]);
    let folder = host.path(".");
    let server = host.address();
    let port = server.rsplit(':').next().unwrap().to_owned();
    let listen = format!("127.0.0.1:{port}");
    std::fs::write(host.path("a-file"), "").unwrap();
    for (args, code, says) in [
        (vec!["--server", "http://127.0.0.1:1", "events"], 6, "nerve run"),
        (
            vec!["--server", server, "trace", "nothing"],
            3,
            "no event has the id",
        ),
        (
            vec!["--server", server, "plugin", "show", "nothing"],
            3,
            "no plugin is called",
        ),
        (
            vec!["--server", server, "publish", "a b", "1"],
            2,
            "it has a space",
        ),
        (vec!["--server", server, "publish", "a.b", "{"], 2, "no JSON"),
        (
            vec!["--server", server, "publish", "a.b", "@missing"],
            3,
            "missing can't be read",
        ),
        (vec!["frobnicate"], 2, "unrecognized"),
        (vec!["run", "--listen", &listen], 4, "--listen"),
        (
            vec!["run", "--listen", "127.0.0.1:0"],
            4,
            "in use by another process",
        ),
        (vec!["run", "--listen", "0.0.0.0:0"], 5, "loopback"),
        (
            vec!["run", "--listen", "127.0.0.1:0", "--data", "a-file/data"],
            1,
            "--data",
        ),
        (vec!["log", "verify", "nowhere"], 3, "data folder"),
        (vec!["plugin", "new", "Bad Name"], 2, "a letter first"),
        (vec!["plugin", "build", "nowhere"], 3, "no crate"),
    ] {
        let text = nerve(&folder, &args);
        let stderr = String::from_utf8_lossy(&text.stderr);
        assert!(
            text.status.code() == Some(code) && stderr.contains(says),
            "{args:?}: {:?} {stderr}",
            text.status.code()
        );
        let mut with_json = vec!["--output", "json"];
        with_json.extend(&args);
        let json = nerve(&folder, &with_json);
        let value: Value = serde_json::from_slice(&json.stdout)
            .unwrap_or_else(|bad| panic!("{args:?}: {bad}: {}", String::from_utf8_lossy(&json.stdout)));
        assert!(
            value["error"]["exit"] == code && json.status.code() == Some(code),
            "{args:?}: {value}"
        );
    }
}
