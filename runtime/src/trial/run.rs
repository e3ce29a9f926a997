//! Running a trial: both sides, step by step.
//!
//! An event that was tried several times is several steps: a side that is done with it, or has rejected it, does not get
//! it again, and the two are compared by what each came to in the end. A side that fails where the log has no further
//! attempt is not tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use nerve_eventlog::{Entry, Offset};

use super::Came;
use super::differ::{Difference, Show, What, differences};
use super::history::{BadHistory, Beginning, Logged, Part, Step};
use super::report::{Example, Group, Report};
use super::side::Side;
use crate::delivery::handler::{Delivery, Effects, Outside};
use crate::log::record::{self, DecodeError, Event, Outcome, Record, Verdict, VersionId};
use crate::plugin::loader::Loaded;
use crate::plugin::rerun::recorded;
use crate::state::KeyValues;

/// Kinds of differences that are told apart; what is of further kinds is only counted.
const MOST_GROUPS: usize = 100;

/// What a trial ran on, and what it found.
#[derive(Debug)]
pub struct Ran {
    /// What the history was about.
    pub about: Beginning,
    /// What was found.
    pub report: Report,
    /// Whether the time was up before the end.
    pub cut_short: bool,
}

/// Why a trial was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Its history can't be read.
    #[error(transparent)]
    History(#[from] BadHistory),
    /// A record can't be read.
    #[error("a record of the history can't be read: {0}")]
    Record(#[from] DecodeError),
}

/// Run `new`, as if it were granted what it lacks, beside `old` on a history, until the history or the time is over.
/// Data is shown by `show`. Blocks.
pub fn run(
    mut parts: impl Iterator<Item = Result<Part, BadHistory>>,
    old: Option<&Loaded>,
    new: &Loaded,
    show: Show,
    until: Instant,
) -> Result<Ran, TrialError> {
    let new = new.as_if_granted();
    let Some(Part::Begins(about)) = parts.next().transpose()? else {
        return Err(BadHistory::CutOff("it has no beginning".into()).into());
    };
    let mut state = Vec::new();
    let begin = |state: &mut Vec<(Box<str>, Bytes)>| {
        let state: KeyValues = std::mem::take(state).into_iter().collect();
        let old = old.map(|old| (Side::of(old, &state), old.version));
        Trial::new(old, Side::of(&new, &state), show)
    };
    let (mut trial, mut has_ended, mut cut_short) = (None, false, false);
    for part in parts {
        match part? {
            Part::State(entries) => {
                let entries = entries.into_iter();
                state.extend(entries.map(|(key, value)| (key.into_boxed_str(), value.into_vec().into())));
            }
            Part::Step(step) => {
                trial.get_or_insert_with(|| begin(&mut state)).step(&step)?;
                cut_short = Instant::now() >= until;
            }
            Part::Begins(_) => {}
            Part::Ends => has_ended = true,
        }
        if cut_short {
            break;
        }
    }
    if !has_ended && !cut_short {
        return Err(BadHistory::CutOff("it has no end".into()).into());
    }
    Ok(Ran {
        about: *about,
        report: trial.map_or_else(|| Ok(Report::default()), Trial::end)?,
        cut_short: cut_short && !has_ended,
    })
}

/// A trial under way.
pub struct Trial {
    /// The running version; `None` where there is none, and the new one runs alone.
    old: Option<(Side, VersionId)>,
    new: Side,
    show: Show,
    /// What the events came to so far that may be tried again.
    open: BTreeMap<Offset, Both>,
    steps: u64,
    report: Report,
    groups: BTreeMap<Kind, Group>,
}

type Kind = (What, String, [bool; 2], String);

/// What an event came to on either side.
#[derive(Default)]
struct Both {
    old: Option<Came>,
    new: Option<Came>,
    /// Its last step, where the log has it tried again.
    retried: Option<Step>,
}

impl Trial {
    /// A trial of `new` beside `old`, whose data is shown by `show`.
    pub fn new(old: Option<(Side, VersionId)>, new: Side, show: Show) -> Self {
        Self {
            old,
            new,
            show,
            open: BTreeMap::new(),
            steps: 0,
            report: Report::default(),
            groups: BTreeMap::new(),
        }
    }

    /// Run one step on both sides.
    pub fn step(&mut self, step: &Step) -> Result<(), DecodeError> {
        let [event, outcome] = [&step.event, &step.outcome].map(|one| one.as_ref().map(Logged::entry));
        let outcome = outcome.as_ref().map(outcome_in).transpose()?.flatten();
        let event = event.as_ref().map(event_in).transpose()?.flatten();
        match (event, outcome) {
            (Some((entry, event)), outcome) => self.deliver(entry, &event, outcome.as_ref(), step),
            (None, Some(outcome)) => {
                self.report.lost += 1;
                self.new.follow(&outcome);
                if let Some((old, _)) = &self.old {
                    old.follow(&outcome);
                }
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn deliver(
        &mut self,
        entry: &Entry,
        event: &Event<'_>,
        outcome: Option<&Outcome<'_>>,
        step: &Step,
    ) -> Result<(), DecodeError> {
        let delivery = delivery(entry, event, outcome);
        let mut both = self.open.remove(&entry.offset).unwrap_or_default();
        let is_redriven = outcome.is_some_and(|outcome| outcome.replay);
        let is_open = |came: &Option<Came>| match came {
            Some(Came::Failed { .. }) if is_redriven => true,
            came => !came.as_ref().is_some_and(Came::is_final),
        };
        // Who goes first has the colder caches.
        let old_first = self.steps.is_multiple_of(2);
        for turn in [old_first, !old_first] {
            if turn {
                if let Some((old, version)) = &mut self.old
                    && is_open(&both.old)
                {
                    let came = old.run(&delivery);
                    if let Some(outcome) = outcome.filter(|outcome| outcome.version == *version) {
                        let logged = Came::recorded(outcome, &step.emitted)?;
                        self.report.reproduce(&came, &logged, || {
                            example(
                                &delivery,
                                self.show,
                                differences(&logged, &came, event.r#type, delivery.started, self.show),
                            )
                        });
                    }
                    both.old = Some(came);
                }
            } else if is_open(&both.new) {
                both.new = Some(self.new.run(&delivery));
            }
        }
        self.steps += 1;
        self.report.saw(entry);
        let is_retried = outcome.is_some_and(|outcome| matches!(outcome.verdict, Verdict::Retry { .. }));
        both.retried = is_retried.then(|| step.clone());
        if !is_retried {
            self.compare(&delivery, &both);
        }
        if outcome.is_some_and(|outcome| outcome.verdict != Verdict::Done) {
            self.open.insert(entry.offset, both);
        }
        Ok(())
    }

    /// Compare what the event of `delivery` came to in the end.
    fn compare(&mut self, delivery: &Delivery<'_>, both: &Both) {
        self.report.events += 1;
        if let (Some((side, _)), Some(came)) = (&mut self.old, &both.old) {
            side.tally.count(came);
        }
        let Some(new) = &both.new else { return };
        self.new.tally.count(new);
        let nothing = Came::Done(Effects::default());
        let old = match (&self.old, new) {
            (Some(_), _) => both.old.as_ref().unwrap_or(&nothing),
            // Alone it differs from nothing but where it fails.
            (None, Came::Done(_) | Came::NotSubscribed) => return,
            (None, _) => &nothing,
        };
        let found = differences(old, new, delivery.event.r#type, delivery.started, self.show);
        self.report.differ += u64::from(!found.is_empty());
        let mut counted: BTreeSet<Kind> = BTreeSet::new();
        for difference in found {
            let kind = difference.kind();
            let first = !counted.contains(&kind);
            if let Some(group) = self.groups.get_mut(&kind) {
                group.events += u64::from(first);
            } else if self.groups.len() < MOST_GROUPS {
                let first = example(delivery, self.show, vec![difference]);
                self.groups.insert(kind.clone(), Group { events: 1, first });
            } else {
                self.report.further += 1;
            }
            counted.insert(kind);
        }
    }

    /// The report on what was run. Events that are tried again behind the range count with what they came to so far.
    pub fn end(mut self) -> Result<Report, DecodeError> {
        for (_, both) in std::mem::take(&mut self.open) {
            let Some(step) = &both.retried else { continue };
            let [event, outcome] = [&step.event, &step.outcome].map(|one| one.as_ref().map(Logged::entry));
            let outcome = outcome.as_ref().map(outcome_in).transpose()?.flatten();
            if let Some((entry, event)) = event.as_ref().map(event_in).transpose()?.flatten() {
                self.report.unsettled += 1;
                self.compare(&delivery(entry, &event, outcome.as_ref()), &both);
            }
        }
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by_key(|group| {
            let what = group.first.differences[0].what;
            (what > What::Subscribes, std::cmp::Reverse(group.events))
        });
        Ok(Report {
            groups,
            running: self.old.map(|(side, _)| side.tally.into()),
            new: self.new.tally.into(),
            ..self.report
        })
    }
}

/// The outcome in `entry`.
fn outcome_in(entry: &Entry) -> Result<Option<Outcome<'_>>, DecodeError> {
    Ok(match Record::decode(&entry.payload)? {
        Record::Outcome(outcome) => Some(outcome),
        _ => None,
    })
}

/// The event in `entry`.
fn event_in(entry: &Entry) -> Result<Option<(&Entry, Event<'_>)>, DecodeError> {
    Ok(record::event(&entry.payload)?.map(|event| (entry, event)))
}

/// The delivery that `outcome` came of; where there is none, as if it had been when the event was appended.
fn delivery<'a>(entry: &'a Entry, event: &'a Event<'a>, outcome: Option<&'a Outcome<'a>>) -> Delivery<'a> {
    // Where the version that ran drew no random number: another seed for each event, the same in each trial.
    let seed = entry.offset.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match outcome {
        Some(outcome) => Delivery {
            seed: outcome.seed.unwrap_or(seed),
            ..recorded(entry, event, outcome)
        },
        None => Delivery {
            offset: entry.offset,
            recorded: entry.time,
            event,
            record: &entry.payload,
            attempt: 1,
            replay: false,
            rewind: None,
            historic: false,
            started: entry.time,
            seed,
            outside: Outside::default(),
        },
    }
}

/// An example of `differences`.
fn example(delivery: &Delivery<'_>, show: Show, differences: Vec<Difference>) -> Example {
    let event = delivery.event;
    Example {
        offset: delivery.offset.0,
        id: event.id.to_owned(),
        r#type: event.r#type.to_owned(),
        key: event.key.map(str::to_owned),
        attempt: delivery.attempt,
        data: show(Some(event.content_type), event.data),
        differences,
    }
}
