//! What the doctor has to say.

use nerve_eventlog::Micros;
use serde::{Deserialize, Serialize};

use crate::trace::map::when;

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was found in.
    pub examined: Examined,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Symptoms that were looked for and not found.
    pub not_found: Vec<String>,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// The first record.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The time of the first.
    #[serde(with = "when::optional")]
    pub since: Option<Micros>,
    /// The time of the last.
    #[serde(with = "when::optional")]
    pub until: Option<Micros>,
    /// Records.
    pub records: u64,
    /// Events among them.
    pub events: u64,
    /// Attempts of deliveries among them.
    pub attempts: u64,
    /// Deployments that are known, also from before.
    pub deployments: u64,
    /// Plugins that run.
    pub plugins: u64,
    /// Records that could not be read.
    pub unread: u64,
    /// Those of the plugins that are webhooks.
    #[serde(default)]
    pub webhooks: Vec<String>,
}

impl Examined {
    /// How many plugins run, and which of them are webhooks, where any are.
    pub fn plugins_in_words(&self) -> String {
        match &self.webhooks[..] {
            [] => format!("{} plugins", self.plugins),
            webhooks => format!(
                "{} plugins, of them webhooks: {}",
                self.plugins,
                webhooks.join(", ")
            ),
        }
    }
}

/// A symptom that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The symptom's name.
    pub symptom: String,
    /// What it means.
    pub title: String,
    /// What it is here, in a sentence.
    pub says: String,
    /// Plugins, or services, that it is about.
    pub plugins: Vec<String>,
    /// Event types, or operations, that it is about.
    pub types: Vec<String>,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What to do about it.
    pub remedy: String,
}

/// Something that shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// In words, with numbers.
    pub text: String,
    /// Records to look at.
    pub offsets: Vec<u64>,
}

impl Evidence {
    /// Evidence without records to look at.
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            offsets: Vec::new(),
        }
    }

    /// Evidence with records to look at.
    pub(super) fn at(text: impl Into<String>, offsets: impl IntoIterator<Item = u64>) -> Self {
        Self {
            text: text.into(),
            offsets: offsets.into_iter().collect(),
        }
    }
}

/// `part` of `whole` in percent.
pub(super) fn percent(part: usize, whole: usize) -> usize {
    (part * 100).checked_div(whole).unwrap_or_default()
}

/// The names, with `and` before the last.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// Microseconds, for people.
pub fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        1_000_000..120_000_000 => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
        120_000_000..7_200_000_000 => format!("{} min", micros / 60_000_000),
        _ => format!("{} h", micros / 3_600_000_000),
    }
}

/// The middle one of `values`; 0 where there is none.
pub(super) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
