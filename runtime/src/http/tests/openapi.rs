//! The `OpenAPI` document, held against the router: its routes, their methods and their parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::bed::{Bed, request};
use crate::delivery::handler::Handled;
use crate::http::openapi::DOCUMENT;

pub(super) const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

pub(super) type Routes = BTreeMap<String, BTreeSet<String>>;

pub(super) fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The paths of the document and their methods.
pub(super) fn documented(document: &Value) -> Routes {
    let paths = document["paths"].as_object().unwrap();
    let methods = |path: &Value| path.as_object().unwrap().keys().cloned().collect();
    paths
        .iter()
        .map(|(path, of)| (path.clone(), methods(of)))
        .collect()
}

/// The routes as they stand in the source of the router; those of the dashboard are no API.
fn routed() -> Routes {
    let source = include_str!("../../http.rs");
    let (_, routes) = source.split_once("Routes::new()").unwrap();
    let (routes, _) = routes.split_once(".merge(").unwrap();
    let of = |route: &str| {
        let path = route.split('"').nth(1).unwrap().replace("{*", "{");
        let is_used = |method: &&str| {
            route
                .split(&format!("{method}("))
                .skip(1)
                .any(|behind| behind.contains("::"))
        };
        (
            path,
            METHODS.into_iter().filter(is_used).map(str::to_owned).collect(),
        )
    };
    routes.split(".route(").skip(1).map(of).collect()
}

/// `path` with something in the place of its parameters.
pub(super) fn filled(path: &str) -> String {
    path.replace("{event}", "1")
        .replace("{type}", "a.b")
        .replace(['{', '}'], "")
}

#[test]
fn every_route_is_documented_and_every_documented_path_is_routed() {
    assert_eq!(documented(&document()), routed());
}

#[tokio::test]
async fn every_documented_method_is_answered_and_no_other() {
    let bed = Bed::new();
    for (path, documented) in documented(&document()) {
        for method in METHODS {
            let name = method.to_uppercase();
            let answer = bed.send(request(&name, &filled(&path), &[], "")).await;
            if documented.contains(method) {
                let is_missing =
                    answer.status == 405 || (answer.status == 404 && answer.json()["code"] == "not-found");
                assert!(!is_missing, "{name} {path}: {answer:?}");
            } else {
                answer.problem(405, "method-not-allowed");
            }
        }
    }
}

/// The parameters that a refusal of `unknown` says there are; none where nothing is refused.
fn known(refusal: &str) -> BTreeSet<&str> {
    let expected = refusal.split_once("unknown field `unknown`, expected");
    let names = expected.map(|(_, names)| names.split('`').skip(1).step_by(2));
    names.into_iter().flatten().collect()
}

#[tokio::test]
async fn the_documented_parameters_are_those_that_are_known() {
    let bed = Bed::new();
    let document = document();
    for (path, methods) in documented(&document) {
        for method in methods {
            let parameters = document["paths"][&path][&method]["parameters"].as_array();
            let names = |place: &str| -> BTreeSet<&str> {
                let all = parameters.into_iter().flatten();
                let here = all.filter(|one| one["in"] == place);
                here.map(|one| one["name"].as_str().unwrap()).collect()
            };
            let in_path: BTreeSet<&str> = path
                .split('{')
                .skip(1)
                .filter_map(|part| part.split('}').next())
                .collect();
            assert_eq!(names("path"), in_path, "{method} {path}");
            let asked = format!("{}?unknown=1", filled(&path));
            let answer = bed.send(request(&method.to_uppercase(), &asked, &[], "")).await;
            let body = String::from_utf8_lossy(&answer.body);
            assert_eq!(names("query"), known(&body), "{method} {path}: {body}");
        }
    }
}

/// Everything that `value` refers to.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole_and_is_what_is_served() {
    let bed = Bed::new();
    let document = document();
    assert_eq!(bed.get("/openapi.json").await.ok(), document);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut referred = BTreeSet::new();
    references(&document, &mut referred);
    for reference in &referred {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(referred.contains(&*reference), "nothing refers to {reference}");
        }
    }
}

#[tokio::test]
async fn lists_by_name_are_read_page_by_page() {
    let bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.deploy(name, &format!("type.{name}"), Arc::new(|_| Handled::default()));
    }
    for (path, list, name) in [
        ("/v1/plugins", "plugins", "name"),
        ("/v1/schemas", "types", "type"),
    ] {
        let whole = bed.get(path).await.ok();
        assert_eq!(
            (whole[list].as_array().unwrap().len(), &whole["next"]),
            (3, &Value::Null)
        );
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let page = bed.get(&format!("{path}?limit=2&after={after}")).await.ok();
            read.extend(page[list].as_array().unwrap().iter().map(|one| one[name].clone()));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            next.clone_into(&mut after);
        }
        let all: Vec<Value> = whole[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[name].clone())
            .collect();
        assert_eq!(read, all);
    }
}
