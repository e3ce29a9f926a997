//! Webhooks: services that are no plugins get their events as plugins do.

#[path = "webhooks/answers.rs"]
mod answers;
#[path = "webhooks/receiver.rs"]
mod receiver;
#[path = "webhooks/settings.rs"]
mod settings;
#[path = "webhooks/trouble.rs"]
mod trouble;

use std::fs;

use nerve_tests::server::{Asked, Reply, Server};
use nerve_tests::{Host, nerve};
use serde_json::{Value, json};

/// A secret, and another.
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// Retries that a test need not wait for.
const QUICK: &str = "[retry]\nfirst_ms = 1\nfactor = 1\n";

/// Let the webhook `name` send events of `types` to `url`, with these further settings.
fn drop_webhook(host: &Host, name: &str, url: &str, types: &str, more: &str) {
    fs::write(host.path("secret"), SECRETS[0]).unwrap();
    let secret = host.path("secret").display().to_string();
    let text = format!(
        "[webhook]\nurl = {url:?}\nsubscriptions = [{types:?}]\nsecrets = [{{ file = {secret:?} }}]\n{more}"
    );
    drop_text(host, name, &text);
}

/// Drop a webhook's file, whole at once.
fn drop_text(host: &Host, name: &str, text: &str) {
    let beside = host.path(&format!("plugins/.{name}"));
    fs::write(&beside, text).unwrap();
    fs::rename(beside, host.path(&format!("plugins/{name}.webhook.toml"))).unwrap();
}

/// A host with the webhook `hook`, which sends the events of type `test.sent` to `url`.
fn sending(url: &str, more: &str) -> Host {
    let mut host = Host::start(&[]);
    drop_webhook(&host, "hook", url, "test.sent", more);
    host.until("the webhook is live", |host| {
        host.plugin("hook")["status"] == "live"
    });
    host
}

fn publish(host: &Host, id: &str, key: Option<&str>) -> u64 {
    host.publish("test.sent", id, key, &json!({ "id": id }))
}

fn taken() -> Reply {
    Reply::Answer(204, String::new())
}

/// The id of the event that was sent.
fn id_of(asked: &Asked) -> String {
    let event: Value = serde_json::from_str(&asked.body).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

fn ids(seen: &[Asked]) -> Vec<String> {
    seen.iter().map(id_of).collect()
}

/// Wait until `hook` has done so many deliveries.
fn until_done(host: &mut Host, done: u64) {
    host.until(&format!("{done} are done"), |host| {
        host.plugin("hook")["counters"]["done"].as_u64() >= Some(done)
    });
}

fn said(host: &Host, args: &[&str]) -> (Option<i32>, String) {
    let out = nerve(&host.path("."), &[&["--server", host.address()], args].concat());
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

#[test]
fn a_service_gets_its_events_signed_and_as_cloud_events() {
    let server = Server::start(|_| taken());
    let mut host = sending(
        &format!("{}/in?token=t", server.url()),
        "[webhook.headers]\nx-own = \"mine\"\n",
    );
    publish(&host, "a", Some("k"));
    host.publish("test.other", "not-wanted", None, &json!(1));
    until_done(&mut host, 1);
    drop_webhook(
        &host,
        "binary",
        &server.url(),
        "test.binary",
        "mode = \"binary\"\n",
    );
    host.until("the other is live", |host| {
        host.plugin("binary")["status"] == "live"
    });
    host.publish("test.binary", "ü b", Some("k"), &json!({ "n": 1.5 }));
    host.until("both have sent", |_| server.seen().len() == 2);
    let seen = server.seen();

    let (first, event): (_, Value) = (&seen[0], serde_json::from_str(&seen[0].body).unwrap());
    assert_eq!(first.path, "/in?token=t");
    assert!(
        first
            .header("content-type")
            .starts_with("application/cloudevents+json")
    );
    assert_eq!(
        (&event["type"], &event["partitionkey"], &event["data"]),
        (&json!("test.sent"), &json!("k"), &json!({ "id": "a" }))
    );
    assert_eq!(
        (first.header("x-own"), first.header("nerve-attempt")),
        ("mine", "1")
    );
    assert!(first.header("webhook-signature").starts_with("v1,"), "{first:?}");
    assert!(first.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(
        (first.header("webhook-id").len(), first.header("webhook-id")),
        (32, first.header("idempotency-key"))
    );

    let second = &seen[1];
    assert_eq!(
        (
            second.header("ce-id"),
            second.header("ce-type"),
            second.header("content-type"),
            &*second.body
        ),
        ("%C3%BC%20b", "test.binary", "application/json", "{\"n\":1.5}")
    );
    assert_ne!(first.header("webhook-id"), second.header("webhook-id"));
}

#[test]
fn invariant_03_events_of_a_key_arrive_in_order_over_failures_and_in_four_lanes() {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    let tried: Mutex<BTreeMap<String, u32>> = Mutex::default();
    // Every third event fails twice.
    let server = Server::start(move |asked| {
        let id = id_of(asked);
        let number: u32 = id.rsplit('-').next().unwrap().parse().unwrap();
        let mut tried = tried.lock().unwrap();
        let times = tried.entry(id).or_default();
        *times += 1;
        if number.is_multiple_of(3) && *times < 3 {
            Reply::Answer(500, "not now".into())
        } else {
            taken()
        }
    });
    let mut host = sending(&server.url(), &format!("{QUICK}outage_keys = 0\n"));
    let lanes = fs::read_to_string(host.path("plugins/hook.webhook.toml")).unwrap();
    drop_text(&host, "hook", &format!("lanes = 4\n{lanes}"));
    host.until("it has four lanes", |host| host.plugin("hook")["lanes"] == 4);
    for number in 0..30 {
        for key in ["a", "b", "c"] {
            publish(&host, &format!("{key}-{number}"), Some(key));
        }
    }
    until_done(&mut host, 90);
    let seen = server.seen();
    assert_eq!(
        seen.len(),
        90 + 3 * 10 * 2,
        "each failed one was sent again, and no other"
    );
    for key in ["a-", "b-", "c-"] {
        let of_key: Vec<&Asked> = seen
            .iter()
            .filter(|asked| id_of(asked).starts_with(key))
            .collect();
        let mut order: Vec<String> = of_key.iter().map(|asked| id_of(asked)).collect();
        order.dedup();
        let wanted: Vec<String> = (0..30).map(|number| format!("{key}{number}")).collect();
        assert_eq!(order, wanted);
        for pair in of_key.windows(2) {
            let same = id_of(pair[0]) == id_of(pair[1]);
            assert_eq!(
                same,
                pair[0].header("webhook-id") == pair[1].header("webhook-id"),
                "an event keeps its id"
            );
        }
    }
    assert_eq!(host.plugin("hook")["dead_letters"], 0);
}

#[test]
fn a_url_is_changed_while_events_flow_and_each_is_taken_once() {
    let [one, two] = [(); 2].map(|()| Server::start(|_| taken()));
    let mut host = sending(&one.url(), "");
    for number in 0..200 {
        publish(&host, &number.to_string(), Some("k"));
        if number == 60 {
            drop_webhook(&host, "hook", &two.url(), "test.sent", "");
            host.until("some go to the new url", |host| {
                publish(host, &format!("more-{}", two.seen().len()), None);
                !two.seen().is_empty()
            });
        }
    }
    host.until("nothing is left", |host| host.plugin("hook")["lag"] == 0);
    let numbers = |server: &Server| -> Vec<u32> {
        ids(&server.seen())
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect()
    };
    let all = [numbers(&one), numbers(&two)].concat();
    assert_eq!(
        all,
        (0..200).collect::<Vec<u32>>(),
        "first here, then there, and each once"
    );
    assert_eq!(host.plugin("hook")["counters"]["retry"], 0);

    // Back to the url before.
    let (code, text) = said(&host, &["plugin", "rollback", "hook"]);
    assert_eq!(code, Some(0), "{text}");
    publish(&host, "back", None);
    host.until("it goes to the url before", |_| {
        ids(&one.seen()).contains(&"back".to_owned())
    });
}

#[test]
fn a_webhook_is_shown_as_one_wherever_subscribers_are() {
    let server = Server::start(|_| taken());
    let mut host = sending(&format!("{}/in?token=t", server.url()), "");
    publish(&host, "a", None);
    until_done(&mut host, 1);
    let target = format!("{}/in", server.url());
    let shown = host.plugin("hook");
    assert_eq!(
        (&shown["webhook"], &shown["label"]),
        (&json!(target), &json!("webhook"))
    );
    assert_eq!(
        shown["granted"][0]["scope"],
        json!([format!("POST {}", server.address())])
    );
    assert!(!shown.to_string().contains("token=t"), "{shown}");
    for (args, says) in [
        (&["plugin", "show", "hook"][..], &*target),
        (&["plugin", "versions", "hook"], "live"),
        (&["plugin", "list"], "hook"),
        (&["map"], "hook (webhook)"),
        (&["trace", "a"], &format!("called POST {target}: 204")),
        (&["doctor"], ""),
    ] {
        let (code, text) = said(&host, args);
        assert!(code == Some(0) && text.contains(says), "{args:?}: {text}");
    }
    let metrics = host.text("/metrics");
    assert!(
        metrics.contains("nerve_plugin_info{plugin=\"hook\"") && metrics.contains("label=\"webhook\""),
        "{metrics}"
    );

    // Paused it gets nothing, and then all.
    assert_eq!(said(&host, &["plugin", "pause", "hook"]).0, Some(0));
    publish(&host, "b", None);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(said(&host, &["plugin", "resume", "hook"]).0, Some(0));
    until_done(&mut host, 2);

    // A rewind sends again, under other ids and said to be a replay; a muted one sends nothing.
    assert_eq!(
        said(&host, &["plugin", "rewind", "hook", "--to", "start"]).0,
        Some(0)
    );
    host.until("all are sent again", |_| server.seen().len() == 4);
    let seen = server.seen();
    assert_eq!(
        (seen[2].header("nerve-replay"), id_of(&seen[2])),
        ("true", "a".to_owned())
    );
    assert_ne!(seen[0].header("webhook-id"), seen[2].header("webhook-id"));
}
