//! What is refused, and how a webhook's file comes to be.

use super::*;

#[test]
fn bad_settings_are_refused_by_name_and_what_is_live_goes_on() {
    let server = Server::start(|_| taken());
    let mut host = sending(&server.url(), "");
    let good = fs::read_to_string(host.path("plugins/hook.webhook.toml")).unwrap();
    for (text, says) in [
        (
            good.replace("http://", "gopher://"),
            "hook.webhook.toml: webhook.url",
        ),
        (
            good.replace("subscriptions", "subscribtions"),
            "did you mean `subscriptions`?",
        ),
        (
            good.replace("{ file", "[\"whsec_MfKQ9r8GKYqrTwjUPD8I\", { file")
                .replace(" }]", " }]]"),
            "where a secret is",
        ),
        (format!("{good}[limits]\nmemory_bytes = 5\n"), "memory_bytes"),
        (format!("{good}[http]\nredirects = 5\n"), "redirects"),
    ] {
        drop_text(&host, "hook", &text);
        let mut refused = String::new();
        host.until("it is refused", |host| {
            refused = host.plugin("hook")["refused"]["reason"].to_string();
            refused.contains(says)
        });
        assert!(!refused.contains("whsec_"), "{refused}");
    }
    publish(&host, "a", None);
    until_done(&mut host, 1);

    // A webhook's table beside a component is a mistake that is named.
    fs::write(host.path("plugins/counter.toml"), &good).unwrap();
    host.drop_built("fixtures/counter");
    host.until("the component is refused", |host| {
        host.plugin("counter")["refused"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("call the file counter.webhook.toml"))
    });
    let (code, text) = said(&host, &["plugin", "check", "plugins/hook.webhook.toml"]);
    assert!(code == Some(2) && text.contains("no component to try"), "{text}");
}

#[test]
fn nerve_webhook_new_makes_what_is_needed_and_deploy_takes_the_file() {
    let server = Server::start(|_| taken());
    let mut host = Host::start(&[]);
    publish(&host, "before", None);
    let url = format!("{}/in", server.url());
    let new = [
        "webhook",
        "new",
        "hook",
        "--url",
        &url,
        "--type",
        "test.sent",
        "--from-beginning",
    ];
    let (code, text) = said(&host, &new);
    assert_eq!(code, Some(0), "{text}");
    until_done(&mut host, 1);
    assert_eq!(ids(&server.seen()), ["before"]);
    let secret = fs::read_to_string(host.path("secrets/hook")).unwrap();
    assert!(
        secret.starts_with("whsec_") && !text.contains(secret.trim()),
        "{text}"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(host.path("secrets/hook")).unwrap());
    assert_eq!(mode & 0o777, 0o600);

    let (code, text) = said(&host, &new);
    assert!(code == Some(4) && text.contains("is there already"), "{text}");
    for (name, url, kind, says) in [
        ("Bad", "http://a.example", "a", "no plugin's name"),
        ("other", "a.example", "a", "webhook.url"),
        ("other", "http://a.example", "a..b", "webhook.subscriptions"),
    ] {
        let (code, text) = said(&host, &["webhook", "new", name, "--url", url, "--type", kind]);
        assert!(code == Some(2) && text.contains(says), "{text}");
    }
    assert!(
        !host.path("secrets/other").exists(),
        "what is refused makes nothing"
    );

    // The same over the API, without the folder.
    let file = host.path("plugins/hook.webhook.toml");
    fs::copy(&file, host.path("direct.webhook.toml")).unwrap();
    let (code, text) = said(&host, &["plugin", "deploy", "direct.webhook.toml"]);
    assert!(code == Some(0) && text.contains("direct is live"), "{text}");
    host.until("it sends as well", |_| server.seen().len() == 2);
    let seen = server.seen();
    assert_ne!(
        seen[0].header("webhook-id"),
        seen[1].header("webhook-id"),
        "each subscriber has its own"
    );
}
