//! Which identities were published lately: publishing one again answers with the first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::hash_table::{Entry as Slot, HashTable};
use nerve_eventlog::{Micros, Offset};
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ingest::Identity;

/// How much the window remembers. Beyond it, publishing an identity again makes a second event.
#[derive(Debug, Clone, Copy)]
pub struct WindowOptions {
    /// Identities at most; about 67 bytes each. Default 1,000,000.
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
    seen: HashTable<Place>,
    order: Remembered,
}

/// Where a name is remembered.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// So much of the name, that the table grows without looking at the names, which lie far apart.
    low: u32,
    number: Number,
}

/// Which of all entries that were ever remembered, modulo 2^32: more are never remembered at once.
type Number = u32;

impl Place {
    fn new(name: u128, number: Number) -> Self {
        Self {
            low: low(name),
            number,
        }
    }

    fn hash(self) -> u64 {
        hash(self.low)
    }

    fn is_of(self, name: u128, order: &Remembered) -> bool {
        self.low == low(name) && order.get(self.number).name == name
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a part of it is wanted")]
fn low(name: u128) -> u32 {
    name as u32
}

/// Names are keyed hashes themselves. The table takes its place from the lower bits, and what it looks at first from the upper ones.
fn hash(low: u32) -> u64 {
    u64::from(low) << 32 | u64::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "numbers go round")]
fn number(at: usize) -> Number {
    at as Number
}

/// An identity, and where it is: in memory as a checkpoint has it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    name: U128,
    content: U64,
    offset: U64,
    time: U64,
}

impl Entry {
    fn offset(&self) -> Offset {
        Offset(self.offset.get())
    }

    fn time(&self) -> Micros {
        Micros(self.time.get())
    }
}

/// Identities in the order of the log. Cloning shares all but the newest few thousand.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    full: VecDeque<Arc<Vec<Entry>>>,
    newest: Vec<Entry>,
    /// Entries forgotten at the front of the oldest part.
    forgotten: usize,
    /// The number of the oldest part's first entry.
    first: Number,
}

/// Entries of a full part.
const PART: usize = 4096;

impl Remembered {
    fn parts(&self) -> impl Iterator<Item = &[Entry]> {
        let parts = self.full.iter().map(|part| &part[..]).chain([&self.newest[..]]);
        parts
            .enumerate()
            .map(|(at, part)| if at == 0 { &part[self.forgotten..] } else { part })
    }

    fn oldest(&self) -> Option<(Number, &Entry)> {
        let oldest = self.full.front().map_or(&self.newest[..], |part| &part[..]);
        let number = self.first.wrapping_add(number(self.forgotten));
        Some((number, oldest.get(self.forgotten)?))
    }

    /// The entry of this number, which is remembered.
    fn get(&self, number: Number) -> &Entry {
        let at = number.wrapping_sub(self.first) as usize;
        let part = self
            .full
            .get(at / PART)
            .map_or(&self.newest[..], |part| &part[..]);
        &part[at % PART]
    }

    fn forget_oldest(&mut self) {
        self.forgotten += 1;
        if self.full.front().is_some_and(|part| part.len() == self.forgotten) {
            self.full.pop_front();
            self.forgotten = 0;
            self.first = self.first.wrapping_add(number(PART));
        }
    }

    /// Answers the entry's number.
    fn push(&mut self, entry: Entry) -> Number {
        let at = number(self.full.len() * PART + self.newest.len());
        self.newest.push(entry);
        if self.newest.len() == PART {
            let part = std::mem::replace(&mut self.newest, Vec::with_capacity(PART));
            self.full.push_back(Arc::new(part));
        }
        self.first.wrapping_add(at)
    }

    /// The entries as a checkpoint keeps them, one part behind the other.
    pub fn as_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().map(IntoBytes::as_bytes)
    }
}

impl Window {
    /// An empty window.
    pub fn new(options: WindowOptions) -> Self {
        Self {
            options,
            seen: HashTable::new(),
            order: Remembered::default(),
        }
    }

    /// The window that a checkpoint holds in these `parts`, each of whole entries.
    pub fn from_bytes(options: WindowOptions, parts: &[impl AsRef<[u8]>]) -> Self {
        let mut window = Self::new(options);
        for part in parts {
            let (entries, _) = part.as_ref().as_chunks::<{ size_of::<Entry>() }>();
            window.seen.reserve(entries.len(), |place| place.hash());
            for entry in entries {
                window.push(zerocopy::transmute!(*entry));
            }
        }
        window
    }

    /// What is remembered, in the order of the log.
    pub fn remembered(&self) -> Remembered {
        self.order.clone()
    }

    /// What is known of `identity`.
    pub fn look_up(&self, identity: Identity) -> Seen {
        let is_it = |place: &Place| place.is_of(identity.name, &self.order);
        let found = self.seen.find(hash(low(identity.name)), is_it);
        match found.map(|place| self.order.get(place.number)) {
            None => Seen::Never,
            Some(found) if found.content == identity.content => Seen::Same(found.offset()),
            Some(found) => Seen::Other(found.offset()),
        }
    }

    /// When the event at `offset` was appended, where it is remembered.
    pub fn recorded(&self, offset: Offset) -> Option<Micros> {
        let mut parts = self.order.parts();
        parts.find_map(|part| {
            let at = part.binary_search_by_key(&offset, Entry::offset).ok()?;
            Some(part[at].time())
        })
    }

    /// Remember that `identity` is at `offset`, appended at `time`, and forget what is too old.
    pub fn insert(&mut self, identity: Identity, offset: Offset, time: Micros) {
        self.push(Entry {
            name: identity.name.into(),
            content: identity.content.into(),
            offset: offset.0.into(),
            time: time.0.into(),
        });
    }

    fn push(&mut self, entry: Entry) {
        let (name, time) = (entry.name.get(), entry.time.get());
        let place = Place::new(name, self.order.push(entry));
        let is_it = |place: &Place| place.is_of(name, &self.order);
        match self.seen.entry(place.hash(), is_it, |place| place.hash()) {
            // It is remembered twice: the newer one counts.
            Slot::Occupied(mut before) => *before.get_mut() = place,
            Slot::Vacant(room) => drop(room.insert(place)),
        }
        let longest = u64::try_from(self.options.time.as_micros()).unwrap_or(u64::MAX);
        while let Some((number, oldest)) = self.order.oldest().filter(|(_, oldest)| {
            self.seen.len() > self.options.count || time.saturating_sub(oldest.time.get()) > longest
        }) {
            let hash = hash(low(oldest.name.get()));
            if let Ok(place) = self.seen.find_entry(hash, |place| place.number == number) {
                place.remove();
            }
            self.order.forget_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(remembered: &Remembered) -> Vec<u8> {
        remembered.as_bytes().collect::<Vec<_>>().concat()
    }

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
        let mut again = Window::from_bytes(options, &[bytes_of(&remembered)]);
        assert_eq!(again.look_up(identity(12_000, 7)), Seen::Never);
        assert_eq!(again.look_up(identity(7000, 7)), Seen::Same(Offset(1)));
        assert_eq!(again.look_up(identity(6999, 7)), Seen::Never);
        again.insert(identity(12_000, 7), Offset(1), Micros(0));
        assert_eq!(bytes_of(&again.remembered()), bytes_of(&window.remembered()));
    }

    /// What the window is to answer, written down as plainly as it can be.
    #[derive(Default)]
    struct Plain(Vec<(u128, u64, Offset, Micros)>);

    impl Plain {
        fn look_up(&self, name: u128, content: u64) -> Seen {
            let found = self.0.iter().rev().find(|(known, ..)| *known == name);
            match found {
                None => Seen::Never,
                Some((_, known, offset, _)) if *known == content => Seen::Same(*offset),
                Some((_, _, offset, _)) => Seen::Other(*offset),
            }
        }

        fn insert(&mut self, new: (u128, u64, Offset, Micros), most: usize, longest: u64) {
            self.0.push(new);
            let names = |all: &[(u128, u64, Offset, Micros)]| {
                let names: std::collections::BTreeSet<_> = all.iter().map(|(name, ..)| name).collect();
                names.len()
            };
            while !self.0.is_empty() && (names(&self.0) > most || new.3.0 - self.0[0].3.0 > longest) {
                self.0.remove(0);
            }
        }
    }

    #[test]
    fn it_answers_what_a_plain_list_does_when_its_numbers_go_round_and_names_begin_alike() {
        let mut dice = fastrand::Rng::with_seed(7);
        for (most, longest) in [(40, 1000), (1000, 90), (5, 7), (0, 9)] {
            let mut window = Window::new(WindowOptions {
                count: most,
                time: Duration::from_micros(longest),
            });
            window.order.first = Number::MAX - 300;
            let mut plain = Plain::default();
            for at in 0..10_000 {
                let name = u128::from(dice.u64(..8)) << 32 | u128::from(dice.u64(..9));
                let content = dice.u64(..2);
                assert_eq!(
                    window.look_up(identity(name, content)),
                    plain.look_up(name, content)
                );
                let (offset, time) = (Offset(at), Micros(at * 2));
                window.insert(identity(name, content), offset, time);
                plain.insert((name, content, offset, time), most, longest);
            }
            assert!(window.order.first < 10_000, "its numbers went round");
        }
    }
}
