//! A JSON Schema (draft 2020-12), read into what is checked and compared.
//!
//! Nodes refer to each other by number, so that `$ref` needs no copies and a recursive schema is finite. What nerve
//! does not understand is kept by name: nothing is checked by it, and a comparison that meets it can't tell.

mod read;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value as Json;

use super::plain::Plain;
use super::value::Number;

pub use read::BadSchema;

/// Names a node of one [`Schema`].
pub(super) type Id = usize;

/// A schema. Made by parsing its text.
#[derive(Debug)]
pub struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    json: Json,
    /// The first keyword that is not understood.
    unread: Option<String>,
}

/// What one place of the data may be: all that stands here must hold.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Which kinds of values.
    pub(super) kinds: Kinds,
    /// `enum`, or `const` as the only one.
    pub(super) values: Option<Vec<Json>>,
    pub(super) least: Option<Bound>,
    pub(super) most: Option<Bound>,
    pub(super) multiple_of: Option<Number>,
    pub(super) length: Count,
    pub(super) pattern: Option<Regex>,
    pub(super) prefix: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) item_count: Count,
    pub(super) properties: BTreeMap<String, Id>,
    pub(super) patterns: Vec<(Regex, Id)>,
    pub(super) additional: Option<Id>,
    pub(super) required: Vec<String>,
    /// `properties` and `required` together, for whoever checks data.
    pub(super) names: Names,
    /// What it admits, where whoever checks data need not look further.
    pub(super) plain: Option<Plain>,
    /// Whether it says nothing of objects but what their properties are.
    pub(super) is_record: bool,
    pub(super) property_count: Count,
    /// `allOf` and `$ref`.
    pub(super) all: Vec<Id>,
    /// `anyOf` and `oneOf`.
    pub(super) choices: Vec<Choice>,
    /// What is rarely written: checked in data, and compared only with what is written in the same way.
    pub(super) rare: Vec<(Rare, Sameness)>,
    /// What two nodes with the same meaning share.
    pub(super) same: Sameness,
}

/// The properties that a node names, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Names {
    sorted: Vec<Named>,
    /// How many of them must be there.
    pub(super) required: usize,
}

/// A property that is named.
#[derive(Debug)]
pub(super) struct Named {
    name: Box<str>,
    /// What it is held to; `None` where nothing says.
    pub(super) id: Option<Id>,
    pub(super) required: bool,
}

/// So many names are compared one by one: most differ in length already.
const FEW: usize = 8;

impl Names {
    fn of(properties: &BTreeMap<String, Id>, required: &[String]) -> Self {
        let must: BTreeSet<&String> = required.iter().collect();
        let all: BTreeSet<&String> = properties.keys().chain(required).collect();
        let named = |name: &String| Named {
            name: name.as_str().into(),
            id: properties.get(name).copied(),
            required: must.contains(name),
        };
        Self {
            sorted: all.into_iter().map(named).collect(),
            required: must.len(),
        }
    }

    /// What is said of the property of this name, and which one it is.
    pub(super) fn find(&self, name: &[u8]) -> Option<(usize, &Named)> {
        let at = if self.sorted.len() <= FEW {
            self.sorted.iter().position(|named| named.name.as_bytes() == name)
        } else {
            let order = |named: &Named| named.name.as_bytes().cmp(name);
            self.sorted.binary_search_by(order).ok()
        }?;
        Some((at, &self.sorted[at]))
    }
}

/// What is rarely written.
#[derive(Debug)]
pub(super) enum Rare {
    Unique,
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    Contains(Id, Count),
    Names(Id),
    Needs(String, Vec<String>),
    NeedsSchema(String, Id),
    /// A keyword that is not understood.
    Unread(String),
}

/// Alternatives.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) of: Vec<Id>,
    /// Whether exactly one must hold (`oneOf`), or at least one (`anyOf`).
    pub(super) exactly_one: bool,
}

/// The text of a schema in a fixed form, where it means the same anywhere: it has no `$ref`.
pub(super) type Sameness = Option<[u8; 32]>;

/// A bound of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) value: Number,
    pub(super) exclusive: bool,
}

impl Bound {
    /// The narrower one of two lower bounds, or of two upper ones.
    pub(super) fn narrower(self, other: Self, lower: bool) -> Self {
        let other_is_higher = match self.value.compare(other.value) {
            Some(Ordering::Equal) | None => return if self.exclusive { self } else { other },
            Some(order) => order == Ordering::Less,
        };
        if other_is_higher == lower { other } else { self }
    }

    /// Whether `number` lies on its side.
    pub(super) fn admits(self, number: Number, lower: bool) -> bool {
        match number.compare(self.value) {
            Some(Ordering::Equal) => !self.exclusive,
            Some(Ordering::Greater) => lower,
            Some(Ordering::Less) => !lower,
            None => false,
        }
    }
}

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            least: 0,
            most: u64::MAX,
        }
    }
}

impl Count {
    pub(super) fn has(self, count: usize) -> bool {
        (self.least..=self.most).contains(&(count as u64))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            least: self.least.max(other.least),
            most: self.most.min(other.most),
        }
    }
}

/// A set of kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kinds(u8);

impl Default for Kinds {
    fn default() -> Self {
        Self::ALL
    }
}

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    /// A number with a fraction.
    pub(super) const FRACTION: Self = Self(8);
    pub(super) const NUMBER: Self = Self(12);
    pub(super) const STRING: Self = Self(16);
    pub(super) const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);
    pub(super) const ALL: Self = Self(127);

    const NAMES: [(Self, &str); 7] = [
        (Self::NULL, "null"),
        (Self::BOOLEAN, "boolean"),
        (Self::NUMBER, "number"),
        (Self::INTEGER, "integer"),
        (Self::STRING, "string"),
        (Self::ARRAY, "array"),
        (Self::OBJECT, "object"),
    ];

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    /// The kind of a value.
    pub(super) fn of(value: &Json) -> Self {
        match value {
            Json::Null => Self::NULL,
            Json::Bool(_) => Self::BOOLEAN,
            Json::Number(number) if Number::of(number).is_whole() => Self::INTEGER,
            Json::Number(_) => Self::FRACTION,
            Json::String(_) => Self::STRING,
            Json::Array(_) => Self::ARRAY,
            Json::Object(_) => Self::OBJECT,
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each kind of it alone.
    pub(super) fn each(self) -> impl Iterator<Item = Self> {
        (0..7)
            .map(|bit| Self(1 << bit))
            .filter(move |kind| self.has(*kind))
    }

    pub(super) fn in_words(self) -> String {
        if self == Self::ALL {
            return "anything".into();
        }
        let mut left = self;
        let mut words: Vec<&str> = Vec::new();
        for (kind, name) in Self::NAMES {
            if left.and(kind) == kind {
                words.push(name);
                left = left.without(kind);
            }
        }
        if left == Self::FRACTION {
            words.push("number with a fraction");
        }
        if words.is_empty() {
            "nothing".into()
        } else {
            words.join(" or ")
        }
    }
}

impl Schema {
    /// The schema as JSON.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// A keyword in it that is not understood, so that nothing is checked by it.
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }
}

impl Node {
    /// What only data of kind `kinds` is held to, kinds aside, is nothing.
    pub(super) fn is_anything(&self) -> bool {
        self.kinds == Kinds::ALL && self.says_only_kinds()
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.kinds == Kinds::NONE
    }

    fn says_only_kinds(&self) -> bool {
        self.least.is_none() && self.most.is_none() && self.says_only_kinds_and_bounds()
    }

    pub(super) fn says_only_kinds_and_bounds(&self) -> bool {
        self.values.is_none()
            && self.multiple_of.is_none()
            && self.pattern.is_none()
            && [self.length, self.item_count, self.property_count] == [Count::default(); 3]
            && self.prefix.is_empty()
            && self.items.is_none()
            && self.properties.is_empty()
            && self.patterns.is_empty()
            && self.additional.is_none()
            && self.required.is_empty()
            && self.all.is_empty()
            && self.choices.is_empty()
            && self.rare.is_empty()
    }

    /// Whether it says nothing of objects but what their properties are.
    pub(super) fn says_only_properties(&self) -> bool {
        self.kinds.has(Kinds::OBJECT)
            && self.values.is_none()
            && self.property_count == Count::default()
            && self.patterns.is_empty()
            && self.all.is_empty()
            && self.choices.is_empty()
            && self.rare.is_empty()
    }

    /// The node that an item at `at` is held to.
    pub(super) fn item(&self, at: usize) -> Option<Id> {
        self.prefix.get(at).copied().or(self.items)
    }

    /// The nodes that the property `name` is held to.
    pub(super) fn property(&self, name: &str) -> impl Iterator<Item = Id> {
        let named = self.properties.get(name).copied();
        let matched: Vec<Id> = self
            .patterns
            .iter()
            .filter(|(pattern, _)| pattern.is_match(name))
            .map(|(_, id)| *id)
            .collect();
        let other = (named.is_none() && matched.is_empty())
            .then_some(self.additional)
            .flatten();
        named.into_iter().chain(matched).chain(other)
    }
}
