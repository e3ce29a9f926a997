//! The map for people: what is odd first, then plugins and types, the busy ones first where there are many.

use std::fmt::Write as _;

use crate::cli::output::table;
use crate::trace::map::{Emitter, Findings, Map, PluginNode, TypeNode, when};

/// Rows of a table, names in a cell and findings of a kind that are shown, where not all is asked for.
const ROWS: usize = 40;
const NAMES: usize = 4;
const FOUND: usize = 10;

/// `map` as text.
pub(super) fn told(map: &Map, all: bool) -> String {
    let most = |number: usize| if all { usize::MAX } else { number };
    let mut out = head(map);
    out.push_str(&plugins(map, most(ROWS), most(NAMES)));
    out.push_str(&types(map, most(ROWS), most(NAMES)));
    out.push_str(&findings(&map.findings, most(FOUND)));
    out
}

fn head(map: &Map) -> String {
    let shown = |shown: usize, of: usize| {
        if shown == of {
            of.to_string()
        } else {
            format!("{shown} of {of}")
        }
    };
    let mut out = format!(
        "{} plugins, {} event types; {}",
        shown(map.plugins.len(), map.of.plugins),
        shown(map.types.len(), map.of.types),
        match map.since {
            Some(since) => format!("seen from {} up to offset {}", when::text(since), map.through),
            None => "nothing was seen yet".to_owned(),
        }
    );
    if map.missed > 0 {
        write!(out, "; {} records could not be seen", map.missed).ok();
    }
    if map.beyond > 0 {
        write!(
            out,
            "; {} counts are missing, for there are more types than are counted, or their events are gone",
            map.beyond
        )
        .ok();
    }
    out.push_str("\n\n");
    out
}

fn plugins(map: &Map, rows: usize, names: usize) -> String {
    if map.plugins.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<&PluginNode> = map.plugins.iter().collect();
    if sorted.len() > rows {
        // What is in trouble, and then what is busy.
        sorted.sort_by(|a, b| {
            let trouble = |node: &PluginNode| (node.status != "live", node.dead_letters, node.lag);
            trouble(b)
                .cmp(&trouble(a))
                .then(b.per_minute.total_cmp(&a.per_minute))
                .then(b.attempts.cmp(&a.attempts))
        });
    }
    let head = [
        "PLUGIN",
        "STATUS",
        "PER MIN",
        "SEEN",
        "FAILED",
        "DEAD",
        "MEAN",
        "LAG",
        "SUBSCRIBES TO",
    ];
    let mut table_rows = vec![head.map(String::from).to_vec()];
    table_rows.extend(sorted.iter().take(rows).map(|node| {
        vec![
            match node.webhook {
                Some(_) => format!("{} (webhook)", node.name),
                None => node.name.clone(),
            },
            node.status.clone(),
            rate(node.per_minute),
            node.attempts.to_string(),
            (node.retries + node.dead).to_string(),
            node.dead_letters.to_string(),
            if node.attempts == 0 {
                "-".into()
            } else {
                time(node.mean_us)
            },
            node.lag.to_string(),
            some(node.subscriptions.iter().map(String::as_str), names),
        ]
    }));
    let more = more(sorted.len(), rows, "plugins", "nerve map --plugin NAME, or --all");
    format!("{}{more}\n", table(&table_rows))
}

fn types(map: &Map, rows: usize, names: usize) -> String {
    if map.types.is_empty() {
        return "no event type matches\n".into();
    }
    let mut sorted: Vec<&TypeNode> = map.types.iter().collect();
    if sorted.len() > rows {
        sorted.sort_by(|a, b| {
            b.per_minute
                .total_cmp(&a.per_minute)
                .then(b.events.cmp(&a.events))
        });
    }
    let head = ["TYPE", "PER MIN", "SEEN", "EMITTED BY", "CONSUMED BY"];
    let mut table_rows = vec![head.map(String::from).to_vec()];
    table_rows.extend(sorted.iter().take(rows).map(|one| {
        let emitters: Vec<String> = one.emitted_by.iter().map(emitter).collect();
        let consumers: Vec<String> = one
            .consumed_by
            .iter()
            .map(|by| match by.pattern {
                Some(_) if by.dead > 0 => format!("{} ({} dead)", by.plugin, by.dead),
                Some(_) => by.plugin.clone(),
                None => format!("({})", by.plugin),
            })
            .collect();
        vec![
            one.name.clone(),
            rate(one.per_minute),
            one.events.to_string(),
            some(emitters.iter().map(String::as_str), names),
            some(consumers.iter().map(String::as_str), names),
        ]
    }));
    let more = more(
        sorted.len(),
        rows,
        "types",
        "nerve map PATTERN, such as order.>, or --all",
    );
    format!("{}{more}", table(&table_rows))
}

/// Who emits: undeclared with a mark, and in brackets what does so no more.
fn emitter(by: &Emitter) -> String {
    let name = by.plugin.as_deref().unwrap_or("outside");
    if by.declared {
        name.to_owned()
    } else {
        format!("({name})")
    }
}

fn findings(found: &Findings, most: usize) -> String {
    if found.count() == 0 {
        return String::new();
    }
    let mut out = String::new();
    let mut list = |title: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        writeln!(out, "\n{title}").ok();
        for line in lines.iter().take(most) {
            writeln!(out, "  {line}").ok();
        }
        if lines.len() > most {
            writeln!(out, "  and {} more: nerve map --all", lines.len() - most).ok();
        }
    };
    let cycles = found.cycles.iter().map(|cycle| {
        let known = if cycle.seen {
            "seen"
        } else {
            "possible by what is declared"
        };
        let among = if cycle.among > cycle.steps.len() {
            format!(", and more: {} types hang together", cycle.among)
        } else {
            String::new()
        };
        format!("{cycle} ({known}{among})")
    });
    list("Events can come round to their own type:", cycles.collect());
    let undeclared = found.undeclared.iter();
    let undeclared =
        undeclared.map(|one| format!("{} emits {}, {} times", one.plugin, one.r#type, one.events));
    list("Emitted and not declared:", undeclared.collect());
    let unfed = found.nobody_emits.iter();
    let unfed = unfed.map(|one| {
        format!(
            "{} (for {})",
            one.pattern,
            some(one.plugins.iter().map(String::as_str), NAMES)
        )
    });
    list("Consumed, and nobody emits it:", unfed.collect());
    let older = found.older.iter().map(|one| {
        let emitted: Vec<&str> = one
            .emitted_by
            .iter()
            .map(|by| by.as_deref().unwrap_or("outside"))
            .collect();
        let names = |names: &[String]| some(names.iter().map(String::as_str), NAMES);
        format!(
            "{} beside {}: emitted by {}, needed by {}; {} would do without it",
            one.r#type,
            one.newest,
            some(emitted.into_iter(), NAMES),
            names(&one.needed_by),
            names(&one.upcast_by)
        )
    });
    list("Older than another type of the name:", older.collect());
    list(
        "Emitted, and nobody consumes it, but for those who take everything:",
        found.nobody_consumes.clone(),
    );
    out
}

fn more(have: usize, rows: usize, what: &str, way: &str) -> String {
    if have > rows {
        format!("and {} more {what}: {way}\n", have - rows)
    } else {
        String::new()
    }
}

/// The first names, and how many more there are.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>, most: usize) -> String {
    let count = names.len();
    let shown: Vec<&str> = names.take(most).collect();
    match count {
        0 => "-".into(),
        count if count > most => format!("{} and {} more", shown.join(", "), count - most),
        _ => shown.join(", "),
    }
}

fn rate(per_minute: f64) -> String {
    if per_minute == 0.0 {
        "-".into()
    } else {
        format!("{per_minute:.1}")
    }
}

/// Microseconds, for people.
fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}
