//! What an operator does: secrets change, files go and come back, plugins take a webhook's place.

use super::*;

#[test]
fn a_secret_is_changed_in_its_place_and_two_sign_at_once() {
    let server = Server::start(|_| taken());
    let mut host = sending(&server.url(), "");
    let signatures = |at: usize| -> Vec<String> {
        let seen = server.seen();
        seen[at]
            .header("webhook-signature")
            .split(' ')
            .map(str::to_owned)
            .collect()
    };
    publish(&host, "a", None);
    until_done(&mut host, 1);
    fs::write(host.path("secret"), SECRETS.join("\n")).unwrap();
    publish(&host, "b", None);
    until_done(&mut host, 2);
    fs::write(host.path("secret"), SECRETS[1]).unwrap();
    publish(&host, "c", None);
    until_done(&mut host, 3);
    let counts: Vec<usize> = (0..3).map(|at| signatures(at).len()).collect();
    assert_eq!(counts, [1, 2, 1]);

    // Without one nothing is sent, and nothing is lost.
    fs::remove_file(host.path("secret")).unwrap();
    publish(&host, "d", None);
    host.until("its events wait", |host| !host.plugin("hook")["paused"].is_null());
    let reason = host.plugin("hook")["paused"]["reason"].to_string();
    assert!(
        reason.contains("has no secret") && !reason.contains("whsec_"),
        "{reason}"
    );
    assert_eq!(server.seen().len(), 3);
    fs::write(host.path("secret"), SECRETS[1]).unwrap();
    until_done(&mut host, 4);
    // What is secret is nowhere in the data folder.
    let mut folders = vec![host.path("data")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                assert!(
                    !bytes.windows(6).any(|six| six == b"whsec_"),
                    "{}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn a_webhook_that_is_removed_and_put_back_goes_on_and_a_plugin_of_its_name_takes_its_place() {
    let server = Server::start(|_| taken());
    let mut host = sending(&server.url(), "");
    publish(&host, "a", None);
    until_done(&mut host, 1);
    let (code, text) = said(&host, &["plugin", "remove", "hook"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(host.plugin("hook")["status"], "removed");
    publish(&host, "b", None);
    host.kill();
    host.run();
    assert_eq!(host.plugin("hook")["status"], "removed");
    let (aside, file) = ("plugins/hook.webhook.toml.removed", "plugins/hook.webhook.toml");
    fs::rename(host.path(aside), host.path(file)).unwrap();
    until_done(&mut host, 2);
    assert_eq!(ids(&server.seen()), ["a", "b"]);

    // It moves into a plugin: from here on this has its events, and back.
    host.until("the webhook is live", |host| {
        host.plugin("hook")["status"] == "live"
    });
    drop_webhook(&host, "counter", &server.url(), "test.moved", "");
    host.until("a second one is live", |host| {
        host.plugin("counter")["status"] == "live"
    });
    host.publish("test.moved", "c", None, &json!(1));
    host.until("the webhook has it", |_| server.seen().len() == 3);
    host.drop_built("fixtures/counter");
    host.until("the plugin is live", |host| {
        host.plugin("counter")["webhook"].is_null()
    });
    assert!(
        host.said().contains("counter.wasm is there as well"),
        "{}",
        host.said()
    );
    let offset = host.publish("test.moved", "d", None, &json!(1));
    assert_eq!(host.state("counter", "count/type/test.moved", offset), 1);
    fs::remove_file(host.path("plugins/counter.wasm")).unwrap();
    host.until("the webhook is back", |host| {
        host.plugin("counter")["webhook"].is_string()
    });
    host.publish("test.moved", "e", None, &json!(1));
    host.until("it has the next one", |_| server.seen().len() == 4);
    assert_eq!(ids(&server.seen()), ["a", "b", "c", "e"]);
}

#[test]
fn a_backup_brings_a_webhook_back() {
    let server = Server::start(|_| taken());
    let mut host = sending(&server.url(), "");
    publish(&host, "a", None);
    until_done(&mut host, 1);
    let (code, text) = said(&host, &["log", "backup", "it.tar"]);
    assert_eq!(code, Some(0), "{text}");
    host.kill();
    fs::remove_dir_all(host.path("data")).unwrap();
    fs::remove_dir_all(host.path("plugins")).unwrap();
    let (code, text) = said(
        &host,
        &["log", "restore", "it.tar", "data", "--plugins", "plugins"],
    );
    assert_eq!(code, Some(0), "{text}");
    host.run();
    publish(&host, "b", None);
    until_done(&mut host, 2);
    assert_eq!(ids(&server.seen()), ["a", "b"]);
}
