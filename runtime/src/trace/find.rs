//! Finding events: by their id, or by anything else that is said of them.

use std::collections::BTreeMap;

use nerve_eventlog::{Entry, Log, Offset, Reach, ReadError};

use crate::log::record::{self, Event};

/// Records that are looked at at a time.
const STEP: u64 = 8192;

/// The durable events with this id, of this source where one is given: found by going back from the newest, up to the
/// first one where the source is given, else through all that is left of the log.
pub fn find(log: &dyn Log, id: &str, source: Option<&str>) -> Result<Vec<Entry>, ReadError> {
    let is_it = |event: &Event<'_>| event.id == id && source.is_none_or(|source| event.source == source);
    let mut found = Vec::new();
    let newest = log.bounds().durable;
    back(log, newest, |entries| {
        found.extend(entries.filter(|entry| event_is(entry, is_it)));
        found.is_empty() || source.is_none()
    })?;
    found.sort_by_key(|entry| entry.offset);
    Ok(found)
}

/// Causal trees that hold something that was looked for.
#[derive(Debug)]
pub struct Roots {
    /// By the offset of each root: how many of its events were found.
    pub roots: BTreeMap<Offset, usize>,
    /// The offset down to which the log was looked through.
    pub through: Offset,
}

/// The first events of the causal chains of events that `is` holds of, found by going back from `newest` through
/// at most `look_back` records, or until there are `limit` of them. Where retention has taken what was first, what is left stands for it.
pub fn roots(
    log: &dyn Log,
    newest: Offset,
    look_back: u64,
    limit: usize,
    is: impl Fn(&Entry, &Event<'_>) -> bool,
) -> Result<Roots, ReadError> {
    let end = Offset(newest.0.saturating_sub(look_back));
    let mut found = Roots {
        roots: BTreeMap::new(),
        through: newest.next(),
    };
    let mut failed = None;
    back(log, newest, |entries| {
        let mut entries: Vec<Entry> = entries
            .filter(|entry| event_is(entry, |event| is(entry, event)))
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.offset));
        for entry in entries {
            match root(log, &entry) {
                Ok(root) => *found.roots.entry(root).or_default() += 1,
                Err(cause) => failed = Some(cause),
            }
        }
        found.through = Offset(found.through.0.saturating_sub(STEP)).max(log.bounds().first);
        failed.is_none() && found.roots.len() < limit && found.through > end
    })?;
    failed.map_or(Ok(found), Err)
}

/// The first event of the chain that `entry` is of.
fn root(log: &dyn Log, entry: &Entry) -> Result<Offset, ReadError> {
    let (mut at, mut here) = (entry.offset, entry.clone());
    while let Ok(Some(cause)) = record::event(&here.payload).map(|event| event.and_then(|event| event.cause))
    {
        let before = match log.read(Offset(cause.offset), 1, Reach::Durable) {
            Err(ReadError::Gone { .. }) => break,
            read => read?.into_iter().next(),
        };
        match before {
            Some(before) if before.offset < at => (at, here) = (before.offset, before),
            _ => break,
        }
    }
    Ok(at)
}

fn event_is(entry: &Entry, is: impl Fn(&Event<'_>) -> bool) -> bool {
    record::event(&entry.payload).is_ok_and(|event| event.is_some_and(|event| is(&event)))
}

/// Go back from `newest` in steps, each from its first record to its last, for as long as `goes_on` says.
fn back(
    log: &dyn Log,
    newest: Offset,
    mut goes_on: impl FnMut(&mut dyn Iterator<Item = Entry>) -> bool,
) -> Result<(), ReadError> {
    let (first, mut end) = (log.bounds().first, newest);
    while end >= first && end > Offset(0) {
        let start = Offset(end.0.saturating_sub(STEP - 1)).max(first);
        let (mut at, mut step) = (start, Vec::new());
        while at <= end {
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
            step.extend(entries.into_iter().filter(|entry| entry.offset <= end));
        }
        if !goes_on(&mut step.into_iter()) {
            break;
        }
        end = start.prev();
    }
    Ok(())
}
