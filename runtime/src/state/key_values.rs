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

    /// The part of a space of `bytes` bytes that an attempt read, to make the attempt again.
    pub fn recorded(entries: impl Iterator<Item = (Box<str>, Bytes)>, bytes: usize) -> Self {
        let part: Self = entries.collect();
        part.inner.write().bytes = bytes;
        part
    }

    /// Hold what `other` holds from now on, which is left empty.
    pub(crate) fn take(&self, other: &Self) {
        let taken = std::mem::take(&mut *other.inner.write());
        *self.inner.write() = taken;
    }

    /// A copy of its own.
    pub(crate) fn snapshot(&self) -> Self {
        let inner = self.inner.read();
        let entries = inner.entries.iter();
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
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

impl FromIterator<(Box<str>, Bytes)> for KeyValues {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Bytes)>>(entries: I) -> Self {
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self {
            inner: RwLock::new(Inner { entries, bytes }),
        }
    }
}

/// How a shared key-value space stands in a checkpoint: as a map.
pub(super) mod shared {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::KeyValues;

    pub(in crate::state) fn serialize<S: Serializer>(
        shared: &Arc<KeyValues>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        shared.inner.read().entries.serialize(to)
    }

    pub(in crate::state) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<KeyValues>, D::Error> {
        Ok(Arc::new(BTreeMap::deserialize(from)?.into_iter().collect()))
    }
}
