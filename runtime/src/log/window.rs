//! Which identities were published lately: publishing one again answers with the first.

use std::collections::VecDeque;
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
    order: VecDeque<(u128, Micros)>,
}

impl Window {
    /// An empty window.
    pub fn new(options: WindowOptions) -> Self {
        Self {
            options,
            seen: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What is known of `identity`.
    pub fn look_up(&self, identity: Identity) -> Seen {
        match self.seen.get(&identity.name) {
            None => Seen::Never,
            Some((offset, content)) if *content == identity.content => Seen::Same(*offset),
            Some((offset, _)) => Seen::Other(*offset),
        }
    }

    /// Remember that `identity` is at `offset`, appended at `time`, and forget what is too old.
    pub fn insert(&mut self, identity: Identity, offset: Offset, time: Micros) {
        self.seen.insert(identity.name, (offset, identity.content));
        self.order.push_back((identity.name, time));
        let longest = u64::try_from(self.options.time.as_micros()).unwrap_or(u64::MAX);
        while self.order.front().is_some_and(|(_, then)| {
            self.order.len() > self.options.count || time.0.saturating_sub(then.0) > longest
        }) {
            if let Some((name, _)) = self.order.pop_front() {
                self.seen.remove(&name);
            }
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
        assert_eq!(window.seen.len(), window.order.len());
    }
}
