//! Which offsets each event type has in the hot window, and who subscribes to it.
//!
//! This is what makes the cost of an event follow its subscribers: appending looks up one type and rings the
//! bells of those who subscribe to it, and a subscriber merges the offsets of its types without looking at
//! anything else. Offsets that left the hot window are forgotten; who is behind reads the log itself.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use nerve_eventlog::Offset;

use crate::delivery::subscription::Subscription;

/// Rung when there may be something to deliver.
pub type Bell = Arc<tokio::sync::Notify>;

/// Names a subscriber of one [`TypeIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberId(usize);

/// What is next for a subscriber.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Offsets of matching events, ascending; empty when there is nothing.
    Hot(Vec<Offset>),
    /// The subscriber is behind the hot window: read the log from its position up to this offset, which is
    /// the last one below the window.
    Cold(Offset),
}

/// Offsets by type, and subscribers by type.
#[derive(Debug, Default)]
pub struct TypeIndex {
    by_name: HashMap<Box<str>, usize>,
    types: Vec<EventType>,
    vacant: Vec<usize>,
    subscribers: Vec<Subscriber>,
    /// Everything at or above this offset is in the index.
    floor: Offset,
}

#[derive(Debug, Default)]
struct EventType {
    name: Box<str>,
    offsets: VecDeque<Offset>,
    subscribers: Vec<SubscriberId>,
}

#[derive(Debug)]
struct Subscriber {
    subscription: Subscription,
    bell: Bell,
    types: Vec<usize>,
    /// The last of its offsets that was forgotten; where that is not known, the last that may have been.
    forgotten: Offset,
}

impl TypeIndex {
    /// Add a subscriber without a subscription.
    pub fn add(&mut self, bell: Bell) -> SubscriberId {
        self.subscribers.push(Subscriber {
            subscription: Subscription::default(),
            bell,
            types: Vec::new(),
            forgotten: self.below(),
        });
        SubscriberId(self.subscribers.len() - 1)
    }

    /// Replace what `id` subscribes to.
    pub fn subscribe(&mut self, id: SubscriberId, subscription: Subscription) {
        for slot in std::mem::take(&mut self.subscribers[id.0].types) {
            self.types[slot].subscribers.retain(|other| *other != id);
        }
        for (name, &slot) in &self.by_name {
            if subscription.matches(name) {
                self.types[slot].subscribers.push(id);
                self.subscribers[id.0].types.push(slot);
            }
        }
        let forgotten = self.below();
        let subscriber = &mut self.subscribers[id.0];
        (subscriber.subscription, subscriber.forgotten) = (subscription, forgotten);
    }

    /// An event of type `name` is at `offset`, the highest so far.
    pub fn push(&mut self, name: &str, offset: Offset) {
        let slot = match self.by_name.get(name) {
            Some(slot) => *slot,
            None => self.new_type(name),
        };
        self.types[slot].offsets.push_back(offset);
    }

    /// [`Self::push`], and ring the bells of its subscribers.
    pub fn push_and_ring(&mut self, name: &str, offset: Offset) {
        let slot = match self.by_name.get(name) {
            Some(slot) => *slot,
            None => self.new_type(name),
        };
        let event_type = &mut self.types[slot];
        event_type.offsets.push_back(offset);
        for id in &event_type.subscribers {
            self.subscribers[id.0].bell.notify_one();
        }
    }

    /// The next offsets behind `after`, at most `limit`, for a subscriber. One of which nothing was forgotten behind
    /// `after` is not behind, however much of others' was.
    pub fn next(&self, id: SubscriberId, after: Offset, limit: usize) -> Next {
        let subscriber = &self.subscribers[id.0];
        if after < subscriber.forgotten {
            return Next::Cold(self.below());
        }
        Next::Hot(self.merge(&subscriber.types, after, limit))
    }

    /// The last offset below the floor.
    fn below(&self) -> Offset {
        Offset(self.floor.0.saturating_sub(1))
    }

    /// How many offsets in the index lie behind `after` and match `subscription`.
    pub fn count(&self, subscription: &Subscription, after: Offset) -> usize {
        self.by_name
            .iter()
            .filter(|(name, _)| subscription.matches(name))
            .map(|(_, &slot)| {
                let offsets = &self.types[slot].offsets;
                offsets.len() - offsets.partition_point(|offset| *offset <= after)
            })
            .sum()
    }

    /// The newest offsets of type `name` in the index, at most `limit`, ascending.
    pub fn newest(&self, name: &str, limit: usize) -> Vec<Offset> {
        let offsets = self.by_name.get(name).map(|&slot| &self.types[slot].offsets);
        offsets.map_or_else(Vec::new, |offsets| {
            offsets
                .range(offsets.len().saturating_sub(limit)..)
                .copied()
                .collect()
        })
    }

    /// The first offset that the index knows everything from.
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// Forget everything below `floor`.
    pub fn forget_below(&mut self, floor: Offset) {
        self.floor = self.floor.max(floor);
        for slot in 0..self.types.len() {
            let event_type = &mut self.types[slot];
            let gone = event_type.offsets.partition_point(|offset| *offset < floor);
            if let Some(last) = event_type.offsets.drain(..gone).next_back() {
                for id in &event_type.subscribers {
                    let forgotten = &mut self.subscribers[id.0].forgotten;
                    *forgotten = last.max(*forgotten);
                }
            }
            if event_type.offsets.is_empty() && !event_type.name.is_empty() {
                self.remove_type(slot);
            }
        }
    }

    fn merge(&self, types: &[usize], after: Offset, limit: usize) -> Vec<Offset> {
        let mut out: Vec<Offset> = Vec::new();
        for &slot in types {
            let offsets = &self.types[slot].offsets;
            let from = offsets.partition_point(|offset| *offset <= after);
            out.extend(offsets.range(from..).take(limit));
        }
        if types.len() > 1 {
            out.sort_unstable();
            out.truncate(limit);
        }
        out
    }

    fn new_type(&mut self, name: &str) -> usize {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.types.push(EventType::default());
            self.types.len() - 1
        });
        self.types[slot].name = name.into();
        for (id, subscriber) in self.subscribers.iter_mut().enumerate() {
            if subscriber.subscription.matches(name) {
                self.types[slot].subscribers.push(SubscriberId(id));
                subscriber.types.push(slot);
            }
        }
        self.by_name.insert(name.into(), slot);
        slot
    }

    fn remove_type(&mut self, slot: usize) {
        let gone = std::mem::take(&mut self.types[slot]);
        for id in gone.subscribers {
            self.subscribers[id.0].types.retain(|other| *other != slot);
        }
        self.by_name.remove(&gone.name);
        self.vacant.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(offsets: &[u64]) -> Next {
        Next::Hot(offsets.iter().copied().map(Offset).collect())
    }

    fn subscription(patterns: &[&str]) -> Subscription {
        Subscription::new(
            patterns
                .iter()
                .map(|p| (p.parse().expect("a pattern"), Offset(1)))
                .collect(),
        )
    }

    #[test]
    fn a_subscriber_gets_the_offsets_of_its_types_in_order() {
        let mut index = TypeIndex::default();
        index.push("order.placed", Offset(1));
        let id = index.add(Bell::default());
        index.subscribe(id, subscription(&["order.*"]));
        index.push("user.registered", Offset(2));
        index.push("order.paid", Offset(3));
        index.push("order.placed", Offset(4));
        assert_eq!(index.next(id, Offset(0), 10), hot(&[1, 3, 4]));
        assert_eq!(index.next(id, Offset(1), 1), hot(&[3]));
        index.subscribe(id, subscription(&["user.>"]));
        assert_eq!(index.next(id, Offset(0), 10), hot(&[2]));
        assert_eq!(index.count(&subscription(&["order.>"]), Offset(1)), 2);
    }

    #[tokio::test]
    async fn invariant_10_only_subscribers_are_woken() {
        let mut index = TypeIndex::default();
        let (rung, silent) = (Bell::default(), Bell::default());
        let id = index.add(rung.clone());
        index.subscribe(id, subscription(&["a"]));
        let other = index.add(silent.clone());
        index.subscribe(other, subscription(&["b"]));
        index.push_and_ring("a", Offset(1));
        rung.notified().await;
        let idle = std::future::poll_fn(|cx| {
            let notified = std::pin::pin!(silent.notified());
            std::task::Poll::Ready(notified.poll(cx).is_pending())
        });
        assert!(idle.await, "a plugin that does not subscribe is not woken");
    }

    #[test]
    fn forgotten_offsets_send_the_subscriber_to_the_log_and_free_their_types() {
        let mut index = TypeIndex::default();
        let id = index.add(Bell::default());
        index.subscribe(id, subscription(&[">"]));
        (1..=100).for_each(|n| index.push(&format!("t.n{n}"), Offset(n)));
        index.forget_below(Offset(91));
        assert_eq!(index.by_name.len(), 10);
        assert_eq!(index.next(id, Offset(7), 5), Next::Cold(Offset(90)));
        assert_eq!(index.next(id, Offset(90), 2), hot(&[91, 92]));
        index.push("t.again", Offset(101));
        assert_eq!(index.next(id, Offset(100), 2), hot(&[101]));
    }

    #[test]
    fn who_missed_nothing_is_not_sent_to_the_log_for_what_others_did() {
        let mut index = TypeIndex::default();
        let id = index.add(Bell::default());
        index.subscribe(id, subscription(&["rare"]));
        index.push("rare", Offset(1));
        (2..=100).for_each(|n| index.push("often", Offset(n)));
        index.forget_below(Offset(91));
        assert_eq!(index.next(id, Offset(0), 5), Next::Cold(Offset(90)));
        assert_eq!(index.next(id, Offset(1), 5), hot(&[]));
        index.push("rare", Offset(101));
        assert_eq!(index.next(id, Offset(1), 5), hot(&[101]));
        index.subscribe(id, subscription(&["rare", "often"]));
        assert_eq!(
            index.next(id, Offset(1), 5),
            Next::Cold(Offset(90)),
            "what it subscribes to now may have been forgotten"
        );
    }
}
