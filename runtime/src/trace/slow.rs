//! The slowest way through a causal tree: from its first event to what ended last.

use nerve_eventlog::Micros;

use super::{Delivery, Node};

/// Mark the slowest way below `root`; answers how long it took, in microseconds. Where there is but one delivery, there is
/// nothing to tell apart, and nothing is marked.
pub(super) fn mark(root: &mut Node) -> u64 {
    let took = ends(root).0.saturating_sub(root.entry.time.0);
    if length(root) > 2 {
        follow(root);
    }
    took
}

/// Events and deliveries on the slowest way.
fn length(node: &Node) -> usize {
    let Some(delivery) = node.deliveries.iter().max_by_key(|one| ends_with(one)) else {
        return 1;
    };
    2 + next(delivery).map_or(0, |at| length(&delivery.emitted[at]))
}

fn follow(node: &mut Node) {
    node.slow = true;
    let Some(delivery) = node.deliveries.iter_mut().max_by_key(|one| ends_with(one)) else {
        return;
    };
    delivery.slow = true;
    if let Some(at) = next(delivery) {
        follow(&mut delivery.emitted[at]);
    }
}

/// The emitted event by which the way goes on: nothing where the handler itself ended last.
fn next(delivery: &Delivery) -> Option<usize> {
    let all = delivery.emitted.iter().map(ends).enumerate();
    let (at, ended) = all.max_by_key(|(_, ended)| *ended)?;
    (ended > delivery.ended).then_some(at)
}

/// When all that came of an event had ended.
fn ends(node: &Node) -> Micros {
    let ends = node.deliveries.iter().map(ends_with);
    ends.fold(node.entry.time, Micros::max)
}

fn ends_with(delivery: &Delivery) -> Micros {
    delivery
        .emitted
        .iter()
        .map(ends)
        .fold(delivery.ended, Micros::max)
}
