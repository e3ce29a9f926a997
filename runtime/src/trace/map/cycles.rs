//! Ways on which an event can come round to its own type.
//!
//! The ways make a graph of event types and of what handles them. A plugin declares what it gets and what it emits, and
//! not what it emits for what: so every type that it gets may lead to all that it emits, until enough deliveries of the
//! type were seen to tell. One cycle, the shortest that is found, stands for all that hang together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

/// A cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Each type with the plugin that gets it; what the last one emits is the first one's type.
    pub steps: Vec<Step>,
    /// Whether each step was seen in the log, and not only declared.
    pub seen: bool,
    /// Types that hang together with it.
    pub among: usize,
}

/// One step of a cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The type.
    pub r#type: String,
    /// Who gets it, and emits the next one.
    pub plugin: String,
}

impl std::fmt::Display for Cycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            write!(f, "{} -> {} -> ", step.r#type, step.plugin)?;
        }
        f.write_str(self.steps.first().map_or("", |first| &first.r#type))
    }
}

/// A place on the way of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place<'a> {
    /// An event of a type.
    Type(&'a str),
    /// A plugin has an event of a type.
    Has(&'a str, &'a str),
    /// A plugin emits: whatever it got, it may emit all that it declares.
    Emits(&'a str),
}

/// The ways.
#[derive(Debug, Default)]
pub(super) struct Ways<'a> {
    places: BTreeMap<Place<'a>, usize>,
    names: Vec<Place<'a>>,
    next: Vec<BTreeSet<usize>>,
}

/// Searches for the shortest cycle of those that hang together.
const MOST_SEARCHES: usize = 20;

impl<'a> Ways<'a> {
    fn place(&mut self, place: Place<'a>) -> usize {
        let next = self.names.len();
        let at = *self.places.entry(place).or_insert(next);
        if at == next {
            self.names.push(place);
            self.next.push(BTreeSet::new());
        }
        at
    }

    /// One can go from here to there.
    pub(super) fn add(&mut self, from: Place<'a>, to: Place<'a>) {
        let (from, to) = (self.place(from), self.place(to));
        self.next[from].insert(to);
    }

    /// A cycle for each set of places that lead to each other, with the types in the set.
    pub(super) fn cycles(&self, seen: bool) -> Vec<Cycle> {
        let mut cycles: Vec<Cycle> = self
            .knots()
            .into_iter()
            .filter_map(|knot| self.shortest(&knot, seen))
            .collect();
        cycles.sort_by(|a, b| {
            a.steps
                .len()
                .cmp(&b.steps.len())
                .then_with(|| a.to_string().cmp(&b.to_string()))
        });
        cycles
    }

    /// Sets of more than one place that all lead to each other: Tarjan's, with a stack of its own, so that a long chain
    /// of types needs no deep one.
    fn knots(&self) -> Vec<BTreeSet<usize>> {
        const NEVER: usize = usize::MAX;
        let count = self.names.len();
        let (mut index, mut low) = (vec![NEVER; count], vec![0; count]);
        let (mut on_stack, mut stack, mut found) = (vec![false; count], Vec::new(), Vec::new());
        let mut seen = 0;
        for start in 0..count {
            if index[start] != NEVER {
                continue;
            }
            let mut work = vec![(start, self.next[start].iter())];
            (index[start], low[start], on_stack[start]) = (seen, seen, true);
            stack.push(start);
            seen += 1;
            while let Some((at, rest)) = work.last_mut() {
                let at = *at;
                if let Some(&next) = rest.next() {
                    if index[next] == NEVER {
                        (index[next], low[next], on_stack[next]) = (seen, seen, true);
                        stack.push(next);
                        seen += 1;
                        work.push((next, self.next[next].iter()));
                    } else if on_stack[next] {
                        low[at] = low[at].min(index[next]);
                    }
                    continue;
                }
                work.pop();
                if let Some((before, _)) = work.last() {
                    low[*before] = low[*before].min(low[at]);
                }
                if low[at] == index[at] {
                    let from = stack.iter().rposition(|place| *place == at).unwrap_or_default();
                    let knot: BTreeSet<usize> = stack.drain(from..).collect();
                    for place in &knot {
                        on_stack[*place] = false;
                    }
                    if knot.len() > 1 {
                        found.push(knot);
                    }
                }
            }
        }
        found
    }

    fn shortest(&self, knot: &BTreeSet<usize>, seen: bool) -> Option<Cycle> {
        let types: Vec<usize> = knot
            .iter()
            .copied()
            .filter(|at| matches!(self.names[*at], Place::Type(_)))
            .collect();
        let round = types
            .iter()
            .take(MOST_SEARCHES)
            .filter_map(|from| self.round(*from, knot));
        let round = round.min_by_key(Vec::len)?;
        let mut steps: Vec<Step> = Vec::new();
        for at in round {
            match self.names[at] {
                Place::Type(name) => steps.push(Step {
                    r#type: name.to_owned(),
                    plugin: String::new(),
                }),
                Place::Has(plugin, _) | Place::Emits(plugin) => {
                    if let Some(step) = steps.last_mut() {
                        plugin.clone_into(&mut step.plugin);
                    }
                }
            }
        }
        // The same cycle looks the same, wherever the search began.
        let first = (0..steps.len())
            .min_by_key(|at| &steps[*at].r#type)
            .unwrap_or_default();
        steps.rotate_left(first);
        Some(Cycle {
            steps,
            seen,
            among: types.len(),
        })
    }

    /// The shortest way from a place back to it, inside `knot`.
    fn round(&self, from: usize, knot: &BTreeSet<usize>) -> Option<Vec<usize>> {
        let mut came: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for &next in self.next[at].iter().filter(|next| knot.contains(next)) {
                if next == from {
                    let mut way = vec![at];
                    while let Some(before) = came.get(way.last()?) {
                        way.push(*before);
                    }
                    way.reverse();
                    return Some(way);
                }
                if let std::collections::btree_map::Entry::Vacant(vacant) = came.entry(next) {
                    vacant.insert(at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}
