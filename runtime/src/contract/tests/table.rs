//! The rules of `docs/contracts.md`, line by line: what is expected, what is given, and what that is called.

use serde_json::{Value as Json, json};

use crate::contract::{Checked, Rule, Schema, Verdict, accepts};

fn schema(json: &Json) -> Schema {
    json.to_string()
        .parse()
        .unwrap_or_else(|bad| panic!("{json}: {bad}"))
}

fn verdict(expected: &Json, given: &Json) -> Verdict {
    accepts(&schema(expected), &schema(given))
}

fn object(properties: &Json, required: &[&str]) -> Json {
    json!({"type": "object", "properties": properties, "required": required})
}

fn closed(properties: &Json, required: &[&str]) -> Json {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[test]
fn what_is_safe() {
    let text = json!({"type": "string"});
    let option = json!({"anyOf": [{"type": "integer"}, {"type": "null"}]});
    let variant = |name: &str, of: &Json| json!({"type": "object", "properties": {name: of}, "required": [name], "additionalProperties": false});
    let tree = json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "required": ["leaf"], "properties": {
        "leaf": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}});
    for (expected, given) in [
        (json!(true), json!({"type": "string"})),
        (json!({"type": "number"}), json!({"type": "integer"})),
        (json!({"type": ["string", "null"]}), json!({"enum": ["a", null]})),
        (
            json!({"type": "integer", "minimum": 0}),
            json!({"type": "integer", "exclusiveMinimum": -1}),
        ),
        (
            json!({"multipleOf": 2, "type": "integer"}),
            json!({"multipleOf": 4, "type": "integer"}),
        ),
        (json!({"maxLength": 5}), json!({"type": "string", "maxLength": 4})),
        (json!({"minLength": 5}), json!({"type": "integer"})),
        (
            json!({"pattern": "^a"}),
            json!({"type": "string", "pattern": "^a", "title": "x"}),
        ),
        // An optional field is added, with and without anybody who knows of it.
        (
            object(&json!({"a": text}), &["a"]),
            closed(&json!({"a": text, "b": text}), &["a"]),
        ),
        (
            object(&json!({"a": text, "b": option}), &["a"]),
            closed(&json!({"a": text}), &["a"]),
        ),
        (
            object(&json!({"a": option}), &[]),
            closed(&json!({"a": {"type": "integer"}}), &["a"]),
        ),
        (
            json!({"type": "array", "items": option}),
            json!({"type": "array", "items": {"type": "null"}}),
        ),
        (
            json!({"items": {"type": "string"}}),
            json!({"type": "array", "maxItems": 0}),
        ),
        (
            json!({"oneOf": [{"const": "a"}, variant("B", &text)]}),
            variant("B", &json!({"const": "x"})),
        ),
        (
            json!({"oneOf": [{"const": "a"}, variant("B", &text), variant("C", &option)]}),
            json!({"oneOf": [variant("C", &option), {"const": "a"}]}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        ),
        (json!({"not": {"type": "string"}}), json!({"type": "integer"})),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 3}]}),
            json!({"enum": [1, 2.5, 3]}),
        ),
        (
            json!({"unevaluatedProperties": false}),
            json!({"unevaluatedProperties": false}),
        ),
        (tree.clone(), tree),
    ] {
        assert_eq!(
            verdict(&expected, &given),
            Verdict::Safe,
            "{expected} accepts {given}"
        );
    }
}

fn breaking() -> Vec<(Json, Json, &'static str, Rule, Json)> {
    let text = json!({"type": "string"});
    let line = |count: &Json| object(&json!({"product": text, "count": count}), &["product", "count"]);
    let order = |count: &Json| {
        object(
            &json!({"lines": {"type": "array", "items": line(count)}}),
            &["lines"],
        )
    };
    vec![
        (
            json!({"type": "integer"}),
            json!({"type": "number"}),
            "",
            Rule::Type,
            json!(0.5),
        ),
        (
            json!({"type": "integer", "minimum": 0}),
            json!({"type": "integer"}),
            "",
            Rule::Range,
            json!(-1),
        ),
        (
            json!({"enum": ["a"]}),
            json!({"enum": ["a", "b"]}),
            "",
            Rule::Values,
            json!("b"),
        ),
        (json!({"enum": ["a"]}), text.clone(), "", Rule::Values, json!("")),
        (
            json!({"maxLength": 1}),
            text.clone(),
            "",
            Rule::Length,
            json!("aa"),
        ),
        (
            json!({"pattern": "^b"}),
            text.clone(),
            "",
            Rule::Pattern,
            json!(""),
        ),
        (
            object(&json!({}), &["cents"]),
            closed(&json!({"amount": text}), &["amount"]),
            "/cents",
            Rule::Required,
            json!({"amount": ""}),
        ),
        (
            object(&json!({}), &["a"]),
            object(&json!({"a": text}), &[]),
            "/a",
            Rule::Required,
            json!({}),
        ),
        (
            object(&json!({"a": text}), &["a"]),
            object(&json!({"a": {"type": ["string", "null"]}}), &["a"]),
            "/a",
            Rule::Type,
            json!({"a": null}),
        ),
        (
            closed(&json!({}), &[]),
            closed(&json!({"a": text}), &[]),
            "/a",
            Rule::Unknown,
            json!({"a": ""}),
        ),
        (
            order(&json!({"type": "integer"})),
            order(&text),
            "/lines/*/count",
            Rule::Type,
            json!({"lines": [{"count": "", "product": ""}]}),
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!({"type": "array", "items": {"type": "null"}}),
            "",
            Rule::Count,
            json!([null, null]),
        ),
        (
            json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}),
            json!({"type": "integer"}),
            "",
            Rule::Alternatives,
            json!(0),
        ),
        (
            json!({"not": {"type": "string"}}),
            json!({"type": ["string", "null"]}),
            "",
            Rule::Keyword,
            json!(""),
        ),
    ]
}

#[test]
fn what_breaks_with_place_rule_and_example() {
    for (expected, given, at, rule, example) in breaking() {
        let Verdict::Breaking(difference) = verdict(&expected, &given) else {
            panic!("{expected} accepts {given}: {:?}", verdict(&expected, &given));
        };
        let found = (&*difference.at, difference.rule, difference.example.as_ref());
        assert_eq!(
            found,
            (at, rule, Some(&example)),
            "{expected} accepts {given}: {difference}"
        );
    }
}

#[test]
fn what_cant_be_told() {
    let text = json!({"type": "string"});
    for (expected, given, at, rule) in [
        // The producer says nothing of it: it may be as it should.
        (text.clone(), json!({}), "", Rule::Silent),
        (
            object(&json!({"a": text}), &["a"]),
            object(&json!({"a": true}), &["a"]),
            "/a",
            Rule::Silent,
        ),
        (
            object(&json!({"b": text}), &[]),
            object(&json!({"a": text}), &["a"]),
            "/b",
            Rule::Silent,
        ),
        (
            closed(&json!({}), &[]),
            object(&json!({}), &[]),
            "/*",
            Rule::Silent,
        ),
        (
            json!({"type": "object", "unevaluatedProperties": false}),
            json!({"type": "object"}),
            "",
            Rule::Keyword,
        ),
        (
            json!({"pattern": "^a*$"}),
            json!({"type": "string", "pattern": "^aa$"}),
            "",
            Rule::Pattern,
        ),
        (
            json!({"uniqueItems": true}),
            json!({"type": "array", "maxItems": 1}),
            "",
            Rule::Keyword,
        ),
    ] {
        let Verdict::CantTell(difference) = verdict(&expected, &given) else {
            panic!("{expected} accepts {given}: {:?}", verdict(&expected, &given));
        };
        assert_eq!(
            (&*difference.at, difference.rule),
            (at, rule),
            "{expected} accepts {given}: {difference}"
        );
    }
}

#[test]
fn data_is_refused_with_the_place_in_it() {
    let order = schema(&object(
        &json!({"lines": {"type": "array", "items": object(&json!({"count": {"type": "integer", "minimum": 1}}), &["count"])},
            "note": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}}),
        &["lines"],
    ));
    for (data, found) in [
        (json!({"lines": [{"count": 1}], "note": null, "more": 1}), None),
        (
            json!({"lines": [{"count": 1}, {"count": "1"}]}),
            Some("at /lines/1/count: it is string, and must be integer"),
        ),
        (
            json!({"lines": [{"count": 0}]}),
            Some("at /lines/0/count: the number is out of its range"),
        ),
        (json!({}), Some("at /: \"lines\" is missing")),
        (
            json!({"lines": [], "note": "long"}),
            Some("at /note: it has 4 characters, and may have 3"),
        ),
        (json!([]), Some("at /: it is array, and must be object")),
    ] {
        let bytes = crate::ingest::message_pack::from_json(data.to_string().as_bytes()).unwrap();
        let said = match order.check(&bytes) {
            Checked::Broken(violation) => Some(violation.to_string()),
            Checked::Valid => None,
            Checked::CantTell => panic!("{data}"),
        };
        assert_eq!(said.as_deref(), found, "{data}");
    }
}

#[test]
fn what_is_no_schema_is_refused_with_the_place_in_it() {
    for (text, says) in [
        ("{", "it is no JSON"),
        ("7", "/: a schema is an object"),
        (
            r#"{"properties": {"a": {"type": "text"}}}"#,
            "/properties/a/type: \"text\" is no type",
        ),
        (
            r#"{"$ref": "https://example.com/order"}"#,
            "nothing is fetched from elsewhere",
        ),
        (r##"{"$ref": "#/$defs/x"}"##, "there is nothing at"),
        (r##"{"$ref": "#"}"##, "refers to itself without end"),
        (
            r##"{"anyOf": [{"type": "null"}, {"$ref": "#"}]}"##,
            "refers to itself without end",
        ),
        (r#"{"pattern": "(?=a)"}"#, "/pattern: the pattern"),
        (r#"{"minLength": -1}"#, "/minLength: it must not be negative"),
    ] {
        let refused = text.parse::<Schema>().unwrap_err().to_string();
        assert!(refused.contains(says), "{text}: {refused}");
    }
}

#[test]
fn a_schema_made_to_take_for_ever_does_not() {
    // Each of twenty definitions asks the next one twice.
    let definitions: serde_json::Map<String, Json> = (0..20)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), json!({"allOf": [next, next.clone()]}))
        })
        .chain([("d20".to_owned(), json!({"type": "integer"}))])
        .collect();
    let bomb = schema(&json!({"$ref": "#/$defs/d0", "$defs": definitions}));
    assert_eq!(bomb.check(&[0x01]), Checked::CantTell);
    assert!(!matches!(
        accepts(&bomb, &schema(&json!({"type": "string"}))),
        Verdict::Safe
    ));
}

#[test]
fn properties_are_found_by_their_names_however_many_there_are() {
    for many in [1, 2, 8, 9, 40] {
        let name = |n: usize| format!("{}{n}", "x".repeat(n % 5));
        let properties: serde_json::Map<String, Json> = (0..many)
            .map(|n| {
                (
                    name(n),
                    json!({"type": if n.is_multiple_of(2) { "string" } else { "integer" }}),
                )
            })
            .collect();
        // One that is required is named nowhere else, and one is so twice.
        let mut required: Vec<String> = (0..many).filter(|n| n.is_multiple_of(3)).map(name).collect();
        required.extend(["other".into(), name(0)]);
        let required: Vec<&str> = required.iter().map(|name| &**name).collect();
        let schema = schema(&object(&properties.into(), &required));
        let data = |leave: &str, wrong: &str| {
            let value = |n: usize| {
                if n.is_multiple_of(2) == (name(n) == wrong) {
                    json!(n)
                } else {
                    json!("text")
                }
            };
            let all = (0..many).map(|n| (name(n), value(n)));
            let all = all.chain([("other".to_owned(), json!(null)), ("more".to_owned(), json!([]))]);
            let given: serde_json::Map<String, Json> = all.filter(|(name, _)| name != leave).collect();
            crate::ingest::message_pack::from_json(Json::from(given).to_string().as_bytes()).unwrap()
        };
        assert_eq!(schema.check(&data("", "")), Checked::Valid, "{many}");
        for n in 0..many {
            let left_out = schema.check(&data(&name(n), ""));
            assert_eq!(
                left_out == Checked::Valid,
                n % 3 != 0,
                "{many}: without {}",
                name(n)
            );
            let Checked::Broken(violation) = schema.check(&data("", &name(n))) else {
                panic!("{many}: {} may be anything", name(n));
            };
            assert_eq!(violation.at, format!("/{}", name(n)));
        }
        let Checked::Broken(violation) = schema.check(&data("other", "")) else {
            panic!("{many}: what is required is named nowhere else");
        };
        assert_eq!(violation.problem, "\"other\" is missing");
    }
}
