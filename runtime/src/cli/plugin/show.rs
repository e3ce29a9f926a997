//! A plugin in detail: a line for each thing that is known of it.

use serde_json::Value;

use super::{asks, paused, rewind, versions};
use crate::cli::output::{table, text_at};

/// A plugin, a line for each thing that is known of it.
pub(in crate::cli) fn show(plugin: &Value) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    for (name, at) in [
        ("name", "/name"),
        ("status", "/status"),
        ("version", "/version"),
        ("label", "/label"),
        ("component", "/component"),
        ("webhook", "/webhook"),
        ("live since", "/since"),
        ("cursor", "/cursor"),
        ("lag", "/lag"),
        ("dead letters", "/dead_letters"),
        ("refused", "/refused/reason"),
        ("trouble", "/trouble"),
    ] {
        row(name, text_at(plugin, at));
    }
    let listed = |at: &str| {
        let items = plugin
            .pointer(at)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let items: Vec<String> = items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect();
        if items.is_empty() {
            "-".to_owned()
        } else {
            items.join(", ")
        }
    };
    let patterns = plugin["subscriptions"].as_array().into_iter().flatten();
    let patterns: Vec<String> = patterns
        .map(|one| format!("{} (from {})", text_at(one, "/pattern"), text_at(one, "/from")))
        .collect();
    row("subscribes", patterns.join(", "));
    row("emits", listed("/emits"));
    for warning in plugin["warnings"].as_array().into_iter().flatten() {
        row("warning", text_at(warning, ""));
    }
    row("readable", listed("/readable"));
    row("asks for", asks(&plugin["asks"]));
    row("granted", asks(&plugin["granted"]));
    waits(plugin, &mut row);
    let pairs = |at: &str| pairs(plugin, at);
    let joined = |at: &str| match pairs(at) {
        none if none.is_empty() => "-".to_owned(),
        pairs => pairs.join(", "),
    };
    row(
        "timers",
        format!(
            "{} set, next at {}",
            text_at(plugin, "/timers/count"),
            text_at(plugin, "/timers/next")
        ),
    );
    row("state", joined("/state"));
    row("lanes", text_at(plugin, "/lanes"));
    row("outcomes", joined("/counters"));
    // There are many.
    for (index, few) in pairs("/limits").chunks(4).enumerate() {
        row(if index == 0 { "limits" } else { "" }, few.join(", "));
    }
    row("limits hit", joined("/limits_hit"));
    row("retry", joined("/retry"));
    operated(plugin, &mut row);
    watched(plugin, &mut row);
    runs(plugin, &mut row);
    for parked in plugin["parked"].as_array().into_iter().flatten() {
        row(
            "parked",
            format!(
                "key {}, event @{}, attempt {}, next at {}: {}",
                text_at(parked, "/key"),
                text_at(parked, "/event"),
                text_at(parked, "/attempt"),
                text_at(parked, "/due"),
                text_at(parked, "/reason")
            ),
        );
    }
    table(&rows)
}

/// The version that waits to be approved, where one does.
fn waits(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(waits) = plugin.get("waiting").filter(|waits| !waits.is_null()) else {
        return;
    };
    row(
        "waiting",
        format!(
            "version {} since {}",
            text_at(waits, "/version"),
            text_at(waits, "/since")
        ),
    );
    row("  asks for", asks(&waits["asks"]));
    row("  not granted", asks(&waits["missing"]));
    let (name, pair) = (text_at(plugin, "/name"), text_at(waits, "/pair"));
    row(
        "  next",
        format!("nerve plugin approve {name} --pair {pair}, or [grants] in {name}.toml"),
    );
}

/// The names and values in the object at `at`.
fn pairs(plugin: &Value, at: &str) -> Vec<String> {
    let pairs = plugin.pointer(at).and_then(Value::as_object);
    let pairs = pairs.into_iter().flatten();
    pairs
        .map(|(name, value)| format!("{name} {}", number(value)))
        .collect()
}

/// A number as people write it: whole ones without a fraction, and MiB where it is some.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number >= f64::from(1 << 20) && number % f64::from(1 << 20) == 0.0 => {
            format!("{} MiB", number / f64::from(1 << 20))
        }
        Some(number) => number.to_string(),
        None => text_at(value, ""),
    }
}

/// What holds its live deliveries up, or runs beside or before them.
fn runs(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    for (name, said) in [
        ("paused", paused(plugin)),
        ("rewind", rewind::progress(plugin)),
        ("again", versions::again(plugin)),
    ] {
        row(name, said.unwrap_or_else(|| "-".into()));
    }
}

/// What operators did to it last.
fn operated(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    for one in plugin["operated"].as_array().into_iter().flatten().take(5) {
        let who = one["who"].as_str().unwrap_or("an operator");
        row(
            "operated",
            format!("{} {who} {}", text_at(one, "/at"), text_at(one, "/what")),
        );
    }
}

/// How the version that runs is watched, where it is.
fn watched(plugin: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(watch) = plugin.get("probation").filter(|watch| !watch.is_null()) else {
        return;
    };
    if let Some(share) = watch["canary"].as_f64() {
        let name = text_at(plugin, "/name");
        row(
            "canary",
            format!(
                "for {} % of the keys; next: nerve plugin promote {name}, or rollback {name}",
                share * 100.0
            ),
        );
        if let Some(own) = watch.get("own_state").filter(|own| !own.is_null()) {
            row(
                "its state",
                format!(
                    "its own: {} keys, {} bytes, {} keys written; {} keys of events done, of {} at most; what stands as state is the \
                     version before's",
                    text_at(own, "/keys"),
                    text_at(own, "/bytes"),
                    text_at(own, "/wrote"),
                    text_at(own, "/done"),
                    text_at(own, "/limit")
                ),
            );
        }
    }
    row(
        "probation",
        format!(
            "{} done and {} failed of {} until {}; else back to {}",
            text_at(watch, "/done"),
            text_at(watch, "/failed"),
            text_at(watch, "/events"),
            text_at(watch, "/until"),
            text_at(watch, "/before")
        ),
    );
}
