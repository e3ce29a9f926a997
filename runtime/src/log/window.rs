//! Which identities were published lately: publishing one again answers with the first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use nerve_eventlog::{Micros, Offset};

use crate::ingest::Identity;

/// How much the window remembers. Beyond it, publishing an identity again makes a second event.
#[derive(Debug, Clone, Copy)]
pub struct WindowOptions {
    /// Identities at most; about 64 bytes each. Default 1,000,000.
    pub count: usize,
    /// How long at most. Default one day.
    pub time: Duration,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            count: 1_000_000,
            time: Duration::from_hours(24),
        }
    }
}

/// What the window knows of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Never,
    /// The same event is at this offset.
    Same(Offset),
    /// Another event with this identity is at this offset.
    Other(Offset),
}

/// The identities published lately.
#[derive(Debug)]
pub struct Window {
    options: WindowOptions,
    seen: HashMap<u128, (Offset, u64)>,
    order: Remembered,
}

/// An identity, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    identity: Identity,
    offset: Offset,
    time: Micros,
}

/// Identities in the order of the log. Cloning shares all but the newest few thousand.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    full: VecDeque<Arc<Vec<Entry>>>,
    newest: Vec<Entry>,
    /// Entries forgotten at the front of the oldest part.
    forgotten: usize,
}

/// Entries of a full part.
const PART: usize = 4096;

/// Bytes of an entry in a checkpoint.
const ENTRY: usize = 40;

impl Remembered {
    fn parts(&self) -> impl Iterator<Item = &[Entry]> {
        let parts = self.full.iter().map(|part| &part[..]).chain([&self.newest[..]]);
        parts
            .enumerate()
            .map(|(at, part)| if at == 0 { &part[self.forgotten..] } else { part })
    }

    fn oldest(&self) -> Option<&Entry> {
        self.full
            .front()
            .map_or(&self.newest[..], |part| &part[..])
            .get(self.forgotten)
    }

    fn forget_oldest(&mut self) {
        self.forgotten += 1;
        if self.full.front().is_some_and(|part| part.len() == self.forgotten) {
            self.full.pop_front();
            self.forgotten = 0;
        }
    }

    fn push(&mut self, entry: Entry) {
        self.newest.push(entry);
        if self.newest.len() == PART {
            let part = std::mem::replace(&mut self.newest, Vec::with_capacity(PART));
            self.full.push_back(Arc::new(part));
        }
    }

    /// The entries as a checkpoint keeps them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.parts().map(<[Entry]>::len).sum::<usize>() * ENTRY);
        for entry in self.parts().flatten() {
            out.extend_from_slice(&entry.identity.name.to_le_bytes());
            for word in [entry.identity.content, entry.offset.0, entry.time.0] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        out
    }
}

impl Window {
    /// An empty window.
    pub fn new(options: WindowOptions) -> Self {
        Self {
            options,
            seen: HashMap::new(),
            order: Remembered::default(),
        }
    }

    /// The window that a checkpoint holds in `bytes`.
    pub fn from_bytes(options: WindowOptions, bytes: &[u8]) -> Self {
        let mut window = Self::new(options);
        window.seen.reserve(bytes.len() / ENTRY);
        let (words, _) = bytes.as_chunks::<8>();
        let (entries, _) = words.as_chunks::<{ ENTRY / 8 }>();
        for entry in entries {
            let [low, high, content, offset, time] = entry.map(u64::from_le_bytes);
            let name = u128::from(low) | u128::from(high) << 64;
            window.insert(Identity { name, content }, Offset(offset), Micros(time));
        }
        window
    }

    /// What is remembered, in the order of the log.
    pub fn remembered(&self) -> Remembered {
        self.order.clone()
    }

    /// What is known of `identity`.
    pub fn look_up(&self, identity: Identity) -> Seen {
        match self.seen.get(&identity.name) {
            None => Seen::Never,
            Some((offset, content)) if *content == identity.content => Seen::Same(*offset),
            Some((offset, _)) => Seen::Other(*offset),
        }
    }

    /// When the event at `offset` was appended, where it is remembered.
    pub fn recorded(&self, offset: Offset) -> Option<Micros> {
        let mut parts = self.order.parts();
        parts.find_map(|part| {
            let at = part.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
            Some(part[at].time)
        })
    }

    /// Remember that `identity` is at `offset`, appended at `time`, and forget what is too old.
    pub fn insert(&mut self, identity: Identity, offset: Offset, time: Micros) {
        self.seen.insert(identity.name, (offset, identity.content));
        self.order.push(Entry {
            identity,
            offset,
            time,
        });
        let longest = u64::try_from(self.options.time.as_micros()).unwrap_or(u64::MAX);
        while let Some(oldest) = self.order.oldest().copied().filter(|oldest| {
            self.seen.len() > self.options.count || time.0.saturating_sub(oldest.time.0) > longest
        }) {
            let name = oldest.identity.name;
            // It may have been published again since it was forgotten for its age.
            if self
                .seen
                .get(&name)
                .is_some_and(|(offset, _)| *offset == oldest.offset)
            {
                self.seen.remove(&name);
            }
            self.order.forget_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: u128, content: u64) -> Identity {
        Identity { name, content }
    }

    #[test]
    fn the_same_identity_is_a_duplicate_and_with_other_content_a_conflict() {
        let mut window = Window::new(WindowOptions::default());
        window.insert(identity(1, 7), Offset(5), Micros(0));
        assert_eq!(window.look_up(identity(1, 7)), Seen::Same(Offset(5)));
        assert_eq!(window.look_up(identity(1, 8)), Seen::Other(Offset(5)));
        assert_eq!(window.look_up(identity(2, 7)), Seen::Never);
    }

    #[test]
    fn the_window_is_bounded_in_count_and_time() {
        let mut window = Window::new(WindowOptions {
            count: 2,
            time: Duration::from_micros(10),
        });
        (1..=3).for_each(|n| window.insert(identity(n, 0), Offset(1), Micros(0)));
        assert_eq!(window.look_up(identity(1, 0)), Seen::Never);
        assert_eq!(window.look_up(identity(2, 0)), Seen::Same(Offset(1)));
        window.insert(identity(4, 0), Offset(2), Micros(11));
        assert_eq!(window.look_up(identity(3, 0)), Seen::Never);
        assert_eq!(window.seen.len(), window.order.parts().flatten().count());
    }

    #[test]
    fn a_window_goes_through_a_checkpoint_and_forgets_as_before() {
        let options = WindowOptions {
            count: 5000,
            ..WindowOptions::default()
        };
        let mut window = Window::new(options);
        for n in 0..12_000 {
            window.insert(identity(n, 7), Offset(1), Micros(0));
        }
        let remembered = window.remembered();
        window.insert(identity(12_000, 7), Offset(1), Micros(0));
        let mut again = Window::from_bytes(options, &remembered.to_bytes());
        assert_eq!(again.look_up(identity(12_000, 7)), Seen::Never);
        assert_eq!(again.look_up(identity(7000, 7)), Seen::Same(Offset(1)));
        assert_eq!(again.look_up(identity(6999, 7)), Seen::Never);
        again.insert(identity(12_000, 7), Offset(1), Micros(0));
        assert_eq!(again.remembered().to_bytes(), window.remembered().to_bytes());
    }
}
