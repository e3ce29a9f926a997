//! The keywords of one node, each by its rule.

use std::collections::BTreeSet;

use super::{Comparison, Gap, Rule};
use crate::contract::check::listed;
use crate::contract::given::{Facts, Given};
use crate::contract::schema::{Bound, Count, Id, Kinds, Rare};
use crate::contract::value::Number;

impl Comparison<'_> {
    /// What the keywords of the node `to` itself refuse, alternatives and what is rarely written aside.
    pub(super) fn parts(&mut self, given: &Given, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        let mut facts = given.facts(self.given);
        let mut gaps = Vec::new();
        let refused = facts.kinds.without(node.kinds);
        if refused != Kinds::NONE {
            let (is, wanted) = (refused.in_words(), node.kinds.in_words());
            let problem = format!("it may be {is}, and {wanted} is accepted");
            gaps.extend(self.gap(&given.restricted(refused), to, Rule::Type, problem));
        }
        // What is refused for its kind is not told again.
        facts.kinds = facts.kinds.and(node.kinds);
        if let Some(values) = &node.values {
            let problem = format!("it may be something else than {}", listed(values));
            gaps.extend(self.gap(given, to, Rule::Values, problem));
        }
        gaps.extend(self.number(given, &facts, to));
        gaps.extend(self.text(given, &facts, to));
        if facts.kinds.has(Kinds::ARRAY) {
            gaps.extend(self.array(&given.restricted(Kinds::ARRAY), &facts, to));
        }
        if facts.kinds.has(Kinds::OBJECT) {
            gaps.extend(self.object(&given.restricted(Kinds::OBJECT), &facts, to));
        }
        gaps
    }

    fn number(&mut self, given: &Given, facts: &Facts<'_>, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        if !facts.kinds.has(Kinds::NUMBER) {
            return Vec::new();
        }
        let within = |wanted: Option<Bound>, is: Option<Bound>, lower| match (wanted, is) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(is)) => {
                wanted.admits(is.value, lower) || (is.exclusive && same(is.value, wanted.value))
            }
        };
        let is_step =
            |of: Number, is: Number| same(is, of) || (is.is_whole() && of.is_whole() && is.is_multiple(of));
        let step = node.multiple_of.is_none_or(|of| {
            let whole = !facts.kinds.has(Kinds::FRACTION) && same(of, Number::Integer(1));
            whole || facts.multiples.iter().any(|is| is_step(of, *is))
        });
        if within(node.least, facts.least, true) && within(node.most, facts.most, false) && step {
            return Vec::new();
        }
        let problem = "the number may be out of the range that is accepted";
        self.gap(&given.restricted(Kinds::NUMBER), to, Rule::Range, problem.into())
    }

    fn text(&mut self, given: &Given, facts: &Facts<'_>, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        let mut gaps = Vec::new();
        if !facts.kinds.has(Kinds::STRING) {
            return gaps;
        }
        let part = given.restricted(Kinds::STRING);
        if !inside(facts.length, node.length) {
            let (is, wanted) = (in_words(facts.length), in_words(node.length));
            let problem = format!("the text may have {is} characters, and {wanted} are accepted");
            gaps.extend(self.gap(&part, to, Rule::Length, problem));
        }
        if let Some(pattern) = &node.pattern
            && !facts
                .patterns
                .iter()
                .any(|other| other.as_str() == pattern.as_str())
        {
            let problem = format!("the text may not match {pattern}");
            gaps.extend(self.gap(&part, to, Rule::Pattern, problem));
        }
        gaps
    }

    fn array(&mut self, given: &Given, facts: &Facts<'_>, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        let mut gaps = Vec::new();
        if !inside(facts.item_count, node.item_count) {
            let (is, wanted) = (in_words(facts.item_count), in_words(node.item_count));
            let problem = format!("it may have {is} items, and {wanted} are accepted");
            gaps.extend(self.gap(given, to, Rule::Count, problem));
        }
        let named = given.nodes(self.given).map(|node| node.prefix.len()).max();
        // All items from here on are held to the same, on both sides.
        let rest = named.unwrap_or(0).max(node.prefix.len());
        for at in 0..=rest {
            if facts.item_count.most <= at as u64 {
                break;
            }
            let Some(wanted) = node.item(at) else { continue };
            let step = if at == rest {
                "*".to_owned()
            } else {
                at.to_string()
            };
            for gap in self.gaps(&given.item(self.given, at), wanted) {
                let item = gap.example.clone();
                let example = item.and_then(|item| self.examples.with_item(given, at, &item));
                gaps.push(gap.below(&step, example));
            }
        }
        gaps
    }

    fn object(&mut self, given: &Given, facts: &Facts<'_>, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        let mut gaps = Vec::new();
        let known = given.names(self.given);
        for name in node
            .required
            .iter()
            .filter(|name| !facts.required.contains(&***name))
        {
            let sent = known.contains(&**name) && !given.property(self.given, name).is_nothing(self.given);
            let problem = if sent {
                "it is required, and may be missing"
            } else {
                "it is required, and is not there"
            };
            let example = self.examples.without(given, name);
            gaps.push(Gap::new(Rule::Required, problem.to_owned(), None).below(name, example));
        }
        let mut names: BTreeSet<&str> = known;
        names.extend(node.properties.keys().map(|name| &**name));
        for name in names {
            let below = given.property(self.given, name);
            for wanted in node.property(name).collect::<Vec<_>>() {
                let is_unknown = self.expected.node(wanted).is_nothing();
                for mut gap in self.gaps(&below, wanted) {
                    if is_unknown && !gap.silent {
                        (gap.rule, gap.problem) =
                            (Rule::Unknown, "it may be there, and is not accepted".into());
                    }
                    let value = gap.example.clone();
                    let example = value.and_then(|value| self.examples.with_property(given, name, value));
                    gaps.push(gap.below(name, example));
                }
            }
        }
        gaps.extend(self.others(given, to));
        let mut most = facts.property_count.most;
        if self.is_closed(given) {
            most = most.min(given.names(self.given).len() as u64);
        }
        let count = Count {
            least: facts.property_count.least.max(facts.required.len() as u64),
            most,
        };
        if !inside(count, node.property_count) {
            let (is, wanted) = (in_words(count), in_words(node.property_count));
            let problem = format!("it may have {is} properties, and {wanted} are accepted");
            gaps.extend(self.gap(given, to, Rule::Count, problem));
        }
        gaps
    }

    /// Whether only properties that are named may be there.
    fn is_closed(&self, given: &Given) -> bool {
        given.others(self.given).is_nothing(self.given) && given.name_patterns(self.given).is_empty()
    }

    /// Properties that neither side names.
    fn others(&mut self, given: &Given, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        let mut gaps = Vec::new();
        if self.is_closed(given) {
            return gaps;
        }
        let patterns = given.name_patterns(self.given);
        for (pattern, wanted) in &node.patterns {
            let same = patterns
                .iter()
                .find(|(other, _)| other.as_str() == pattern.as_str());
            let found = match same {
                Some((_, id)) => self.gaps(&Given::of(self.given, [*id]), *wanted),
                None => vec![Gap::new(
                    Rule::Keyword,
                    format!("names that match {pattern} are held to something of their own"),
                    None,
                )],
            };
            gaps.extend(found.into_iter().map(|gap| gap.below("*", None)));
        }
        let Some(wanted) = node.additional else {
            return gaps;
        };
        for (pattern, id) in patterns {
            if !node
                .patterns
                .iter()
                .any(|(other, _)| other.as_str() == pattern.as_str())
            {
                let found = self.gaps(&Given::of(self.given, [*id]), wanted);
                gaps.extend(found.into_iter().map(|gap| gap.below("*", None)));
            }
        }
        for gap in self.gaps(&given.others(self.given), wanted) {
            let value = gap.example.clone();
            let example = value.and_then(|value| self.examples.with_property(given, "another", value));
            gaps.push(gap.below("*", example));
        }
        gaps
    }

    /// A keyword that the given side does not have in the same words.
    pub(super) fn rare(&mut self, given: &Given, to: Id, rare: &Rare) -> Vec<Gap> {
        let (keyword, of) = match rare {
            Rare::Not(id) if self.is_apart(given, *id) => return Vec::new(),
            Rare::Not(_) => ("not", Kinds::ALL),
            Rare::If { .. } => ("if", Kinds::ALL),
            Rare::Unique => ("uniqueItems", Kinds::ARRAY),
            Rare::Contains(..) => ("contains", Kinds::ARRAY),
            Rare::Names(_) => ("propertyNames", Kinds::OBJECT),
            Rare::Needs(..) => ("dependentRequired", Kinds::OBJECT),
            Rare::NeedsSchema(..) => ("dependentSchemas", Kinds::OBJECT),
            Rare::Unread(keyword) => {
                return vec![Gap::new(
                    Rule::Keyword,
                    format!("`{keyword}` is not understood"),
                    None,
                )];
            }
        };
        if !given.facts(self.given).kinds.has(of) {
            return Vec::new();
        }
        let problem = format!("`{keyword}` is compared only with the same words");
        self.gap(&given.restricted(of), to, Rule::Keyword, problem)
    }

    /// Whether nothing of `given` is accepted by the expected node `other`, as far as that is easily seen.
    pub(super) fn is_apart(&self, given: &Given, other: Id) -> bool {
        let other = Given::of(self.expected, [other]);
        let (mine, its) = (given.facts(self.given), other.facts(self.expected));
        let kinds = mine.kinds.and(its.kinds);
        if kinds == Kinds::NONE {
            return true;
        }
        if let Some(values) = other.values(self.expected) {
            return values.iter().all(|value| {
                !kinds.has(Kinds::of(value)) || given.nodes.iter().any(|id| self.given.refuses(*id, value))
            });
        }
        if kinds != Kinds::OBJECT {
            return false;
        }
        // One needs what the other forbids, or both need something of which they want other values.
        let forbids = |name: &str| other.property(self.expected, name).is_nothing(self.expected);
        let is_forbidden = |name: &str| given.property(self.given, name).is_nothing(self.given);
        mine.required.iter().any(|name| forbids(name))
            || its.required.iter().any(|name| is_forbidden(name))
            || mine.required.intersection(&its.required).any(|name| {
                let (mine, its) = (
                    given.property(self.given, name),
                    other.property(self.expected, name),
                );
                let refused = |value| its.nodes.iter().any(|id| self.expected.refuses(*id, value));
                let kinds = mine.facts(self.given).kinds.and(its.facts(self.expected).kinds);
                kinds == Kinds::NONE
                    || mine
                        .values(self.given)
                        .is_some_and(|values| values.iter().all(refused))
            })
    }
}

fn same(a: Number, b: Number) -> bool {
    a.compare(b) == Some(std::cmp::Ordering::Equal)
}

fn inside(is: Count, wanted: Count) -> bool {
    is.least >= wanted.least && is.most <= wanted.most
}

fn in_words(count: Count) -> String {
    match count {
        Count {
            least: 0,
            most: u64::MAX,
        } => "any number of".into(),
        Count {
            least,
            most: u64::MAX,
        } => format!("{least} or more"),
        Count { least, most } if least == most => least.to_string(),
        Count { least, most } => format!("{least} to {most}"),
    }
}
