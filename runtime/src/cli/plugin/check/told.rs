//! The findings for people: first what differs, with the event that shows it, then both versions side by side.

use std::path::Path;

use serde_json::Value;

use super::{Findings, Verdict};
use crate::cli::output::table;
use crate::contract::Found;
use crate::plugin::grants;
use crate::plugin::v1::log::escaped;
use crate::trial::differ::{Change, Difference, What};
use crate::trial::history::Beginning;
use crate::trial::report::{Group, Report, Sums};

/// Differences that are shown; the rest is in the JSON.
const SHOWN: usize = 6;

/// Changes inside of one that are shown.
const CHANGES: usize = 4;

/// Characters of a value.
const LONGEST: usize = 100;

/// The findings on `file`.
pub(super) fn told(findings: &Findings, file: &Path) -> String {
    let Findings { plugin, report, .. } = findings;
    let mut out = vec![headline(findings)];
    let Some(new) = &findings.new else {
        return out.join("\n");
    };
    let version = |named: &super::Named| format!("{} ({})", named.version, named.label);
    let running = findings
        .running
        .as_ref()
        .map_or_else(|| "none".to_owned(), version);
    out.push(format!(
        "  running {running}, new {} of {}",
        version(new),
        file.display()
    ));
    if !findings.lacks.is_empty() {
        out.push(format!(
            "\nLACKS {}: it would wait for `nerve plugin approve {plugin}`",
            grants::in_words(&findings.lacks)
        ));
    } else if !findings.asks_more.is_empty() {
        out.push(format!(
            "\nASKS for {}, which the running version does not; it is granted",
            grants::in_words(&findings.asks_more)
        ));
    }
    if findings.refused.is_some() {
        out.push(format!("\n{}", outcome(findings)));
    }
    let mut before = None;
    for group in report.groups.iter().take(SHOWN) {
        out.push(String::new());
        out.push(shown(group, before));
        before = Some(group.first.offset);
    }
    let more = report.groups.len().saturating_sub(SHOWN);
    if more > 0 {
        out.push(format!(
            "\n{more} more kinds of differences: see them with --output json"
        ));
    }
    if report.events > 0 {
        out.push(format!("\n{}", beside(report).trim_end()));
    }
    if !findings.notes.is_empty() {
        out.push(String::new());
        out.extend(findings.notes.iter().cloned());
    }
    out.push(match (findings.verdict, report.groups.first()) {
        (_, Some(group)) => format!("next: nerve trace @{}", group.first.offset),
        (Verdict::Same, None) => format!("next: cp {} plugins/{plugin}.wasm", file.display()),
        _ => return out.join("\n"),
    });
    out.join("\n")
}

pub(super) fn headline(findings: &Findings) -> String {
    let Findings { plugin, breaks, .. } = findings;
    match &findings.refused {
        None => outcome(findings),
        Some(refused) if breaks.is_empty() => format!("{plugin}: this version would be refused\n  {refused}"),
        Some(_) => {
            let noun = if breaks.len() == 1 {
                "contract"
            } else {
                "contracts"
            };
            let count = breaks.len();
            let mut out = vec![format!(
                "{plugin}: this version would be refused: it breaks {count} {noun}"
            )];
            let shown = breaks.iter().take(SHOWN);
            out.extend(shown.map(|breach| format!("  {}", escaped(breach.problem.clone()))));
            out.extend((count > SHOWN).then(|| format!("  and {} more", count - SHOWN)));
            out.join("\n")
        }
    }
}

/// What running it on the history came to.
fn outcome(findings: &Findings) -> String {
    let Findings { plugin, report, .. } = findings;
    let events = number(report.events);
    let cut_short = if findings.cut_short {
        ", before the time was up"
    } else {
        ""
    };
    match findings.verdict {
        Verdict::Untried if findings.against.starts_with("last:") => {
            format!("{plugin}: nothing to try it on: the log has no event that it subscribes to")
        }
        Verdict::Untried => format!("{plugin}: nothing to try it on in {}", findings.against),
        _ if findings.running.is_none() && report.differ > 0 => {
            format!(
                "{plugin}: fails on {} of {events} events{cut_short}",
                number(report.differ)
            )
        }
        _ if findings.running.is_none() => {
            format!("{plugin}: ran alone on {events} events{cut_short}, and none failed")
        }
        _ if report.differ == 0 => format!("{plugin}: the same on all {events} events{cut_short}"),
        _ => {
            let differ = number(report.differ);
            format!("{plugin}: {differ} of {events} events come to something else{cut_short}")
        }
    }
}

/// A group of differences, and the event that shows it, which was told of where it is the one before.
fn shown(group: &Group, before: Option<u64>) -> String {
    let example = &group.first;
    let Some(difference) = example.differences.first() else {
        return String::new();
    };
    let noun = if group.events == 1 { "event" } else { "events" };
    let key = example
        .key
        .as_ref()
        .map_or_else(String::new, |key| format!(", key {key:?}"));
    let data = cut(&example.data.to_string());
    let mut out = vec![format!(
        "{} {noun}: {}",
        number(group.events),
        in_words(difference)
    )];
    if before != Some(example.offset) {
        out.push(format!("    @{} {}{key}  {data}", example.offset, example.r#type));
    }
    out.extend(difference.name.as_ref().map(|name| format!("    {}", cut(name))));
    let whole = difference.changes.iter().any(|change| change.path.is_empty());
    if difference.changes.is_empty() || whole {
        let sides = [('-', &difference.old), ('+', &difference.new)].into_iter();
        let sides = sides.filter_map(|(mark, side)| Some((mark, side.as_ref()?)));
        out.extend(sides.map(|(mark, value)| format!("  {mark} {}", cut(&plain(difference.what, value)))));
    } else {
        let changes = difference.changes.iter();
        out.extend(
            changes
                .take(CHANGES)
                .map(|change| format!("    {}", changed(change))),
        );
        let more = difference.changes.len().saturating_sub(CHANGES);
        out.extend((more > 0).then(|| format!("    and {more} more")));
    }
    out.join("\n")
}

/// What the new version does otherwise.
fn in_words(difference: &Difference) -> String {
    let Difference { what, old, new, .. } = difference;
    let subject = cut(&difference.subject);
    let (was, is) = (old.is_some(), new.is_some());
    match (what, was, is) {
        (What::Fails, false, _) => format!("fails ({subject}), where the running version does not"),
        (What::Fails, true, false) => format!("does not fail any more ({subject})"),
        (What::Fails, true, true) => format!("fails for another reason ({subject})"),
        (What::Calls, true, true) => {
            format!("calls {subject}, for which no answer is recorded, as does the running version")
        }
        (What::Calls, true, false) => {
            format!("does not call {subject} any more, for which no answer is recorded")
        }
        (What::Calls, false, _) => {
            format!("calls {subject}, for which no answer is recorded: it was not made")
        }
        (What::Subscribes, false, _) => {
            format!("subscribes to {subject}, which the running version does not")
        }
        (What::Subscribes, true, _) => format!("does not subscribe to {subject} any more"),
        (What::Emits, true, true) => format!("emits another {subject}"),
        (What::Emits, false, _) => format!("emits {subject} in addition"),
        (What::Emits, true, false) => format!("emits no {subject} any more"),
        (What::Writes, true, true) => format!("writes another value to {subject}"),
        (What::Writes, false, _) => format!("writes {subject} in addition"),
        (What::Writes, true, false) => format!("does not write {subject} any more"),
        (What::Sets, true, true) => format!("sets timer {subject} in another way"),
        (What::Sets, false, _) => format!("sets timer {subject} in addition"),
        (What::Sets, true, false) => format!("does not set timer {subject} any more"),
    }
}

fn changed(change: &Change) -> String {
    let side = |value: &Option<Value>| {
        value
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |value| cut(&value.to_string()))
    };
    format!(
        "{}: {} → {}",
        cut(&change.path),
        side(&change.old),
        side(&change.new)
    )
}

/// A value in a line; of a failure the reason.
fn plain(what: What, value: &Value) -> String {
    match (what, value["reason"].as_str(), value) {
        (What::Fails, Some(reason), _) => reason.to_owned(),
        (What::Writes | What::Sets, _, Value::Null) => "removed".into(),
        _ => value.to_string(),
    }
}

/// Both versions, side by side.
fn beside(report: &Report) -> String {
    let (old, new) = (report.running.as_ref(), &report.new);
    let mut rows = vec![vec![String::new(), "RUNNING".into(), "NEW".into(), String::new()]];
    let mut row = |what: &str, of: &dyn Fn(&Sums) -> u64, show: &dyn Fn(u64) -> String, ratio: bool| {
        let (before, after) = (old.map(of), of(new));
        let share = before
            .filter(|before| ratio && *before > 0)
            .map(|before| percent(before, after));
        rows.push(vec![
            format!("  {what}"),
            before.map_or_else(|| "-".into(), show),
            show(after),
            share.unwrap_or_default(),
        ]);
    };
    row("events done", &|sums| sums.done, &number, false);
    for (what, of) in [
        ("failed", (|sums| sums.failed) as fn(&Sums) -> u64),
        ("without an answer", |sums| sums.unanswered),
        ("not subscribed to", |sums| sums.not_subscribed),
    ] {
        if of(new) > 0 || old.is_some_and(|old| of(old) > 0) {
            row(what, &of, &number, false);
        }
    }
    let mut kinds: Vec<&str> = new
        .emits
        .keys()
        .chain(old.iter().flat_map(|old| old.emits.keys()))
        .map(|kind| &**kind)
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds.into_iter().take(SHOWN) {
        let of = |sums: &Sums| sums.emits.get(kind).copied().unwrap_or_default();
        row(&format!("emitted {kind}"), &of, &number, false);
    }
    row("state written, keys", &|sums| sums.writes, &number, false);
    if new.timers > 0 || old.is_some_and(|old| old.timers > 0) {
        row("timers", &|sums| sums.timers, &number, false);
    }
    let micros = |nanos: u64| format!("{}.{} µs", number(nanos / 1000), nanos % 1000 / 100);
    row(
        "time of a delivery, median",
        &|sums| sums.median_ns,
        &micros,
        true,
    );
    row(
        "fuel of a delivery, median",
        &|sums| sums.median_fuel,
        &number,
        true,
    );
    let kib = |bytes: u64| format!("{} KiB", number(bytes.div_ceil(1024)));
    row(
        "memory of an instance",
        &|sums| sums.memory_bytes as u64,
        &kib,
        true,
    );
    table(&rows)
}

/// What is to be said of contracts that does not refuse the version.
pub(super) fn of_contracts(found: &Found) -> Vec<String> {
    let let_through = found.breaches.iter().filter(|_| found.refused.is_none());
    let let_through = let_through.map(|breach| format!("It breaks a contract, and may: {}", breach.problem));
    let unclear = found
        .warnings
        .iter()
        .map(|warning| format!("Contracts: {warning}"));
    let_through.chain(unclear).map(escaped).collect()
}

/// What one should know of how it was found.
pub(super) fn notes(begins: &Beginning, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if !begins.settled && report.events > 0 {
        notes.push(
            "The plugin settled nothing there: tried were events that it subscribes to, each at the time it was published."
                .to_owned(),
        );
    }
    if let Some(first) = begins.cut_at {
        notes.push(format!("What lies before @{first} was dropped from the log."));
    }
    if let Some(at) = begins.replaced_at {
        notes.push(format!(
            "The record at @{at} replaced the plugin's state as a whole, or took it back: only what it settled behind that was tried."
        ));
    }
    if report.lost > 0 {
        let lost = number(report.lost);
        notes.push(format!(
            "{lost} events are not in the log any more: both states followed what the log says of them."
        ));
    }
    if report.unsettled > 0 {
        let open = number(report.unsettled);
        notes.push(format!("{open} events have only failed attempts there."));
    }
    let again = &report.reproduced;
    if again.of > 0 && again.same == again.of {
        notes.push(format!(
            "The running version came to what the log says, {} of {} times.",
            number(again.same),
            number(again.of)
        ));
    } else if let Some(first) = &again.first {
        let how = first.differences.first();
        let how = how.map_or_else(String::new, |one| match one.changes.first() {
            Some(change) => format!(" ({:?} {}: {})", one.what, one.subject, changed(change)),
            None => format!(" ({:?} {})", one.what, one.subject),
        });
        notes.push(format!(
            "The running version came to what the log says only {} of {} times, first not at @{}{how}: mind that when you \
             read the differences.",
            number(again.same),
            number(again.of),
            first.offset
        ));
    }
    for (who, sums) in [
        ("The running version", report.running.as_ref()),
        ("The new version", Some(&report.new)),
    ] {
        if let Some((sums, first)) = sums.and_then(|sums| Some((sums, sums.remembers_first?))) {
            notes.push(format!(
                "{who} depends on its memory: {} events came to something else in an instance that was used before, first \
                 @{first}.",
                number(sums.remembers)
            ));
        }
    }
    notes
}

/// With a mark at every thousand.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn percent(before: u64, after: u64) -> String {
    let tenths = (i128::from(after) - i128::from(before)) * 1000 / i128::from(before.max(1));
    let sign = if tenths < 0 { '-' } else { '+' };
    match tenths.unsigned_abs() {
        0 => "±0 %".into(),
        tenths => format!("{sign}{}.{} %", tenths / 10, tenths % 10),
    }
}

/// So much of a text as fits, with nothing in it that could trick a terminal.
fn cut(text: &str) -> String {
    let text = escaped(text.to_owned());
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [(100, 100), (1000, 1001), (200, 150), (1000, 2000)].map(|(a, b)| percent(a, b)),
            ["±0 %", "+0.1 %", "-25.0 %", "+100.0 %"]
        );
        assert_eq!(cut(&"é".repeat(LONGEST + 1)), format!("{}…", "é".repeat(LONGEST)));
        assert_eq!(cut("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
