//! What holds a low-water mark back: a sorted set whose members mostly come at its end and go at its beginning.

use std::collections::VecDeque;

use nerve_eventlog::Offset;

/// Where the mark is held, and for which event.
pub(super) type Held = (Offset, Offset);

/// What holds a mark back.
#[derive(Debug, Default)]
pub(super) struct Holds(VecDeque<Held>);

impl Holds {
    /// Where `held` is, or belongs.
    fn place(&self, held: Held) -> Result<usize, usize> {
        match (self.0.front(), self.0.back()) {
            (Some(first), _) if *first == held => Ok(0),
            (_, Some(last)) if *last > held => self.0.binary_search(&held),
            (_, Some(last)) if *last == held => Ok(self.0.len() - 1),
            _ => Err(self.0.len()),
        }
    }

    pub(super) fn insert(&mut self, held: Held) {
        if let Err(place) = self.place(held) {
            self.0.insert(place, held);
        }
    }

    pub(super) fn remove(&mut self, held: Held) {
        if let Ok(place) = self.place(held) {
            self.0.remove(place);
        }
    }

    pub(super) fn contains(&self, held: Held) -> bool {
        self.place(held).is_ok()
    }

    /// Where the mark is held.
    pub(super) fn lowest(&self) -> Option<Offset> {
        self.0.front().map(|(from, _)| *from)
    }

    /// Whether the mark is held for `event`.
    pub(super) fn are_for(&self, event: Offset) -> bool {
        self.0.iter().any(|(_, held)| *held == event)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_sorted_set_in_whatever_order_its_members_come_and_go() {
        let mut dice = fastrand::Rng::with_seed(7);
        let (mut holds, mut set) = (Holds::default(), BTreeSet::new());
        for step in 0..20_000 {
            // Small numbers, so that the same ones come again.
            let held = (Offset(dice.u64(..40)), Offset(dice.u64(..2)));
            assert_eq!(holds.contains(held), set.contains(&held), "step {step}");
            if dice.bool() {
                holds.insert(held);
                set.insert(held);
            } else {
                holds.remove(held);
                set.remove(&held);
            }
            assert!(holds.0.iter().eq(&set), "step {step}");
            assert_eq!(holds.lowest(), set.first().map(|(from, _)| *from));
            assert_eq!(
                holds.are_for(held.1),
                set.iter().any(|(_, event)| *event == held.1)
            );
        }
    }
}
