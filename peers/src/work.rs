//! The unit of work, the same everywhere: an event of 256 bytes, a handler that parses it and emits one event, and a
//! ledger of what was handled.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of an event.
pub const EVENT_BYTES: usize = 256;

/// Runs that warm a server up before the one that counts. nerve runs until its hot window is full, three times at most: with
/// as many events as are the default that is twice, too.
pub const WARM_UPS: usize = 2;

#[derive(Serialize)]
struct In<'a> {
    id: u64,
    user: &'a str,
    amount: u64,
    note: &'a str,
}

/// An event as the handler reads it: every field becomes its own, as in the plugin that nerve runs.
#[derive(Deserialize)]
struct Read {
    id: u64,
    user: String,
    amount: u64,
    #[serde(rename = "note")]
    _note: String,
}

#[derive(Serialize)]
struct Out<'a> {
    id: u64,
    user: &'a str,
    amount: u64,
}

/// Event number `id`, as MessagePack.
fn event(id: usize) -> Bytes {
    let user = format!("user-{:05}", id % 1000);
    let encode = |note: &str| {
        let event = In {
            id: id as u64,
            user: &user,
            amount: id as u64 % 977,
            note,
        };
        rmp_serde::to_vec_named(&event).expect("plain fields can be encoded")
    };
    // A note of 32 bytes or more has a length of two bytes, an empty one of one.
    let note = EVENT_BYTES - encode("").len() - 1;
    encode(&"mind the dog, for it barks; ".repeat(10)[..note]).into()
}

/// As many events, numbered from 0.
pub fn events(count: usize) -> Vec<Bytes> {
    (0..count).map(event).collect()
}

/// The handler: parses, and encodes the event that it emits. Answers the number of the event, too.
pub fn handle(event: &[u8]) -> anyhow::Result<(u64, Vec<u8>)> {
    let Read { id, user, amount, .. } = rmp_serde::from_slice(event).context("an event can't be read")?;
    let user = &user;
    let emitted = rmp_serde::to_vec_named(&Out { id, user, amount })?;
    Ok((id, emitted))
}

/// Which events were handled.
pub struct Ledger(Vec<AtomicBool>);

impl Ledger {
    /// Of as many events, none handled.
    pub fn new(events: usize) -> Self {
        Self((0..events).map(|_| AtomicBool::new(false)).collect())
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.0.len()
    }

    /// Event `id` was handled: an error where it is none of these, or was handled before.
    pub fn handled(&self, id: u64) -> anyhow::Result<()> {
        let place = usize::try_from(id).ok().and_then(|id| self.0.get(id));
        let Some(place) = place else {
            bail!("an event has the number {id}, which nobody published");
        };
        if place.swap(true, Ordering::Relaxed) {
            bail!("event {id} was handled twice");
        }
        Ok(())
    }

    /// An error unless every event was handled, and the server has as many emitted ones.
    pub fn check(&self, emitted: u64) -> anyhow::Result<()> {
        let events = self.0.len();
        let handled = self.0.iter().filter(|one| one.load(Ordering::Relaxed)).count();
        if handled != events || emitted != events as u64 {
            bail!("of {events} events {handled} were handled, and {emitted} emitted ones are there");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_256_bytes_and_is_read_back() {
        for id in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 999_999] {
            let event = event(id);
            assert_eq!(event.len(), EVENT_BYTES);
            let (read, emitted) = handle(&event).unwrap();
            assert_eq!(read, id as u64);
            let emitted: serde_json::Value = rmp_serde::from_slice(&emitted).unwrap();
            assert_eq!(emitted["amount"], id as u64 % 977);
            assert!(emitted.get("note").is_none());
        }
    }

    #[test]
    fn a_figure_counts_only_when_all_was_handled_once_and_emitted() {
        let ledger = Ledger::new(2);
        ledger.handled(1).unwrap();
        assert!(ledger.handled(1).is_err(), "twice");
        assert!(ledger.handled(2).is_err(), "never published");
        assert!(ledger.check(2).is_err(), "event 0 was not handled");
        ledger.handled(0).unwrap();
        assert!(ledger.check(1).is_err(), "an emitted one is missing");
        ledger.check(2).unwrap();
    }
}
