//! The doctor for services that are not on nerve yet: what their traces say of how they call each other.
//!
//! [`read`] takes OTLP JSON and Jaeger JSON and makes [`Span`]s of both; [`examine`] finds who calls whom and waits. Only
//! what spans say of each other counts: the clocks of two services may differ, so times are compared within one only.

mod fan_out;
mod jaeger;
mod operation;
mod otlp;
mod plan;
mod read;
mod requests;
pub mod scaffold;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use plan::{Copied, Plan, PlannedEvent, PlannedPlugin, Reaction};
pub use read::{BadTraces, read};
use requests::Request;

use super::report::{Evidence, Finding, listed, median, percent};

/// Services that wait for each other in one chain, beside the first, from which on it is a symptom.
const DEEP: usize = 2;

/// Percent of all requests that fail with one service, from which on it is a symptom.
const RISK: usize = 10;

/// Calls that one request of an operation makes on average, from which on it is a symptom.
const FAN_OUT: usize = 5;

/// Operations and services that are shown for a symptom.
const SHOWN: usize = 5;

/// What kind of work a span is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Inside a service, or not said.
    #[default]
    Internal,
    /// Somebody's call is handled.
    Server,
    /// Somebody is called.
    Client,
    /// A message is sent, and not waited for.
    Producer,
    /// A message is handled.
    Consumer,
}

/// A span of either format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: String,
    /// Its id, unique in the trace.
    pub id: String,
    /// The span that it is part of.
    pub parent: Option<String>,
    /// Whether its parent does not wait for it.
    pub follows: bool,
    /// The service.
    pub service: String,
    /// What is done, with method and route where they are known.
    pub name: String,
    /// What kind of work it is.
    pub kind: Kind,
    /// When it began, in microseconds by its service's clock.
    pub start: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// Whether it failed.
    pub failed: bool,
    /// The service that is called, where the caller knows it.
    pub peer: Option<String>,
}

/// What was found in traces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceReport {
    /// What it was found in.
    pub examined: Examined,
    /// Operations, those that reach the most services first.
    pub operations: Vec<Operation>,
    /// Services that others wait for, those whose outage takes most down first.
    pub risks: Vec<Risk>,
    /// What is a symptom.
    pub findings: Vec<Finding>,
    /// The operation to convert first, and to what; `None` where none waits for another service.
    pub plan: Option<Plan>,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Traces.
    pub traces: usize,
    /// Spans.
    pub spans: usize,
    /// Services.
    pub services: Vec<String>,
    /// Requests: what began outside, or with a message.
    pub requests: usize,
    /// Spans whose parent is not in the file: what they are part of is not known, and they count as requests.
    pub without_parent: usize,
    /// Spans that say they began before what called them: clocks differ.
    pub skewed: usize,
}

/// An operation of a service that requests begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The service.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// How many requests.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Services that must answer in one chain, beside its own, at most.
    pub depth: usize,
    /// The deepest chain: service and operation of each step.
    pub chain: Vec<String>,
    /// Services that it waits for, each with the number of its requests that did.
    pub waits_for: BTreeMap<String, usize>,
    /// How long a request takes, the median, in microseconds.
    pub median_us: u64,
    /// Whether it only asks.
    pub is_query: bool,
}

/// What the outage of a service takes down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// The service.
    pub service: String,
    /// Operations of other services that wait for it, each as `service: operation`, with requests.
    pub operations: BTreeMap<String, usize>,
    /// Requests that fail with it.
    pub requests: usize,
    /// Those in percent of all.
    pub percent: usize,
}

/// Look at `spans`.
pub fn examine(spans: Vec<Span>) -> TraceReport {
    let mut examined = Examined {
        spans: spans.len(),
        ..Examined::default()
    };
    let services: BTreeSet<&String> = spans.iter().map(|span| &span.service).collect();
    examined.services = services.into_iter().cloned().collect();
    let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.trace.clone()).or_default().push(span);
    }
    examined.traces = traces.len();
    let mut requests: Vec<Request> = Vec::new();
    for trace in traces.into_values() {
        let found = requests::of(&trace);
        examined.without_parent += found.without_parent;
        examined.skewed += found.skewed;
        requests.extend(found.requests);
    }
    examined.requests = requests.len();
    let operations = operations(&requests);
    let risks = risks(&operations, requests.len());
    let mut findings: Vec<Finding> = chains(&operations).into_iter().collect();
    findings.extend(dominoes(&risks));
    findings.extend(fan_out::find(&requests));
    let plan = plan::make(&operations, &requests);
    TraceReport {
        examined,
        operations,
        risks,
        findings,
        plan,
    }
}

fn operations(requests: &[Request]) -> Vec<Operation> {
    let mut all: BTreeMap<(&str, &str), Vec<&Request>> = BTreeMap::new();
    for request in requests {
        all.entry((&request.service, &request.name))
            .or_default()
            .push(request);
    }
    let mut operations: Vec<Operation> = all
        .into_iter()
        .map(|((service, name), requests)| {
            let deepest = requests.iter().max_by_key(|request| request.chain.len());
            let mut waits_for: BTreeMap<String, usize> = BTreeMap::new();
            for service in requests.iter().flat_map(|request| &request.waits_for) {
                *waits_for.entry(service.clone()).or_default() += 1;
            }
            Operation {
                service: service.to_owned(),
                name: name.to_owned(),
                requests: requests.len(),
                failed: requests.iter().filter(|request| request.failed).count(),
                depth: deepest.map_or(0, |request| request.chain.len().saturating_sub(1)),
                chain: deepest.map(|request| request.chain.clone()).unwrap_or_default(),
                waits_for,
                median_us: median(requests.iter().map(|request| request.took).collect()),
                is_query: operation::is_query(name),
            }
        })
        .collect();
    operations.sort_by(|a, b| {
        let weight = |one: &Operation| (one.waits_for.len(), one.requests);
        weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name))
    });
    operations
}

fn risks(operations: &[Operation], requests: usize) -> Vec<Risk> {
    let mut risks: BTreeMap<&str, Risk> = BTreeMap::new();
    for operation in operations {
        for (service, count) in &operation.waits_for {
            let risk = risks.entry(service).or_default();
            let name = format!("{}: {}", operation.service, operation.name);
            risk.operations.insert(name, *count);
            risk.requests += count;
        }
    }
    let named = risks.into_iter().map(|(service, risk)| Risk {
        service: service.to_owned(),
        percent: percent(risk.requests, requests),
        ..risk
    });
    let mut risks: Vec<Risk> = named.collect();
    risks.sort_by(|a, b| {
        b.requests
            .cmp(&a.requests)
            .then_with(|| a.service.cmp(&b.service))
    });
    risks
}

fn chains(operations: &[Operation]) -> Option<Finding> {
    let mut deep: Vec<&Operation> = operations.iter().filter(|one| one.depth >= DEEP).collect();
    deep.sort_by_key(|one| std::cmp::Reverse((one.depth, one.requests)));
    let deepest = deep.first()?;
    let shown = deep.iter().take(SHOWN).map(|one| {
        Evidence::of(format!(
            "{} ({} requests, {} median, {} failed)",
            one.chain.join(" -> "),
            one.requests,
            super::report::time(one.median_us),
            one.failed
        ))
    });
    Some(Finding {
        symptom: "synchronous-chain".into(),
        title: "Services that wait for each other in a chain".into(),
        says: format!(
            "{} of {} operations wait for {DEEP} services or more in turn; the deepest, {} of {}, for {}.",
            deep.len(),
            operations.len(),
            deepest.name,
            deepest.service,
            deepest.depth
        ),
        evidence: shown.collect(),
        remedy: "Each service in a chain adds its time and its outages to the first one's. State what happened as an event instead of calling, and \
                 let the others react to it; what is only asked for, keep as a copy that is fed by events."
            .into(),
        plugins: deep.iter().map(|one| one.service.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        types: deep.iter().take(SHOWN).map(|one| one.name.clone()).collect(),
    })
}

fn dominoes(risks: &[Risk]) -> Option<Finding> {
    let high: Vec<&Risk> = risks.iter().filter(|risk| risk.percent >= RISK).collect();
    let first = high.first()?;
    let shown = high.iter().take(SHOWN).map(|risk| {
        let operations = risk
            .operations
            .iter()
            .map(|(name, count)| format!("{name} ({count})"));
        let operations: Vec<String> = operations.collect();
        Evidence::of(format!(
            "without {}, {} of the requests fail ({} %): {}",
            risk.service,
            risk.requests,
            risk.percent,
            listed(&operations)
        ))
    });
    Some(Finding {
        symptom: "domino-risk".into(),
        title: "A service whose outage takes others down".into(),
        says: format!(
            "Where {} is away, {} % of all requests fail, of {} operations.",
            first.service,
            first.percent,
            first.operations.len()
        ),
        evidence: shown.collect(),
        remedy: format!(
            "Take {} out of the way of the operations that wait for it: what they tell it, let them state as events that it catches up with; what \
             they ask it for, let them keep as a copy.",
            first.service
        ),
        plugins: high.iter().map(|risk| risk.service.clone()).collect(),
        types: Vec::new(),
    })
}
