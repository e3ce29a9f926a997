//! What is known of a place in the data of the given side: several nodes that all hold, taken together.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value as Json;

use super::schema::{Bound, Count, Id, Kinds, Node, Rare, Sameness, Schema};
use super::value::Number;

/// Nodes that all hold at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Given {
    /// With all that they refer to.
    pub(super) nodes: BTreeSet<Id>,
    /// Kinds that are looked at.
    pub(super) only: Kinds,
    /// Alternatives of which one was taken: node and place in its list.
    taken: BTreeSet<(Id, usize)>,
}

/// Their facts, joined.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) kinds: Kinds,
    pub(super) least: Option<Bound>,
    pub(super) most: Option<Bound>,
    pub(super) multiples: Vec<Number>,
    pub(super) length: Count,
    pub(super) patterns: Vec<&'a Regex>,
    pub(super) item_count: Count,
    pub(super) property_count: Count,
    pub(super) required: BTreeSet<&'a str>,
}

impl Given {
    pub(super) fn of(schema: &Schema, ids: impl IntoIterator<Item = Id>) -> Self {
        let mut given = Self {
            nodes: BTreeSet::new(),
            only: Kinds::ALL,
            taken: BTreeSet::new(),
        };
        for id in ids {
            given.add(schema, id);
        }
        given
    }

    fn add(&mut self, schema: &Schema, id: Id) {
        if self.nodes.insert(id) {
            for other in &schema.node(id).all {
                self.add(schema, *other);
            }
        }
    }

    pub(super) fn restricted(&self, only: Kinds) -> Self {
        Self {
            only: self.only.and(only),
            ..self.clone()
        }
    }

    pub(super) fn nodes<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().map(|id| schema.node(*id))
    }

    /// The first alternatives of which none was taken yet, as what each of them gives.
    pub(super) fn cases(&self, schema: &Schema) -> Option<Vec<Self>> {
        let open = self.nodes.iter().find_map(|id| {
            let choices = schema.node(*id).choices.iter().enumerate();
            let mut open = choices.filter(|(at, _)| !self.taken.contains(&(*id, *at)));
            open.next().map(|(at, choice)| ((*id, at), choice))
        });
        let (at, choice) = open?;
        let case = |id: &Id| {
            let mut case = self.clone();
            case.taken.insert(at);
            case.add(schema, *id);
            case
        };
        Some(choice.of.iter().map(case).collect())
    }

    /// The values that it may have, where they are listed.
    pub(super) fn values<'a>(&self, schema: &'a Schema) -> Option<&'a [Json]> {
        self.nodes
            .iter()
            .find_map(|id| schema.node(*id).values.as_deref())
    }

    /// Whether nothing is said of it.
    pub(super) fn is_silent(&self, schema: &Schema) -> bool {
        self.only == Kinds::ALL && self.nodes(schema).all(Node::is_anything)
    }

    /// Whether all nodes admit `json`.
    pub(super) fn admits(&self, schema: &Schema, json: &Json) -> bool {
        self.nodes.iter().all(|id| schema.admits(*id, json))
    }

    /// Whether it is said in the same words.
    pub(super) fn has_same(&self, schema: &Schema, same: Sameness) -> bool {
        same.is_some() && self.nodes(schema).any(|node| node.same == same)
    }

    /// Whether what is rarely written is written in the same words.
    pub(super) fn has_rare(&self, schema: &Schema, rare: &Rare, same: Sameness) -> bool {
        let is_same = |(other, its): &(Rare, Sameness)| {
            *its == same && std::mem::discriminant(other) == std::mem::discriminant(rare)
        };
        same.is_some() && self.nodes(schema).any(|node| node.rare.iter().any(is_same))
    }

    pub(super) fn facts<'a>(&self, schema: &'a Schema) -> Facts<'a> {
        let mut facts = Facts {
            kinds: self.only,
            least: None,
            most: None,
            multiples: Vec::new(),
            length: Count::default(),
            patterns: Vec::new(),
            item_count: Count::default(),
            property_count: Count::default(),
            required: BTreeSet::new(),
        };
        for id in &self.nodes {
            let node = schema.node(*id);
            facts.kinds = facts.kinds.and(node.kinds);
            facts.least = joined(facts.least, node.least, true);
            facts.most = joined(facts.most, node.most, false);
            facts.multiples.extend(node.multiple_of);
            facts.length = facts.length.and(node.length);
            facts.patterns.extend(&node.pattern);
            facts.item_count = facts.item_count.and(node.item_count);
            facts.property_count = facts.property_count.and(node.property_count);
            facts.required.extend(node.required.iter().map(|name| &**name));
        }
        if !facts.kinds.has(Kinds::FRACTION) {
            facts.least = facts.least.map(|bound| whole(bound, 1));
            facts.most = facts.most.map(|bound| whole(bound, -1));
        }
        facts
    }

    /// What is given of an item at `at`.
    pub(super) fn item(&self, schema: &Schema, at: usize) -> Self {
        Self::of(schema, self.nodes(schema).filter_map(|node| node.item(at)))
    }

    /// What is given of the property `name`.
    pub(super) fn property(&self, schema: &Schema, name: &str) -> Self {
        Self::of(schema, self.nodes(schema).flat_map(|node| node.property(name)))
    }

    /// What is given of properties that no node names.
    pub(super) fn others(&self, schema: &Schema) -> Self {
        Self::of(schema, self.nodes(schema).filter_map(|node| node.additional))
    }

    /// The properties that are named.
    pub(super) fn names<'a>(&self, schema: &'a Schema) -> BTreeSet<&'a str> {
        let nodes = self.nodes.iter().map(|id| schema.node(*id));
        nodes
            .flat_map(|node| node.properties.keys().map(|name| &**name))
            .collect()
    }

    /// The patterns of properties' names.
    pub(super) fn name_patterns<'a>(&self, schema: &'a Schema) -> Vec<&'a (Regex, Id)> {
        self.nodes
            .iter()
            .flat_map(|id| &schema.node(*id).patterns)
            .collect()
    }

    /// Whether no value can be here.
    pub(super) fn is_nothing(&self, schema: &Schema) -> bool {
        self.facts(schema).kinds == Kinds::NONE
    }
}

fn joined(a: Option<Bound>, b: Option<Bound>, lower: bool) -> Option<Bound> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.narrower(b, lower)),
        (a, b) => a.or(b),
    }
}

/// The bound among whole numbers.
fn whole(bound: Bound, step: i128) -> Bound {
    match bound.value.plain() {
        Number::Integer(value) if bound.exclusive => Bound {
            value: Number::Integer(value + step),
            exclusive: false,
        },
        _ => bound,
    }
}
