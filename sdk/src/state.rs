//! The plugin's private, ordered key-value space, with typed values.

use std::vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StateError;
use crate::{host, payload};

/// Entries fetched from the host at a time by a scan.
const PAGE: u32 = 256;

/// The plugin's state. Reads see this delivery's own writes and everything settled before it; writes are
/// settled with the delivery, or dropped with it.
///
/// Values are kept as MessagePack, so that what is declared readable can be shown as JSON.
#[derive(Debug)]
pub struct State(pub(crate) ());

impl State {
    /// The value of `key`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        host::state_get(key).map(|bytes| parse(key, &bytes)).transpose()
    }

    /// Set `key` (1 to 512 bytes) to `value`.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), StateError> {
        let bytes = payload::encode(value).map_err(StateError::Value)?;
        host::state_set(key, bytes)
    }

    /// Change the value of `key`, starting from the default where there is none, and give the new value.
    ///
    /// ```no_run
    /// # fn f(ctx: &mut nerve_sdk::Context<()>) -> Result<(), nerve_sdk::Failure> {
    /// let count = ctx.state().update("count", |count: &mut u64| *count += 1)?;
    /// # Ok(()) }
    /// ```
    pub fn update<T>(&mut self, key: &str, change: impl FnOnce(&mut T)) -> Result<T, StateError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let mut value = self.get(key)?.unwrap_or_default();
        change(&mut value);
        self.set(key, &value)?;
        Ok(value)
    }

    /// Remove `key`. Removing what is not there is no error.
    pub fn delete(&mut self, key: &str) -> Result<(), StateError> {
        host::state_delete(key)
    }

    /// Every entry whose key starts with `prefix`, ascending by the bytes of the key, fetched in pages.
    pub fn scan<T: DeserializeOwned>(&self, prefix: &str) -> Scan<T> {
        Scan {
            prefix: prefix.to_owned(),
            after: None,
            page: Vec::new().into_iter(),
            end: false,
            value: std::marker::PhantomData,
        }
    }
}

/// The entries under a prefix: see [`State::scan`].
#[derive(Debug)]
pub struct Scan<T> {
    prefix: String,
    after: Option<String>,
    page: vec::IntoIter<(String, Vec<u8>)>,
    end: bool,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Scan<T> {
    type Item = Result<(String, T), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, bytes)) = self.page.next() {
                if self.page.len() == 0 {
                    self.after = Some(key.clone());
                }
                return Some(parse(&key, &bytes).map(|value| (key, value)));
            }
            if self.end {
                return None;
            }
            let page = host::state_scan(&self.prefix, self.after.as_deref(), PAGE);
            self.end = page.is_empty();
            self.page = page.into_iter();
        }
    }
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StateError> {
    payload::decode(bytes).map_err(|reason| {
        let mut text = String::from("the value of ");
        text.push_str(key);
        text.push_str(" can't be read: ");
        text.push_str(&reason);
        StateError::Value(text)
    })
}
