//! Finding events: by their id, or by anything else that is said of them.

use std::collections::{BTreeMap, HashMap};

use nerve_eventlog::{Entry, Log, Offset, Reach, ReadError};

use crate::log::record::{self, Event};

/// Records that are looked at at a time.
const STEP: u64 = 8192;

/// Timers that the way back to a chain's first event goes through at most: some plugins set one in each delivery of another.
const MOST_TIMERS: u32 = 8;

/// The durable events with this id, of this source where one is given: found by going back from the newest, up to the
/// first one where the source is given, else through all that is left of the log.
pub fn find(log: &dyn Log, id: &str, source: Option<&str>) -> Result<Vec<Entry>, ReadError> {
    let is_it =
        |_: &Entry, event: &Event<'_>| event.id == id && source.is_none_or(|source| event.source == source);
    let (mut found, mut newest) = (Vec::new(), log.bounds().durable);
    while let Some((step, start)) = step_back(log, newest, is_it)? {
        found.extend(step);
        if !found.is_empty() && source.is_some() {
            break;
        }
        newest = start.prev();
    }
    found.sort_by_key(|entry| entry.offset);
    Ok(found)
}

/// Causal trees that hold something that was looked for.
#[derive(Debug)]
pub struct Roots {
    /// By the offset of each root: how many of its events were found.
    pub roots: BTreeMap<Offset, usize>,
    /// The offset down to which the log was looked through, itself included.
    pub through: Offset,
}

/// The first events of the causal chains of events that `is` holds of, found by going back from `newest` through
/// `look_back` records or a little more, or until there are `limit` of them. Where retention has taken what was first, or a
/// plugin sets one timer after the other, what is nearest stands for it.
pub fn roots(
    log: &dyn Log,
    newest: Offset,
    look_back: u64,
    limit: usize,
    is: impl Fn(&Entry, &Event<'_>) -> bool,
) -> Result<Roots, ReadError> {
    let (end, mut at) = (Offset(newest.0.saturating_sub(look_back)), newest);
    let mut known = HashMap::new();
    let mut found = Roots {
        roots: BTreeMap::new(),
        through: newest.next(),
    };
    while let Some((step, start)) = step_back(log, at, &is)? {
        for entry in step.iter().rev() {
            let root = root(log, entry, &mut known)?;
            // Whoever goes on behind this answer meets the first tree that had no room in it.
            if found.roots.len() == limit && !found.roots.contains_key(&root) {
                return Ok(found);
            }
            *found.roots.entry(root).or_default() += 1;
            found.through = entry.offset;
        }
        (found.through, at) = (start, start.prev());
        if start <= end {
            break;
        }
    }
    Ok(found)
}

/// The first event of the chain that `entry` is of; `known` are the roots of events that were met before.
fn root(log: &dyn Log, entry: &Entry, known: &mut HashMap<Offset, Offset>) -> Result<Offset, ReadError> {
    let (mut here, mut way, mut timers) = (entry.clone(), Vec::new(), 0);
    let root = loop {
        if let Some(root) = known.get(&here.offset) {
            break *root;
        }
        way.push(here.offset);
        let cause = record::event(&here.payload)
            .ok()
            .flatten()
            .and_then(|event| event.cause);
        let Some(cause) = cause.filter(|cause| cause.offset < here.offset.0) else {
            break here.offset;
        };
        timers += u32::from(cause.hops == 0);
        if timers > MOST_TIMERS {
            break here.offset;
        }
        let before = match log.read(Offset(cause.offset), 1, Reach::Durable) {
            Err(ReadError::Gone { .. }) => None,
            read => read?.into_iter().next(),
        };
        match before {
            Some(before) => here = before,
            None => break here.offset,
        }
    };
    known.extend(way.into_iter().map(|offset| (offset, root)));
    Ok(root)
}

/// The events among the last records up to `newest` that `is` holds of, in order, and where those records begin; `None`
/// where no record is left.
fn step_back(
    log: &dyn Log,
    newest: Offset,
    is: impl Fn(&Entry, &Event<'_>) -> bool,
) -> Result<Option<(Vec<Entry>, Offset)>, ReadError> {
    let first = log.bounds().first;
    if newest < first || newest == Offset(0) {
        return Ok(None);
    }
    let start = Offset(newest.0.saturating_sub(STEP - 1)).max(first);
    let (mut at, mut found) = (start, Vec::new());
    while at <= newest {
        let entries = match log.read(at, 1 << 20, Reach::Durable) {
            // Retention passed by while this was looking: what it took is no longer there to be found.
            Err(ReadError::Gone { first, .. }) => {
                at = first;
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            break;
        };
        at = last.next();
        let is_it = |entry: &Entry| {
            let event = record::event(&entry.payload);
            entry.offset <= newest && event.is_ok_and(|event| event.is_some_and(|event| is(entry, &event)))
        };
        found.extend(entries.into_iter().filter(is_it));
    }
    Ok(Some((found, start)))
}
