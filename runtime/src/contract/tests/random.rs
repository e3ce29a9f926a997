//! Random schemas, slightly different ones, and data that nearly fits them.

use nerve_eventlog::proof::Dice;
use serde_json::{Map, Value as Json, json};

/// Names of properties: few, so that two schemas speak of the same ones.
const NAMES: [&str; 4] = ["a", "b", "ab", "another"];

/// A schema, at most `depth` levels deep.
pub(super) fn schema(dice: &mut Dice, depth: u32) -> Json {
    let mut map = Map::new();
    match dice.below(if depth == 0 { 8 } else { 15 }) {
        0 => return json!(!dice.one_in(4)),
        1 => drop(map.insert("type".into(), json!("null"))),
        2 => drop(map.insert("type".into(), json!("boolean"))),
        3 | 4 => {
            let kind = ["integer", "number"][dice.place(2)];
            map.insert("type".into(), json!(kind));
            for bound in [
                "minimum",
                "maximum",
                "exclusiveMinimum",
                "exclusiveMaximum",
                "multipleOf",
            ] {
                if dice.one_in(4) {
                    let number = match dice.below(3) {
                        0 if bound != "multipleOf" => json!(f64::from(small(dice)) / 2.0),
                        _ if bound == "multipleOf" => json!(dice.below(3) + 1),
                        _ => json!(small(dice)),
                    };
                    map.insert(bound.into(), number);
                }
            }
        }
        5 => {
            map.insert("type".into(), json!("string"));
            counts(dice, &mut map, "minLength", "maxLength");
            if dice.one_in(4) {
                map.insert("pattern".into(), json!(["^a", "b", "^[ab]*$"][dice.place(3)]));
            }
        }
        6 => {
            let values: Vec<Json> = (0..=dice.below(3)).map(|_| data(dice, 1)).collect();
            map.insert("enum".into(), json!(values));
        }
        7 => drop(map.insert("const".into(), data(dice, 1))),
        8 => {
            map.insert("type".into(), json!("array"));
            counts(dice, &mut map, "minItems", "maxItems");
            if !dice.one_in(4) {
                map.insert("items".into(), schema(dice, depth - 1));
            }
            if dice.one_in(4) {
                map.insert("prefixItems".into(), json!([schema(dice, depth - 1)]));
            }
            if dice.one_in(6) {
                map.insert("uniqueItems".into(), json!(true));
            }
        }
        9..=11 => {
            map.insert("type".into(), json!("object"));
            object(dice, depth, &mut map);
        }
        12 => {
            let kind = ["anyOf", "oneOf", "allOf"][dice.place(3)];
            let of: Vec<Json> = (0..=dice.below(3)).map(|_| schema(dice, depth - 1)).collect();
            map.insert(kind.into(), json!(of));
        }
        13 if dice.one_in(2) => drop(map.insert("not".into(), schema(dice, depth - 1))),
        13 => {
            for part in ["if", "then", "else"] {
                map.insert(part.into(), schema(dice, depth - 1));
            }
        }
        // Without a type, what it says holds only for some kinds.
        _ => object(dice, depth, &mut map),
    }
    Json::Object(map)
}

fn object(dice: &mut Dice, depth: u32, map: &mut Map<String, Json>) {
    let names: Vec<&str> = NAMES.into_iter().filter(|_| dice.one_in(2)).collect();
    let properties: Map<String, Json> = names
        .iter()
        .map(|name| ((*name).to_owned(), schema(dice, depth - 1)))
        .collect();
    map.insert("properties".into(), Json::Object(properties));
    let required: Vec<&str> = NAMES.into_iter().filter(|_| dice.one_in(4)).collect();
    map.insert("required".into(), json!(required));
    match dice.below(4) {
        0 => drop(map.insert("additionalProperties".into(), json!(false))),
        1 => drop(map.insert("additionalProperties".into(), schema(dice, depth - 1))),
        2 if dice.one_in(3) => {
            drop(map.insert("patternProperties".into(), json!({"^a": schema(dice, depth - 1)})));
        }
        _ => {}
    }
    if dice.one_in(8) {
        counts(dice, map, "minProperties", "maxProperties");
    }
    if dice.one_in(12) {
        map.insert("dependentRequired".into(), json!({"a": ["b"]}));
    }
    if dice.one_in(12) {
        map.insert("propertyNames".into(), json!({"maxLength": 2}));
    }
}

fn counts(dice: &mut Dice, map: &mut Map<String, Json>, least: &str, most: &str) {
    for name in [least, most] {
        if dice.one_in(4) {
            map.insert(name.into(), json!(dice.below(3)));
        }
    }
}

fn small(dice: &mut Dice) -> i32 {
    i32::try_from(dice.below(7)).unwrap() - 3
}

/// `schema` with something changed somewhere, as a new version of it would be.
pub(super) fn changed(dice: &mut Dice, schema: &Json) -> Json {
    let mut changed = schema.clone();
    match &mut changed {
        Json::Object(map) if !map.is_empty() => {
            let name = map.keys().nth(dice.place(map.len())).unwrap().clone();
            match (&*name, dice.below(4)) {
                (_, 0) => drop(map.shift_remove(&name)),
                (
                    "properties"
                    | "items"
                    | "additionalProperties"
                    | "not"
                    | "anyOf"
                    | "oneOf"
                    | "allOf"
                    | "prefixItems",
                    _,
                ) => {
                    map[&name] = self::changed(dice, &map[&name]);
                }
                ("type", 1) => {
                    map[&name] = json!(["string", "null", "integer", "number", "object"][dice.place(5)]);
                }
                ("required", _) => map[&name] = json!([NAMES[dice.place(4)]]),
                (_, _) if map[&name].is_u64() => map[&name] = json!(dice.below(4)),
                ("a" | "b" | "ab" | "another", _) => map[&name] = self::changed(dice, &map[&name]),
                _ => drop(map.insert("additionalProperties".into(), json!(dice.one_in(2)))),
            }
        }
        Json::Array(all) if !all.is_empty() => {
            let at = dice.place(all.len());
            if dice.one_in(4) {
                all.remove(at);
            } else {
                all[at] = self::changed(dice, &all[at]);
            }
        }
        other => *other = self::schema(dice, 1),
    }
    // An empty list of alternatives is no schema, and a list of names none where a schema is wanted.
    if jsonschema::draft202012::meta::is_valid(&changed) {
        changed
    } else {
        schema.clone()
    }
}

/// Any data, at most `depth` levels deep.
pub(super) fn data(dice: &mut Dice, depth: u32) -> Json {
    match dice.below(if depth == 0 { 8 } else { 11 }) {
        0 => Json::Null,
        1 => json!(dice.one_in(2)),
        2 | 3 => json!(small(dice)),
        4 => json!(f64::from(small(dice)) / 2.0),
        5..=7 => json!(["", "a", "ab", "ba", "aab"][dice.place(5)]),
        8 => (0..dice.below(3)).map(|_| data(dice, depth - 1)).collect(),
        _ => {
            let names = NAMES.into_iter().filter(|_| dice.one_in(2)).collect::<Vec<_>>();
            Json::Object(
                names
                    .into_iter()
                    .map(|name| (name.to_owned(), data(dice, depth - 1)))
                    .collect(),
            )
        }
    }
}

/// Data that probably fits `schema`.
pub(super) fn fitting(dice: &mut Dice, schema: &Json, depth: u32) -> Json {
    let Json::Object(map) = schema else {
        return data(dice, depth);
    };
    if depth == 0 || dice.one_in(12) {
        return data(dice, depth);
    }
    if let Some(values) = map.get("enum").and_then(Json::as_array) {
        return values[dice.place(values.len())].clone();
    }
    if let Some(value) = map.get("const") {
        return value.clone();
    }
    for kind in ["anyOf", "oneOf", "allOf"] {
        if let Some(of) = map.get(kind).and_then(Json::as_array).filter(|of| !of.is_empty()) {
            let one = &of[dice.place(of.len())];
            return fitting(dice, one, depth);
        }
    }
    if let (Some(then), false) = (map.get("then"), dice.one_in(2)) {
        return fitting(dice, then, depth);
    }
    match map.get("type").and_then(Json::as_str) {
        Some("null") => Json::Null,
        Some("boolean") => json!(dice.one_in(2)),
        Some("integer") => json!(small(dice)),
        Some("number") => json!(f64::from(small(dice)) / 2.0),
        Some("string") => json!(["", "a", "ab", "ba", "aab"][dice.place(5)]),
        Some("array") => {
            let first = map.get("prefixItems").map(|first| &first[0]);
            let rest = map.get("items").unwrap_or(&Json::Null);
            let item = |at: u64, dice: &mut Dice| match first.filter(|_| at == 0) {
                Some(first) => fitting(dice, first, depth - 1),
                None => fitting(dice, rest, depth - 1),
            };
            (0..dice.below(4)).map(|at| item(at, dice)).collect()
        }
        _ if map.contains_key("properties") => {
            let is_required = |name: &str| {
                map.get("required")
                    .and_then(Json::as_array)
                    .is_some_and(|all| all.iter().any(|other| other == name))
            };
            let mut out = Map::new();
            for name in NAMES {
                let known = map["properties"].get(name);
                if is_required(name) || dice.one_in(if known.is_some() { 2 } else { 8 }) {
                    let of = known.or(map.get("additionalProperties")).unwrap_or(&Json::Null);
                    out.insert(name.to_owned(), fitting(dice, of, depth - 1));
                }
            }
            Json::Object(out)
        }
        _ => data(dice, depth),
    }
}
