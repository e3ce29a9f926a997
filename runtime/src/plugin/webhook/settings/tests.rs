//! What a webhook's file may say, and what is refused in which words.

use super::*;

const LEAST: &str = "[webhook]\nurl = \"https://a.example/in\"\nsubscriptions = [\"order.placed\", \"payment.>\"]\n\
                     secrets = { env = \"SECRET\" }\n";

#[test]
fn a_file_says_where_events_go_and_the_rest_has_defaults() {
    assert!(is_one(LEAST) && !is_one("[limits]") && !is_one("webhook"));
    assert!(is_another("[limits]") && !is_another(LEAST) && !is_another("webhook"));
    let read = Settings::parse(LEAST).unwrap();
    let hook = read.webhook.clone().unwrap();
    assert_eq!(
        (&*hook.url, hook.mode),
        ("https://a.example/in", Mode::Structured)
    );
    assert_eq!(hook.secrets, [Reference::Env("SECRET".into())]);
    assert_eq!(hook.subscriptions.len(), 2);
    assert_eq!(
        (read.http.time_ms, read.retry.attempts, read.lanes.get()),
        (10_000, 8, 1)
    );
    assert!(read.grants.allow_call("POST", "a.example", 443));
    assert!(
        !read.grants.allow_call("GET", "a.example", 443) && !read.grants.allow_call("POST", "a.example", 80)
    );
    let more = format!(
        "start = \"beginning\"\nlanes = 4\n{}mode = \"binary\"\nrejects = [422]\n[webhook.headers]\nx-own = \"a\"\n\
         authorization = {{ file = \"token\" }}\n[retry]\nattempts = 2\n[http]\ntime_ms = 5\n[limits]\nhops = 3\n",
        LEAST.replace("/in", "/in?token=secret")
    );
    let read = settings(&more).unwrap();
    let hook = read.webhook.unwrap();
    assert_eq!(hook.target, "https://a.example/in", "the query is not shown");
    assert_eq!(
        (hook.mode, &hook.rejects[..], hook.headers.len()),
        (Mode::Binary, &[422][..], 2)
    );
    assert_eq!(
        (read.http.time_ms, read.retry.attempts, read.limits.hops),
        (5, 2, 3)
    );
}

#[test]
fn an_address_in_the_url_is_allowed_and_a_name_allows_none() {
    let addresses = |url: &str| {
        let text = LEAST.replace("https://a.example/in", url);
        settings(&text).unwrap().http.addresses.len()
    };
    assert_eq!(addresses("http://10.1.2.3:8080/in"), 1);
    assert_eq!(addresses("http://[::1]/in"), 1);
    assert_eq!(addresses("http://localhost/in"), 2);
    assert_eq!(addresses("http://billing.internal/in"), 0);
}

#[test]
fn what_is_wrong_is_refused_by_name_and_no_line_of_the_file_is_shown() {
    let with = |more: &str| format!("{LEAST}{more}");
    let without = |key: &str| {
        let lines = LEAST.lines().filter(|line| !line.starts_with(key));
        lines.collect::<Vec<_>>().join("\n")
    };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (text, says) in [
        (without("url"), "webhook.url is missing"),
        (without("subscriptions"), "webhook.subscriptions is missing"),
        (without("secrets"), "webhook.secrets is missing"),
        (LEAST.replace("https:", "ftp:"), "webhook.url: "),
        (
            LEAST.replace("https://", "https://me:hunter2@"),
            "a user and a password",
        ),
        (
            LEAST.replace("payment.>", "payment.>.x"),
            "webhook.subscriptions: ",
        ),
        (
            LEAST.replace("{ env = \"SECRET\" }", &format!("[\"{secret}\"]")),
            "write { env",
        ),
        (
            LEAST.replace("{ env = \"SECRET\" }", &format!("\"{secret}\"")),
            "write { env",
        ),
        (
            LEAST.replace("{ env = \"SECRET\" }", &format!("[{secret}]")),
            "line 4",
        ),
        (
            LEAST.replace(
                "secrets = { env = \"SECRET\" }",
                &format!("secret = \"{secret}\""),
            ),
            "did you mean `secrets`?",
        ),
        (with("rejects = [503]\n"), "from 400 to 499"),
        (with("mode = \"batch\"\n"), "line 5"),
        (with("[webhook.headers]\nwebhook-id = \"x\"\n"), "is the host's"),
        (with("[webhook.headers]\nhost = \"x\"\n"), "is the host's"),
        (with("[webhook.headers]\nx = 1\n"), "write a text"),
        (
            with("[limits]\nmemory_bytes = 1\n"),
            "unknown field `memory_bytes`",
        ),
        (with("[http]\nredirects = 1\n"), "unknown field `redirects`"),
        (with("[http]\ntime_ms = 0\n"), "http.time_ms"),
        (with("[retry]\nattempts = 0\n"), "retry.attempts"),
        (with("[grants]\n"), "unknown field `grants`"),
    ] {
        let refused = settings(&text).unwrap_err().to_string();
        assert!(refused.contains(says), "{text}: {refused}");
        assert!(
            !refused.contains(secret) && !refused.contains("hunter2"),
            "{refused}"
        );
    }
}
