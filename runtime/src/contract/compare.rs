//! Whether one schema accepts all that another one allows.
//!
//! *Safe* is proved: the proof walks both schemas, and where it goes through, no data exists that the one allows and
//! the other does not accept. *Breaking* is shown: by an example that the checker finds to be allowed and not accepted.
//! Everything else is *can't tell*, also where the given side says nothing of a place at all. `docs/contracts.md` has
//! the rules.

mod parts;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value as Json;

use super::check::Checked;
use super::example::Examples;
use super::given::Given;
use super::schema::{Id, Kinds, Schema};

/// Steps of one comparison at most, and levels that it goes down.
const STEPS: usize = 20_000;
const DEEPEST: usize = 60;

/// Differences that are looked at.
const MOST_GAPS: usize = 24;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Everything that is allowed is accepted.
    Safe,
    /// Something that is allowed is not accepted.
    Breaking(Difference),
    /// Neither could be shown.
    CantTell(Difference),
}

/// Where two schemas differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The place in the data, as a JSON pointer; empty for all of it. `*` stands for any item or name.
    pub at: String,
    /// The rule that tells, by its name in `docs/contracts.md`.
    pub rule: Rule,
    /// What differs, in words.
    pub problem: String,
    /// Data that is allowed and not accepted; none where that can't be told.
    pub example: Option<Json>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        write!(f, "{at}: {} (rule {})", self.problem, self.rule)?;
        if let Some(example) = &self.example {
            write!(f, ", for example {example}")?;
        }
        Ok(())
    }
}

/// What is compared at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Which kinds of values there may be.
    Type,
    /// Which values, where they are listed.
    Values,
    /// The range and steps of numbers.
    Range,
    /// How long a text may be.
    Length,
    /// What a text must match.
    Pattern,
    /// How many items or properties there may be.
    Count,
    /// Which properties must be there.
    Required,
    /// Which properties may be there that are not named.
    Unknown,
    /// Which of several alternatives it may be.
    Alternatives,
    /// The given side says nothing of it.
    Silent,
    /// A keyword that is compared only with the same words.
    Keyword,
    /// It is too much to compare.
    Size,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "type",
            Self::Values => "values",
            Self::Range => "range",
            Self::Length => "length",
            Self::Pattern => "pattern",
            Self::Count => "count",
            Self::Required => "required",
            Self::Unknown => "unknown",
            Self::Alternatives => "alternatives",
            Self::Silent => "silent",
            Self::Keyword => "keyword",
            Self::Size => "size",
        })
    }
}

/// Whether `expected` accepts everything that `given` allows.
pub fn accepts(expected: &Schema, given: &Schema) -> Verdict {
    let mut comparison = Comparison {
        expected,
        given,
        left: STEPS,
        depth: 0,
        assumed: BTreeSet::new(),
        examples: Examples::new(given),
    };
    let all = Given::of(given, [given.root]);
    let mut gaps = comparison.gaps(&all, expected.root);
    let same = expected.node(expected.root).same;
    if gaps.is_empty()
        && let Some(keyword) = given.unread().or(expected.unread())
        && !all.has_same(given, same)
    {
        // It may turn anything around it, and what was proved without it does not hold.
        gaps.push(Gap::new(
            Rule::Keyword,
            format!("`{keyword}` is not understood"),
            None,
        ));
    }
    let Some(first) = gaps.first() else {
        return Verdict::Safe;
    };
    let shown = |gap: &Gap, example| Difference {
        at: gap.at.iter().rev().flat_map(|step| ["/", &**step]).collect(),
        rule: gap.rule,
        problem: gap.problem.clone(),
        example,
    };
    for gap in gaps.iter().filter(|gap| !gap.silent) {
        let example = gap
            .example
            .as_ref()
            .filter(|example| is_example(expected, given, example));
        if example.is_some() {
            return Verdict::Breaking(shown(gap, example.cloned()));
        }
    }
    let silent = gaps.iter().find(|gap| gap.silent);
    Verdict::CantTell(shown(silent.unwrap_or(first), None))
}

/// Whether `example` is allowed, and not accepted.
fn is_example(expected: &Schema, given: &Schema, example: &Json) -> bool {
    let data = crate::ingest::message_pack::from_json(example.to_string().as_bytes());
    data.is_ok_and(|data| {
        given.check(&data) == Checked::Valid && matches!(expected.check(&data), Checked::Broken(_))
    })
}

/// A place where the proof does not go through.
#[derive(Debug, Clone)]
struct Gap {
    /// The steps to it, the last one first.
    at: Vec<String>,
    rule: Rule,
    problem: String,
    /// What may show it, at this place.
    example: Option<Json>,
    /// The given side says nothing there.
    silent: bool,
}

impl Gap {
    fn new(rule: Rule, problem: String, example: Option<Json>) -> Self {
        Self {
            at: Vec::new(),
            rule,
            problem,
            example,
            silent: rule == Rule::Silent,
        }
    }

    /// The gap one step further up, with what shows it there.
    fn below(mut self, step: &str, example: Option<Json>) -> Self {
        self.at.push(step.replace('~', "~0").replace('/', "~1"));
        self.example = example;
        self
    }
}

struct Comparison<'a> {
    expected: &'a Schema,
    given: &'a Schema,
    left: usize,
    depth: usize,
    /// Pairs that are being proved: data is finite, so that a proof may lean on itself one step further down.
    assumed: BTreeSet<(Given, Id)>,
    examples: Examples<'a>,
}

impl Comparison<'_> {
    fn gap(&mut self, given: &Given, to: Id, rule: Rule, problem: String) -> Vec<Gap> {
        let example = self.examples.breaking(given, self.expected, to);
        vec![Gap::new(rule, problem, example)]
    }

    /// Where `given` allows what the node `to` does not accept, as far as that can't be ruled out. Empty is a proof.
    fn gaps(&mut self, given: &Given, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        if node.is_anything() || given.has_same(self.given, node.same) || given.is_nothing(self.given) {
            return Vec::new();
        }
        if self.left == 0 || self.depth == DEEPEST {
            return vec![Gap::new(
                Rule::Size,
                "the schemas are too large to compare".into(),
                None,
            )];
        }
        let pair = (given.clone(), to);
        if self.assumed.contains(&pair) {
            return Vec::new();
        }
        self.left -= 1;
        self.depth += 1;
        self.assumed.insert(pair.clone());
        let mut gaps = self.looked_into(given, to);
        self.assumed.remove(&pair);
        self.depth -= 1;
        gaps.truncate(MOST_GAPS);
        gaps
    }

    fn looked_into(&mut self, given: &Given, to: Id) -> Vec<Gap> {
        let node = self.expected.node(to);
        if let Some(values) = given.values(self.given) {
            return self.listed(given, values, to);
        }
        if given.is_silent(self.given) {
            return vec![Gap::new(
                Rule::Silent,
                "nothing is said of what it may be".into(),
                None,
            )];
        }
        let kinds = given.facts(self.given).kinds;
        if kinds.without(Kinds::NULL.or(Kinds::BOOLEAN)) == Kinds::NONE {
            let values = [Json::Null, Json::Bool(false), Json::Bool(true)];
            return self.listed(given, &values, to);
        }
        if let Some(cases) = given.cases(self.given) {
            let mut gaps = Vec::new();
            for case in cases {
                gaps.extend(self.gaps(&case, to));
            }
            return gaps;
        }
        let mut gaps = self.parts(given, to);
        for other in &node.all {
            gaps.extend(self.gaps(given, *other));
        }
        for choice in &node.choices {
            gaps.extend(self.choice(given, to, &choice.of, choice.exactly_one));
        }
        for (rare, same) in &node.rare {
            if !given.has_rare(self.given, rare, *same) {
                gaps.extend(self.rare(given, to, rare));
            }
        }
        gaps
    }

    /// Each of `values` that is allowed must be accepted.
    fn listed(&mut self, given: &Given, values: &[Json], to: Id) -> Vec<Gap> {
        let kinds = given.facts(self.given).kinds;
        self.left = self.left.saturating_sub(values.len());
        let is_allowed = |value: &&Json| {
            kinds.has(Kinds::of(value)) && !given.nodes.iter().any(|id| self.given.refuses(*id, value))
        };
        let mut allowed = values.iter().filter(is_allowed);
        match allowed.find(|value| !self.expected.admits(to, value)) {
            None => Vec::new(),
            Some(refused) => {
                let problem = format!("it may be {refused}, which is not accepted");
                vec![Gap::new(Rule::Values, problem, Some(refused.clone()))]
            }
        }
    }

    fn choice(&mut self, given: &Given, to: Id, of: &[Id], exactly_one: bool) -> Vec<Gap> {
        let kinds = given.facts(self.given).kinds;
        if self.one_takes(given, of, exactly_one) {
            return Vec::new();
        }
        let mut gaps = Vec::new();
        for kind in kinds.each() {
            let part = given.restricted(kind);
            if kinds != kind && self.one_takes(&part, of, exactly_one) {
                continue;
            }
            let near: Vec<Id> = of
                .iter()
                .copied()
                .filter(|id| !self.is_apart(&part, *id))
                .collect();
            gaps.extend(match near[..] {
                // The only alternative that comes near tells best what differs.
                [only] => self.gaps(&part, only),
                [] => self.gap(
                    &part,
                    to,
                    Rule::Alternatives,
                    format!("it may be {} that is not accepted", kind.in_words()),
                ),
                _ => self.gap(
                    &part,
                    to,
                    Rule::Alternatives,
                    "it may be none of the alternatives that are accepted".into(),
                ),
            });
        }
        if gaps.is_empty() {
            gaps = self.gap(
                given,
                to,
                Rule::Alternatives,
                "it may be more than one of the alternatives, and one is accepted".into(),
            );
        }
        gaps
    }

    /// Whether one alternative accepts all of `given`, and, where exactly one must, no other accepts any of it.
    fn one_takes(&mut self, given: &Given, of: &[Id], exactly_one: bool) -> bool {
        of.iter().any(|id| {
            let takes = self.gaps(given, *id).is_empty();
            takes
                && (!exactly_one
                    || of
                        .iter()
                        .filter(|other| *other != id)
                        .all(|other| self.is_apart(given, *other)))
        })
    }
}
