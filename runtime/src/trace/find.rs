//! Finding events by their id.

use nerve_eventlog::{Entry, Log, Offset, Reach, ReadError};

use crate::log::record;

/// Records that are looked at at a time.
const STEP: u64 = 8192;

/// The durable events with this id, of this source where one is given: found by going back from the newest, up to the
/// first one where the source is given, else through all that is left of the log.
pub fn find(log: &dyn Log, id: &str, source: Option<&str>) -> Result<Vec<Entry>, ReadError> {
    let (first, mut end) = (log.bounds().first, log.bounds().durable);
    let mut found = Vec::new();
    while end >= first && end > Offset(0) {
        let start = Offset(end.0.saturating_sub(STEP - 1)).max(first);
        let mut at = start;
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
            found.extend(
                entries
                    .into_iter()
                    .filter(|entry| entry.offset <= end && is_it(entry, id, source)),
            );
        }
        if !found.is_empty() && source.is_some() {
            break;
        }
        end = start.prev();
    }
    found.sort_by_key(|entry| entry.offset);
    Ok(found)
}

fn is_it(entry: &Entry, id: &str, source: Option<&str>) -> bool {
    let Ok(Some(event)) = record::event(&entry.payload) else {
        return false;
    };
    event.id == id && source.is_none_or(|source| event.source == source)
}
