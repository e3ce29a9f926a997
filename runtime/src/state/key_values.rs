//! A plugin's settled state: an ordered key-value space that handlers and applications read.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

/// The settled key-value space of one plugin. Only settling writes it; a handler's own writes lie over it
/// until then.
#[derive(Debug, Default)]
pub struct KeyValues {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Box<str>, Bytes>,
    bytes: usize,
}

impl KeyValues {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.inner.read().entries.get(key).cloned()
    }

    /// Up to `limit` entries whose key starts with `prefix`, ascending, beginning behind `after`.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(Box<str>, Bytes)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.inner
            .read()
            .entries
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.inner.read().entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Put `value` at `key`, or remove the key.
    pub(crate) fn write(&self, key: &str, value: Option<Bytes>) {
        let mut inner = self.inner.write();
        let added = value.as_ref().map_or(0, |value| key.len() + value.len());
        let previous = match value {
            Some(value) => inner.entries.insert(key.into(), value),
            None => inner.entries.remove(key),
        };
        inner.bytes = inner.bytes + added - previous.map_or(0, |value| key.len() + value.len());
    }
}
