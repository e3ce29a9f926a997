//! Whether data is what a schema says, and where it is not.
//!
//! The work is bounded: a schema may be made so that checking it would take for ever, and whoever wrote it must not
//! hold up others.

use std::fmt;

use super::schema::{Count, Id, Kinds, Node, Rare, Schema};
use super::value::{Value, equals, items, name, pairs, read, skip};

/// Steps of one check at least; and for each byte of data so many more.
const STEPS: usize = 20_000;
const STEPS_PER_BYTE: usize = 16;

/// Nodes within each other, of data and schema together, that a check goes down at most.
const DEEPEST: usize = 400;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The data is what the schema says.
    Valid,
    /// It is not.
    Broken(Violation),
    /// It would take too long to tell, or the schema has a keyword that is not understood.
    CantTell,
}

/// Where data is not what its schema says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The place in the data, as a JSON pointer; empty for all of it.
    pub at: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        write!(f, "at {at}: {}", self.problem)
    }
}

impl Schema {
    /// Check data that is MessagePack.
    pub fn check(&self, data: &[u8]) -> Checked {
        if self.unread().is_some() {
            return Checked::CantTell;
        }
        self.check_node(self.root, data)
    }

    /// The same of one node, without regard to what is not understood.
    pub(super) fn check_node<'a>(&'a self, id: Id, mut data: &'a [u8]) -> Checked {
        let mut check = Check {
            schema: self,
            left: STEPS + STEPS_PER_BYTE * data.len(),
            depth: 0,
            quiet: 0,
            found: None,
        };
        let valid = check.node(id, &mut data);
        if check.left == 0 {
            return Checked::CantTell;
        }
        match check.found {
            Some(violation) => Checked::Broken(violation),
            None if valid => Checked::Valid,
            None => Checked::Broken(Violation {
                at: String::new(),
                problem: "it is no data".into(),
            }),
        }
    }

    /// Whether JSON is surely what the node says.
    pub(super) fn admits(&self, id: Id, json: &serde_json::Value) -> bool {
        self.check_json(id, json) == Checked::Valid
    }

    /// Whether JSON is surely not what the node says.
    pub(super) fn refuses(&self, id: Id, json: &serde_json::Value) -> bool {
        matches!(self.check_json(id, json), Checked::Broken(_))
    }

    fn check_json(&self, id: Id, json: &serde_json::Value) -> Checked {
        let data = crate::ingest::message_pack::from_json(json.to_string().as_bytes());
        data.map_or(Checked::CantTell, |data| self.check_node(id, &data))
    }
}

struct Check<'a> {
    schema: &'a Schema,
    left: usize,
    depth: usize,
    /// Above 0, nobody wants to know what is wrong.
    quiet: u32,
    found: Option<Violation>,
}

impl<'a> Check<'a> {
    /// Notes the first violation that is not quiet. From there on everything fails, up to the root.
    fn wrong(&mut self, problem: impl FnOnce() -> String) -> bool {
        if self.quiet == 0 && self.found.is_none() {
            let (at, problem) = (String::new(), problem());
            self.found = Some(Violation { at, problem });
        }
        false
    }

    fn quietly(&mut self, id: Id, mut data: &'a [u8]) -> bool {
        self.quiet += 1;
        let valid = self.node(id, &mut data);
        self.quiet -= 1;
        valid
    }

    /// What lies in an array or object. What is wrong in it lies below `step`, a part of a JSON pointer.
    fn below(&mut self, step: impl FnOnce() -> String, id: Id, rest: &mut &'a [u8]) -> bool {
        let valid = self.node(id, rest);
        if !valid && let Some(found) = &mut self.found {
            found.at.insert_str(0, &step());
        }
        valid
    }

    /// The value that `rest` begins with; where it is valid, `rest` goes on behind it.
    fn node(&mut self, id: Id, rest: &mut &'a [u8]) -> bool {
        if self.left == 0 || self.depth == DEEPEST {
            self.left = 0;
            return false;
        }
        self.left -= 1;
        let node = self.schema.node(id);
        if let Some(behind) = node.plain.as_ref().and_then(|plain| plain.behind(rest)) {
            *rest = behind;
            return true;
        }
        self.depth += 1;
        let valid = self.at_node(node, rest);
        self.depth -= 1;
        valid
    }

    fn at_node(&mut self, node: &'a Node, rest: &mut &'a [u8]) -> bool {
        let data = *rest;
        let Some(value) = read(rest) else { return false };
        let inside = *rest;
        let kind = kind_of(&value);
        if !node.kinds.has(kind) {
            return self.wrong(|| {
                if node.is_nothing() {
                    return "nothing may be here".into();
                }
                format!("it is {}, and must be {}", kind.in_words(), node.kinds.in_words())
            });
        }
        if let Some(values) = &node.values {
            self.left = self.left.saturating_sub(values.len());
            if !values.iter().any(|wanted| equals(data, wanted)) {
                return self.wrong(|| format!("it must be {}", listed(values)));
            }
        }
        let own = match value {
            Value::Number(number) => {
                let low = node.least.is_none_or(|bound| bound.admits(number, true));
                let high = node.most.is_none_or(|bound| bound.admits(number, false));
                let multiple = node.multiple_of.is_none_or(|of| number.is_multiple(of));
                (low && high && multiple) || self.wrong(|| "the number is out of its range".into())
            }
            Value::Text(text) => self.text(node, text),
            // What its numbers are, no schema that plugins derive says; only how many they may be is checked.
            Value::Bytes(bytes) => {
                let count = node.item_count;
                count.has(bytes.len()) || self.wrong(|| in_range("items", bytes.len(), count))
            }
            Value::Array(count) => self.array(node, count, rest),
            Value::Object(count) => self.object(node, count, rest),
            Value::Null | Value::Bool(_) => true,
        };
        own && node.all.iter().all(|id| self.node(*id, &mut { data }))
            && node
                .choices
                .iter()
                .all(|choice| self.choice(&choice.of, choice.exactly_one, kind, data))
            && node
                .rare
                .iter()
                .all(|(rare, _)| self.rare(rare, value, inside, data))
    }

    fn text(&mut self, node: &Node, text: &[u8]) -> bool {
        if node.length == Count::default() && node.pattern.is_none() {
            return true;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return false;
        };
        if !node.length.has(text.chars().count()) {
            return self.wrong(|| in_range("characters", text.chars().count(), node.length));
        }
        match &node.pattern {
            Some(pattern) if !pattern.is_match(text) => self.wrong(|| format!("it does not match {pattern}")),
            _ => true,
        }
    }

    fn array(&mut self, node: &'a Node, count: usize, rest: &mut &'a [u8]) -> bool {
        if !node.item_count.has(count) {
            return self.wrong(|| in_range("items", count, node.item_count));
        }
        if node.prefix.is_empty() && node.items.is_none() {
            return skip(count, rest).is_some();
        }
        (0..count).all(|at| match node.item(at) {
            Some(id) => self.below(|| format!("/{at}"), id, rest),
            None => skip(1, rest).is_some(),
        })
    }

    fn object(&mut self, node: &'a Node, count: usize, rest: &mut &'a [u8]) -> bool {
        if !node.property_count.has(count) {
            return self.wrong(|| in_range("properties", count, node.property_count));
        }
        self.left = self.left.saturating_sub(count + node.required.len());
        let inside = *rest;
        let mut required = 0;
        for _ in 0..count {
            let Some(name) = name(rest) else { return false };
            let named = node.names.find(name).map(|(_, named)| named);
            required += usize::from(named.is_some_and(|named| named.required));
            let valid = if node.patterns.is_empty() {
                // The usual case, without a list.
                let id = named.and_then(|named| named.id).or(node.additional);
                self.property(id, name, rest)
            } else {
                let data = *rest;
                skip(1, rest).is_some()
                    && node
                        .property(&String::from_utf8_lossy(name))
                        .all(|id| self.property(Some(id), name, &mut { data }))
            };
            if !valid {
                return false;
            }
        }
        if required == node.names.required {
            return true;
        }
        let has = |wanted: &String| pairs(count, inside).any(|(name, _)| name == wanted.as_bytes());
        match node.required.iter().find(|wanted| !has(wanted)) {
            Some(missing) => self.wrong(|| format!("{missing:?} is missing")),
            None => true,
        }
    }

    fn property(&mut self, id: Option<Id>, name: &[u8], rest: &mut &'a [u8]) -> bool {
        let Some(id) = id else {
            return skip(1, rest).is_some();
        };
        let step = || {
            let name = String::from_utf8_lossy(name);
            format!("/{}", name.replace('~', "~0").replace('/', "~1"))
        };
        self.below(step, id, rest)
    }

    fn choice(&mut self, of: &[Id], exactly_one: bool, kind: Kinds, data: &'a [u8]) -> bool {
        let mut hold = 0;
        for id in of {
            hold += usize::from(self.quietly(*id, data));
            if hold > 0 && !exactly_one {
                return true;
            }
        }
        match hold {
            1 => true,
            0 => {
                // Of alternatives, the one of this kind says best what is wrong.
                let mut near = of.iter().filter(|id| self.schema.node(**id).kinds.has(kind));
                if let (Some(only), None) = (near.next(), near.next()) {
                    self.node(*only, &mut { data });
                }
                self.wrong(|| "it is none of the alternatives".into())
            }
            _ => self.wrong(|| "it is more than one of the alternatives, and must be one".into()),
        }
    }

    /// `inside` is what lies behind the head of `value`, whose bytes `data` begins with.
    fn rare(&mut self, rare: &'a Rare, value: Value<'a>, inside: &'a [u8], data: &'a [u8]) -> bool {
        let count = match value {
            Value::Object(count) => count,
            _ => 0,
        };
        let has = |name: &str| pairs(count, inside).any(|(other, _)| other == name.as_bytes());
        match (rare, value) {
            (Rare::Not(id), _) => {
                !self.quietly(*id, data) || self.wrong(|| "it is what it must not be".into())
            }
            (
                Rare::If {
                    condition,
                    then,
                    otherwise,
                },
                _,
            ) => {
                let branch = if self.quietly(*condition, data) {
                    then
                } else {
                    otherwise
                };
                branch.is_none_or(|id| self.node(id, &mut { data }))
            }
            (Rare::Contains(id, times), Value::Array(count)) => {
                let held = items(count, inside)
                    .filter(|item| self.quietly(*id, item))
                    .count();
                times.has(held) || self.wrong(|| in_range("items of the wanted kind", held, *times))
            }
            (Rare::Unique, Value::Array(count)) => self.unique(count, inside),
            (Rare::Names(id), Value::Object(_)) => pairs(count, inside).all(|(name, _)| {
                let name = String::from_utf8_lossy(name);
                let data = rmp_serde::to_vec(&name).unwrap_or_default();
                let mut of_name = Check {
                    schema: self.schema,
                    left: self.left,
                    depth: self.depth,
                    quiet: 1,
                    found: None,
                };
                let valid = of_name.node(*id, &mut &data[..]);
                self.left = of_name.left;
                valid || self.wrong(|| format!("{name:?} may not be the name of a property"))
            }),
            (Rare::Needs(name, needs), Value::Object(_)) if has(name) => {
                let missing = needs.iter().find(|name| !has(name));
                missing.is_none_or(|missing| {
                    self.wrong(|| format!("{missing:?} is missing, which {name:?} needs"))
                })
            }
            (Rare::NeedsSchema(name, id), Value::Object(_)) if has(name) => self.node(*id, &mut { data }),
            _ => true,
        }
    }

    fn unique(&mut self, count: usize, rest: &'a [u8]) -> bool {
        let mut seen: Vec<serde_json::Value> = Vec::new();
        for item in items(count, rest) {
            self.left = self.left.saturating_sub(seen.len());
            if self.left == 0 {
                return false;
            }
            if seen.iter().any(|other| equals(item, other)) {
                return self.wrong(|| "an item is there twice".into());
            }
            let json = crate::ingest::message_pack::to_json(item);
            seen.push(
                json.ok()
                    .and_then(|json| serde_json::from_slice(&json).ok())
                    .unwrap_or_default(),
            );
        }
        true
    }
}

fn kind_of(value: &Value<'_>) -> Kinds {
    match value {
        Value::Null => Kinds::NULL,
        Value::Bool(_) => Kinds::BOOLEAN,
        Value::Number(number) if number.is_whole() => Kinds::INTEGER,
        Value::Number(_) => Kinds::FRACTION,
        Value::Text(_) => Kinds::STRING,
        Value::Bytes(_) | Value::Array(..) => Kinds::ARRAY,
        Value::Object(..) => Kinds::OBJECT,
    }
}

fn in_range(what: &str, is: usize, count: Count) -> String {
    if (is as u64) < count.least {
        format!("it has {is} {what}, and must have {} or more", count.least)
    } else {
        format!("it has {is} {what}, and may have {}", count.most)
    }
}

/// The first few of `values`, in words.
pub(super) fn listed(values: &[serde_json::Value]) -> String {
    let mut words: Vec<String> = values.iter().take(6).map(ToString::to_string).collect();
    if values.len() > words.len() {
        words.push(format!("one of {} others", values.len() - words.len()));
    }
    words.join(" or ")
}
