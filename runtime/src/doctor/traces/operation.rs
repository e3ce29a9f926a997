//! Names of operations: what they are called, whether they only ask, and which fact they come to.

/// The name of a span, with method and route where it has only the method; `attribute` finds the first of some that is
/// there.
pub(super) fn named<'a>(name: &str, attribute: impl Fn(&[&str]) -> Option<&'a str>) -> String {
    let is_bare = METHODS.contains(&name.trim_start_matches("HTTP ").to_ascii_uppercase().as_str());
    let method = attribute(&["http.request.method", "http.method"]);
    let route = attribute(&["http.route", "url.path", "http.target"]);
    let route = route.map(|route| route.split('?').next().unwrap_or_default());
    let whole = match (method, route) {
        (Some(method), Some(route)) if is_bare || name == route => format!("{method} {route}"),
        _ => match (attribute(&["rpc.service"]), attribute(&["rpc.method"])) {
            (Some(service), Some(method)) if name.is_empty() => format!("{service}/{method}"),
            _ if name.is_empty() => "unnamed".to_owned(),
            _ => name.to_owned(),
        },
    };
    without_values(whole)
}

/// The operation of a path that has values in it, which are not part of what it is called.
fn without_values(name: String) -> String {
    match method(&name) {
        Some((_, path)) if path.split('/').any(is_value) => {
            let parts = name
                .split('/')
                .map(|part| if is_value(part) { "{}" } else { part });
            parts.collect::<Vec<_>>().join("/")
        }
        _ => name,
    }
}

/// Whether a part of a path is a number or an id.
fn is_value(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    digits > 0
        && digits
            + part
                .bytes()
                .filter(|b| matches!(b, b'a'..=b'f' | b'A'..=b'F' | b'-'))
                .count()
            == part.len()
}

const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

/// Words with which an operation begins that only asks.
const ASKS: &[&str] = &[
    "get", "list", "find", "read", "query", "fetch", "search", "lookup", "count", "describe", "is", "has",
    "load", "show", "check", "view", "resolve",
];

/// Words that say what is done, as the last part of a path may.
const DOES: &[&str] = &[
    "add",
    "approve",
    "authorize",
    "book",
    "buy",
    "cancel",
    "capture",
    "change",
    "charge",
    "close",
    "confirm",
    "create",
    "decline",
    "delete",
    "dispatch",
    "empty",
    "finish",
    "notify",
    "open",
    "pay",
    "place",
    "publish",
    "refund",
    "register",
    "reject",
    "release",
    "remove",
    "reserve",
    "send",
    "ship",
    "start",
    "submit",
    "update",
    "validate",
    "checkout",
];

/// Whether an operation only asks.
pub(super) fn is_query(name: &str) -> bool {
    match method(name) {
        Some((method, _)) => matches!(method, "GET" | "HEAD" | "OPTIONS"),
        None => words(last_part(name))
            .first()
            .is_some_and(|first| ASKS.contains(&first.as_str())),
    }
}

/// HTTP method and path.
fn method(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("HTTP ").unwrap_or(name);
    let (method, path) = name.split_once(' ').unwrap_or((name, ""));
    METHODS.contains(&method).then_some((method, path))
}

/// What stands behind the last slash or dot.
fn last_part(name: &str) -> &str {
    name.trim_matches('/')
        .rsplit(['/', '.', ' '])
        .next()
        .unwrap_or_default()
}

/// The words of a name, in small letters.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before_small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
            before_small = false;
            continue;
        }
        if c.is_ascii_uppercase() && before_small {
            words.push(String::new());
        }
        before_small = !c.is_ascii_uppercase();
        if words.is_empty() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The event type that states what an operation of `service` came to: `order.placed` for `PlaceOrder`.
pub(super) fn fact(service: &str, name: &str) -> String {
    let (noun, verb) = match method(name) {
        Some((method, path)) => of_path(method, path),
        None => of_words(&words(last_part(name))),
    };
    let noun = noun.unwrap_or_else(|| stem(service));
    let verb = verb.unwrap_or_else(|| "handle".to_owned());
    // A type has at most 256 bytes, and may be told apart by the service's name before it.
    let cut = |text: &str| text.chars().take(60).collect::<String>();
    format!("{}.{}", cut(&noun), cut(&past(&verb)))
}

fn of_path(method: &str, path: &str) -> (Option<String>, Option<String>) {
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_value = |part: &str| part.starts_with([':', '{', '<', '$']) || is_value(part);
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != "api" && !is_version(part) && !is_value(part));
    let parts: Vec<String> = parts
        .map(|part| words(part).join("_"))
        .filter(|part| !part.is_empty())
        .collect();
    match &parts[..] {
        [.., noun, verb] if DOES.contains(&verb.as_str()) => (Some(singular(noun)), Some(verb.clone())),
        [verb] if DOES.contains(&verb.as_str()) => (None, Some(verb.clone())),
        [.., noun] => {
            let verb = match method {
                "POST" => "create",
                "DELETE" => "remove",
                _ => "change",
            };
            (Some(singular(noun)), Some(verb.to_owned()))
        }
        [] => (None, None),
    }
}

fn of_words(words: &[String]) -> (Option<String>, Option<String>) {
    match words {
        [] => (None, None),
        [verb] => (None, Some(verb.clone())),
        [verb, noun @ ..] => (Some(singular(&noun.join("_"))), Some(verb.clone())),
    }
}

/// The name of a service without what only says that it is one.
pub(super) fn stem(service: &str) -> String {
    let mut words = words(service);
    words.retain(|word| !matches!(word.as_str(), "service" | "svc" | "api" | "server"));
    let stem = words.join("_");
    let stem = stem
        .strip_suffix("service")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&stem);
    if stem.is_empty() {
        "service".to_owned()
    } else {
        singular(stem)
    }
}

fn singular(noun: &str) -> String {
    if let Some(stem) = noun.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes"] {
        if noun.ends_with(ending) {
            return noun[..noun.len() - 2].to_owned();
        }
    }
    let stem = noun
        .strip_suffix('s')
        .filter(|stem| stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']));
    stem.unwrap_or(noun).to_owned()
}

fn past(verb: &str) -> String {
    let known = match verb {
        "send" => "sent",
        "pay" => "paid",
        "make" => "made",
        "buy" => "bought",
        "take" => "taken",
        "set" => "set",
        "put" => "put",
        "ship" => "shipped",
        "submit" => "submitted",
        "cancel" => "cancelled",
        "checkout" => "checked_out",
        "write" => "written",
        "begin" => "begun",
        "do" => "done",
        "give" => "given",
        "sell" => "sold",
        "hold" => "held",
        "build" => "built",
        "run" => "run",
        "stop" => "stopped",
        "plan" => "planned",
        "log" => "logged",
        _ => "",
    };
    let ends_like = |letters: &[char]| verb.chars().rev().nth(1).is_some_and(|c| letters.contains(&c));
    if !known.is_empty() {
        known.to_owned()
    } else if verb.ends_with('e') {
        format!("{verb}d")
    } else if verb.ends_with('y') && !ends_like(&['a', 'e', 'o', 'u']) {
        format!("{}ied", &verb[..verb.len() - 1])
    } else {
        format!("{verb}ed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_named_after_what_the_operation_does() {
        for (service, name, is) in [
            ("checkout", "POST /api/v1/orders", "order.created"),
            ("checkout", "POST /orders/{id}/cancel", "order.cancelled"),
            ("payment-service", "POST /charge", "payment.charged"),
            ("stock", "PUT /items/17/reserve", "item.reserved"),
            ("users", "DELETE /users/:id", "user.removed"),
            ("catalog", "PATCH /categories/{id}", "category.changed"),
            (
                "checkout",
                "hipstershop.CheckoutService/PlaceOrder",
                "order.placed",
            ),
            ("checkout", "/shop.Checkout/EmptyCart", "cart.emptied"),
            ("PaymentService", "Charge", "payment.charged"),
            ("mailservice", "sendConfirmation", "confirmation.sent"),
            ("shipping", "ship_order", "order.shipped"),
            ("gateway", "POST", "gateway.handled"),
            ("x", "", "x.handled"),
        ] {
            assert_eq!(fact(service, name), is, "{name} of {service}");
            assert!(crate::delivery::subscription::check_type(&fact(service, name)).is_ok());
        }
    }

    #[test]
    fn what_only_asks_is_a_query() {
        for (name, is) in [
            ("GET /orders", true),
            ("HTTP GET", true),
            ("POST /orders", false),
            ("shop.Catalog/GetProduct", true),
            ("ListProducts", true),
            ("PlaceOrder", false),
            ("getaway", false),
        ] {
            assert_eq!(is_query(name), is, "{name}");
        }
    }

    #[test]
    fn a_span_that_is_called_after_its_method_is_named_with_its_route() {
        let with = |name: &str, attributes: &[(&str, &'static str)]| {
            named(name, |keys| {
                keys.iter().find_map(|key| {
                    attributes
                        .iter()
                        .find(|(known, _)| known == key)
                        .map(|(_, value)| *value)
                })
            })
        };
        let http = [("http.request.method", "POST"), ("url.path", "/orders?x=1")];
        assert_eq!(with("POST", &http), "POST /orders");
        assert_eq!(with("HTTP POST", &http), "POST /orders");
        assert_eq!(with("POST /v1/orders", &http), "POST /v1/orders");
        assert_eq!(
            with("PUT /users/17/orders/9f3c-77", &[]),
            "PUT /users/{}/orders/{}"
        );
        assert_eq!(with("GET", &[]), "GET");
        assert_eq!(with("", &[("rpc.service", "a.B"), ("rpc.method", "C")]), "a.B/C");
    }
}
