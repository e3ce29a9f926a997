//! Data that a schema allows: tried out, so that a difference can be shown.

use serde_json::{Map, Value as Json, json};

use super::given::{Facts, Given};
use super::schema::{Bound, Count, Id, Kinds, Node, Schema};
use super::value::Number;

/// Values that are made in one comparison at most.
const MOST: usize = 4000;

/// Levels of a value, and values tried for one place.
const DEEPEST: usize = 8;
const TRIED: usize = 40;

/// The longest text and the most items of an example.
const LONGEST: u64 = 300;
const MOST_ITEMS: u64 = 30;

/// Makes examples of what a schema allows.
pub(super) struct Examples<'a> {
    schema: &'a Schema,
    left: usize,
}

impl<'a> Examples<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, left: MOST }
    }

    /// Something that `given` allows, and the node `to` of `expected` does not accept.
    pub(super) fn breaking(&mut self, given: &Given, expected: &Schema, to: Id) -> Option<Json> {
        let hint = expected.node(to);
        let tried = self.of(given, Some(hint), DEEPEST);
        tried.into_iter().find(|value| !expected.admits(to, value))
    }

    /// An object that `given` allows, with `value` as `name`.
    pub(super) fn with_property(&mut self, given: &Given, name: &str, value: Json) -> Option<Json> {
        let mut object = self.of(given, None, DEEPEST).into_iter().find(Json::is_object)?;
        object[name] = value;
        given.admits(self.schema, &object).then_some(object)
    }

    /// An object that `given` allows, without `name`.
    pub(super) fn without(&mut self, given: &Given, name: &str) -> Option<Json> {
        let objects = self.of(given, None, DEEPEST).into_iter();
        objects
            .filter(Json::is_object)
            .find(|object| object.get(name).is_none())
    }

    /// An array that `given` allows, with `value` as the item at `at`.
    pub(super) fn with_item(&mut self, given: &Given, at: usize, value: &Json) -> Option<Json> {
        let least = usize::try_from(given.facts(self.schema).item_count.least.min(MOST_ITEMS)).unwrap_or(0);
        let mut items = Vec::new();
        for place in 0..least.max(at + 1) {
            items.push(if place == at {
                value.clone()
            } else {
                self.one(&given.item(self.schema, place), DEEPEST - 1)?
            });
        }
        let array = Json::Array(items);
        given.admits(self.schema, &array).then_some(array)
    }

    fn one(&mut self, given: &Given, depth: usize) -> Option<Json> {
        self.of(given, None, depth).into_iter().next()
    }

    /// Values that `given` allows, simple ones first, with some near what `hint` says.
    fn of(&mut self, given: &Given, hint: Option<&Node>, depth: usize) -> Vec<Json> {
        if depth == 0 || self.left == 0 {
            return Vec::new();
        }
        self.left -= 1;
        if hint.is_none() && given.is_silent(self.schema) {
            return vec![Json::Null];
        }
        let mut tried = Vec::new();
        if let Some(values) = given.values(self.schema) {
            tried.extend(values.iter().take(TRIED).cloned());
        } else if let Some(cases) = given.cases(self.schema) {
            for case in cases.iter().take(TRIED) {
                tried.extend(self.of(case, hint, depth));
            }
            return tried;
        } else {
            let facts = given.facts(self.schema);
            for kind in facts.kinds.each() {
                tried.extend(self.of_kind(given, kind, &facts, hint, depth));
            }
        }
        let kinds = given.facts(self.schema).kinds;
        tried.retain(|value| kinds.has(Kinds::of(value)) && given.admits(self.schema, value));
        tried.truncate(TRIED);
        tried
    }

    fn of_kind(
        &mut self,
        given: &Given,
        kind: Kinds,
        facts: &Facts<'_>,
        hint: Option<&Node>,
        depth: usize,
    ) -> Vec<Json> {
        match kind {
            Kinds::NULL => vec![Json::Null],
            Kinds::BOOLEAN => vec![json!(false), json!(true)],
            Kinds::INTEGER | Kinds::FRACTION => numbers(facts, hint, kind == Kinds::FRACTION),
            Kinds::STRING => {
                let counts = counts(facts.length, hint.map(|hint| hint.length), LONGEST);
                let texts = counts.map(|count| json!("a".repeat(count)));
                texts
                    .chain(["", "1", "2024-01-01T00:00:00Z"].map(Json::from))
                    .collect()
            }
            Kinds::ARRAY => {
                let counts: Vec<usize> =
                    counts(facts.item_count, hint.map(|hint| hint.item_count), MOST_ITEMS).collect();
                let arrays = counts.into_iter().filter_map(|count| {
                    let items = (0..count).map(|at| self.one(&given.item(self.schema, at), depth - 1));
                    items.collect::<Option<Vec<_>>>().map(Json::Array)
                });
                arrays.collect()
            }
            _ => self.objects(given, facts, depth),
        }
    }

    fn objects(&mut self, given: &Given, facts: &Facts<'_>, depth: usize) -> Vec<Json> {
        let mut least = Map::new();
        for name in &facts.required {
            match self.one(&given.property(self.schema, name), depth - 1) {
                Some(value) => drop(least.insert((*name).to_owned(), value)),
                None => return Vec::new(),
            }
        }
        let mut most = least.clone();
        let mut out = vec![Json::Object(least.clone())];
        for name in given.names(self.schema) {
            if !least.contains_key(name)
                && let Some(value) = self.one(&given.property(self.schema, name), depth - 1)
            {
                let mut with = least.clone();
                with.insert(name.to_owned(), value.clone());
                most.insert(name.to_owned(), value);
                out.push(Json::Object(with));
            }
        }
        out.push(Json::Object(most.clone()));
        // Where others may be there, a few more.
        for name in ["another", "more", "further"] {
            if let Some(value) = self.one(&given.property(self.schema, name), depth - 1) {
                most.insert(name.to_owned(), value);
                out.push(Json::Object(most.clone()));
            }
        }
        out
    }
}

/// Numbers of things at and around the ends of what is given and what is hinted at, the fewest first.
fn counts(given: Count, hint: Option<Count>, longest: u64) -> impl Iterator<Item = usize> {
    let hint = hint.unwrap_or_default();
    let near = [
        given.least,
        given.least.saturating_add(1),
        given.most,
        hint.least.saturating_sub(1),
        hint.most.saturating_add(1),
    ];
    let mut fit: Vec<usize> = near
        .into_iter()
        .filter(|count| (given.least..=given.most.min(longest)).contains(count))
        .filter_map(|count| usize::try_from(count).ok())
        .collect();
    fit.sort_unstable();
    fit.into_iter()
}

fn numbers(facts: &Facts<'_>, hint: Option<&Node>, fraction: bool) -> Vec<Json> {
    let mut near: Vec<Number> = vec![Number::Integer(0), Number::Integer(1), Number::Integer(-1)];
    let hinted = hint.into_iter().flat_map(|hint| [hint.least, hint.most]);
    for Bound { value, .. } in [facts.least, facts.most].into_iter().chain(hinted).flatten() {
        match value.plain() {
            Number::Integer(whole) => near.extend([whole, whole + 1, whole - 1].map(Number::Integer)),
            Number::Float(float) => near.extend([float.floor(), float.ceil(), float].map(Number::Float)),
        }
    }
    near.extend(&facts.multiples);
    near.extend([Number::Integer(1 << 40), Number::Integer(-(1 << 40))]);
    let mut out = Vec::new();
    for number in near {
        match number.plain() {
            Number::Integer(whole) if !fraction => out.extend(i64::try_from(whole).map(Json::from).ok()),
            Number::Integer(whole) => {
                if let Ok(whole) = i32::try_from(whole) {
                    out.extend([json!(f64::from(whole) + 0.5), json!(f64::from(whole) - 0.5)]);
                }
            }
            Number::Float(float) if fraction => out.push(json!(float)),
            Number::Float(_) => {}
        }
    }
    out
}
