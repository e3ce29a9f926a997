//! The dashboard in a real browser, on a host with the shop.

use std::path::Path;
use std::process::Command;

use nerve_tests::{Host, built, nerve, program};
use serde_json::{Value, json};

const SHOP: [&str; 10] = [
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

/// Somebody puts a desk into the cart and buys it.
fn buys(host: &Host, user: &str) {
    let address = json!({ "street": "Main street 1", "city": "Vienna", "country": "AT" });
    let email = format!("{user}@shop.example");
    let user_data = json!({ "user": user, "email": email, "name": user, "address": address });
    host.publish(
        "user.registered",
        &format!("register-{user}"),
        Some(user),
        &user_data,
    );
    let item = json!({ "user": user, "product": "desk", "count": 1, "cents": 9900 });
    host.publish("cart.item_added", &format!("add-{user}"), Some(user), &item);
    let bought = json!({ "user": user, "order": format!("order-of-{user}") });
    host.publish("cart.checked_out", &format!("buy-{user}"), Some(user), &bought);
}

/// Let the script drive a browser on the dashboard of `host`, with these variables.
fn browse(host: &Host, script: &str, variables: &[(&str, &str)]) {
    let modules = program().parent().and_then(Path::parent).unwrap().join("browser");
    assert!(
        modules.join("node_modules").is_dir(),
        "{} has no packages: run `make browser` first",
        modules.display()
    );
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&shots).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let browser = Command::new(tests.join("../scripts/browser.sh"))
        .env("CARGO_TARGET_DIR", modules.parent().unwrap())
        .output()
        .unwrap();
    let browser = String::from_utf8(browser.stdout).unwrap();
    let ran = Command::new("node")
        .arg(tests.join("browser").join(script))
        .args([
            host.address(),
            shots.to_str().unwrap(),
            modules.to_str().unwrap(),
            browser.trim(),
        ])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}{}\npictures of its pages are in {}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
        shots.display()
    );
}

#[test]
fn the_dashboard_lets_in_who_has_a_token_by_the_keyboard_and_no_page_of_another_site() {
    let host = Host::start(&["fixtures/counter"]);
    let token = |name: &str, scopes: &[&str]| {
        let scopes: Vec<&str> = scopes.iter().flat_map(|scope| ["--scope", scope]).collect();
        let args = [&["--output", "json", "token", "create", name][..], &scopes].concat();
        let made: Value = serde_json::from_slice(&nerve(&host.path("."), &args).stdout).unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let (ann, guest) = (token("ann", &["read", "operate"]), token("guest", &["read"]));
    let variables = [("NERVE_TEST_ANN", &*ann), ("NERVE_TEST_GUEST", &*guest)];
    browse(&host, "sign_in.mjs", &variables);
    assert!(!host.said().contains(&ann), "no token is logged");
}

#[test]
fn the_dashboard_shows_a_shop_and_sees_to_it_in_a_real_browser() {
    let mut host = Host::start(&SHOP);
    host.publish(
        "stock.received",
        "desks",
        Some("desk"),
        &json!({ "product": "desk", "count": 100 }),
    );
    buys(&host, "ann");
    host.until("the parcel is sent", |host| host.events("parcel.sent").len() == 1);
    // Nobody has filled these carts: `carts` gives up on both.
    for order in ["<img src=x>", "o2"] {
        let bought = json!({ "user": order, "order": order });
        host.publish("cart.checked_out", &format!("buy-{order}"), Some(order), &bought);
    }
    host.until("carts has given up", |host| {
        host.plugin("carts")["dead_letters"] == 2
    });
    let first = host.plugin("shipping")["version"].clone();
    host.drop_bytes("shipping", &built("dearer/shipping"));
    host.until("shipping is another one", |host| {
        host.plugin("shipping")["version"] != first
    });

    browse(&host, "dashboard.mjs", &[]);
    assert_eq!(host.plugin("shipping")["version"], first, "it was rolled back");
}
