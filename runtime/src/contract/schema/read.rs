//! From the text of a schema to its nodes.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value as Json};

use super::{Bound, Choice, Count, Id, Kinds, Names, Node, Rare, Sameness, Schema};
use crate::contract::plain::Plain;
use crate::contract::value::Number;

/// Nodes of a schema at most.
const MOST_NODES: usize = 20_000;

/// Nodes that may apply to one place of the data, one through the other.
const LONGEST_WAY: usize = 50;

/// Nodes that may be read one through the other.
const DEEPEST: usize = 150;

/// Bytes of a compiled pattern at most.
const PATTERN_BYTES: usize = 1 << 20;

/// Keywords that check, and are not understood here; what is no keyword at all says nothing.
const NOT_UNDERSTOOD: &[&str] = &[
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$anchor",
    "$recursiveRef",
    "additionalItems",
    "dependencies",
    "divisibleBy",
    "extends",
    "disallow",
];

/// Why a text is no schema.
#[derive(Debug, thiserror::Error)]
pub enum BadSchema {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A part of it has another form.
    #[error("{at}: {problem}", at = if at.is_empty() { "/" } else { at })]
    Part {
        /// Where in the schema, as a JSON pointer.
        at: String,
        /// What is wrong, and what to write.
        problem: String,
    },
}

struct Reader<'a> {
    json: &'a Json,
    nodes: Vec<Node>,
    /// Nodes that are read, or being read, by their place.
    known: HashMap<String, Id>,
    depth: usize,
}

impl std::str::FromStr for Schema {
    type Err = BadSchema;

    fn from_str(text: &str) -> Result<Self, BadSchema> {
        let json: Json = serde_json::from_str(text)?;
        let mut reader = Reader {
            json: &json,
            nodes: Vec::new(),
            known: HashMap::new(),
            depth: 0,
        };
        let root = reader.node(&json, "")?;
        let mut nodes = reader.nodes;
        for node in &mut nodes {
            node.names = Names::of(&node.properties, &node.required);
            node.plain = Plain::of(node);
            node.is_record = node.says_only_properties();
        }
        if longest_way(&nodes).is_none() {
            let problem = "it refers to itself without end, or through too many others: a `$ref` back must lie within \
                           a property or an item";
            return Err(bad("", problem));
        }
        let unread = nodes
            .iter()
            .flat_map(|node| &node.rare)
            .find_map(|(rare, _)| match rare {
                Rare::Unread(keyword) => Some(keyword.clone()),
                _ => None,
            });
        Ok(Self {
            nodes,
            root,
            json,
            unread,
        })
    }
}

fn bad(at: &str, problem: impl Into<String>) -> BadSchema {
    // Whoever wrote the schema chose the words.
    BadSchema::Part {
        at: at.chars().take(200).collect(),
        problem: problem.into().chars().take(400).collect(),
    }
}

impl<'a> Reader<'a> {
    fn node(&mut self, json: &'a Json, at: &str) -> Result<Id, BadSchema> {
        if let Some(known) = self.known.get(at) {
            return Ok(*known);
        }
        if self.nodes.len() >= MOST_NODES || self.depth == DEEPEST {
            let problem =
                format!("the schema has more than {MOST_NODES} parts, or {DEEPEST} within each other");
            return Err(bad(at, problem));
        }
        self.depth += 1;
        let id = self.nodes.len();
        self.nodes.push(Node::default());
        self.known.insert(at.to_owned(), id);
        let node = match json {
            Json::Bool(true) => Node::default(),
            Json::Bool(false) => Node {
                kinds: Kinds::NONE,
                ..Node::default()
            },
            Json::Object(map) => self.keywords(map, at)?,
            _ => return Err(bad(at, "a schema is an object, true or false")),
        };
        self.depth -= 1;
        self.nodes[id] = Node {
            same: sameness(json),
            ..node
        };
        Ok(id)
    }

    fn keywords(&mut self, map: &'a Map<String, Json>, at: &str) -> Result<Node, BadSchema> {
        let mut node = Node::default();
        for (keyword, value) in map {
            let here = child(at, keyword);
            match &**keyword {
                "type" => node.kinds = kinds(value, &here)?,
                "enum" => node.values = Some(list(value, &here)?.clone()),
                "const" => {}
                "minimum" | "exclusiveMinimum" => {
                    let bound = bound(value, keyword == "exclusiveMinimum", &here)?;
                    node.least = Some(node.least.map_or(bound, |other| other.narrower(bound, true)));
                }
                "maximum" | "exclusiveMaximum" => {
                    let bound = bound(value, keyword == "exclusiveMaximum", &here)?;
                    node.most = Some(node.most.map_or(bound, |other| other.narrower(bound, false)));
                }
                "multipleOf" => node.multiple_of = Some(number(value, &here)?),
                "minLength" => node.length.least = count(value, &here)?,
                "maxLength" => node.length.most = count(value, &here)?,
                "pattern" => node.pattern = Some(pattern(text(value, &here)?, &here)?),
                "prefixItems" => node.prefix = self.list(value, &here)?,
                "items" if value.is_array() => unread(&mut node, keyword),
                "items" => node.items = Some(self.node(value, &here)?),
                "minItems" => node.item_count.least = count(value, &here)?,
                "maxItems" => node.item_count.most = count(value, &here)?,
                "properties" => node.properties = self.named(value, &here)?.into_iter().collect(),
                "patternProperties" => {
                    for (name, id) in self.named(value, &here)? {
                        node.patterns.push((pattern(&name, &here)?, id));
                    }
                }
                "additionalProperties" => node.additional = Some(self.node(value, &here)?),
                "required" => node.required = texts(value, &here)?,
                "minProperties" => node.property_count.least = count(value, &here)?,
                "maxProperties" => node.property_count.most = count(value, &here)?,
                "allOf" => {
                    let all = self.list(value, &here)?;
                    node.all.extend(all);
                }
                "anyOf" | "oneOf" => {
                    let of = self.list(value, &here)?;
                    let exactly_one = keyword == "oneOf";
                    node.choices.push(Choice { of, exactly_one });
                }
                "$ref" => node.all.push(self.reference(text(value, &here)?, &here)?),
                _ => self.rare(&mut node, map, keyword, value, &here)?,
            }
        }
        if let Some(only) = map.get("const") {
            let is_listed = |values: &[Json]| values.iter().any(|value| value == only);
            node.values = Some(match node.values {
                Some(values) if !is_listed(&values) => Vec::new(),
                _ => vec![only.clone()],
            });
        }
        Ok(node)
    }

    fn rare(
        &mut self,
        node: &mut Node,
        map: &'a Map<String, Json>,
        keyword: &str,
        value: &'a Json,
        here: &str,
    ) -> Result<(), BadSchema> {
        let same = sameness(value);
        match keyword {
            "uniqueItems" if *value == Json::Bool(true) => node.rare.push((Rare::Unique, same)),
            "not" => node.rare.push((Rare::Not(self.node(value, here)?), same)),
            "if" => {
                let at = here.strip_suffix("/if").unwrap_or_default().to_owned();
                let mut branch = |name: &str| match map.get(name) {
                    Some(branch) => self.node(branch, &child(&at, name)).map(Some),
                    None => Ok(None),
                };
                let (then, otherwise) = (branch("then")?, branch("else")?);
                let condition = self.node(value, here)?;
                let all = ["if", "then", "else"].map(|name| map.get(name).cloned().unwrap_or_default());
                let same = sameness(&Json::Array(all.into()));
                let rare = Rare::If {
                    condition,
                    then,
                    otherwise,
                };
                node.rare.push((rare, same));
            }
            "contains" => {
                let limit = |name, default| {
                    map.get(name)
                        .map_or(Ok(default), |value| count(value, &child(here, name)))
                };
                let times = Count {
                    least: limit("minContains", 1)?,
                    most: limit("maxContains", u64::MAX)?,
                };
                let same = sameness(&serde_json::json!([value, times.least, times.most]));
                node.rare
                    .push((Rare::Contains(self.node(value, here)?, times), same));
            }
            "propertyNames" => node.rare.push((Rare::Names(self.node(value, here)?), same)),
            "dependentRequired" => {
                let map = value
                    .as_object()
                    .ok_or_else(|| bad(here, "it must be an object"))?;
                for (name, needs) in map {
                    let needs = texts(needs, &child(here, name))?;
                    node.rare.push((Rare::Needs(name.clone(), needs), same));
                }
            }
            "dependentSchemas" => {
                for (name, id) in self.named(value, here)? {
                    node.rare.push((Rare::NeedsSchema(name, id), same));
                }
            }
            _ if NOT_UNDERSTOOD.contains(&keyword) => unread(node, keyword),
            "$id" if here != "/$id" => unread(node, keyword),
            // A title, a format and the like say nothing that is checked.
            _ => {}
        }
        Ok(())
    }

    fn reference(&mut self, to: &str, at: &str) -> Result<Id, BadSchema> {
        let pointer = to
            .strip_prefix('#')
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(pointer) = pointer else {
            let way =
                "write `#/$defs/NAME` and put the other schema there, for nothing is fetched from elsewhere";
            return Err(bad(at, format!("{to:?} is not a place in this schema: {way}")));
        };
        let found = self.json.pointer(pointer);
        let json = found.ok_or_else(|| bad(at, format!("there is nothing at {to:?} in this schema")))?;
        self.node(json, pointer)
    }

    fn list(&mut self, value: &'a Json, at: &str) -> Result<Vec<Id>, BadSchema> {
        let list = list(value, at)?.iter().enumerate();
        list.map(|(index, json)| self.node(json, &child(at, &index.to_string())))
            .collect()
    }

    fn named(&mut self, value: &'a Json, at: &str) -> Result<Vec<(String, Id)>, BadSchema> {
        let map = value
            .as_object()
            .ok_or_else(|| bad(at, "it must be an object of schemas"))?;
        map.iter()
            .map(|(name, json)| Ok((name.clone(), self.node(json, &child(at, name))?)))
            .collect()
    }
}

fn unread(node: &mut Node, keyword: &str) {
    node.rare.push((Rare::Unread(keyword.to_owned()), None));
}

fn child(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn kinds(value: &Json, at: &str) -> Result<Kinds, BadSchema> {
    let one = |value: &Json| {
        let kind = value.as_str().and_then(Kinds::of_name);
        kind.ok_or_else(|| {
            bad(
                at,
                format!("{value} is no type: write null, boolean, integer, number, string, array or object"),
            )
        })
    };
    match value {
        Json::Array(all) => all
            .iter()
            .try_fold(Kinds::NONE, |kinds, value| Ok(kinds.or(one(value)?))),
        value => one(value),
    }
}

fn list<'a>(value: &'a Json, at: &str) -> Result<&'a Vec<Json>, BadSchema> {
    value.as_array().ok_or_else(|| bad(at, "it must be an array"))
}

fn text<'a>(value: &'a Json, at: &str) -> Result<&'a str, BadSchema> {
    value.as_str().ok_or_else(|| bad(at, "it must be a text"))
}

fn texts(value: &Json, at: &str) -> Result<Vec<String>, BadSchema> {
    list(value, at)?
        .iter()
        .map(|value| text(value, at).map(str::to_owned))
        .collect()
}

fn count(value: &Json, at: &str) -> Result<u64, BadSchema> {
    // Also 2.0, which is a whole number to JSON Schema.
    match number(value, at)?.plain() {
        Number::Integer(whole) => u64::try_from(whole).map_err(|_| bad(at, "it must not be negative")),
        Number::Float(_) => Err(bad(at, "it must be a whole number")),
    }
}

fn number(value: &Json, at: &str) -> Result<Number, BadSchema> {
    match value {
        Json::Number(number) => Ok(Number::of(number)),
        _ => Err(bad(at, "it must be a number")),
    }
}

fn bound(value: &Json, exclusive: bool, at: &str) -> Result<Bound, BadSchema> {
    Ok(Bound {
        value: number(value, at)?,
        exclusive,
    })
}

fn pattern(pattern: &str, at: &str) -> Result<Regex, BadSchema> {
    // Matching takes time in proportion to the text, whatever the pattern: there is no looking around or back.
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map_err(|cause| {
        let cause = cause.to_string().lines().last().unwrap_or_default().to_owned();
        bad(at, format!("the pattern {pattern:?} can't be used: {cause}"))
    })
}

/// Equal for schemas that say the same in the same words, in whatever order.
fn sameness(json: &Json) -> Sameness {
    fn write(json: &Json, hasher: &mut blake3::Hasher) -> Option<()> {
        match json {
            Json::Object(map) => {
                hasher.update(format!("{{{}", map.len()).as_bytes());
                let mut names: Vec<&String> = map.keys().collect();
                names.sort();
                for name in names {
                    if name == "$ref" {
                        return None;
                    }
                    hasher.update(format!("{name:?}").as_bytes());
                    write(&map[name], hasher)?;
                }
            }
            Json::Array(all) => {
                hasher.update(format!("[{}", all.len()).as_bytes());
                all.iter().try_for_each(|json| write(json, hasher))?;
            }
            plain => {
                hasher.update(format!("{plain} ").as_bytes());
            }
        }
        Some(())
    }
    let mut hasher = blake3::Hasher::new();
    write(json, &mut hasher)?;
    Some(*hasher.finalize().as_bytes())
}

/// The most nodes that apply to one place of the data, one through the other; `None` where a way of `$ref`s and
/// alternatives leads back to where it began, or is longer than [`LONGEST_WAY`].
fn longest_way(nodes: &[Node]) -> Option<usize> {
    fn visit(nodes: &[Node], id: Id, behind: usize, known: &mut [Option<usize>]) -> Option<usize> {
        if behind > LONGEST_WAY {
            return None;
        }
        if let Some(known) = known[id] {
            return Some(known);
        }
        let node = &nodes[id];
        let rare = node.rare.iter().flat_map(|(rare, _)| match rare {
            Rare::Not(id) | Rare::NeedsSchema(_, id) => vec![*id],
            Rare::If {
                condition,
                then,
                otherwise,
            } => [Some(*condition), *then, *otherwise]
                .into_iter()
                .flatten()
                .collect(),
            _ => Vec::new(),
        });
        let choices = node.choices.iter().flat_map(|choice| choice.of.iter().copied());
        let mut longest = 0;
        for next in node.all.iter().copied().chain(choices).chain(rare) {
            longest = longest.max(visit(nodes, next, behind + 1, known)?);
        }
        known[id] = Some(longest + 1);
        (longest < LONGEST_WAY).then_some(longest + 1)
    }
    let mut known = vec![None; nodes.len()];
    (0..nodes.len()).try_fold(0, |longest: usize, id| {
        Some(longest.max(visit(nodes, id, 0, &mut known)?))
    })
}
