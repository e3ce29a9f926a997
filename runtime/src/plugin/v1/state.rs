//! `state`: the settled key-value space, with this delivery's own writes over it.

use super::nerve::plugin::state as wit;
use crate::plugin::guest::Guest;

/// Bytes of the longest key.
const LONGEST_KEY: usize = 512;

/// Entries of one scan at most.
const MOST_ENTRIES: usize = 1000;

impl wit::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.count_call()?;
        Ok(match self.writes.get(&*key) {
            Some(written) => written.as_deref().map(<[u8]>::to_vec),
            None => self
                .handled
                .reads
                .get(&self.state, key)
                .map(|value| value.to_vec()),
        })
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), wit::StateError>> {
        self.count_call()?;
        if let Some(refused) = self.check_key(&key) {
            return Ok(Err(refused));
        }
        let limits = &self.settings.limits;
        if value.len() > limits.state_value_bytes {
            let reason = format!(
                "limit state_value_bytes: the value of {key:?} has {} bytes, and {} are allowed",
                value.len(),
                limits.state_value_bytes
            );
            return Ok(Err(self.state_limit(reason)));
        }
        self.written_bytes += key.len() + value.len();
        if self.state.bytes() + self.written_bytes > limits.state_bytes {
            let reason = format!(
                "limit state_bytes: the state would pass {} bytes",
                limits.state_bytes
            );
            return Ok(Err(self.state_limit(reason)));
        }
        self.writes.insert(key.into(), Some(value.into()));
        Ok(Ok(()))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), wit::StateError>> {
        self.count_call()?;
        if let Some(refused) = self.check_key(&key) {
            return Ok(Err(refused));
        }
        self.writes.insert(key.into(), None);
        Ok(Ok(()))
    }

    fn scan(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Vec<wit::Entry>> {
        self.count_call()?;
        let limit = (limit as usize).min(MOST_ENTRIES);
        let mut out: Vec<wit::Entry> = Vec::new();
        // Own deletions can empty a page of settled entries: go on until the page is full or nothing is left.
        let mut behind = after;
        while out.len() < limit {
            let settled = self
                .handled
                .reads
                .scan(&self.state, &prefix, behind.as_deref(), limit);
            let end = (settled.len() == limit)
                .then(|| settled.last().map(|(key, _)| key.clone()))
                .flatten();
            let mut page: std::collections::BTreeMap<Box<str>, Option<bytes::Bytes>> = settled
                .into_iter()
                .map(|(key, value)| (key, Some(value)))
                .collect();
            for (key, value) in &self.writes {
                let inside = key.starts_with(&*prefix)
                    && behind.as_deref().is_none_or(|behind| &**key > behind)
                    && end.as_ref().is_none_or(|end| key <= end);
                if inside {
                    page.insert(key.clone(), value.clone());
                }
            }
            let there = page.into_iter().filter_map(|(key, value)| Some((key, value?)));
            out.extend(there.map(|(key, value)| wit::Entry {
                key: key.into(),
                value: value.to_vec(),
            }));
            let Some(end) = end else { break };
            behind = Some(end.into());
        }
        out.truncate(limit);
        Ok(out)
    }
}

impl Guest {
    fn check_key(&mut self, key: &str) -> Option<wit::StateError> {
        if (1..=LONGEST_KEY).contains(&key.len()) {
            return None;
        }
        let reason = format!("a state key has {} bytes: write 1 to {LONGEST_KEY}", key.len());
        self.limit_hit(reason.clone());
        Some(wit::StateError::Key(reason))
    }

    fn state_limit(&mut self, reason: String) -> wit::StateError {
        self.limit_hit(reason.clone());
        wit::StateError::Limit(reason)
    }
}
