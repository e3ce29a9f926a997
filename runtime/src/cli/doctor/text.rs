//! The doctor's reports for people.

use std::fmt::Write as _;

use crate::cli::output::table;
use crate::doctor::traces::{Plan, TraceReport};
use crate::doctor::{Finding, Report, time};
use crate::trace::map::when;

/// Characters of a line.
const WIDTH: usize = 110;

/// Operations and services in a table.
const ROWS: usize = 15;

/// The report on a log.
pub(super) fn of_log(report: &Report) -> String {
    let seen = &report.examined;
    let mut out = match (seen.since, seen.until) {
        (Some(since), Some(until)) => format!(
            "Examined: {} records (offsets {} to {}), from {} to {}: {} events, {} attempts of deliveries, {} deployments, {}.\n",
            seen.records,
            seen.first,
            seen.last,
            when::text(since),
            when::text(until),
            seen.events,
            seen.attempts,
            seen.deployments,
            seen.plugins_in_words()
        ),
        _ => "Examined: a log without records.\n".to_owned(),
    };
    if seen.unread > 0 {
        writeln!(out, "{} records could not be read.", seen.unread).ok();
    }
    findings(&report.findings, &mut out);
    if !report.not_found.is_empty() {
        writeln!(
            out,
            "\nLooked for and not found: {}.",
            report.not_found.join(", ")
        )
        .ok();
    }
    out
}

/// The report on traces.
pub(super) fn of_traces(report: &TraceReport) -> String {
    let seen = &report.examined;
    let mut out = format!(
        "Examined: {} spans in {} traces of {} services: {} requests.\n",
        seen.spans,
        seen.traces,
        seen.services.len(),
        seen.requests
    );
    if seen.without_parent > 0 {
        writeln!(
            out,
            "{} spans name a parent that is not in the file; they count as requests.",
            seen.without_parent
        )
        .ok();
    }
    if seen.skewed > 0 {
        writeln!(
            out,
            "{} spans say that they began before what called them: clocks differ, and are not compared.",
            seen.skewed
        )
        .ok();
    }
    let row = |cells: [String; 6]| cells.to_vec();
    let mut rows = vec![row([
        "OPERATION",
        "SERVICE",
        "REQUESTS",
        "MEDIAN",
        "DEPTH",
        "WAITS FOR",
    ]
    .map(String::from))];
    rows.extend(report.operations.iter().take(ROWS).map(|one| {
        let waits: Vec<&str> = one.waits_for.keys().map(String::as_str).collect();
        row([
            one.name.clone(),
            one.service.clone(),
            one.requests.to_string(),
            time(one.median_us),
            one.depth.to_string(),
            if waits.is_empty() {
                "-".into()
            } else {
                waits.join(", ")
            },
        ])
    }));
    write!(out, "\n{}", table(&rows)).ok();
    if report.operations.len() > ROWS {
        writeln!(out, "and {} more: --output json", report.operations.len() - ROWS).ok();
    }
    findings(&report.findings, &mut out);
    match &report.plan {
        Some(plan) => convert(plan, &mut out),
        None => out.push_str("\nNo operation waits for another service: there is nothing to convert.\n"),
    }
    out
}

fn convert(plan: &Plan, out: &mut String) {
    writeln!(out, "\nConvert first: {} of {}", plan.operation, plan.service).ok();
    folded(&format!("{}.", plan.why), "  ", out);
    for event in &plan.events {
        let heard = if event.heard_by.is_empty() {
            "nobody yet".to_owned()
        } else {
            event.heard_by.join(", ")
        };
        let line = format!(
            "{} states {} when {} is done; heard by {heard}",
            event.stated_by, event.r#type, event.instead_of
        );
        folded(&line, "  - ", out);
    }
    for copy in &plan.copies {
        let line = format!(
            "{} keeps what it asks {} for ({}) as a copy, fed by events of {}",
            copy.by, copy.of, copy.instead_of, copy.of
        );
        folded(&line, "  - ", out);
    }
    if !plan.plugins.is_empty() {
        let names: Vec<&str> = plan.plugins.iter().map(|plugin| &*plugin.name).collect();
        folded(
            &format!(
                "{} publishes the first event (POST /v1/events) instead of calling; the plugins are {}. `--scaffold DIR` makes their crates.",
                plan.service,
                names.join(", ")
            ),
            "  ",
            out,
        );
    }
}

fn findings(findings: &[Finding], out: &mut String) {
    if findings.is_empty() {
        out.push_str("\nNo symptom was found.\n");
        return;
    }
    for (n, finding) in findings.iter().enumerate() {
        writeln!(out, "\n{}. {} [{}]", n + 1, finding.title, finding.symptom).ok();
        folded(&finding.says, "   ", out);
        for evidence in &finding.evidence {
            let offsets: Vec<String> = evidence
                .offsets
                .iter()
                .map(|offset| format!("@{offset}"))
                .collect();
            let at = if offsets.is_empty() {
                String::new()
            } else {
                format!(" ({})", offsets.join(", "))
            };
            folded(&format!("{}{at}", evidence.text), "   - ", out);
        }
        folded(&format!("Remedy: {}", finding.remedy), "   ", out);
    }
}

/// `text` in lines, the first behind `lead` and the others below it.
fn folded(text: &str, lead: &str, out: &mut String) {
    let indent = " ".repeat(lead.chars().count());
    let (mut line, mut used) = (lead.to_owned(), lead.chars().count());
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if used + width > WIDTH && used > indent.len() {
            out.push_str(line.trim_end());
            out.push('\n');
            (line, used) = (indent.clone(), indent.len());
        }
        line.push_str(word);
        line.push(' ');
        used += width + 1;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
