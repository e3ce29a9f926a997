//! Contracts of real plugins: deployments that break somebody, emitted events, and the command line.

use std::path::Path;

use nerve_tests::{Host, built, nerve};
use serde_json::{Value, json};

fn run(host: &Host, args: &[&str]) -> (Option<i32>, Value) {
    let args = [&["--server", host.address(), "--output", "json"], args].concat();
    let output = nerve(&host.path("."), &args);
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
    )
}

/// What a plugin's contracts are warned about. That its events may come round, as those of a saga may, is no contract.
fn warnings(plugin: &Value) -> Vec<&str> {
    let all = plugin["warnings"].as_array().unwrap().iter();
    all.map(|warning| warning.as_str().unwrap())
        .filter(|warning| !warning.starts_with("cycle: "))
        .collect()
}

#[test]
fn a_renamed_field_is_refused_and_an_added_optional_one_touches_nobody() {
    let mut host = Host::start(&["plugins/carts", "plugins/orders"]);
    let (carts, orders) = (host.plugin("carts"), host.plugin("orders"));
    assert!(warnings(&carts).is_empty() && warnings(&orders).is_empty());
    let renamed = built("renamed/carts");
    host.drop_bytes("carts", &renamed);
    host.until("it is refused", |host| !host.plugin("carts")["refused"].is_null());
    let refused = host.plugin("carts")["refused"]["reason"].to_string();
    assert!(refused.contains("plugin orders does not accept its"), "{refused}");
    assert!(
        refused.contains("/cents: it is required, and is not there"),
        "{refused}"
    );
    assert_eq!(host.plugin("carts")["version"], carts["version"]);
    // It is not tried again after a restart, and the schemas of what is live are still known.
    assert_eq!(host.stop(), Some(0));
    host.run();
    assert_eq!(host.plugin("carts")["version"], carts["version"]);
    let (code, shown) = run(&host, &["schema", "show", "order.placed"]);
    assert_eq!(code, Some(0));
    assert_eq!(shown["producers"][0]["plugin"], "carts");
    assert_eq!(
        shown["consumers"][0]["schema"]["required"],
        json!(["order", "user", "lines", "cents"])
    );

    host.drop_built_as("carts", "gift/carts");
    host.until("it is live", |host| {
        host.plugin("carts")["version"] != carts["version"]
    });
    assert_eq!(host.plugin("carts")["warnings"], json!([]));
    assert_eq!(host.plugin("orders")["version"], orders["version"]);

    // Whoever knows better says so.
    let before = host.plugin("carts")["version"].clone();
    std::fs::write(
        host.path("plugins/carts.toml"),
        "[contracts]\ndeploy = \"warn\"\n",
    )
    .unwrap();
    host.until("the settings are live", |host| {
        host.plugin("carts")["version"] != before
    });
    let before = host.plugin("carts")["version"].clone();
    host.drop_bytes("carts", &renamed);
    host.until("it is live all the same", |host| {
        host.plugin("carts")["version"] != before
    });
    let warned = host.plugin("carts")["warnings"].to_string();
    assert!(warned.contains("plugin orders does not accept its"), "{warned}");
    // A consumer is held against what is emitted in the same way.
    let before = orders["version"].clone();
    std::fs::write(host.path("plugins/orders.toml"), "[config]\nx = 1\n").unwrap();
    host.until("the consumer is refused", |host| {
        !host.plugin("orders")["refused"].is_null()
    });
    let refused = host.plugin("orders")["refused"]["reason"].to_string();
    assert!(refused.contains("as plugin carts emits it"), "{refused}");
    assert_eq!(host.plugin("orders")["version"], before);
}

#[test]
fn every_plugin_of_the_shop_agrees_with_every_other() {
    let shop = [
        "plugins/analytics",
        "plugins/carts",
        "plugins/inventory",
        "plugins/login",
        "plugins/notifications",
        "plugins/orders",
        "plugins/payments",
        "plugins/profiles",
        "plugins/recommendations",
        "plugins/shipping",
    ];
    let host = Host::start(&shop);
    for plugin in shop {
        let plugin = host.plugin(plugin.trim_start_matches("plugins/"));
        assert_eq!(
            (warnings(&plugin), &plugin["refused"]),
            (Vec::new(), &Value::Null),
            "{plugin}"
        );
    }
    let (code, exported) = run(&host, &["schema", "export", "--format", "asyncapi"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        exported["operations"]["carts.send.order.placed"]["action"],
        "send"
    );
    let (_, exported) = run(&host, &["schema", "export"]);
    assert_eq!(exported["$defs"]["order.placed"]["additionalProperties"], false);
}

#[test]
fn an_emitted_event_that_breaks_its_own_schema_fails_its_delivery() {
    let mut host = Host::start(&["fixtures/liar"]);
    host.publish("test.tell", "true", None, &json!({"text": null}));
    host.publish("test.tell", "lie", Some("k"), &json!({"text": "many"}));
    host.until("it is retried", |host| {
        host.plugin("liar")["counters"]["retry"] != 0
    });
    let parked = host.plugin("liar")["parked"][0]["reason"].clone();
    let says = "contract test.told: it emitted what its own schema does not allow, at /n: it is string, and must be integer";
    assert_eq!(parked, says);
    assert_eq!(host.events("test.told").len(), 1);
    std::fs::write(host.path("plugins/liar.toml"), "[contracts]\nemit = \"warn\"\n").unwrap();
    host.until("it is let through", |host| host.events("test.told").len() == 2);
    let lines = host.get("/v1/plugins/liar/logs").body["lines"].to_string();
    assert!(lines.contains(says), "{lines}");
}

#[test]
fn the_command_line_sets_checks_and_shows_schemas() {
    let host = Host::start(&["plugins/orders"]);
    let write = |name: &str, json: &Value| std::fs::write(host.path(name), json.to_string()).unwrap();
    let old = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    write("old.json", &old);
    write(
        "new.json",
        &json!({"type": "object", "properties": {"n": {"type": "integer"}, "m": {}}, "required": ["n"]}),
    );
    write(
        "bad.json",
        &json!({"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}),
    );
    write("none.json", &json!({}));
    let check = |new: &str, strict: &[&str]| {
        let args = [&["--output", "json", "schema", "check", "old.json", new], strict].concat();
        let output = nerve(Path::new(&host.path(".")), &args);
        (
            output.status.code(),
            serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        )
    };
    let (code, safe) = check("new.json", &[]);
    assert_eq!((code, &safe["new_for_old"]["verdict"]), (Some(0), &json!("safe")));
    let (code, breaking) = check("bad.json", &[]);
    assert_eq!((code, &breaking["error"]["code"]), (Some(4), &json!("conflict")));
    assert_eq!(breaking["new_for_old"]["example"], json!({"n": ""}));
    let (code, unclear) = check("none.json", &[]);
    assert_eq!(
        (code, &unclear["new_for_old"]["verdict"]),
        (Some(0), &json!("cant-tell"))
    );
    assert_eq!(check("none.json", &["--strict"]).0, Some(4));

    let (code, set) = run(&host, &["schema", "set", "test.x", "old.json"]);
    assert_eq!((code, &set["set"]), (Some(0), &old));
    let (code, refused) = run(&host, &["publish", "test.x", "{\"n\":\"x\"}"]);
    assert_eq!(
        (code, &refused["error"]["code"]),
        (Some(4), &json!("contract-broken"))
    );
    let (code, refused) = run(&host, &["schema", "set", "order.placed", "old.json"]);
    assert_eq!(
        (code, &refused["error"]["code"]),
        (Some(4), &json!("schema-breaks"))
    );
    let (code, _) = run(&host, &["schema", "set", "test.x", "--mode", "off"]);
    assert_eq!(code, Some(0));
    let (code, _) = run(&host, &["publish", "test.x", "{\"n\":\"x\"}"]);
    assert_eq!(code, Some(0));
    let (code, _) = run(&host, &["schema", "unset", "test.x"]);
    assert_eq!(code, Some(0));
    assert_eq!(run(&host, &["schema", "unset", "test.x"]).0, Some(3));
    let (_, all) = run(&host, &["schema", "list"]);
    assert!(
        all["types"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["type"] == "order.placed"),
        "{all}"
    );
}

#[test]
fn an_operators_rollback_is_held_against_contracts_and_happens_all_the_same_where_they_insist() {
    let mut host = Host::start(&[]);
    host.drop_built_as("carts", "renamed/carts");
    host.until("it is live", |host| !host.plugin("carts")["version"].is_null());
    let renamed = host.plugin("carts")["version"].clone();
    host.drop_built_as("carts", "plugins/carts");
    host.until("the other one is live", |host| {
        host.plugin("carts")["version"] != renamed
    });
    let good = host.plugin("carts")["version"].clone();
    host.drop_built_as("orders", "plugins/orders");
    host.until("its consumer is live", |host| {
        !host.plugin("orders")["version"].is_null()
    });

    let (code, said) = run(&host, &["plugin", "rollback", "carts"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (Some(4), &json!("version-breaks")),
        "{said}"
    );
    let detail = said["error"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("plugin orders does not accept its \"order.placed\": /cents"),
        "{detail}"
    );
    assert_eq!(host.plugin("carts")["version"], good, "what was live goes on");

    let (code, said) = run(&host, &["plugin", "rollback", "carts", "--force"]);
    assert_eq!((code, &said["version"]), (Some(0), &renamed), "{said}");
    assert!(
        said["warnings"][0].as_str().unwrap().contains("plugin orders"),
        "{said}"
    );
    let holds =
        |host: &Host| run(host, &["schema", "show", "order.placed"]).1["producers"][0]["schema"].clone();
    assert_eq!(
        holds(&host)["properties"].get("cents"),
        None,
        "what holds is what runs"
    );
    let (code, said) = run(&host, &["plugin", "rollback", "carts", good.as_str().unwrap()]);
    assert_eq!((code, &said["warnings"]), (Some(0), &json!([])), "{said}");
    assert!(holds(&host)["properties"].get("cents").is_some());
}

#[test]
fn a_canary_binds_beside_the_live_version_and_is_held_against_contracts_when_it_is_promoted() {
    let mut host = Host::start(&["plugins/carts"]);
    let good = host.plugin("carts")["version"].clone();
    std::fs::write(host.path("carts.toml"), "canary = \"50%\"\n").unwrap();
    std::fs::write(host.path("carts.wasm"), built("renamed/carts")).unwrap();
    let (component, settings) = (host.path("carts.wasm"), host.path("carts.toml"));
    let (component, settings) = (component.to_str().unwrap(), settings.to_str().unwrap());
    let (code, said) = run(&host, &["plugin", "deploy", component, "--settings", settings]);
    assert_eq!((code, &said["deployed"]), (Some(0), &json!("live")), "{said}");

    // Whoever comes now must accept what either emits.
    host.drop_built_as("orders", "plugins/orders");
    host.until("it is refused", |host| {
        !host.plugin("orders")["refused"].is_null()
    });
    std::fs::write(
        host.path("plugins/orders.toml"),
        "[contracts]\ndeploy = \"warn\"\n",
    )
    .unwrap();
    host.until("it is live", |host| !host.plugin("orders")["version"].is_null());

    let (code, said) = run(&host, &["plugin", "promote", "carts"]);
    assert_eq!(
        (code, &said["error"]["code"]),
        (Some(4), &json!("version-breaks")),
        "{said}"
    );
    let (code, said) = run(&host, &["plugin", "promote", "carts", "--force"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said["warnings"][0].as_str().unwrap().contains("plugin orders"),
        "{said}"
    );
    let (code, said) = run(&host, &["plugin", "rollback", "carts"]);
    assert_eq!((code, &said["version"]), (Some(0), &good), "{said}");
    std::fs::remove_file(host.path("plugins/orders.toml")).unwrap();
    host.until("it is bound again, and agrees", |host| {
        warnings(&host.plugin("orders")).is_empty()
    });
}
