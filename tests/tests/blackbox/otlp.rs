//! Traces for a collector: a receiver of OTLP over HTTP, and a real host that exports to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nerve_tests::Host;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

/// What a receiver has got, and how it answers.
#[derive(Default)]
struct Inner {
    spans: Mutex<Vec<Span>>,
    /// Of the resource, and of the requests.
    said: Mutex<BTreeMap<String, String>>,
    requests: AtomicUsize,
    /// The status that it answers with; 0 is 200.
    status: AtomicUsize,
    /// Takes requests, and answers none.
    is_silent: AtomicBool,
    /// Takes all spans of a request but so many, and says so.
    rejects: AtomicUsize,
}

/// A receiver of OTLP over HTTP.
struct Receiver {
    inner: Arc<Inner>,
    address: String,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let serving = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { inner, address }
    }

    fn spans(&self) -> Vec<Span> {
        self.inner.spans.lock().unwrap().clone()
    }

    /// Wait until so many spans of this name have come; answers them.
    fn until(&self, host: &mut Host, name: &str, count: usize) -> Vec<Span> {
        let named = || self.spans().into_iter().filter(|span| span.name == name);
        host.until(&format!("{count} spans are called {name:?}"), |_| {
            named().count() >= count
        });
        named().collect()
    }

    fn said(&self, name: &str) -> String {
        self.inner
            .said
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .unwrap_or_default()
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answering = stream;
        loop {
            let (mut line, mut length) = (String::new(), 0);
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            self.say("request", line.trim());
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                let Some((name, value)) = header.trim().split_once(": ") else {
                    break;
                };
                self.say(&name.to_lowercase(), value);
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            self.requests.fetch_add(1, Ordering::SeqCst);
            if self.is_silent.load(Ordering::SeqCst) {
                std::thread::park();
            }
            let status = match self.status.load(Ordering::SeqCst) {
                0 => 200,
                status => status,
            };
            if status == 200 {
                self.take(&ExportTraceServiceRequest::decode(&body[..]).unwrap());
            }
            let body = self.answer();
            let mut answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            answer.extend(body);
            if answering.write_all(&answer).is_err() {
                return;
            }
        }
    }

    /// Where all is taken there is nothing to say.
    fn answer(&self) -> Vec<u8> {
        let rejected = self.rejects.load(Ordering::SeqCst);
        let partial = ExportTracePartialSuccess {
            rejected_spans: i64::try_from(rejected).unwrap(),
            error_message: "too\u{1b} old".into(),
        };
        let answer = ExportTraceServiceResponse {
            partial_success: (rejected > 0).then_some(partial),
        };
        answer.encode_to_vec()
    }

    fn take(&self, request: &ExportTraceServiceRequest) {
        for resource in &request.resource_spans {
            for one in &resource.resource.as_ref().unwrap().attributes {
                self.say(
                    &one.key,
                    &text(one.value.as_ref().and_then(|value| value.value.as_ref())),
                );
            }
            for scope in &resource.scope_spans {
                self.spans.lock().unwrap().extend(scope.spans.iter().cloned());
            }
        }
    }

    fn say(&self, name: &str, value: &str) {
        self.said
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.to_owned());
    }
}

fn text(value: Option<&Any>) -> String {
    match value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|one| one.key == key);
    text(found.and_then(|one| one.value.as_ref()?.value.as_ref()))
}

/// A host that exports to `address`, with these variables beside.
fn exporting(address: &str, more: &str) -> Host {
    let mut host = Host::start(&[]);
    host.stop();
    host.before_start(&format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={address} OTEL_BSP_SCHEDULE_DELAY=10 {more};"
    ));
    host.run();
    host
}

fn drop_in(host: &mut Host, plugin: &str, settings: &str) {
    std::fs::write(host.path(&format!("plugins/{plugin}.toml")), settings).unwrap();
    host.drop_built(&format!("fixtures/{plugin}"));
    host.until("it is live", |host| host.plugin(plugin)["status"] == "live");
}

/// A figure of the host.
fn figure(host: &Host, name: &str) -> Option<u64> {
    let text = ureq::get(&format!("{}/metrics", host.address())).call();
    let text = text.unwrap().body_mut().read_to_string().unwrap();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

const DROPPED: &str = "nerve_otlp_spans_total{result=\"dropped\"}";
const EXPORTED: &str = "nerve_otlp_spans_total{result=\"exported\"}";

#[test]
fn a_trace_goes_on_from_outside_through_every_delivery() {
    let receiver = Receiver::start();
    let more = "OTEL_SERVICE_NAME=shop OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test \
                OTEL_EXPORTER_OTLP_HEADERS=x-tenant=seven";
    let mut host = exporting(&receiver.address, more);
    drop_in(&mut host, "toll", "");
    drop_in(&mut host, "counter", "");
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = json!({
        "specversion": "1.0", "id": "b-1", "source": "web", "type": "bridge.crossed", "partitionkey": "ann",
        "traceparent": given, "data": { "who": "ann" },
    });
    let event = event.to_string();
    let answer = host.post("/v1/events", "application/cloudevents+json", event.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);

    let toll = &receiver.until(&mut host, "toll bridge.crossed", 1)[0];
    let taken = &receiver.until(&mut host, "counter toll.taken", 1)[0];
    assert_eq!(hex(&toll.trace_id), &given[3..35]);
    assert_eq!(hex(&toll.parent_span_id), &given[36..52]);
    assert_eq!(
        (&taken.trace_id, &taken.parent_span_id),
        (&toll.trace_id, &toll.span_id)
    );
    assert!(toll.start_time_unix_nano > 0 && toll.end_time_unix_nano >= toll.start_time_unix_nano);
    assert_eq!((toll.kind, toll.links.len()), (5, 0), "a consumer");
    assert_eq!(attribute(toll, "messaging.message.id"), "b-1");
    assert_eq!(attribute(toll, "nerve.key"), "ann");
    // What is emitted has the delivery as its context, for whoever goes on from it.
    let emitted = &host.events("toll.taken")[0]["event"]["traceparent"];
    let context = format!("00-{}-{}-01", &given[3..35], hex(&toll.span_id));
    assert_eq!(emitted, &json!(context));

    assert_eq!(receiver.said("request"), "POST /v1/traces HTTP/1.1");
    assert_eq!(receiver.said("content-type"), "application/x-protobuf");
    assert_eq!(receiver.said("x-tenant"), "seven");
    assert_eq!(receiver.said("service.name"), "shop");
    assert_eq!(receiver.said("deployment.environment.name"), "test");
}

#[test]
fn every_attempt_is_a_span_of_its_own_and_a_restart_exports_none_anew() {
    let receiver = Receiver::start();
    let mut host = exporting(&receiver.address, "");
    drop_in(
        &mut host,
        "trap",
        "[retry]\nattempts = 3\nfirst_ms = 1\noutage_keys = 0\n",
    );
    host.publish("test.trap", "t-1", Some("k"), &Value::Null);
    let mut attempts = receiver.until(&mut host, "trap test.trap", 3);
    let root = &receiver.until(&mut host, "publish test.trap", 1)[0];
    attempts.sort_by_key(|span| attribute(span, "nerve.attempt"));
    for (at, span) in attempts.iter().enumerate() {
        let verdict = if at == 2 { "dead" } else { "retry" };
        assert_eq!(attribute(span, "nerve.verdict"), verdict);
        assert_eq!(attribute(span, "error.type"), "trap");
        assert_eq!(
            (&span.trace_id, &span.parent_span_id),
            (&root.trace_id, &root.span_id)
        );
        let status = span.status.as_ref().unwrap();
        assert!(status.code == 2 && !status.message.is_empty(), "{status:?}");
        let links: Vec<_> = span.links.iter().map(|link| &link.span_id).collect();
        let before: Vec<_> = attempts[..at]
            .iter()
            .rev()
            .take(1)
            .map(|span| &span.span_id)
            .collect();
        assert_eq!(links, before);
    }
    assert_eq!(receiver.said("service.name"), "nerve");
    for kills in [true, false] {
        if kills {
            host.kill();
        } else {
            host.stop();
        }
        host.run();
        host.publish("test.maybe", &format!("again-{kills}"), None, &json!({}));
    }
    receiver.until(&mut host, "trap test.maybe", 2);
    // Where a kill came between, a span may come twice, but always as the same one.
    let mut seen: BTreeMap<Vec<u8>, Span> = BTreeMap::new();
    for span in receiver.spans() {
        let known = seen.entry(span.span_id.clone()).or_insert_with(|| span.clone());
        assert_eq!(known, &span);
    }
    let attempts = seen.values().filter(|span| span.name == "trap test.trap");
    assert_eq!(attempts.count(), 3);
}

#[test]
fn a_receiver_that_is_away_slow_or_refuses_harms_nobody_and_what_it_misses_is_counted() {
    let receiver = Receiver::start();
    let inner = receiver.inner.clone();
    let mut host = exporting(&receiver.address, "OTEL_EXPORTER_OTLP_TIMEOUT=200");
    drop_in(&mut host, "counter", "");
    let settled = |host: &mut Host, id: &str| {
        let offset = host.publish("test.x", id, None, &json!({}));
        host.state("counter", "count/type/test.x", offset)
    };
    // It answers nothing, then that it can't now: the spans wait.
    inner.is_silent.store(true, Ordering::SeqCst);
    assert_eq!(settled(&mut host, "one"), 1);
    host.until("it was asked", |_| inner.requests.load(Ordering::SeqCst) > 0);
    inner.status.store(503, Ordering::SeqCst);
    inner.is_silent.store(false, Ordering::SeqCst);
    assert_eq!(settled(&mut host, "two"), 2);
    let asked = inner.requests.load(Ordering::SeqCst);
    host.until("it was asked again", |_| {
        inner.requests.load(Ordering::SeqCst) > asked
    });
    assert!(receiver.spans().is_empty() && figure(&host, EXPORTED) == Some(0));
    inner.status.store(0, Ordering::SeqCst);
    receiver.until(&mut host, "counter test.x", 2);
    assert_eq!(figure(&host, DROPPED), Some(0), "nothing was lost");
    // It refuses: what it refused is dropped and counted, and the next is sent all the same.
    inner.status.store(400, Ordering::SeqCst);
    assert_eq!(settled(&mut host, "three"), 3);
    host.until("they are dropped", |host| figure(host, DROPPED) > Some(0));
    inner.status.store(0, Ordering::SeqCst);
    assert_eq!(settled(&mut host, "four"), 4);
    host.until("the last is exported", |_| {
        let spans = receiver.spans();
        spans
            .iter()
            .any(|span| attribute(span, "messaging.message.id") == "four")
    });
    assert!(host.said().contains("traces are not taken"), "{}", host.said());
    // It takes some of what it gets, twice: the rest is counted, and said once.
    let before = figure(&host, DROPPED).unwrap();
    inner.rejects.store(1, Ordering::SeqCst);
    for (id, count) in [("in-part", 5), ("again-in-part", 6)] {
        assert_eq!(settled(&mut host, id), count);
        let dropped = before + u64::try_from(count).unwrap() - 4;
        host.until("some are dropped", |host| figure(host, DROPPED) >= Some(dropped));
    }
    inner.rejects.store(0, Ordering::SeqCst);
    let said = host.said();
    assert_eq!(said.matches("the receiver says \"too").count(), 1, "{said}");
    assert!(!said.contains("\u{1b} old"), "{said}");
    // What was not taken when the process is killed is sent by the next one.
    inner.status.store(503, Ordering::SeqCst);
    let asked = inner.requests.load(Ordering::SeqCst);
    assert_eq!(settled(&mut host, "before-the-kill"), 7);
    host.until("it was asked in vain", |_| {
        inner.requests.load(Ordering::SeqCst) > asked
    });
    host.kill();
    inner.status.store(0, Ordering::SeqCst);
    host.run();
    host.until("it is exported after all", |_| {
        let spans = receiver.spans();
        spans
            .iter()
            .any(|span| attribute(span, "messaging.message.id") == "before-the-kill")
    });
    // Nobody is there at all, and it stops all the same.
    host.stop();
    host.before_start("export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1;");
    host.run();
    assert_eq!(settled(&mut host, "last"), 8);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_is_not_sampled_is_not_exported_and_a_wrong_variable_is_refused_at_the_start() {
    let receiver = Receiver::start();
    let mut host = exporting(&receiver.address, "OTEL_TRACES_SAMPLER=parentbased_always_off");
    drop_in(&mut host, "counter", "");
    let event = |id: &str, traceparent: Option<&str>| {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "web", "type": "test.x", "traceparent": traceparent,
        });
        event.to_string().into_bytes()
    };
    let publish = |host: &Host, body: &[u8]| {
        let answer = host.post("/v1/events", "application/cloudevents+json", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    publish(&host, &event("own", None));
    publish(
        &host,
        &event(
            "not",
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ),
    );
    publish(
        &host,
        &event(
            "sampled",
            Some("00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ),
    );
    let spans = receiver.until(&mut host, "counter test.x", 1);
    assert_eq!(attribute(&spans[0], "messaging.message.id"), "sampled");
    assert_eq!(receiver.spans().len(), 1);
    host.stop();
    host.before_start(
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_PROTOCOL=grpc;",
    );
    assert_eq!(host.run_or_end(), Some(2));
    assert!(host.said().contains("write http/protobuf"), "{}", host.said());
    host.before_start("export OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1;");
    host.run();
    host.publish("test.x", "last", None, &Value::Null);
    assert_eq!(figure(&host, EXPORTED), Some(0));
}

fn hex(bytes: &[u8]) -> String {
    let number = bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:0width$x}", width = bytes.len() * 2)
}
