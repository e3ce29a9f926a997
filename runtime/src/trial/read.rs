//! From a log to a history: which deliveries, the state before the first, and then one after the other.
//!
//! The log is read three times: for where the range begins and ends, from there to its end for the state before it, and
//! through the range for the steps. It is read as it is, in the order in which everything was settled; nothing is
//! appended, and no lock is held.

use std::collections::BTreeMap;
use std::io;

use nerve_eventlog::{Entry, Log, Micros, Offset, Reach, ReadError};
use serde_bytes::ByteBuf;

use super::Against;
use super::history::{Beginning, Part, Step};
use crate::delivery::cursor::OrderKey;
use crate::delivery::kept::Kept;
use crate::delivery::subscription::Pattern;
use crate::host::Stopped;
use crate::log::record::{self, DecodeError, Kind, LiveVersion, Outcome, Record, Verdict};
use crate::state::{KeyValues, PluginState, history};

/// Bytes that are read of the log at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Records that are looked at at a time, going backwards.
const BLOCK: u64 = 16_384;

/// Bytes of keys and values in one part.
const STATE_BYTES: usize = 256 << 10;

/// Where a history comes from.
pub struct Source<'a> {
    /// The log; what is durable is read.
    pub log: &'a dyn Log,
    /// The plugin.
    pub plugin: &'a str,
    /// What the fold knows of it, with everything up to `through` in it; `None` where it was never deployed.
    pub state: Option<PluginState>,
    /// The last record that is in `state`; it is durable.
    pub through: Offset,
    /// The component of the version that is live, where it can be read.
    pub component: Option<Vec<u8>>,
}

/// Why there is no history, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The log can't be read.
    #[error("the log can't be read for the trial: {0}")]
    Read(#[from] ReadError),
    /// A record can't be read.
    #[error("a record of the log can't be read for the trial: {0}")]
    Record(#[from] DecodeError),
    /// The state before can't be recovered.
    #[error(transparent)]
    Before(#[from] history::HistoryError),
    /// The host is stopping, or its log is poisoned.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Whoever asked takes no more.
    #[error("the history was cut off: {0}")]
    Sink(#[from] io::Error),
}

/// Which deliveries are asked for, and what the version subscribes to that is to be tried on them.
pub type Asked<'a> = (Against, &'a [Pattern]);

/// Takes the parts of a history.
pub type Sink<'a> = &'a mut dyn FnMut(Part) -> io::Result<()>;

/// Where the steps lie in the log.
#[derive(Clone, Copy)]
struct Range {
    first: Offset,
    last: Offset,
    steps: u64,
}

/// The range with the state before it, and the last record that replaced the state, where it had to be cut for that.
type Begun = (Option<(Range, KeyValues)>, Option<Offset>);

impl Source<'_> {
    /// Hand what the history is about to `sink`, and then what is asked for of it. Blocks.
    pub fn read(mut self, asked: Option<Asked<'_>>, sink: Sink<'_>) -> Result<(), HistoryError> {
        let about = Beginning {
            plugin: self.plugin.to_owned(),
            removed: self.state.as_ref().is_some_and(|state| state.removed),
            component: self.component.take().map(ByteBuf::from),
            approved: self
                .state
                .as_ref()
                .map(|state| state.approved.clone())
                .unwrap_or_default(),
            ..Beginning::default()
        };
        match asked {
            None => sink(Part::begins(Beginning {
                live: self.live(),
                ..about
            }))?,
            Some((against, patterns)) => self.range(about, against, patterns, sink)?,
        }
        sink(Part::Ends)?;
        Ok(())
    }

    fn live(&self) -> Option<LiveVersion> {
        Some(self.state.as_ref()?.live.as_ref()?.version.clone())
    }

    fn range(
        &self,
        about: Beginning,
        against: Against,
        patterns: &[Pattern],
        sink: Sink<'_>,
    ) -> Result<(), HistoryError> {
        let bounds = self.log.bounds();
        let against = self.by_offset(against)?;
        let live = self.live();
        let running = live.iter().flat_map(|live| &live.subscriptions);
        let running: Vec<Pattern> = running.filter_map(|text| text.parse().ok()).collect();
        let matches = |patterns: &[Pattern], name: &str| patterns.iter().any(|one| one.matches(name));

        let settled = |entry: &Entry| -> Result<_, HistoryError> {
            let outcome = outcome(entry, self.plugin)?;
            Ok(outcome.map(|outcome| Found {
                event: outcome.event(),
                counts: !matches!(outcome.verdict, Verdict::Retry { .. }),
                low: Offset(outcome.low_water),
            }))
        };
        let published = |entry: &Entry| -> Result<_, HistoryError> {
            let event = record::event(&entry.payload)?;
            let event =
                event.filter(|event| matches(&running, event.r#type) || matches(patterns, event.r#type));
            Ok(event.map(|_| Found {
                event: entry.offset,
                counts: true,
                low: entry.offset,
            }))
        };
        let found = self.find(against, &settled)?;
        let is_settled = found.is_some();
        let (found, is): (_, Find<'_>) = match found {
            Some(range) => (Some(range), &settled),
            None => (self.find(against, &published)?, &published),
        };
        let (begun, replaced_at) = match found {
            Some(range) => self.begun(range, is)?,
            None => (None, None),
        };
        let cut_at = matches!(against, Against::Offsets(from, _) if from < bounds.first && from > Offset(1));
        let about = Beginning {
            live,
            settled: is_settled,
            steps: begun.as_ref().map_or(0, |(range, _)| range.steps),
            cut_at: cut_at.then_some(bounds.first.0),
            replaced_at: replaced_at.map(|at| at.0),
            ..about
        };
        sink(Part::begins(about))?;
        if let Some((range, before)) = begun {
            hand_over_state(&before, sink)?;
            self.steps(range, sink, &|name| {
                let (old, new) = (matches(&running, name), matches(patterns, name));
                if is_settled { new && !old } else { new || old }
            })?;
        }
        Ok(())
    }

    /// Times as offsets: times of records never go backwards.
    fn by_offset(&self, against: Against) -> Result<Against, HistoryError> {
        let Against::Times(from, to) = against else {
            return Ok(against);
        };
        let first = self.first_since(from)?;
        let behind = self.first_since(Micros(to.0.saturating_add(1)))?;
        Ok(Against::Offsets(first, behind.prev()))
    }

    /// The first record that was appended at `time` or later; the one behind the last where there is none.
    fn first_since(&self, time: Micros) -> Result<Offset, HistoryError> {
        let (mut low, mut high) = (self.log.bounds().first.0, self.through.0 + 1);
        let mut found = Vec::new();
        while low < high {
            let middle = low.midpoint(high);
            found.clear();
            self.log.read_at(&[Offset(middle)], &mut found)?;
            if found.first().is_some_and(|entry| entry.time < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Offset(low))
    }

    /// Where the records lie that `is` finds, of those that are asked for.
    fn find(&self, against: Against, is: Find<'_>) -> Result<Option<Range>, HistoryError> {
        match against {
            Against::Last(count) => self.find_last(count, is),
            Against::Offsets(from, to) => self.find_between(from, to, is),
            Against::Times(..) => Ok(None),
        }
    }

    /// The last `count` that count.
    fn find_last(&self, count: u64, is: Find<'_>) -> Result<Option<Range>, HistoryError> {
        let (mut end, first) = (self.through.next(), self.log.bounds().first);
        let mut range: Option<Range> = None;
        while end > first {
            let begin = Offset(end.0.saturating_sub(BLOCK)).max(first);
            let mut block: Vec<(Offset, bool)> = Vec::new();
            self.each(begin, end.prev(), &mut |entry| {
                block.extend(is(entry)?.map(|found| (entry.offset, found.counts)));
                Ok(true)
            })?;
            for (offset, counts) in block.into_iter().rev() {
                let range = range.get_or_insert(Range {
                    first: offset,
                    last: offset,
                    steps: 0,
                });
                if counts && range.steps == count {
                    return Ok(Some(*range));
                }
                range.steps += u64::from(counts);
                range.first = offset;
            }
            end = begin;
        }
        Ok(range)
    }

    /// Those of the events from `from` to `to`, as far as they were settled before the plugin was done with all of them.
    fn find_between(&self, from: Offset, to: Offset, is: Find<'_>) -> Result<Option<Range>, HistoryError> {
        let from = from.max(self.log.bounds().first);
        let mut range: Option<Range> = None;
        self.each(from, self.through, &mut |entry| {
            let Some(found) = is(entry)? else {
                return Ok(true);
            };
            if (from..=to).contains(&found.event) {
                let range = range.get_or_insert(Range {
                    first: entry.offset,
                    last: entry.offset,
                    steps: 0,
                });
                range.last = entry.offset;
                range.steps += u64::from(found.counts);
            }
            Ok(found.event <= to || found.low < to)
        })?;
        Ok(range)
    }

    /// `range` with the state before it. Where the state was replaced as a whole in it or after it, nobody knows what it was
    /// before, and where it went back in it, what was settled before is no history of it: then the range is what lies behind
    /// the last record that did it, which is the other answer.
    fn begun(&self, mut range: Range, is: Find<'_>) -> Result<Begun, HistoryError> {
        let nothing = KeyValues::default();
        let now = self.state.as_ref().map_or(&nothing, |state| &state.key_values);
        let mut replaced_at = None;
        loop {
            let mut since = history::Since::new(self.plugin, range.first);
            let at = match since.read(self.log, self.through) {
                Err(history::HistoryError::Replaced { at, .. }) => at,
                Err(refused) => return Err(refused.into()),
                Ok(()) => match since.went_back.iter().rfind(|at| **at <= range.last) {
                    Some(at) => *at,
                    None => return Ok((Some((range, since.before(now))), replaced_at)),
                },
            };
            replaced_at = Some(at);
            match self.behind(range, at, is)? {
                Some(rest) => range = rest,
                None => return Ok((None, replaced_at)),
            }
        }
    }

    /// What of `range` lies behind the record at `at`.
    fn behind(&self, range: Range, at: Offset, is: Find<'_>) -> Result<Option<Range>, HistoryError> {
        let mut rest: Option<Range> = None;
        self.each(at.next(), range.last, &mut |entry| {
            if let Some(found) = is(entry)? {
                let rest = rest.get_or_insert(Range {
                    first: entry.offset,
                    last: range.last,
                    steps: 0,
                });
                rest.steps += u64::from(found.counts);
            }
            Ok(true)
        })?;
        Ok(rest)
    }

    /// Hand over the steps in `range`; `unsettled` says which events are steps that nobody settled.
    fn steps(
        &self,
        range: Range,
        sink: Sink<'_>,
        unsettled: &dyn Fn(&str) -> bool,
    ) -> Result<(), HistoryError> {
        let mut open: Option<(Step, Offset, u32)> = None;
        let mut steps: Vec<(Step, Offset)> = Vec::new();
        let mut kept: BTreeMap<Offset, Kept> = BTreeMap::new();
        let mut next = range.first;
        loop {
            let entries = self.log.read(next, CHUNK_BYTES, Reach::Durable)?;
            let Some(last) = entries.last() else { break };
            next = last.offset.next();
            let mut is_over = false;
            for entry in entries {
                if let Some((step, event, emitted)) = &mut open {
                    step.emitted.push(entry.payload.clone());
                    if step.emitted.len() == *emitted as usize {
                        steps.push((std::mem::take(step), *event));
                        open = None;
                    }
                }
                if entry.offset > range.last {
                    is_over = open.is_none();
                    if is_over {
                        break;
                    }
                    continue;
                }
                if let Some(event) = record::event(&entry.payload)? {
                    if unsettled(event.r#type) {
                        let (offset, event) = (entry.offset, Some(entry.into()));
                        let step = Step {
                            event,
                            ..Step::default()
                        };
                        steps.push((step, offset));
                    }
                } else if let Some(outcome) = outcome(&entry, self.plugin)? {
                    kept.extend(outcome.kept.map(|kept| (outcome.event(), kept.into())));
                    let (event, emitted) = (outcome.event(), outcome.emitted);
                    if event < self.log.bounds().first
                        && let Some(known) = self.kept(outcome.key, event)
                    {
                        kept.entry(event).or_insert(known);
                    }
                    drop(outcome);
                    let step = Step {
                        outcome: Some(entry.into()),
                        ..Step::default()
                    };
                    if emitted == 0 {
                        steps.push((step, event));
                    } else {
                        open = Some((step, event, emitted));
                    }
                }
            }
            self.hand_over(&mut steps, &kept, sink)?;
            if is_over || (next > range.last && open.is_none()) {
                break;
            }
        }
        Ok(())
    }

    /// Give the steps their events, and hand them over.
    fn hand_over(
        &self,
        steps: &mut Vec<(Step, Offset)>,
        kept: &BTreeMap<Offset, Kept>,
        sink: Sink<'_>,
    ) -> Result<(), HistoryError> {
        let first = self.log.bounds().first;
        let without = steps.iter().filter(|(step, _)| step.event.is_none());
        let mut wanted: Vec<Offset> = without
            .map(|(_, event)| *event)
            .filter(|event| *event >= first)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = Vec::new();
        self.log.read_at(&wanted, &mut found)?;
        let found: BTreeMap<Offset, Entry> = found.into_iter().map(|entry| (entry.offset, entry)).collect();
        for (mut step, event) in steps.drain(..) {
            if step.event.is_none() {
                let entry = found.get(&event).cloned();
                let entry = entry.or_else(|| Some(kept.get(&event)?.entry(event)));
                step.event = entry.map(Into::into);
            }
            sink(Part::Step(Box::new(step)))?;
        }
        Ok(())
    }

    /// What the fold keeps of an event that retention has taken.
    fn kept(&self, key: Option<&str>, event: Offset) -> Option<Kept> {
        self.state
            .as_ref()?
            .kept(&OrderKey::of(key, event), event)
            .cloned()
    }

    /// Call `visit` with the records from `from` to `to`, until it answers false.
    fn each(
        &self,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(&Entry) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        let mut next = from;
        while next <= to {
            let entries = self.log.read(next, CHUNK_BYTES, Reach::Durable)?;
            let Some(last) = entries.last() else { break };
            next = last.offset.next();
            for entry in entries.iter().take_while(|entry| entry.offset <= to) {
                if !visit(entry)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Hand over a state.
fn hand_over_state(state: &KeyValues, sink: Sink<'_>) -> Result<(), HistoryError> {
    let (mut part, mut bytes, mut after) = (Vec::new(), 0, None::<Box<str>>);
    loop {
        let page = state.scan("", after.as_deref(), 1000);
        after = page.last().map(|(key, _)| key.clone());
        for (key, value) in page {
            bytes += key.len() + value.len();
            part.push((key.into(), ByteBuf::from(value.to_vec())));
            if bytes >= STATE_BYTES {
                sink(Part::State(std::mem::take(&mut part)))?;
                bytes = 0;
            }
        }
        if after.is_none() {
            sink(Part::State(part))?;
            return Ok(());
        }
    }
}

/// What a record is that was looked for.
struct Found {
    /// The event that it is about.
    event: Offset,
    /// Whether it counts as one of those that are asked for.
    counts: bool,
    /// Everything that matches up to here is settled, or waits behind a parked key.
    low: Offset,
}

type Find<'a> = &'a dyn Fn(&Entry) -> Result<Option<Found>, HistoryError>;

/// The outcome in `entry`, where it is one of `plugin`.
fn outcome<'a>(entry: &'a Entry, plugin: &str) -> Result<Option<Outcome<'a>>, DecodeError> {
    let bytes = &entry.payload;
    // The name is the first field: most records are passed over by a look.
    let head = bytes
        .get(1..bytes.len().min(plugin.len() + 12))
        .unwrap_or_default();
    let is_named = head.windows(plugin.len()).any(|name| name == plugin.as_bytes());
    if record::kind(bytes) != Some(Kind::Outcome as u8) || !is_named {
        return Ok(None);
    }
    Ok(match Record::decode(bytes)? {
        // What a rewind builds a state from is none of the deliveries that made the state.
        Record::Outcome(outcome) if outcome.plugin == plugin => {
            Some(outcome).filter(|outcome| !outcome.rewind.as_ref().is_some_and(|of| of.fresh))
        }
        _ => None,
    })
}
