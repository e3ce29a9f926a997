//! The doctor: symptoms of a distributed monolith, found in what happened.
//!
//! A log is read once into [`Facts`]; each symptom is a pure function over them, in a file of its own, that answers what
//! it found with evidence (numbers, plugins, types, offsets) and a remedy. What counts as a symptom is a few named
//! numbers at the head of its file; `docs/doctor.md` has them all. Traces of services that are not on nerve are examined
//! in [`traces`].

mod chatty;
mod coupling;
mod cycle;
mod domino;
mod facts;
mod hidden_outage;
mod hub;
mod lockstep;
mod names;
mod report;
mod request_answer;
mod together;
pub mod traces;

#[cfg(test)]
mod tests;

pub use facts::{Facts, Gatherer, Known};
pub use report::{Evidence, Examined, Finding, Report, time};

/// Records of a log that are looked at, counted from its end, where nothing else is said; and at most.
pub const RECORDS: u64 = 200_000;
/// Records of a log that are looked at, at most: what is gathered of them is in memory.
pub const MOST_RECORDS: u64 = 2_000_000;

/// A symptom: its name, what it means, and how it is found.
pub struct Symptom {
    /// As programs and the documentation call it.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    find: fn(&Facts) -> Vec<Finding>,
}

/// All symptoms that are looked for, in the order of a report.
pub const SYMPTOMS: &[Symptom] = &[
    Symptom {
        name: "deployed-together",
        title: "Deployments that always come together",
        find: together::find,
    },
    Symptom {
        name: "domino",
        title: "Failures that follow each other",
        find: domino::find,
    },
    Symptom {
        name: "hidden-outage",
        title: "Retries that hide an outage",
        find: hidden_outage::find,
    },
    Symptom {
        name: "lock-step",
        title: "Long chains in lock-step",
        find: lockstep::find,
    },
    Symptom {
        name: "request-answer",
        title: "A request and its answer, disguised as events",
        find: request_answer::find,
    },
    Symptom {
        name: "hub",
        title: "An event that everybody depends on",
        find: hub::find,
    },
    Symptom {
        name: "chatty",
        title: "A plugin that talks too much",
        find: chatty::find,
    },
    Symptom {
        name: "schema-coupling",
        title: "Schemas that tie plugins together",
        find: coupling::find,
    },
    Symptom {
        name: "cycle",
        title: "Events that come round to their own type",
        find: cycle::find,
    },
];

/// Look for every symptom in `facts`.
pub fn examine(facts: &Facts) -> Report {
    let mut report = Report {
        examined: facts.examined.clone(),
        ..Report::default()
    };
    for symptom in SYMPTOMS {
        let mut found = (symptom.find)(facts);
        for finding in &mut found {
            symptom.name.clone_into(&mut finding.symptom);
            symptom.title.clone_into(&mut finding.title);
        }
        if found.is_empty() {
            report.not_found.push(symptom.name.to_owned());
        }
        report.findings.append(&mut found);
    }
    report
}
