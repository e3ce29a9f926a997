//! What a delivery read of its plugin's state, and whether it still says so.
//!
//! A handler reads the settled state while other lanes settle. Nothing is locked for it: what it read is kept
//! beside it, and when it is settled, every read must give what it gave then, or else the attempt is discarded
//! and made again. An attempt that is settled therefore saw the state as it stands right before its own batch.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::log::record::{Scanned, StateRead, ValueRead};
use crate::state::KeyValues;

/// Bytes of keys and values that are kept of one delivery's reads. Beyond them it is only known that it read, and
/// any batch that another lane settled meanwhile counts as a conflict.
const MOST_BYTES: usize = 16 << 20;

/// Bytes of keys and values that the record of a dead letter keeps.
const MOST_RECORDED: usize = 512 << 10;

/// What one entry costs besides its key and value.
const ENTRY_BYTES: usize = 64;

/// What one delivery read of the settled state; its own writes are no part of it.
#[derive(Debug, Default)]
pub struct Reads {
    values: Vec<(Box<str>, Option<Bytes>)>,
    scans: Vec<Scan>,
    bytes: usize,
    cut: bool,
}

/// One scan.
#[derive(Debug)]
struct Scan {
    prefix: Box<str>,
    after: Option<Box<str>>,
    limit: usize,
    found: Vec<(Box<str>, Bytes)>,
}

impl Reads {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.scans.is_empty()
    }

    /// The value of `key` in `state`.
    pub fn get(&mut self, state: &KeyValues, key: String) -> Option<Bytes> {
        let value = state.get(&key);
        if self.keeps(key.len() + value.as_ref().map_or(0, Bytes::len)) {
            self.values.push((key.into(), value.clone()));
        }
        value
    }

    /// Up to `limit` entries of `state` whose key starts with `prefix`, behind `after`.
    pub fn scan(
        &mut self,
        state: &KeyValues,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(Box<str>, Bytes)> {
        let found = state.scan(prefix, after, limit);
        let entries = found.iter();
        let bytes = entries.map(|(key, value)| key.len() + value.len() + ENTRY_BYTES);
        if self.keeps(prefix.len() + after.map_or(0, str::len) + bytes.sum::<usize>()) {
            self.scans.push(Scan {
                prefix: prefix.into(),
                after: after.map(Into::into),
                limit,
                found: found.clone(),
            });
        }
        found
    }

    /// Whether anything that was read is another in `state` now; where not everything was kept, it may be.
    pub fn changed(&self, state: &KeyValues) -> bool {
        self.cut
            || self.values.iter().any(|(key, value)| state.get(key) != *value)
            || self
                .scans
                .iter()
                .any(|scan| state.scan(&scan.prefix, scan.after.as_deref(), scan.limit) != scan.found)
    }

    /// What was read, for the record: of a state of `state_bytes` bytes.
    pub fn record(&self, state_bytes: usize) -> StateRead<'_> {
        let mut out = StateRead {
            state_bytes: state_bytes as u64,
            cut: self.cut,
            ..StateRead::default()
        };
        let mut values: BTreeMap<&str, Option<&[u8]>> = BTreeMap::new();
        let mut left = MOST_RECORDED;
        let mut fits = |bytes: usize| {
            let rest = left.checked_sub(ENTRY_BYTES + bytes);
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        for (key, value) in &self.values {
            if !fits(key.len() + value.as_ref().map_or(0, Bytes::len)) {
                out.cut = true;
                continue;
            }
            values.insert(key, value.as_deref());
        }
        for scan in &self.scans {
            let entries = scan.found.iter();
            let bytes = entries.map(|(key, value)| ENTRY_BYTES + key.len() + value.len());
            if !fits(scan.prefix.len() + bytes.sum::<usize>()) {
                out.cut = true;
                continue;
            }
            values.extend(scan.found.iter().map(|(key, value)| (&**key, Some(&**value))));
            out.scans.push(Scanned {
                prefix: &scan.prefix,
                after: scan.after.as_deref(),
                limit: u32::try_from(scan.limit).unwrap_or(u32::MAX),
            });
        }
        let values = values.into_iter();
        out.values = values.map(|(key, value)| ValueRead { key, value }).collect();
        out
    }

    /// What was read that `record` does not have, in words.
    pub fn missing_in(&self, record: &StateRead<'_>) -> Vec<String> {
        let known = |key: &str| record.values.binary_search_by(|read| read.key.cmp(key)).is_ok();
        let inside = |key: &str| {
            // A range that was not full was looked through to its end.
            record.scans.iter().any(|scan| {
                let behind = |key: &str| scan.after.is_none_or(|after| key > after);
                let found = record.values.iter().filter(|read| {
                    read.value.is_some() && read.key.starts_with(scan.prefix) && behind(read.key)
                });
                key.starts_with(scan.prefix) && behind(key) && found.count() < scan.limit as usize
            })
        };
        let values = self.values.iter().map(|(key, _)| key);
        let values = values.filter(|key| !known(key) && !inside(key));
        let values = values.map(|key| format!("get {key:?}"));
        let scans = self.scans.iter().filter(|scan| {
            !record.scans.iter().any(|known| {
                known.prefix == &*scan.prefix
                    && known.after == scan.after.as_deref()
                    && known.limit as usize >= scan.limit
            })
        });
        let scans = scans.map(|scan| match &scan.after {
            Some(after) => format!("scan {:?} behind {after:?}, {} entries", scan.prefix, scan.limit),
            None => format!("scan {:?}, {} entries", scan.prefix, scan.limit),
        });
        let mut missing: Vec<String> = values.chain(scans).collect();
        missing.dedup();
        missing
    }

    /// Whether `bytes` more are kept.
    fn keeps(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes + ENTRY_BYTES);
        if self.bytes > MOST_BYTES {
            self.cut = true;
        }
        !self.cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entries: &[(&str, &'static str)]) -> KeyValues {
        let entries = entries.iter();
        entries
            .map(|(key, value)| ((*key).into(), Bytes::from_static(value.as_bytes())))
            .collect()
    }

    #[test]
    fn a_value_that_was_read_and_changed_is_noticed_and_others_do_not_matter() {
        let state = state(&[("a", "1"), ("b", "1")]);
        let mut reads = Reads::default();
        assert_eq!(reads.get(&state, "a".into()).as_deref(), Some(&b"1"[..]));
        assert_eq!(reads.get(&state, "none".into()), None);
        state.write("b", Some("2".into()));
        assert!(!reads.changed(&state));
        state.write("none", Some("".into()));
        assert!(reads.changed(&state), "what was not there is there now");
        state.write("none", None);
        assert!(!reads.changed(&state), "and is gone again");
        state.write("a", Some("2".into()));
        assert!(reads.changed(&state));
        reads.get(&state, "a".into());
        state.write("a", Some("1".into()));
        assert!(reads.changed(&state), "one read saw 1, the other 2");
    }

    #[test]
    fn an_entry_that_comes_into_a_scan_is_noticed_within_its_range_only() {
        let state = state(&[("k/1", ""), ("k/3", ""), ("k/5", "")]);
        let mut reads = Reads::default();
        assert_eq!(reads.scan(&state, "k/", Some("k/1"), 1).len(), 1);
        for outside in ["k/1", "k/0", "k/4", "l"] {
            state.write(outside, Some("x".into()));
            assert!(!reads.changed(&state), "{outside}");
        }
        state.write("k/2", Some("x".into()));
        assert!(reads.changed(&state));
    }

    #[test]
    fn a_record_has_what_was_read_once_and_says_where_it_is_cut() {
        let state = state(&[("k/1", "a"), ("k/2", "b"), ("large", "")]);
        let mut reads = Reads::default();
        for key in ["none", "k/1", "k/1"] {
            reads.get(&state, key.into());
        }
        reads.scan(&state, "k/", None, 10);
        let record = reads.record(99);
        let read: Vec<_> = record.values.iter().map(|read| (read.key, read.value)).collect();
        assert_eq!(
            read,
            [("k/1", Some(&b"a"[..])), ("k/2", Some(b"b")), ("none", None)]
        );
        assert_eq!(
            (record.scans.len(), record.state_bytes, record.cut),
            (1, 99, false)
        );
        assert!(reads.missing_in(&record).is_empty());

        let mut other = Reads::default();
        for key in ["k/2", "k/3", "large"] {
            other.get(&state, key.into());
        }
        other.scan(&state, "k/", Some("k/1"), 10);
        assert_eq!(
            other.missing_in(&record),
            ["get \"large\"", "scan \"k/\" behind \"k/1\", 10 entries"],
            "the range that was looked through to its end has no k/3"
        );

        state.write("large", Some(vec![0; MOST_RECORDED].into()));
        reads.get(&state, "large".into());
        let record = reads.record(99);
        assert!(record.cut && record.values.len() == 3);
    }

    #[test]
    fn where_not_everything_was_kept_a_change_is_taken_for_granted() {
        let state = KeyValues::default();
        state.write("large", Some(vec![0; MOST_BYTES].into()));
        let mut reads = Reads::default();
        assert!(!reads.changed(&state));
        reads.get(&state, "large".into());
        assert!(reads.changed(&state));
        assert!(reads.values.is_empty());
    }
}
