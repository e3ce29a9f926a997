//! The doctor's reports as one page for a browser: no request to anybody, light and dark, and readable on paper.

use std::fmt::Write as _;

use crate::doctor::traces::{Plan, TraceReport};
use crate::doctor::{Finding, Report, time};
use crate::trace::map::when;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5c6169;--paper:#fff;--card:#f5f6f8;--line:#dcdfe4;--mark:#b3261e;--good:#1b6e3c}\
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa1ab;--paper:#15171a;--card:#1e2126;--line:#33383f;--mark:#ff8a80;--good:#7bd3a0}}\
*{box-sizing:border-box}body{margin:0 auto;padding:1.5rem;max-width:60rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:0;color:var(--mark)}\
p{margin:.4rem 0}.soft{color:var(--soft)}.good{color:var(--good)}code{font:.9em ui-monospace,monospace}\
article{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--mark);border-radius:6px;padding:.8rem 1rem;margin:1rem 0;break-inside:avoid}\
ul{margin:.4rem 0;padding-left:1.2rem}.remedy{border-top:1px solid var(--line);padding-top:.4rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}";

/// The page on a log.
pub(super) fn of_log(report: &Report) -> String {
    let seen = &report.examined;
    let mut body = String::new();
    if let (Some(since), Some(until)) = (seen.since, seen.until) {
        write!(
            body,
            "<p class=\"soft\">{} records (offsets {} to {}), {} to {}: {} events, {} attempts, {} deployments, {}</p>",
            seen.records,
            seen.first,
            seen.last,
            escaped(&when::text(since)),
            escaped(&when::text(until)),
            seen.events,
            seen.attempts,
            seen.deployments,
            escaped(&seen.plugins_in_words())
        )
        .ok();
    }
    findings(&report.findings, &mut body);
    if !report.not_found.is_empty() {
        write!(
            body,
            "<h2>Looked for and not found</h2><p class=\"good\">{}</p>",
            escaped(&report.not_found.join(", "))
        )
        .ok();
    }
    page("The doctor's report on a log", &body)
}

/// The page on traces.
pub(super) fn of_traces(report: &TraceReport) -> String {
    let seen = &report.examined;
    let mut body = format!(
        "<p class=\"soft\">{} spans in {} traces of {} services: {} requests; {} spans without their parent, {} that began before what called them</p>",
        seen.spans,
        seen.traces,
        seen.services.len(),
        seen.requests,
        seen.without_parent,
        seen.skewed
    );
    findings(&report.findings, &mut body);
    if let Some(plan) = &report.plan {
        convert(plan, &mut body);
    }
    body.push_str(
        "<h2>Operations</h2><div class=\"wide\"><table><thead><tr><th>Operation<th>Service<th class=\"n\">Requests<th class=\"n\">Failed\
         <th class=\"n\">Median<th class=\"n\">Depth<th>Waits for</tr></thead><tbody>",
    );
    for one in &report.operations {
        let waits: Vec<&str> = one.waits_for.keys().map(String::as_str).collect();
        write!(
            body,
            "<tr><td><code>{}</code><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            escaped(&one.name),
            escaped(&one.service),
            one.requests,
            one.failed,
            time(one.median_us),
            one.depth,
            escaped(&waits.join(", "))
        )
        .ok();
    }
    body.push_str(
        "</tbody></table></div><h2>Whose outage takes what down</h2><div class=\"wide\"><table><thead><tr><th>Service<th class=\"n\">Requests\
         <th class=\"n\">Of all<th>Operations</tr></thead><tbody>",
    );
    for risk in &report.risks {
        let operations: Vec<String> = risk
            .operations
            .iter()
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        write!(
            body,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{} %<td>{}</tr>",
            escaped(&risk.service),
            risk.requests,
            risk.percent,
            escaped(&operations.join(", "))
        )
        .ok();
    }
    body.push_str("</tbody></table></div>");
    page("The doctor's report on traces", &body)
}

fn convert(plan: &Plan, body: &mut String) {
    write!(
        body,
        "<h2>Convert first: <code>{}</code> of {}</h2><p>{}.</p><div class=\"wide\"><table><thead><tr><th>Event<th>Stated by\
         <th>Instead of<th>Heard by</tr></thead><tbody>",
        escaped(&plan.operation),
        escaped(&plan.service),
        escaped(&plan.why)
    )
    .ok();
    for event in &plan.events {
        write!(
            body,
            "<tr><td><code>{}</code><td>{}<td><code>{}</code><td>{}</tr>",
            escaped(&event.r#type),
            escaped(&event.stated_by),
            escaped(&event.instead_of),
            escaped(&event.heard_by.join(", "))
        )
        .ok();
    }
    body.push_str("</tbody></table></div>");
    if !plan.copies.is_empty() {
        body.push_str("<p>What is only asked for becomes a copy:</p><ul>");
        for copy in &plan.copies {
            write!(
                body,
                "<li>{} keeps what it asks {} for with <code>{}</code></li>",
                escaped(&copy.by),
                escaped(&copy.of),
                escaped(&copy.instead_of)
            )
            .ok();
        }
        body.push_str("</ul>");
    }
}

fn findings(findings: &[Finding], body: &mut String) {
    body.push_str("<h2>Symptoms</h2>");
    if findings.is_empty() {
        body.push_str("<p class=\"good\">No symptom was found.</p>");
    }
    for finding in findings {
        write!(
            body,
            "<article><h3>{}</h3><p>{}</p><ul>",
            escaped(&finding.title),
            escaped(&finding.says)
        )
        .ok();
        for evidence in &finding.evidence {
            let offsets: Vec<String> = evidence
                .offsets
                .iter()
                .map(|offset| format!("@{offset}"))
                .collect();
            write!(
                body,
                "<li>{} <code class=\"soft\">{}</code></li>",
                escaped(&evidence.text),
                offsets.join(" ")
            )
            .ok();
        }
        write!(
            body,
            "</ul><p class=\"remedy\"><strong>Remedy.</strong> {}</p></article>",
            escaped(&finding.remedy)
        )
        .ok();
    }
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
}

/// Text that means nothing to a browser.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
